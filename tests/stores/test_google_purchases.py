"""Google over HTTP, on both databases: tokens that apps post, pushes, voids, and consuming after the credits landed."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from engine.payments import ProviderRefused, RefundRequest
from engine.rules.money import Money
from engine.store import stores
from engine.store.database import reading
from tests.api.host import assert_problem
from tests.stores.apple_world import Json
from tests.stores.shop import Shop


def one_time(token: str, kind: int = 1) -> Json:
    told = {"version": "1.0", "notificationType": kind, "purchaseToken": token, "sku": "credits_1000"}
    return {"oneTimeProductNotification": told}


def voided(token: str, refund_type: int = 1, product_type: int = 2) -> Json:
    told = {"purchaseToken": token, "orderId": "GPA", "productType": product_type, "refundType": refund_type}
    return {"voidedPurchaseNotification": told}


def test_a_posted_token_is_credited_then_consumed_once(shop: Shop) -> None:
    token = shop.google.buy(shop.token())
    answer = shop.post_google(token)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told == shop.payment()
    assert (told["provider"], told["status"], told["creditsGranted"]) == ("google", "completed", "1000")
    assert told["providerReference"] == token and shop.google.consumed == []
    shop.jobs.run_due()
    shop.jobs.run_due()
    assert shop.google.consumed == [token]
    assert shop.post_google(token).json()["id"] == told["id"]
    shop.push_google(one_time(token), times=2)
    assert shop.rows() == [("deposit", 1_000)] and shop.google.consumed == [token]
    shop.check_books()


def test_the_push_may_come_first_and_again_with_another_id(shop: Shop) -> None:
    token = shop.google.buy(shop.token())
    shop.push_google(one_time(token), message_id="m1")
    shop.push_google(one_time(token), message_id="m1")
    shop.push_google(one_time(token), message_id="m2")
    assert shop.recharge() == 1_000 and shop.google.consumed == [token]


@pytest.mark.parametrize("status", [500, 429, 403])
def test_consuming_is_tried_until_google_takes_it(shop: Shop, status: int) -> None:
    token = shop.google.buy(shop.token())
    shop.post_google(token)
    shop.google.trouble["consume"] = [status] * 3
    for _ in range(5):
        shop.jobs.run_due()
        shop.host.wait(minutes=1)
    assert shop.google.consumed == [token] and shop.recharge() == 1_000


def test_consuming_that_took_effect_without_an_answer_is_not_repeated(shop: Shop) -> None:
    token = shop.google.buy(shop.token())
    shop.post_google(token)
    shop.google._consume("credits_1000", token)  # as if our process had died before it heard
    shop.jobs.run_due()
    assert shop.google.consumed == [token]
    assert not any(path.endswith(":consume") for _, path in shop.google.requests)


def test_a_pending_purchase_is_credited_when_it_is_paid(shop: Shop) -> None:
    token = shop.google.buy(shop.token(), state="PENDING")
    told = shop.post_google(token).json()
    assert (told["status"], told["creditsGranted"], shop.recharge()) == ("pending", "0", 0)
    shop.jobs.run_due()
    assert shop.google.consumed == []
    shop.google.pay(token)
    shop.push_google(one_time(token))
    assert shop.payment()["id"] == told["id"] and shop.payment()["status"] == "completed"
    assert shop.recharge() == 1_000 and shop.google.consumed == [token]


def test_a_pending_purchase_that_is_cancelled_gives_nothing(shop: Shop) -> None:
    token = shop.google.buy(shop.token(), state="PENDING")
    shop.post_google(token)
    shop.google.cancel(token)
    shop.push_google(one_time(token, kind=2))
    assert (shop.recharge(), shop.payments(), shop.google.consumed) == (0, [], [])
    never = shop.google.buy(shop.token(), state="PENDING")
    shop.google.cancel(never)
    assert_problem(shop.post_google(never), 400, "INVALID", field="purchaseToken")
    shop.check_books()


def test_quantities_are_multiplied_and_voided_one_by_one(shop: Shop) -> None:
    token = shop.google.buy(shop.token(), product="credits_5000", quantity=3)
    told = shop.post_google(token, "credits_5000").json()
    assert (told["amountMinor"], told["creditsGranted"]) == (14_997, "15000")
    shop.google.void(token, 1)
    shop.push_google(voided(token, refund_type=2))
    assert shop.recharge() == 10_000 and shop.payment()["status"] == "partially_refunded"
    shop.google.void(token, 1)
    shop.push_google(voided(token, refund_type=2), times=2)
    assert shop.recharge() == 5_000
    shop.google.void(token)
    shop.push_google(voided(token))
    assert shop.recharge() == 0 and shop.payment()["status"] == "refunded"
    shop.check_books()


def test_a_void_takes_all_and_one_that_came_before_the_app_is_counted(shop: Shop) -> None:
    token = shop.google.buy(shop.token())
    shop.google.void(token)
    shop.push_google(voided(token))
    assert shop.post_google(token).json()["status"] == "refunded"
    assert shop.rows() == [("deposit", 1_000), ("refund", -1_000)]
    shop.check_books()


def test_a_void_of_what_google_has_forgotten_still_counts(shop: Shop) -> None:
    token = shop.google.buy(shop.token())
    shop.post_google(token)
    shop.jobs.run_due()
    del shop.google.purchases[token]
    shop.push_google(voided(token))
    assert shop.recharge() == 0 and shop.payment()["status"] == "refunded"


def test_voids_that_no_push_brought_are_found_by_asking(shop: Shop) -> None:
    tokens = [shop.google.buy(shop.token(), product="credits_5000", quantity=2) for _ in range(4)]
    for token in tokens:
        assert shop.post_google(token, "credits_5000").status_code == 200
    shop.jobs.run_due()
    shop.host.wait(minutes=30)
    for token in tokens[:3]:
        shop.google.void(token)
    shop.google.void(tokens[3], 1)
    shop.host.wait(minutes=31)
    shop.google.trouble["voids"] = [503]
    shop.jobs.run_due()
    assert shop.recharge() == 40_000
    shop.host.wait(minutes=10)
    shop.jobs.run_due()
    assert shop.recharge() == 5_000
    for token in tokens[:3]:
        shop.push_google(voided(token))
    shop.host.wait(hours=1)
    shop.jobs.run_due()
    assert shop.recharge() == 5_000
    shop.check_books()


def test_another_accounts_purchase_is_not_there(shop: Shop) -> None:
    other = shop.host.open("otto", "pro")
    token = shop.google.buy(shop.token())
    assert_problem(shop.post_google(token, path=other), 404, "NOT-FOUND")
    assert shop.post_google(token).status_code == 200
    assert_problem(shop.post_google(token, path=other), 404, "NOT-FOUND")
    assert (shop.recharge(), shop.recharge(other)) == (1_000, 0)


def test_of_many_who_post_one_token_at_once_one_has_it(shop: Shop) -> None:
    paths = [shop.mira, *(shop.host.open(f"acc{n}", "pro") for n in range(4))]
    token = shop.google.buy(None)
    with ThreadPoolExecutor(5) as pool:
        codes = sorted(pool.map(lambda path: shop.post_google(token, path=path).status_code, paths))
    assert codes == [200, 404, 404, 404, 404]
    assert sum(shop.recharge(path) for path in paths) == 1_000


def test_a_purchase_that_names_nobody_waits_for_its_buyer(shop: Shop) -> None:
    token = shop.google.buy(None)
    shop.push_google(one_time(token))
    with reading(shop.host.runtime.db) as session:
        assert [row.object_id for row in stores.unclaimed(session, 10)] == [token]
    assert shop.google.consumed == []
    assert shop.post_google(token).status_code == 200
    shop.jobs.run_due()
    assert shop.recharge() == 1_000 and shop.google.consumed == [token]


def test_a_licence_testers_purchase_is_kept_for_review_and_not_credited(shop: Shop) -> None:
    token = shop.google.buy(shop.token(), test=True)
    told = shop.post_google(token).json()
    assert (told["status"], told["creditsGranted"]) == ("review", "0")
    shop.jobs.run_due()
    assert (shop.recharge(), shop.google.consumed) == (0, [])


def test_a_token_of_another_product_or_of_nothing_is_refused(shop: Shop) -> None:
    token = shop.google.buy(shop.token())
    assert_problem(shop.post_google(token, "credits_5000"), 400, "INVALID", field="productId")
    assert_problem(shop.post_google("made-up"), 400, "INVALID", field="purchaseToken")
    unsold = shop.google.buy(shop.token(), product="other")
    assert_problem(shop.post_google(unsold, "other"), 400, "INVALID", field="productId")
    assert shop.payments() == []


def test_while_google_is_down_nothing_is_lost(shop: Shop) -> None:
    token = shop.google.buy(shop.token())
    shop.google.trouble["get"] = [503]
    down = shop.post_google(token)
    assert_problem(down, 503, "UNAVAILABLE")
    assert down.headers["retry-after"]
    shop.google.trouble["get"] = [500]
    shop.push_google(one_time(token))
    assert shop.events("google")["oneTimeProduct"][0] == "stored"
    shop.host.wait(minutes=1)
    shop.jobs.run_due()
    assert shop.recharge() == 1_000 and shop.events("google")["oneTimeProduct"] == ("done", None)


def test_support_reverses_a_purchase_through_google(shop: Shop) -> None:
    token = shop.google.buy(shop.token())
    told = shop.post_google(token).json()
    shop.jobs.run_due()
    support = shop.host.new_key("support")
    path = f"/v1/support/purchases/{told['id']}/reversals"
    shop.google.trouble["refund"] = [500]
    answer = shop.host.post(path, {"reason": "bought twice"}, bearer=support)
    assert (answer.status_code, answer.json()["status"]) == (202, "refunding")
    shop.jobs.run_due()
    shop.host.wait(minutes=1)
    shop.jobs.run_due()
    order = shop.google.purchases[token]["orderId"]
    assert shop.google.refunded == [order] and shop.payment()["status"] == "refunded"
    shop.push_google(voided(token))
    shop.host.wait(hours=2)
    shop.jobs.run_due()
    assert shop.rows() == [("deposit", 1_000), ("refund", -1_000)]
    assert_problem(shop.host.post(path, {"reason": "again"}, bearer=support), 409, "REFUND-003")
    shop.check_books()


def test_a_refund_whose_answer_was_lost_is_not_made_twice(shop: Shop) -> None:
    token = shop.google.buy(shop.token())
    told = shop.post_google(token).json()
    shop.jobs.run_due()
    support = shop.host.new_key("support")
    shop.host.post(f"/v1/support/purchases/{told['id']}/reversals", {"reason": "asked"}, bearer=support)
    shop.google._refund(shop.google.purchases[token]["orderId"], {"revoke": "true"})
    shop.jobs.run_due()
    assert len(shop.google.refunded) == 1 and shop.payment()["status"] == "refunded"


@pytest.mark.parametrize(("spent", "share", "preference"), [(0, 0, "APPROVE"), (452, 45_200, "NEUTRAL")])
def test_a_bank_that_asks_is_told_the_exact_share(shop: Shop, spent: int, share: int, preference: str) -> None:
    token = shop.google.buy(shop.token())
    shop.post_google(token)
    if spent:
        shop.host.spend(shop.mira, spent)
    order = shop.google.purchases[token]["orderId"]
    asked = {"version": "1.0", "pendingRefundToken": "ask-1", "orderId": order, "refundReason": 7}
    shop.push_google({"pendingRefundReviewNotification": asked})
    told = {
        "pendingRefundToken": "ask-1",
        "sampleContentProvided": True,
        "refundPreference": preference,
        "consumptionPercentageMilliunits": share,
    }
    assert shop.google.reviews == [(order, told)]


@pytest.mark.parametrize(
    "told",
    [
        {"testNotification": {"version": "1.0"}},
        {"somethingNew": {"version": "1.0"}},
        {"packageName": "com.other.app", "oneTimeProductNotification": {"purchaseToken": "x"}},
    ],
)
def test_what_is_not_about_our_purchases_is_kept_and_ignored(shop: Shop, told: Json) -> None:
    shop.push_google(told)
    ((status, problem),) = shop.events("google").values()
    assert (status, problem) == ("ignored", None)
    assert not any("purchases" in path for _, path in shop.google.requests)


def test_what_was_acknowledged_elsewhere_is_consumed_all_the_same(shop: Shop) -> None:
    token = shop.google.buy(shop.token())
    shop.google.purchases[token]["acknowledgementState"] = "ACKNOWLEDGEMENT_STATE_ACKNOWLEDGED"
    shop.post_google(token)
    shop.jobs.run_due()
    assert shop.google.consumed == [token]


def test_what_can_never_be_consumed_is_given_up_after_four_days(shop: Shop) -> None:
    token = shop.google.buy(shop.token())
    shop.post_google(token)
    shop.google.trouble["consume"] = [400] * 1_000
    for _ in range(3):
        shop.jobs.run_due()
        shop.host.wait(hours=1)
    tried = len(shop.google.trouble["consume"])
    assert tried < 1_000
    shop.host.wait(days=4)
    shop.jobs.run_due()
    assert len(shop.google.trouble["consume"]) == tried - 1
    shop.host.wait(days=1)
    shop.jobs.run_due()
    assert len(shop.google.trouble["consume"]) == tried - 1
    assert shop.recharge() == 1_000


def test_less_than_a_whole_order_is_not_given_back(shop: Shop) -> None:
    rail = shop.host.runtime.providers["google"]
    token = shop.google.buy(shop.token())
    request = RefundRequest("mira", "pay", "rev", token, Money(300, "USD"), "k")
    with pytest.raises(ProviderRefused, match="whole_orders_only"):
        rail.refund(request)
    assert shop.google.requests == []


def test_a_suspended_wallet_takes_what_was_paid(shop: Shop) -> None:
    admin = shop.host.new_key("admin")
    done = shop.host.post("/v1/admin/accounts/mira/suspend", {"reason": "asked"}, bearer=admin)
    assert done.status_code == 200, done.text
    assert shop.post_google(shop.google.buy(shop.token())).json()["status"] == "completed"


def test_support_finds_a_purchase_by_the_order_the_customer_reads(shop: Shop) -> None:
    token = shop.google.buy(shop.token())
    told = shop.post_google(token).json()
    order = shop.google.purchases[token]["orderId"]
    found = shop.host.get("/v1/support/search", q=order, bearer=shop.host.new_key("support"))
    assert found.status_code == 200 and told["id"] in found.text


def test_a_nameless_purchase_that_comes_to_nothing_waits_for_nobody(shop: Shop) -> None:
    token = shop.google.buy(None, state="PENDING")
    shop.push_google(one_time(token, kind=1))
    with reading(shop.host.runtime.db) as session:
        assert [row.object_id for row in stores.unclaimed(session, 10)] == [token]
    shop.google.cancel(token)
    shop.push_google(one_time(token, kind=2))
    with reading(shop.host.runtime.db) as session:
        assert stores.unclaimed(session, 10) == []
    assert set(shop.events("google").values()) == {("done", None)}


def test_what_is_left_of_a_purchase_in_part_given_back_is_consumed(shop: Shop) -> None:
    token = shop.google.buy(shop.token(), quantity=3)
    shop.google.trouble["consume"] = [503]
    shop.post_google(token)
    shop.jobs.run_due()
    assert (shop.recharge(), shop.google.consumed) == (3_000, [])
    shop.google.void(token, 1)
    shop.push_google(voided(token, refund_type=2))
    shop.host.wait(minutes=5)
    shop.jobs.run_due()
    assert (shop.recharge(), shop.google.consumed) == (2_000, [token])
    shop.check_books()


def test_what_was_wholly_given_back_is_not_consumed(shop: Shop) -> None:
    token = shop.google.buy(shop.token(), quantity=3)
    shop.google.trouble["consume"] = [503]
    shop.post_google(token)
    shop.google.void(token)
    shop.push_google(voided(token))
    shop.host.wait(minutes=5)
    shop.jobs.run_due()
    assert (shop.recharge(), shop.google.consumed) == (0, [])
