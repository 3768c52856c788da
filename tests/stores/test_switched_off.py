"""Google is switched off while its subscribers are still there: nobody's plan is lost, and everyone is served."""

from typing import Any, cast

from tests.stores.shop import Shop
from tests.stores.test_google_subscriptions import Member, month


def test_a_subscriber_with_a_refunded_month_is_settled_and_read(shop: Shop) -> None:
    nora = Member(shop, shop.host.open("nora"))
    token = nora.subscribe()
    nora.hear("purchased", token)
    first = shop.payments(nora.path)[0]["providerReference"]
    nora.wait_until(month(1))
    nora.play.renew(token)
    nora.hear("renewed", token)
    nora.play.refund(first)
    nora.hear("renewed", token)
    assert nora.statuses() == ["completed", "refunded"]
    rails = cast(dict[str, Any], shop.host.runtime.providers)
    google = rails.pop("google")
    nora.wait_until(month(2))
    assert nora.plan() == ("pro", "active"), "its grace"
    assert shop.host.get(f"{nora.path}/entitlements").status_code == 200
    nora.wait_until(month(3))
    assert nora.plan() == ("free", "active")
    rails["google"] = google
    shop.check_books()
