"""Store purchases that nobody claimed, decided at the desk: bound once, sent back where the store can, or dismissed."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, cast

import pytest
from httpx import Response

from engine.flows import unclaimed
from engine.payments import ProviderUnreachable
from tests.api.host import assert_problem
from tests.stores.shop import Shop
from tests.stores.test_google_purchases import one_time


class Desk:
    """The desk of a shop, with a purchase of each store that names nobody."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.support = shop.host.new_key("support", name="Sam")
        self.token = ""

    def at_google(self, **more: Any) -> str:
        """A purchase that Google told of; the desk's id for it."""
        self.token = self.shop.google.buy(None, **more)
        self.shop.push_google(one_time(self.token))
        return str(self.queue()[0]["id"])

    def at_apple(self) -> str:
        number = self.shop.apple.world.buy(None)
        self.shop.notify_apple(self.shop.apple.world.notify("ONE_TIME_CHARGE", number))
        return str(self.queue()[0]["id"])

    def queue(self) -> list[dict[str, Any]]:
        answer = self.shop.host.get("/v1/support/queues/unclaimed", bearer=self.support)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["unclaimed"]
        assert answer.json()["pagination"]["total"] == len(found)
        return found

    def resolve(self, item_id: str, action: str, bearer: str | None = None, **more: object) -> Response:
        path = f"/v1/support/queues/unclaimed/{item_id}/resolve"
        body = {"action": action, "reason": "looked into it"} | more
        return self.shop.host.post(path, body, key=None, bearer=bearer or self.support)

    def acts(self) -> list[tuple[str, str]]:
        answer = self.shop.host.get("/v1/admin/audit-log", bearer=self.shop.host.new_key("admin", name="Ada"))
        return [(act["actor"], act["action"]) for act in answer.json()["auditLog"]]


@pytest.fixture
def desk(shop: Shop) -> Desk:
    return Desk(shop)


def test_a_purchase_is_bound_to_one_account(shop: Shop, desk: Desk) -> None:
    item_id = desk.at_google()
    (item,) = desk.queue()
    assert (item["kind"], item["accountId"], item["amountMinor"], item["currency"], item["amountCredits"]) == (
        "payment", None, 1_000, "USD", "1000",
    )  # fmt: skip
    assert (item["problem"], item["actions"]) == ("it names no account", ["bind", "refund", "dismiss"])
    assert_problem(desk.resolve(item_id, "bind"), 400, "INVALID", field="accountId")
    assert_problem(desk.resolve(item_id, "bind", accountId="nobody"), 404, "NOT-FOUND")
    assert_problem(desk.resolve(item_id, "credit"), 400, "INVALID", field="action")
    done = desk.resolve(item_id, "bind", accountId="mira")
    assert (done.status_code, done.json()["status"], done.json()["accountId"]) == (200, "bound", "mira"), done.text
    shop.jobs.run_due()
    assert (shop.payment()["id"], shop.payment()["status"]) == (done.json()["purchaseId"], "completed")
    again = desk.resolve(item_id, "bind", accountId="mira")
    assert (again.json(), again.headers["idempotency-replayed"]) == (done.json(), "true")
    shop.host.open("otto", "pro")
    for action, more in (("bind", {"accountId": "otto"}), ("refund", {}), ("dismiss", {})):
        assert_problem(desk.resolve(item_id, action, **more), 409, "REFUND-003")
    assert (desk.queue(), shop.recharge(), shop.google.consumed) == ([], 1_000, [desk.token])
    assert desk.acts()[0] == ("support:Sam", "purchase.bound")
    shop.check_books()


def test_a_buyer_who_was_faster_keeps_the_purchase(shop: Shop, desk: Desk) -> None:
    item_id = desk.at_google()
    shop.host.open("otto", "pro")
    assert shop.post_google(desk.token).status_code == 200
    assert desk.queue() == []
    assert_problem(desk.resolve(item_id, "bind", accountId="otto"), 409, "REFUND-003")
    assert (shop.recharge(), shop.recharge("/v1/accounts/otto")) == (1_000, 0)


def test_many_who_bind_at_once_bind_once(shop: Shop, desk: Desk) -> None:
    item_id = desk.at_apple()
    names = [f"acc{number}" for number in range(4)]
    paths = [shop.host.open(name, "pro") for name in names]
    barrier = threading.Barrier(4)

    def bind(name: str) -> int:
        barrier.wait()
        return desk.resolve(item_id, "bind", accountId=name).status_code

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(bind, names)) == [200, 409, 409, 409]
    assert sum(map(shop.recharge, paths)) == 1_000
    shop.check_books()


def test_a_refund_of_a_store_that_is_switched_off_waits_until_it_is_on_again(shop: Shop, desk: Desk) -> None:
    item_id = desk.at_google()
    rails = cast(dict[str, Any], shop.host.runtime.providers)
    google = rails.pop("google")
    assert_problem(desk.resolve(item_id, "refund"), 409, "REFUND-004")
    rails["google"] = google
    assert desk.resolve(item_id, "refund").status_code == 200
    rails.pop("google")
    with pytest.raises(ProviderUnreachable):
        unclaimed.send_refund(shop.host.runtime, item_id)
    shop.jobs.run_due()
    rails["google"] = google
    shop.host.clock.advance(timedelta(minutes=5))
    shop.jobs.run_due()
    assert (len(shop.google.refunded), unclaimed.find(shop.host.runtime, item_id).status) == (1, "refunded")


def test_what_the_store_can_send_back_is_sent_back_once(shop: Shop, desk: Desk) -> None:
    item_id = desk.at_google()
    done = desk.resolve(item_id, "refund")
    assert (done.status_code, done.json()["status"]) == (200, "refunding"), done.text
    assert desk.queue() == []
    shop.jobs.run_due()
    assert len(shop.google.refunded) == 1
    again = desk.resolve(item_id, "refund")
    assert (again.json()["status"], again.headers["idempotency-replayed"]) == ("refunded", "true")
    assert_problem(desk.resolve(item_id, "bind", accountId="mira"), 409, "REFUND-003")
    assert shop.post_google(desk.token).status_code == 200
    assert (shop.recharge(), shop.payment()["status"]) == (0, "refunded")
    shop.check_books()


def test_a_store_that_says_no_leaves_the_purchase_waiting(shop: Shop, desk: Desk) -> None:
    item_id = desk.at_google(quantity=2)
    shop.google.void(desk.token, quantity=1)
    desk.resolve(item_id, "refund")
    shop.jobs.run_due()
    (item,) = desk.queue()
    assert item["id"] == item_id and item["problem"].startswith("partly_refunded")
    assert desk.resolve(item_id, "bind", accountId="mira").status_code == 200


def test_apple_decides_its_own_refunds(shop: Shop, desk: Desk) -> None:
    item_id = desk.at_apple()
    assert_problem(desk.resolve(item_id, "refund"), 409, "REFUND-004")
    assert [item["id"] for item in desk.queue()] == [item_id]


def test_a_claim_while_the_money_is_on_its_way_back_ends_without_credits(
    shop: Shop, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    item_id = desk.at_google()
    desk.resolve(item_id, "refund")
    google = shop.host.runtime.providers["google"]
    asked = google.refund

    def claimed_meanwhile(request: Any) -> Any:
        assert shop.post_google(desk.token).status_code == 200
        return asked(request)

    with monkeypatch.context() as patch:
        patch.setattr(google, "refund", claimed_meanwhile)
        unclaimed.send_refund(shop.host.runtime, item_id)
    assert (shop.recharge(), shop.payment()["status"]) == (0, "refunded")
    assert shop.rows() == [("deposit", 1_000), ("refund", -1_000)]
    shop.check_books()


def test_an_unpaid_purchase_has_no_money_to_send_back(shop: Shop, desk: Desk) -> None:
    item_id = desk.at_google(state="PENDING")
    assert_problem(desk.resolve(item_id, "refund"), 409, "REFUND-004")


def test_what_is_not_sold_is_bound_to_nobody_and_can_be_sent_back(shop: Shop, desk: Desk) -> None:
    item_id = desk.at_google(product="other")
    (item,) = desk.queue()
    assert (item["amountMinor"], item["amountCredits"]) == (None, None)
    assert_problem(desk.resolve(item_id, "bind", accountId="mira"), 400, "INVALID", field="productId")
    assert desk.resolve(item_id, "refund").status_code == 200
    shop.jobs.run_due()
    assert (len(shop.google.refunded), desk.queue()) == (1, [])


def test_a_dismissed_purchase_waits_for_nobody_and_is_still_its_buyers(shop: Shop, desk: Desk) -> None:
    item_id = desk.at_apple()
    assert desk.resolve(item_id, "dismiss").json()["status"] == "dismissed"
    assert desk.queue() == [] and desk.acts()[0] == ("support:Sam", "unclaimed.dismissed")
    (number,) = shop.apple.world.transactions
    assert shop.post_apple(shop.apple.world.signed(number)).status_code == 200
    assert shop.recharge() == 1_000


def test_a_large_purchase_is_not_for_support_alone(shop: Shop, desk: Desk) -> None:
    item_id = desk.at_google(quantity=60)
    approver = shop.host.new_key("approver", name="Ben")
    assert_problem(desk.resolve(item_id, "bind", accountId="mira"), 403, "AUTH-002")
    assert_problem(desk.resolve(item_id, "refund"), 403, "AUTH-002")
    assert desk.resolve(item_id, "bind", approver, accountId="mira").status_code == 200
    assert shop.recharge() == 60_000
