"""Apple over HTTP, on both databases: what the app posts, what Apple says of it, and what becomes of the credits."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlmodel import select

from engine.flows.stores import bind_unclaimed
from engine.rules.errors import AlreadyRefunded
from engine.store import stores
from engine.store.database import reading
from engine.store.tables import AuditRow, ClaimRow
from tests.api.host import assert_problem
from tests.stores.shop import Shop


def test_a_posted_transaction_is_credited_and_shown_as_a_payment(shop: Shop) -> None:
    number = shop.apple.world.buy(shop.token())
    answer = shop.post_apple(shop.apple.world.signed(number))
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told == shop.payment()
    assert (told["provider"], told["providerReference"], told["status"]) == ("apple", number, "completed")
    assert (told["amountMinor"], told["amountUsd"], told["creditsGranted"]) == (1_000, "10.00", "1000")
    assert shop.rows() == [("deposit", 1_000)]
    shop.check_books()


def test_posting_again_and_apples_own_word_change_nothing(shop: Shop) -> None:
    number = shop.apple.world.buy(shop.token())
    first = shop.post_apple(shop.apple.world.signed(number)).json()
    again = shop.post_apple(shop.apple.world.signed(number))
    assert (again.status_code, again.json()) == (200, first)
    shop.notify_apple(shop.apple.world.notify("ONE_TIME_CHARGE", number), times=2)
    assert shop.payment()["id"] == first["id"] and shop.rows() == [("deposit", 1_000)]


def test_the_notification_may_come_first(shop: Shop) -> None:
    number = shop.apple.world.buy(shop.token())
    shop.notify_apple(shop.apple.world.notify("ONE_TIME_CHARGE", number))
    there = shop.payment()
    assert there["status"] == "completed" and shop.recharge() == 1_000
    assert shop.post_apple(shop.apple.world.signed(number)).json()["id"] == there["id"]
    assert shop.recharge() == 1_000


def test_a_product_may_name_its_credits_and_quantity_multiplies(shop: Shop) -> None:
    number = shop.apple.world.buy(shop.token(), product="com.alphio.credits.5000", quantity=3)
    told = shop.post_apple(shop.apple.world.signed(number)).json()
    assert (told["amountMinor"], told["creditsGranted"]) == (14_997, "15000")


def test_a_token_in_capitals_is_the_same_token(shop: Shop) -> None:
    number = shop.apple.world.buy(shop.token().upper())
    assert shop.post_apple(shop.apple.world.signed(number)).status_code == 200


def test_another_accounts_purchase_is_not_there(shop: Shop) -> None:
    other = shop.host.open("otto", "pro")
    mine = shop.apple.world.buy(shop.token())
    signed = shop.apple.world.signed(mine)
    assert_problem(shop.post_apple(signed, other), 404, "NOT-FOUND")
    assert shop.recharge(other) == 0 and shop.payments(other) == []
    assert shop.post_apple(signed).status_code == 200
    assert_problem(shop.post_apple(signed, other), 404, "NOT-FOUND")
    assert (shop.recharge(), shop.recharge(other)) == (1_000, 0)


def test_of_many_who_post_one_purchase_at_once_one_has_it(shop: Shop) -> None:
    paths = [shop.mira, *(shop.host.open(f"acc{n}", "pro") for n in range(5))]
    signed = shop.apple.world.signed(shop.apple.world.buy(None))
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda path: shop.post_apple(signed, path), paths * 2))
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [200] * 2 + [404] * 10, codes
    assert sum(shop.recharge(path) for path in paths) == 1_000
    shop.check_books()


def test_a_purchase_that_names_nobody_waits_for_its_buyer(shop: Shop) -> None:
    number = shop.apple.world.buy(None)
    shop.notify_apple(shop.apple.world.notify("ONE_TIME_CHARGE", number))
    with reading(shop.host.runtime.db) as session:
        (waiting,) = stores.unclaimed(session, 10)
    assert (waiting.object_id, waiting.problem) == (number, "it names no account")
    assert shop.events("apple")["ONE_TIME_CHARGE"] == ("done", None)
    assert shop.post_apple(shop.apple.world.signed(number)).status_code == 200
    other = shop.host.open("otto", "pro")
    assert_problem(shop.post_apple(shop.apple.world.signed(number), other), 404, "NOT-FOUND")
    with reading(shop.host.runtime.db) as session:
        assert stores.unclaimed(session, 10) == []
    assert shop.recharge() == 1_000


def test_a_refund_before_anybody_claims_is_not_forgotten(shop: Shop) -> None:
    number = shop.apple.world.buy(None)
    before = shop.apple.world.signed(number)
    shop.apple.world.refund(number)
    shop.notify_apple(shop.apple.world.notify("REFUND", number))
    assert shop.post_apple(before).status_code == 200
    assert shop.recharge() == 0 and shop.payment()["status"] == "refunded"
    assert shop.rows() == [("deposit", 1_000), ("refund", -1_000)]
    shop.check_books()


def test_support_binds_what_names_an_unknown_account(shop: Shop) -> None:
    number = shop.apple.world.buy("7e3fb20b-4cdb-47cc-936d-99d65f608138")
    assert_problem(shop.post_apple(shop.apple.world.signed(number)), 404, "NOT-FOUND")
    with reading(shop.host.runtime.db) as session:
        (waiting,) = stores.unclaimed(session, 10)
    assert waiting.problem == "it names an account that is not known here"
    assert bind_unclaimed(shop.host.runtime, waiting, "mira", "staff:kim", "the customer's receipt")
    assert not bind_unclaimed(shop.host.runtime, waiting, "mira", "staff:kim", "again")
    paid = shop.payment()
    assert paid["status"] == "completed" and shop.recharge() == 1_000
    shop.host.open("otto", "pro")
    with pytest.raises(AlreadyRefunded):
        bind_unclaimed(shop.host.runtime, waiting, "otto", "staff:kim", "again")
    with reading(shop.host.runtime.db) as session:
        (act,) = session.exec(select(AuditRow).where(AuditRow.action == "purchase.bound")).all()
    assert (act.actor, act.reason, act.object_id) == ("staff:kim", "the customer's receipt", paid["id"])


def test_a_refund_takes_the_credits_back_and_its_reversal_returns_them(shop: Shop) -> None:
    number = shop.apple.world.buy(shop.token())
    shop.post_apple(shop.apple.world.signed(number))
    shop.apple.world.refund(number)
    shop.notify_apple(shop.apple.world.notify("REFUND", number), times=2)
    assert shop.recharge() == 0 and shop.payment()["status"] == "refunded"
    shop.notify_apple(shop.apple.world.notify("REFUND_DECLINED", number))
    shop.apple.world.undo_refund(number)
    shop.notify_apple(shop.apple.world.notify("REFUND_REVERSED", number), times=2)
    assert shop.recharge() == 1_000 and shop.payment()["status"] == "completed"
    assert shop.rows() == [("deposit", 1_000), ("refund", -1_000), ("refund_failed", 1_000)]
    shop.check_books()


def test_a_refund_that_arrives_after_its_reversal_takes_nothing(shop: Shop) -> None:
    number = shop.apple.world.buy(shop.token())
    shop.post_apple(shop.apple.world.signed(number))
    shop.apple.world.refund(number)
    late = shop.apple.world.notify("REFUND", number)
    shop.apple.world.undo_refund(number)
    shop.notify_apple(shop.apple.world.notify("REFUND_REVERSED", number))
    shop.notify_apple(late)
    assert shop.recharge() == 1_000 and shop.rows() == [("deposit", 1_000)]


def test_an_old_signature_does_not_undo_a_refund(shop: Shop) -> None:
    number = shop.apple.world.buy(shop.token())
    old = shop.apple.world.signed(number)
    shop.post_apple(old)
    shop.apple.world.refund(number)
    shop.notify_apple(shop.apple.world.notify("REFUND", number))
    assert shop.post_apple(old).json()["status"] == "refunded"
    assert shop.recharge() == 0


@pytest.mark.parametrize(("percentage", "left"), [(25_000, 750), (33_333, 667), (100_000, 0), (0, 1_000)])
def test_a_prorated_refund_takes_its_share(shop: Shop, percentage: int, left: int) -> None:
    number = shop.apple.world.buy(shop.token())
    shop.post_apple(shop.apple.world.signed(number))
    shop.apple.world.refund(number, percentage)
    shop.notify_apple(shop.apple.world.notify("REFUND", number))
    assert shop.recharge() == left
    shop.check_books()


def test_spent_credits_become_debt_when_apple_refunds(shop: Shop) -> None:
    number = shop.apple.world.buy(shop.token())
    shop.post_apple(shop.apple.world.signed(number))
    assert shop.host.spend(shop.mira, 400).status_code == 201
    shop.apple.world.refund(number)
    shop.notify_apple(shop.apple.world.notify("REFUND", number))
    assert (shop.recharge(), shop.host.balance(shop.mira)["debtCredits"]) == (0, "400")


def test_apple_decides_its_refunds(shop: Shop) -> None:
    told = shop.post_apple(shop.apple.world.signed(shop.apple.world.buy(shop.token()))).json()
    support = shop.host.new_key("support")
    path = f"/v1/support/purchases/{told['id']}/reversals"
    assert_problem(shop.host.post(path, {"reason": "asked"}, bearer=support), 409, "REFUND-004")
    assert shop.recharge() == 1_000


def test_products_that_are_not_sold_and_things_that_are_no_consumables_are_refused(shop: Shop) -> None:
    world = shop.apple.world
    unknown = world.signed(world.buy(shop.token(), product="com.alphio.other"))
    assert_problem(shop.post_apple(unknown), 400, "INVALID", field="productId")
    for change in ({"type": "Non-Consumable"}, {"type": "Auto-Renewable Subscription"}):
        number = world.buy(shop.token(), **change)
        assert_problem(shop.post_apple(world.signed(number)), 400, "INVALID", field="signedTransaction")
    relatives = world.buy(shop.token(), inAppOwnershipType="FAMILY_SHARED")
    assert_problem(shop.post_apple(world.signed(relatives)), 400, "INVALID", field="signedTransaction")
    assert shop.payments() == []


def test_a_product_that_the_catalogue_lacks_is_parked_and_waits(shop: Shop) -> None:
    number = shop.apple.world.buy(shop.token(), product="com.alphio.other")
    shop.notify_apple(shop.apple.world.notify("ONE_TIME_CHARGE", number))
    assert shop.events("apple")["ONE_TIME_CHARGE"] == ("parked", "the catalogue does not sell this product")
    with reading(shop.host.runtime.db) as session:
        assert [row.object_id for row in stores.unclaimed(session, 10)] == [number]


@pytest.mark.parametrize("type_", ["METADATA_UPDATE", "CONSUMPTION_REQUEST", "TEST", "SOMETHING_NEW"])
def test_what_is_neither_about_a_purchase_nor_a_payment_is_kept_and_ignored(shop: Shop, type_: str) -> None:
    world = shop.apple.world
    number = world.buy(shop.token(), type="Auto-Renewable Subscription") if type_ != "TEST" else None
    shop.notify_apple(world.notify(type_, number))
    assert shop.events("apple")[type_] == ("ignored", None)
    assert shop.payments() == []


def test_money_for_a_closed_wallet_goes_to_review(shop: Shop) -> None:
    token = shop.token()
    admin = shop.host.new_key("admin")
    closed = shop.host.post("/v1/admin/accounts/mira/close", {"reason": "asked"}, bearer=admin)
    assert closed.status_code == 200, closed.text
    shop.notify_apple(shop.apple.world.notify("ONE_TIME_CHARGE", shop.apple.world.buy(token)))
    assert shop.payment()["status"] == "review"


def test_the_store_token_is_stable_and_each_accounts_own(shop: Shop) -> None:
    first = shop.host.get(f"{shop.mira}/purchases/store-token").json()
    assert first == shop.host.get(f"{shop.mira}/purchases/store-token").json()
    assert set(first) == {"appAccountToken", "obfuscatedAccountId"} and len(first["obfuscatedAccountId"]) <= 64
    assert shop.token(shop.host.open("otto")) != first["appAccountToken"]
    assert_problem(shop.host.get("/v1/accounts/nobody/purchases/store-token"), 404, "NOT-FOUND")


def test_the_claim_is_kept_by_transaction_and_mode(shop: Shop) -> None:
    number = shop.apple.world.buy(shop.token())
    told = shop.post_apple(shop.apple.world.signed(number)).json()
    with reading(shop.host.runtime.db) as session:
        (claim,) = session.exec(select(ClaimRow)).all()
    assert (claim.provider, claim.mode, claim.kind, claim.object_id) == ("apple", "live", "payment", number)
    assert claim.purchase_id == told["id"]


def test_notifications_that_never_arrived_are_found_by_asking(shop: Shop) -> None:
    world = shop.apple.world
    numbers = [world.buy(shop.token()) for _ in range(3)]
    world.undelivered = [world.notify("ONE_TIME_CHARGE", number)["signedPayload"] for number in numbers]
    shop.jobs.run_due()
    assert shop.recharge() == 0
    shop.host.wait(minutes=61)
    shop.apple.trouble = [500]
    shop.jobs.run_due()
    assert shop.recharge() == 0, "Apple was down; it is asked again soon"
    shop.host.wait(minutes=10)
    shop.jobs.run_due()
    assert shop.recharge() == 3_000
    shop.notify_apple(world.notifications[0])
    shop.host.clock.advance(timedelta(hours=2))
    shop.jobs.run_due()
    assert shop.recharge() == 3_000
