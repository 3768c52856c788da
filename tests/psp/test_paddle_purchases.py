"""Purchases on Paddle from checkout to the books, on both databases, however its webhooks come."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from engine.flows import refunds, topups
from engine.flows.reconcile import reconcile
from engine.rules.errors import AlreadyRefunded, Unavailable
from engine.store.database import Database, reading
from engine.store.polling import missed_events
from engine.store.tables import PurchaseRow, ReversalRow
from psp.moonpay import MoonPay
from tests.engine.support import FakeClock
from tests.flows.world import ACCOUNT
from tests.psp.fake_moonpay import WALLET
from tests.psp.fake_paddle import FakePaddle
from tests.psp.paddle_orders import a_rail
from tests.psp.rail_world import RailWorld, open_rail_world


@pytest.fixture
def fake(clock: FakeClock) -> Iterator[FakePaddle]:
    with FakePaddle(now=clock.now) as started:
        yield started


@pytest.fixture
def world(db: Database, clock: FakeClock, fake: FakePaddle) -> Iterator[RailWorld]:
    opened = open_rail_world(db, clock, a_rail(fake), fake)
    yield opened
    opened.check()


def bought(world: RailWorld, fake: FakePaddle) -> PurchaseRow:
    """2,500 credits for $25, landed."""
    purchase = world.buy()
    assert purchase.session_id is not None
    fake.pay(purchase.session_id)
    world.hook_new()
    return world.purchase(purchase)


def reverse(world: RailWorld, purchase: PurchaseRow) -> ReversalRow:
    found = refunds.reverse_purchase(world.runtime, purchase.purchase_id, "asked by mail", "support:ann")[0]
    world.jobs.run_due()
    return world.reversal(found)


def session_of(purchase: PurchaseRow) -> str:
    assert purchase.session_id is not None
    return purchase.session_id


def test_a_paid_transaction_lands_once_and_is_named_in_the_books(world: RailWorld, fake: FakePaddle) -> None:
    purchase = bought(world, fake)
    assert (purchase.status, purchase.provider, purchase.provider_reference) == ("paid", "paddle", purchase.session_id)
    assert world.rows() == [("deposit", 2_500)] and world.documents() == ["payment_confirmation"]
    world.hook(*reversed(fake.events), *fake.events)
    assert world.rows() == [("deposit", 2_500)] and world.documents() == ["payment_confirmation"]


def test_a_replay_under_a_new_event_id_credits_nothing(world: RailWorld, fake: FakePaddle) -> None:
    bought(world, fake)
    world.hook(*(event | {"event_id": f"{event['event_id']}again"} for event in fake.events))
    assert world.rows() == [("deposit", 2_500)]


def test_paddle_and_moonpay_are_offered_in_the_catalogues_order_once_configured(
    db: Database, clock: FakeClock, fake: FakePaddle
) -> None:
    moonpay = MoonPay("pk_test_1", "sk_test_1", "wk_test_1", WALLET)
    world = open_rail_world(db, clock, a_rail(fake), fake, [moonpay])
    assert topups.offered_providers(world.runtime, "DE", "web") == ("paddle", "moonpay")
    assert topups.offered_providers(world.runtime, "DE", "ios") == ()
    assert world.buy().provider == "paddle" and world.buy(provider="moonpay").provider == "moonpay"
    world.check()


def test_an_answer_that_was_lost_leaves_one_transaction_and_the_same_key_goes_on_with_it(
    world: RailWorld, fake: FakePaddle
) -> None:
    fake.drop(executed=True)
    with pytest.raises(Unavailable):
        world.buy(key="once")
    purchase = world.buy(key="once")
    assert list(fake.transactions) == [purchase.session_id]
    fake.pay(session_of(purchase))
    world.hook_new()
    assert world.rows() == [("deposit", 2_500)]


def test_a_payment_of_a_checkout_whose_answer_was_lost_for_good_lands_all_the_same(
    world: RailWorld, fake: FakePaddle
) -> None:
    fake.drop(executed=True)
    with pytest.raises(Unavailable):
        world.buy()
    fake.pay(next(iter(fake.transactions)))
    world.hook_new()
    assert world.rows() == [("deposit", 2_500)]


def test_without_a_webhook_the_sweeper_finds_the_payment_and_a_late_one_still_lands(
    world: RailWorld, fake: FakePaddle, clock: FakeClock
) -> None:
    found, late = world.buy(), world.buy()
    fake.pay(session_of(found))
    clock.advance(timedelta(minutes=31))
    world.jobs.run_due()
    assert (world.purchase(found).status, world.purchase(late).status) == ("paid", "expired")
    fake.pay(session_of(late))
    world.hook_new()
    assert world.purchase(late).status == "paid" and world.rows() == [("deposit", 2_500)] * 2


def test_another_amount_is_quarantined(world: RailWorld, fake: FakePaddle) -> None:
    purchase = world.buy()
    transaction = fake.transactions[session_of(purchase)]
    transaction["details"]["totals"] |= {"subtotal": "2400", "total": "2400", "grand_total": "2400"}
    fake.pay(session_of(purchase))
    world.hook_new()
    assert world.purchase(purchase).status == "quarantined" and world.rows() == []


def test_a_refund_of_ours_waits_for_paddle_and_ends_in_a_credit_note(world: RailWorld, fake: FakePaddle) -> None:
    purchase = bought(world, fake)
    reversal = reverse(world, purchase)
    world.hook_new()
    assert (reversal.status, world.state()) == ("refunding", (0, 0)) and world.documents() == ["payment_confirmation"]
    fake.decide(next(iter(fake.adjustments)), "approved")
    world.hook_new()
    world.hook(*reversed(fake.events))
    assert world.reversal(reversal).status == "succeeded" and world.purchase(purchase).status == "refunded"
    assert world.rows() == [("deposit", 2_500), ("refund", -2_500)]
    assert world.documents() == ["credit_note", "payment_confirmation"] and len(fake.adjustments) == 1


def test_a_refund_that_paddle_rejects_gives_the_credits_back(world: RailWorld, fake: FakePaddle) -> None:
    purchase = bought(world, fake)
    reversal = reverse(world, purchase)
    fake.decide(next(iter(fake.adjustments)), "rejected")
    world.hook_new()
    assert world.reversal(reversal).status == "failed" and world.purchase(purchase).status == "paid"
    assert world.rows() == [("deposit", 2_500), ("refund", -2_500), ("refund_failed", 2_500)]


def test_a_refund_that_paddle_refuses_at_once_gives_the_credits_back(world: RailWorld, fake: FakePaddle) -> None:
    purchase = bought(world, fake)
    fake.refund(session_of(purchase), 100)
    reversal = reverse(world, purchase)
    assert reversal.status == "failed" and "adjustment_pending_refund_request" in (reversal.problem or "")
    assert world.state() == (2_500, 0)


def test_a_refund_whose_answer_was_lost_is_made_once(world: RailWorld, fake: FakePaddle, clock: FakeClock) -> None:
    purchase = bought(world, fake)
    fake.refund_status = "approved"
    original = fake.handle

    def lost(request: object) -> tuple[int, object]:
        answer = original(request)  # type: ignore[arg-type]
        fake.handle = original  # type: ignore[method-assign]
        fake.drop(executed=True)
        return answer

    fake.handle = lost  # type: ignore[method-assign]
    assert reverse(world, purchase).status == "refunding" and len(fake.adjustments) == 1
    clock.advance(timedelta(minutes=1))
    world.jobs.run_due()
    assert len(fake.adjustments) == 1 and world.purchase(purchase).status == "refunded"


def test_a_second_reversal_is_refused_while_the_first_waits(world: RailWorld, fake: FakePaddle) -> None:
    purchase = bought(world, fake)
    reverse(world, purchase)
    with pytest.raises(AlreadyRefunded):
        reverse(world, purchase)


def test_a_refund_in_paddles_dashboard_takes_its_share_once_it_is_approved(world: RailWorld, fake: FakePaddle) -> None:
    purchase = bought(world, fake)
    refund = fake.refund(session_of(purchase), 1_000)
    world.hook_new()
    assert world.rows() == [("deposit", 2_500)]
    fake.decide(refund, "approved")
    world.hook_new()
    assert world.rows() == [("deposit", 2_500), ("refund", -1_000)]
    assert world.purchase(purchase).status == "partially_refunded"


def test_a_chargeback_of_spent_credits_is_owed_and_paddles_win_forgives_it(world: RailWorld, fake: FakePaddle) -> None:
    purchase = bought(world, fake)
    world.spend(2_000)
    chargeback = fake.charge_back(session_of(purchase))
    world.hook_new()
    assert world.state() == (0, 2_000)
    fake.reverse_chargeback(chargeback)
    world.hook_new()
    assert world.state() == (500, 0) and world.purchase(purchase).status == "paid"


def test_a_chargeback_heard_of_before_the_payment_brings_the_payment_with_it(
    world: RailWorld, fake: FakePaddle
) -> None:
    purchase = world.buy()
    fake.pay(session_of(purchase))
    fake.charge_back(session_of(purchase), 500)
    world.hook(fake.events[-1])
    assert world.rows() == [("deposit", 2_500), ("dispute", -500)]
    world.hook(*fake.events)
    assert world.rows() == [("deposit", 2_500), ("dispute", -500)]


def test_while_paddle_is_down_events_wait_and_nothing_is_lost(
    world: RailWorld, fake: FakePaddle, clock: FakeClock
) -> None:
    purchase = world.buy()
    fake.pay(session_of(purchase))
    fake.fail(500, times=20)
    world.hook_new()
    assert world.rows() == []
    fake._troubles.clear()
    clock.advance(timedelta(minutes=1))
    world.jobs.run_due()
    assert world.rows() == [("deposit", 2_500)]


def test_what_no_webhook_brought_is_polled_healed_and_raises_the_alarm(
    world: RailWorld, fake: FakePaddle, clock: FakeClock
) -> None:
    purchase = world.buy()
    fake.pay(session_of(purchase))
    clock.advance(timedelta(minutes=6))
    rail = a_rail(fake)
    report = reconcile(world.runtime, rail)
    assert (report.listed, report.missed, [f.kind for f in report.findings]) == (3, 3, ["paid_not_granted"])
    assert report.is_clean and world.rows() == [("deposit", 2_500)]
    world.hook_new()
    assert reconcile(world.runtime, rail).missed == 0 and world.rows() == [("deposit", 2_500)]
    with reading(world.runtime.db) as session:
        assert missed_events(session) == {"paddle": 3}
    assert world.purchase(purchase).account_id == ACCOUNT
