"""What no webhook ever said is asked for, what came too early is matched later, and old events are forgotten safely."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import func
from sqlmodel import select

from engine.flows import follow_up
from engine.flows.receive import LATE_CHECKS
from engine.payments import ProviderRefused
from engine.rules.facts import Fact
from engine.store.database import Database, reading
from engine.store.tables import AuditRow, OutboxRow, ProviderEventRow, PurchaseRow
from tests.engine.support import FakeClock, rows_of
from tests.flows.world import ACCOUNT, World, open_world


@pytest.fixture
def world(db: Database, clock: FakeClock) -> Iterator[World]:
    opened = open_world(db, clock)
    yield opened
    opened.close()


def rows(world: World) -> list[tuple[str, int]]:
    with reading(world.db) as session:
        return [(row.type, row.amount_credits) for row in rows_of(session, ACCOUNT)]


def events(world: World) -> dict[str, int]:
    """How many events stand in each status."""
    with reading(world.db) as session:
        counted = select(ProviderEventRow.status, func.count()).group_by(ProviderEventRow.status)
        return dict(session.exec(counted).all())


def processing(world: World) -> PurchaseRow:
    purchase = world.buy()
    world.deliver(world.pay(purchase, "processing"))
    assert world.purchase(purchase).status == "processing"
    return purchase


def test_a_payment_on_its_way_is_asked_for_until_it_has_ended(world: World, clock: FakeClock) -> None:
    purchase = processing(world)
    clock.advance(timedelta(minutes=16))
    world.jobs.run_due()
    assert world.purchase(purchase).status == "processing" and rows(world) == []
    world.pay(purchase)  # and no webhook says so
    clock.advance(timedelta(minutes=16))
    world.jobs.run_due()
    assert world.purchase(purchase).status == "paid" and rows(world) == [("deposit", 10_000_000)]


def test_it_is_asked_for_ever_more_rarely_and_given_up_after_a_month(world: World, clock: FakeClock) -> None:
    purchase = processing(world)
    asked = 0
    for _ in range(31 * 4):
        clock.advance(timedelta(hours=6))
        asked += world.jobs.run_due()
    with reading(world.db) as session:
        left = session.exec(
            select(OutboxRow).where(OutboxRow.kind == "payment_check", OutboxRow.done_at == None)  # noqa: E711
        ).all()
    assert 100 < asked < 31 * 4 + 10 and left == []
    world.deliver(world.pay(purchase))
    assert world.purchase(purchase).status == "paid", "a late word still wins"


def test_while_the_provider_is_away_it_is_asked_later(world: World, clock: FakeClock) -> None:
    purchase = processing(world)
    world.pay(purchase)
    world.provider.is_down = True
    clock.advance(timedelta(minutes=16))
    world.jobs.run_due()
    assert world.purchase(purchase).status == "processing"
    world.provider.is_down = False
    clock.advance(timedelta(minutes=1))
    world.jobs.run_due()
    assert world.purchase(purchase).status == "paid"


def test_a_session_its_provider_does_not_know_expires_and_is_asked_for_a_few_times_more(
    world: World, clock: FakeClock
) -> None:
    purchase, asked = world.buy(), []
    known = world.provider.payment

    def refuse(session_id: str) -> tuple[Fact, ...]:
        asked.append(session_id)
        raise ProviderRefused("resource_missing", "no such session")

    world.provider.payment = refuse  # type: ignore[method-assign]
    clock.advance(timedelta(hours=1))
    world.jobs.run_due()
    assert world.purchase(purchase).status == "expired" and len(asked) == 1
    for _ in range(48):
        clock.advance(timedelta(hours=1))
        world.jobs.run_due()
    assert len(asked) == 1 + len(LATE_CHECKS)
    world.provider.payment = known  # type: ignore[method-assign]
    world.deliver(world.pay(purchase))
    assert world.purchase(purchase).status == "paid", "a late word still wins"


def test_money_that_came_while_the_provider_refused_every_question_is_found(world: World, clock: FakeClock) -> None:
    purchase, known = world.buy(), world.provider.payment
    world.pay(purchase)  # and no webhook says so

    def refuse(session_id: str) -> tuple[Fact, ...]:
        raise ProviderRefused("http_401", "the key was revoked")

    world.provider.payment = refuse  # type: ignore[method-assign]
    clock.advance(timedelta(hours=1))
    world.jobs.run_due()
    world.provider.payment = known  # type: ignore[method-assign]
    clock.advance(timedelta(hours=1))
    world.jobs.run_due()
    assert world.purchase(purchase).status == "paid" and rows(world) == [("deposit", 10_000_000)]


def test_a_session_that_fails_stops_no_other(world: World, clock: FakeClock) -> None:
    first, second = world.buy(), world.buy()
    known = world.provider.payment

    def stumble(session_id: str) -> tuple[Fact, ...]:
        if session_id == f"cs_{first.purchase_id}":
            raise KeyError(session_id)
        return known(session_id)

    world.provider.payment = stumble  # type: ignore[method-assign]
    clock.advance(timedelta(hours=1))
    world.jobs.run_due()
    assert [world.purchase(each).status for each in (first, second)] == ["open", "expired"]


def test_a_refund_and_a_dispute_heard_of_before_their_payment_are_matched_later(world: World, clock: FakeClock) -> None:
    purchase = world.buy()
    payment = world.pay(purchase)
    world.deliver(world.refund_elsewhere(purchase, "re_1", 250), world.dispute(purchase, "lost", 250))
    assert events(world) == {"parked": 2} and rows(world) == []
    world.deliver(payment)
    assert rows(world) == [("deposit", 10_000_000)]
    clock.advance(timedelta(minutes=5))
    world.jobs.run_due()
    assert events(world) == {"done": 3}
    assert sum(credits for _, credits in rows(world)) == 5_000_000
    assert world.purchase(purchase).status == "partially_refunded"


def test_events_are_forgotten_once_they_are_old_and_those_that_wait_never(world: World, clock: FakeClock) -> None:
    purchase = world.buy()
    world.deliver(world.pay(purchase))
    other = world.buy()
    world.deliver(world.refund_elsewhere(other, "re_waiting", 100))
    assert events(world) == {"done": 1, "parked": 1}
    clock.advance(follow_up.EVENTS_KEPT)
    assert follow_up.prune_events(world.runtime, clock.now()) == 0, "half-open: kept for 90 days, not 90 days and some"
    clock.advance(timedelta(seconds=1))
    assert follow_up.prune_events(world.runtime, clock.now()) == 1
    assert events(world) == {"parked": 1}


def test_they_are_forgotten_a_bounded_number_at_a_time(world: World, clock: FakeClock) -> None:
    world.deliver(*(world.pay(world.buy()) for _ in range(5)))
    later = clock.now() + timedelta(days=31)
    kept = timedelta(days=30)
    assert [follow_up.prune_events(world.runtime, later, kept, limit=2) for _ in range(4)] == [2, 2, 1, 0]


def test_a_replay_after_they_were_forgotten_credits_and_takes_nothing(world: World, clock: FakeClock) -> None:
    purchase = world.buy()
    facts = [world.pay(purchase), world.refund_elsewhere(purchase, "re_1", 500), world.dispute(purchase, "lost", 200)]
    world.deliver(*facts)
    before = rows(world), world.purchase(purchase).status
    clock.advance(follow_up.EVENTS_KEPT + timedelta(seconds=1))
    world.jobs.run_due()
    assert events(world) == {}
    world.delivered = 0  # the same event ids again
    world.deliver(*facts, *reversed(facts))
    assert (rows(world), world.purchase(purchase).status) == before
    assert events(world) == {"done": 6}


def test_money_that_comes_twice_for_one_purchase_is_credited_once_and_said(world: World) -> None:
    purchase = world.buy()
    world.deliver(world.pay(purchase))
    request = world.provider.requests[f"cs_{purchase.purchase_id}"]
    again = world.provider.say("payment", "pi_again", "paid", 1_000, request=request)
    world.deliver(again, again)
    assert rows(world) == [("deposit", 10_000_000)]
    there = world.purchase(purchase)
    assert there.status == "paid" and "pi_again" in (there.problem or "")
    with reading(world.db) as session:
        acts = session.exec(select(AuditRow).where(AuditRow.action == "purchase.paid_again")).all()
    assert [act.object_id for act in acts] == [purchase.purchase_id]
