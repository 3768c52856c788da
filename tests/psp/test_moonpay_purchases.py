"""Purchases on MoonPay from the link to the books, on both databases, however its webhooks come."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from engine.flows import refunds
from engine.flows.reconcile import reconcile
from engine.rules.errors import RefundNotPossible
from engine.store.database import Database, reading
from engine.store.polling import missed_events
from engine.store.tables import PurchaseRow
from psp.moonpay import MoonPay
from tests.engine.support import FakeClock
from tests.psp.fake_moonpay import FakeMoonPay
from tests.psp.rail_world import RailWorld, open_rail_world


@pytest.fixture
def fake(clock: FakeClock) -> Iterator[FakeMoonPay]:
    with FakeMoonPay(now=clock.now) as started:
        yield started


@pytest.fixture
def world(db: Database, clock: FakeClock, fake: FakeMoonPay) -> Iterator[RailWorld]:
    rail = MoonPay(*fake.keys, api_base=fake.base_url, timeout_seconds=5)
    opened = open_rail_world(db, clock, rail, fake)
    yield opened
    opened.check()


def link(purchase: PurchaseRow) -> str:
    assert purchase.checkout_url is not None
    return purchase.checkout_url


def paid(world: RailWorld, fake: FakeMoonPay, **changed: Any) -> PurchaseRow:
    purchase = world.buy()
    fake.complete(fake.buy(link(purchase), **changed))
    world.hook_new()
    return world.purchase(purchase)


def test_a_completed_transaction_lands_once_and_is_named_in_the_books(world: RailWorld, fake: FakeMoonPay) -> None:
    purchase = paid(world, fake)
    assert (purchase.status, purchase.provider_reference) == ("paid", next(iter(fake.transactions)))
    world.hook(*reversed(fake.events), *fake.events)
    assert world.rows() == [("deposit", 2_500)] and world.documents() == ["receipt"]


def test_coins_under_way_are_processing_and_not_credited(world: RailWorld, fake: FakeMoonPay) -> None:
    purchase = world.buy()
    fake.move(fake.buy(link(purchase)), "pending")
    world.hook_new()
    assert world.purchase(purchase).status == "processing" and world.rows() == []


@pytest.mark.parametrize(
    "changed", [{"baseCurrencyAmount": 24.99}, {"baseCurrencyAmount": 25.01}, {"baseCurrency": {"code": "eur"}}]
)
def test_another_amount_or_currency_is_quarantined(
    world: RailWorld, fake: FakeMoonPay, changed: dict[str, Any]
) -> None:
    assert paid(world, fake, **changed).status == "quarantined" and world.rows() == []


def test_coins_sent_elsewhere_are_not_credited(world: RailWorld, fake: FakeMoonPay) -> None:
    assert paid(world, fake, walletAddress="0x" + "1" * 40).status == "failed" and world.rows() == []


def test_money_comes_back_by_hand_so_a_reversal_is_refused_before_anything_moves(
    world: RailWorld, fake: FakeMoonPay
) -> None:
    purchase = paid(world, fake)
    with pytest.raises(RefundNotPossible) as refused:
        refunds.reverse_purchase(world.runtime, purchase.purchase_id, "asked by mail", "support:ann")
    assert refused.value.code == "REFUND-004" and world.rows() == [("deposit", 2_500)]


def test_a_failed_try_and_a_paid_one_from_the_same_link_land_in_any_order(world: RailWorld, fake: FakeMoonPay) -> None:
    purchase = world.buy()
    fake.move(fake.buy(link(purchase)), "failed")
    world.hook_new()
    assert world.purchase(purchase).status == "failed"
    fake.complete(fake.buy(link(purchase)))
    world.hook(*reversed(fake.events))
    assert world.purchase(purchase).status == "paid" and world.rows() == [("deposit", 2_500)]


def test_without_a_webhook_the_sweeper_finds_the_payment(world: RailWorld, fake: FakeMoonPay, clock: FakeClock) -> None:
    found, unopened = world.buy(), world.buy()
    fake.complete(fake.buy(link(found)))
    clock.advance(timedelta(minutes=31))
    world.jobs.run_due()
    assert (world.purchase(found).status, world.purchase(unopened).status) == ("paid", "expired")
    assert world.rows() == [("deposit", 2_500)]


def test_a_link_paid_hours_after_the_session_is_found_though_no_webhook_comes(
    world: RailWorld, fake: FakeMoonPay, clock: FakeClock
) -> None:
    late, never = world.buy(), world.buy()
    clock.advance(timedelta(minutes=31))
    world.jobs.run_due()
    assert world.purchase(late).status == "expired"
    fake.complete(fake.buy(link(late)))
    asked = len(fake.requests)
    for _ in range(54):
        clock.advance(timedelta(minutes=30))
        world.jobs.run_due()
    assert (world.purchase(late).status, world.purchase(never).status) == ("paid", "expired")
    assert world.rows() == [("deposit", 2_500)]
    assert len(fake.requests) - asked == 1 + 4, "one found the payment, four asked for the other in a day and a bit"
    clock.advance(timedelta(days=2))
    world.jobs.run_due()
    assert len(fake.requests) - asked == 5


def test_while_moonpay_is_away_a_late_check_is_made_later(
    world: RailWorld, fake: FakeMoonPay, clock: FakeClock
) -> None:
    late = world.buy()
    clock.advance(timedelta(minutes=31))
    world.jobs.run_due()
    fake.complete(fake.buy(link(late)))
    fake.fail(503)
    for minutes in (16, 1):
        clock.advance(timedelta(minutes=minutes))
        world.jobs.run_due()
    assert world.purchase(late).status == "paid"


def test_reconciliation_finds_what_no_webhook_brought_and_raises_the_alarm(
    world: RailWorld, fake: FakeMoonPay, clock: FakeClock
) -> None:
    purchase = world.buy()
    fake.complete(fake.buy(link(purchase)))
    clock.advance(timedelta(minutes=6))
    rail: Any = world.rail
    report = reconcile(world.runtime, rail)
    assert (report.missed, [(f.kind, f.is_healed) for f in report.findings]) == (1, [("paid_not_granted", True)])
    assert world.rows() == [("deposit", 2_500)]
    assert reconcile(world.runtime, rail).missed == 0
    with reading(world.runtime.db) as session:
        assert missed_events(session) == {"moonpay": 1}
