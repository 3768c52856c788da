"""What the fake says and what we ask are Google's own shapes and paths, by its discovery document."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.stores.fake_google import PACKAGE, FakeGoogle
from tests.stores.google_types import document, problems
from tests.stores.shop import Shop
from tests.stores.test_google_purchases import voided

pytestmark = pytest.mark.skipif(document() is None, reason="Google's discovery document is not at hand")


def methods(node: dict[str, Any]) -> Iterator[tuple[str, re.Pattern[str]]]:
    """HTTP method and path of every method that Google has."""
    for method in node.get("methods", {}).values():
        template = re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(method["path"]))
        yield method["httpMethod"], re.compile(f"/{template}")
    for child in node.get("resources", {}).values():
        yield from methods(child)


def test_the_checker_finds_what_is_wrong() -> None:
    assert problems({"orderId": 7}, "ProductPurchaseV2") == ["ProductPurchaseV2.orderId is no string: 7"]
    assert problems({"ordreId": "x"}, "ProductPurchaseV2") == ["ProductPurchaseV2.ordreId is unknown"]
    state = {"purchaseStateContext": {"purchaseState": "BOUGHT"}}
    assert len(problems(state, "ProductPurchaseV2")) == 1


@pytest.mark.parametrize("more", [{}, {"state": "PENDING"}, {"quantity": 3}, {"test": True}, {"account": "a"}])
def test_the_fakes_purchases_are_of_googles_shape(google: FakeGoogle, more: dict[str, Any]) -> None:
    token = google.buy(**more)
    assert problems(google.purchases[token], "ProductPurchaseV2") == []


@pytest.mark.parametrize("kind", ["sqlite"])
def test_all_that_is_asked_of_google_exists_there(shop: Shop) -> None:
    told = [shop.post_google(shop.google.buy(shop.token())).json() for _ in range(2)]
    shop.jobs.run_due()
    support = shop.host.new_key("support")
    shop.host.post(f"/v1/support/purchases/{told[0]['id']}/reversals", {"reason": "asked"}, bearer=support)
    order = shop.google.purchases[told[1]["providerReference"]]["orderId"]
    review = {"version": "1.0", "pendingRefundToken": "ask", "orderId": order}
    shop.push_google({"pendingRefundReviewNotification": review})
    shop.push_google(voided(told[1]["providerReference"]))
    token = shop.google.play.subscribe(shop.token())
    shop.google.play.renew(token)
    shop.push_google({"subscriptionNotification": {"version": "1.0", "notificationType": 2, "purchaseToken": token}})
    shop.google.play.renew(shop.google.play.replace(token, "elite", "CHARGE_FULL_PRICE"))
    shop.push_google({"subscriptionNotification": {"version": "1.0", "notificationType": 13, "purchaseToken": token}})
    shop.host.wait(hours=2)
    shop.jobs.run_due()
    described = document()
    assert described is not None
    known = list(methods(described))
    asked = {(method, path) for method, path in shop.google.requests if PACKAGE in path}
    kinds = {path.rpartition(":")[2] if ":" in path else path.split("/")[6] for _, path in asked}
    assert kinds >= {"consume", "refund", "reviewrefund", "voidedpurchases", "productsv2"}
    assert kinds >= {"subscriptionsv2", "batchGet", "acknowledge"}
    for method, path in asked:
        assert any(m == method and pattern.fullmatch(path) for m, pattern in known), (method, path)
