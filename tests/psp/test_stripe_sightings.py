"""Whatever order an object's sightings arrive in, and however often, the last one is what is known in the end."""

from collections.abc import Callable
from datetime import timedelta
from itertools import permutations

import pytest

from engine.payments import Fact, RefundRequest
from engine.rules.money import Money
from engine.rules.purchases import merge
from psp.stripe import Stripe
from tests.engine.support import FakeClock
from tests.psp.fake_stripe import FakeStripe
from tests.psp.stripe_orders import MARKS, a_paid_order, an_order, kept, told_fact, verdict_after

History = Callable[[FakeStripe, Stripe, Callable[[], object]], list[Fact]]
"""What happens to one object, told after each step; the third argument lets time pass."""


def slow_payment(fake: FakeStripe, rail: Stripe, wait: Callable[[], object]) -> list[Fact]:
    session_id = rail.start_checkout(an_order()).session_id
    fake.decline(session_id)
    seen = list(rail.payment(session_id))
    wait()
    fake.pay(session_id, later=True)
    seen += rail.payment(session_id)
    wait()
    fake.settle(session_id, succeeds=True)
    return [*seen, *rail.payment(session_id)]


def lost_payment(fake: FakeStripe, rail: Stripe, wait: Callable[[], object]) -> list[Fact]:
    session_id = rail.start_checkout(an_order()).session_id
    fake.pay(session_id, later=True)
    seen = list(rail.payment(session_id))
    wait()
    fake.settle(session_id, succeeds=False)
    return [*seen, *rail.payment(session_id)]


def returned_refund(fake: FakeStripe, rail: Stripe, wait: Callable[[], object]) -> list[Fact]:
    payment_id = a_paid_order(fake, rail)
    fake.refund_status = "pending"
    refund_id = fake.refund(payment_id)
    seen = [told_fact(fake, rail, "refund.created")]
    for status in ("succeeded", "failed"):
        wait()
        fake.move_refund(refund_id, status)
        seen.append(told_fact(fake, rail, "refund.updated"))
    return seen


def won_dispute(fake: FakeStripe, rail: Stripe, wait: Callable[[], object]) -> list[Fact]:
    return disputed(fake, rail, wait, "needs_response", "won")


def lost_dispute(fake: FakeStripe, rail: Stripe, wait: Callable[[], object]) -> list[Fact]:
    return disputed(fake, rail, wait, "needs_response", "lost")


def closed_inquiry(fake: FakeStripe, rail: Stripe, wait: Callable[[], object]) -> list[Fact]:
    return disputed(fake, rail, wait, "warning_under_review", "warning_closed")


def escalated_inquiry(fake: FakeStripe, rail: Stripe, wait: Callable[[], object]) -> list[Fact]:
    return disputed(fake, rail, wait, "needs_response")


def appealed_dispute(fake: FakeStripe, rail: Stripe, wait: Callable[[], object]) -> list[Fact]:
    return disputed(fake, rail, wait, "needs_response", "lost", "appeal_under_review", "won")


def disputed(fake: FakeStripe, rail: Stripe, wait: Callable[[], object], *statuses: str) -> list[Fact]:
    """An inquiry that goes on to these statuses."""
    dispute_id = fake.dispute(a_paid_order(fake, rail), status="warning_needs_response")
    seen = [told_fact(fake, rail, "charge.dispute.created")]
    for status in statuses:
        wait()
        fake.move_dispute(dispute_id, status)
        seen.append(told_fact(fake, rail, "charge.dispute.created"))
    return seen


HISTORIES: list[tuple[History, list[str]]] = [
    (slow_payment, ["open", "processing", "paid"]),
    (lost_payment, ["processing", "failed"]),
    (returned_refund, ["pending", "succeeded", "failed"]),
    (won_dispute, ["inquiry", "open", "won"]),
    (lost_dispute, ["inquiry", "open", "lost"]),
    (closed_inquiry, ["inquiry", "inquiry", "won"]),
    (escalated_inquiry, ["inquiry", "open"]),
]


@pytest.mark.parametrize("seconds", [0, 1, 86_400])
@pytest.mark.parametrize(("history", "states"), HISTORIES)
def test_the_last_sighting_stays_in_whatever_order_they_come(
    fake: FakeStripe, rail: Stripe, clock: FakeClock, history: History, states: list[str], seconds: int
) -> None:
    seen = history(fake, rail, lambda: clock.advance(timedelta(seconds=seconds)))
    assert [fact.state for fact in seen] == states
    assert len({fact.object_id for fact in seen}) == 1
    for order in permutations(seen):
        (known,) = kept(order).values()
        assert known.state == states[-1], [fact.state for fact in order]


def test_an_appeal_reopens_a_lost_dispute(fake: FakeStripe, rail: Stripe, clock: FakeClock) -> None:
    seen = appealed_dispute(fake, rail, lambda: clock.advance(timedelta(hours=1)))
    assert [fact.state for fact in seen] == ["inquiry", "open", "lost", "open", "won"]
    for count in range(1, len(seen) + 1):
        for order in permutations(seen[:count]):
            (known,) = kept(order).values()
            assert known.state == seen[count - 1].state


@pytest.mark.parametrize(("history", "states"), HISTORIES)
def test_a_sighting_that_is_repeated_changes_nothing(
    fake: FakeStripe, rail: Stripe, clock: FakeClock, history: History, states: list[str]
) -> None:
    seen = history(fake, rail, lambda: clock.advance(timedelta(seconds=1)))
    for fact in seen:
        assert merge(kept([fact]).values(), fact) is None
    assert kept([*seen, *seen]) == kept(seen)


@pytest.mark.parametrize(("history", "states"), HISTORIES)
def test_a_later_look_at_the_same_is_never_older(
    fake: FakeStripe, rail: Stripe, clock: FakeClock, history: History, states: list[str]
) -> None:
    seen = history(fake, rail, lambda: clock.advance(timedelta(hours=1)))
    versions = [fact.version for fact in seen]
    assert versions == sorted(versions)
    looks = {"payment": "payment_intent.processing", "refund": "refund.created", "dispute": "charge.dispute.created"}
    before = told_fact(fake, rail, looks[seen[-1].kind])
    clock.advance(timedelta(seconds=1))
    after = told_fact(fake, rail, looks[seen[-1].kind])
    assert after.version > before.version and after.state == before.state == states[-1]


def test_stripes_clock_orders_sightings_and_ours_does_not(fake: FakeStripe, rail: Stripe, clock: FakeClock) -> None:
    session_id = rail.start_checkout(an_order()).session_id
    (first,) = rail.payment(session_id)
    clock.advance(timedelta(seconds=7))
    (second,) = rail.payment(session_id)
    assert second.version - first.version == 7


def test_our_own_refund_is_recognised_in_its_event_and_counted_once(fake: FakeStripe, rail: Stripe) -> None:
    payment_id = a_paid_order(fake, rail)
    payment = told_fact(fake, rail, "checkout.session.completed")
    (own,) = rail.refund(RefundRequest("mira", "pay_1", "rev_1", payment_id, Money(1000, "USD"), "refund:rev_1"))
    told = told_fact(fake, rail, "charge.refunded")
    assert verdict_after(payment, own, told).out_credits == 1000


def test_refunds_and_a_dispute_of_one_payment_are_judged_together(fake: FakeStripe, rail: Stripe) -> None:
    payment_id = a_paid_order(fake, rail)
    payment = told_fact(fake, rail, "checkout.session.completed")
    fake.refund(payment_id, 500)
    refund = told_fact(fake, rail, "refund.created")
    fake.dispute(payment_id, 800)
    dispute = told_fact(fake, rail, "charge.dispute.created")
    for order in permutations((payment, refund, dispute)):
        verdict = verdict_after(*order)
        assert (verdict.status, verdict.is_disputed, verdict.out_credits) == ("partially_refunded", True, 1300)


def test_a_charge_that_no_session_owns_is_kept_by_its_last_state_too(
    fake: FakeStripe, rail: Stripe, clock: FakeClock
) -> None:
    intent = fake.get(fake.charge_saved_card(2500, "usd", MARKS, "processing"), "payment_intent")
    waiting = told_fact(fake, rail, "payment_intent.processing")
    intent |= {"status": "succeeded", "amount_received": 2500}
    paid = told_fact(fake, rail, "payment_intent.processing")
    for order in permutations((waiting, paid)):
        (known,) = kept(order).values()
        assert known.state == "paid"
