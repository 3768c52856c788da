"""Refunds are told one fact each and disputes by what they may still become, always with the payment they belong to."""

from datetime import timedelta
from typing import Any

import pytest
import stripe

from engine.payments import Fact, ProviderRefused, RefundRequest
from engine.rules.money import Money
from psp.stripe import Stripe
from tests.engine.support import FakeClock
from tests.psp.fake_stripe import FakeStripe
from tests.psp.stripe_contract import enum_values
from tests.psp.stripe_objects import thin_event
from tests.psp.stripe_orders import a_paid_order, an_order, last_event, sent, told, told_fact

REFUND_EVENTS = ("refund.created", "charge.refunded")
MOVED_EVENTS = ("refund.updated", "charge.refund.updated")
DISPUTE_STATES = {
    "warning_needs_response": "inquiry",
    "warning_under_review": "inquiry",
    "warning_closed": "won",
    "needs_response": "open",
    "under_review": "open",
    "appeal_needs_response": "open",
    "appeal_under_review": "open",
    "won": "won",
    "lost": "lost",
    "prevented": "prevented",
}


def asking(payment_id: str, amount_minor: int = 2500, reversal_id: str = "rev_1") -> RefundRequest:
    return RefundRequest(
        account_id="mira",
        purchase_id="pay_1",
        reversal_id=reversal_id,
        payment_id=payment_id,
        amount=Money(amount_minor, "USD"),
        idempotency_key=f"refund:{reversal_id}",
    )


def refunded(rail: Stripe, request: RefundRequest) -> Fact:
    (fact,) = rail.refund(request)
    return fact


@pytest.fixture
def payment_id(fake: FakeStripe, rail: Stripe) -> str:
    """A paid order of $25."""
    return a_paid_order(fake, rail)


# Refunds we ask for


def test_a_refund_of_ours_carries_our_reversal(fake: FakeStripe, rail: Stripe, payment_id: str) -> None:
    fact = refunded(rail, asking(payment_id))
    assert (fact.kind, fact.state, fact.amount, fact.live) == ("refund", "succeeded", Money(2500, "USD"), False)
    assert (fact.own_reference, fact.parent_id) == ("rev_1", payment_id)
    assert (fact.purchase_id, fact.account_id) == ("pay_1", "mira")
    assert fake.requests[-1].idempotency_key == "refund:rev_1"
    assert fake.get(fact.object_id, "refund")["metadata"] == {
        "purser_reversal": "rev_1",
        "purser_purchase": "pay_1",
        "purser_account": "mira",
    }


def test_our_own_refund_and_its_events_are_one(fake: FakeStripe, rail: Stripe, payment_id: str) -> None:
    fact = refunded(rail, asking(payment_id))
    assert [told(fake, rail, event_type) for event_type in REFUND_EVENTS] == [(fact,), (fact,)]


def test_a_part_of_the_payment_can_go_back(fake: FakeStripe, rail: Stripe, payment_id: str) -> None:
    assert refunded(rail, asking(payment_id, 999)).amount == Money(999, "USD")
    assert fake.get(fake.get(payment_id, "payment_intent")["latest_charge"], "charge")["amount_refunded"] == 999


def test_a_refund_asked_twice_is_made_once(fake: FakeStripe, rail: Stripe, payment_id: str) -> None:
    assert rail.refund(asking(payment_id, 999)) == rail.refund(asking(payment_id, 999))
    assert len(fake.every("refund")) == 1


def test_a_try_that_failed_is_told_again_and_another_try_is_another_refund(
    fake: FakeStripe, rail: Stripe, payment_id: str
) -> None:
    first = refunded(rail, asking(payment_id, reversal_id="sec_1"))
    fake.move_refund(first.object_id, "failed")
    assert refunded(rail, asking(payment_id, reversal_id="sec_1")).state == "failed"
    again = refunded(rail, asking(payment_id, reversal_id="sec_1_2"))
    assert (again.state, again.own_reference) == ("succeeded", "sec_1_2")
    assert refunded(rail, asking(payment_id, reversal_id="sec_1_2")) == again
    assert len(fake.every("refund")) == 2


def test_a_refund_is_made_once_though_stripe_forgot_its_key(fake: FakeStripe, rail: Stripe, payment_id: str) -> None:
    fake.page_size_max = 1
    first = refunded(rail, asking(payment_id, 500, "rev_1"))
    refunded(rail, asking(payment_id, 500, "rev_2"))
    fake.forget_keys()
    assert refunded(rail, asking(payment_id, 500, "rev_1")).object_id == first.object_id
    assert len(fake.every("refund")) == 2


def test_a_refund_that_failed_is_not_made_anew_under_the_same_reversal(
    fake: FakeStripe, rail: Stripe, payment_id: str
) -> None:
    first = refunded(rail, asking(payment_id))
    fake.move_refund(first.object_id, "failed")
    fake.forget_keys()
    again = refunded(rail, asking(payment_id))
    assert (again.object_id, again.state) == (first.object_id, "failed")


def test_more_than_is_left_of_the_payment_is_refused(fake: FakeStripe, rail: Stripe, payment_id: str) -> None:
    fake.refund(payment_id, 2000)
    with pytest.raises(ProviderRefused, match="greater than unrefunded"):
        rail.refund(asking(payment_id, 501))
    assert refunded(rail, asking(payment_id, 500)).amount == Money(500, "USD")


def test_a_payment_given_back_whole_elsewhere_is_refused(fake: FakeStripe, rail: Stripe, payment_id: str) -> None:
    fake.refund(payment_id)
    with pytest.raises(ProviderRefused) as refused:
        rail.refund(asking(payment_id))
    assert refused.value.code == "charge_already_refunded"


def test_a_disputed_payment_is_refused_in_stripes_words(fake: FakeStripe, rail: Stripe, payment_id: str) -> None:
    fake.dispute(payment_id)
    with pytest.raises(ProviderRefused) as refused:
        rail.refund(asking(payment_id))
    assert refused.value.code == "charge_disputed" and "charged back" in refused.value.detail


def test_the_payment_of_another_purchase_is_never_refunded(fake: FakeStripe, rail: Stripe) -> None:
    other = a_paid_order(fake, rail, "pay_2")
    foreign = fake.charge_saved_card(2500, "usd", {})
    for payment_id in (other, foreign):
        with pytest.raises(ProviderRefused, match="payment_of_another_purchase"):
            rail.refund(asking(payment_id))
    assert fake.every("refund") == []


def test_a_payment_that_is_not_there_is_refused(rail: Stripe) -> None:
    with pytest.raises(ProviderRefused) as refused:
        rail.refund(asking("pi_unknown"))
    assert refused.value.code == "resource_missing"


def test_a_refund_is_counted_as_stripe_counts_it_and_back(fake: FakeStripe, rail: Stripe) -> None:
    payment_id = a_paid_order(fake, rail, amount=Money(9000, "UGX"))
    request = RefundRequest("mira", "pay_1", "rev_1", payment_id, Money(4000, "UGX"), "refund:rev_1")
    fact = refunded(rail, request)
    assert fact.amount == Money(4000, "UGX")
    assert fake.get(fact.object_id, "refund")["amount"] == 400_000


# What becomes of a refund


@pytest.mark.parametrize("born", ["pending", "requires_action"])
def test_a_refund_under_way_is_pending_until_it_succeeds(
    fake: FakeStripe, rail: Stripe, payment_id: str, born: Any
) -> None:
    fake.refund_status = born
    fact = refunded(rail, asking(payment_id))
    assert fact.state == "pending"
    fake.move_refund(fact.object_id, "succeeded")
    assert [told_fact(fake, rail, event_type).state for event_type in MOVED_EVENTS] == ["succeeded", "succeeded"]


def test_a_refund_that_comes_back_days_later_has_failed(
    fake: FakeStripe, rail: Stripe, clock: FakeClock, payment_id: str
) -> None:
    made = refunded(rail, asking(payment_id))
    clock.advance(timedelta(days=9))
    fake.move_refund(made.object_id, "failed")
    for event_type in (*MOVED_EVENTS, "refund.failed"):
        fact = told_fact(fake, rail, event_type)
        assert (fact.object_id, fact.state, fact.own_reference) == (made.object_id, "failed", "rev_1")


def test_a_cancelled_refund_has_failed(fake: FakeStripe, rail: Stripe, payment_id: str) -> None:
    fake.refund_status = "requires_action"
    made = refunded(rail, asking(payment_id))
    fake.move_refund(made.object_id, "canceled")
    assert told_fact(fake, rail, "refund.updated").state == "failed"


# Refunds made elsewhere


def test_a_refund_made_in_the_dashboard_is_nobodys_reversal(fake: FakeStripe, rail: Stripe, payment_id: str) -> None:
    refund_id = fake.refund(payment_id, 700)
    fact = told_fact(fake, rail, "refund.created")
    assert (fact.object_id, fact.amount, fact.own_reference) == (refund_id, Money(700, "USD"), None)
    assert (fact.parent_id, fact.purchase_id, fact.account_id) == (payment_id, "pay_1", "mira")


@pytest.mark.parametrize("page_size", [1, 2, 100])
def test_every_refund_of_a_payment_is_told_however_many_pages_they_fill(
    fake: FakeStripe, rail: Stripe, payment_id: str, page_size: int
) -> None:
    fake.page_size_max = page_size
    made = {fake.refund(payment_id, 100 * n): 100 * n for n in range(1, 6)}
    for event_type in REFUND_EVENTS:
        facts = told(fake, rail, event_type)
        assert len(facts) == 5
        assert {fact.object_id: fact.amount.minor for fact in facts} == made


def test_two_parts_are_two_facts_and_never_a_running_total(fake: FakeStripe, rail: Stripe, payment_id: str) -> None:
    fake.refund(payment_id, 1000)
    refunded(rail, asking(payment_id, 1500))
    assert last_event(fake, "charge.refunded")["data"]["object"]["amount_refunded"] == 2500
    assert sorted(fact.amount.minor for fact in told(fake, rail, "charge.refunded")) == [1000, 1500]


def test_the_refunds_of_another_payment_are_not_among_them(fake: FakeStripe, rail: Stripe, payment_id: str) -> None:
    fake.refund(a_paid_order(fake, rail, "pay_2"), 300)
    fake.refund(payment_id, 700)
    assert told_fact(fake, rail, "charge.refunded").purchase_id == "pay_1"


@pytest.mark.parametrize("event_type", REFUND_EVENTS)
def test_a_thin_event_of_a_refund_leads_to_the_same_facts(
    fake: FakeStripe, rail: Stripe, payment_id: str, event_type: str
) -> None:
    fake.refund(payment_id, 700)
    thin = thin_event(last_event(fake, event_type))
    assert rail.facts(sent(fake, thin, rail)) == told(fake, rail, event_type) != ()


# Disputes


def test_every_status_of_a_dispute_is_tested_here() -> None:
    assert set(DISPUTE_STATES) == enum_values(stripe.Dispute, "status")


@pytest.mark.parametrize(("status", "state"), DISPUTE_STATES.items())
def test_a_dispute_is_what_it_may_still_become(
    fake: FakeStripe, rail: Stripe, payment_id: str, status: str, state: str
) -> None:
    dispute_id = fake.dispute(payment_id)
    fake.move_dispute(dispute_id, status)
    fact = told_fact(fake, rail, "charge.dispute.created")
    assert (fact.kind, fact.object_id, fact.state, fact.live) == ("dispute", dispute_id, state, False)
    assert (fact.parent_id, fact.purchase_id, fact.account_id) == (payment_id, "pay_1", "mira")
    assert fact.amount == Money(2500, "USD") and fact.own_reference is None


def test_all_events_of_a_dispute_tell_it_as_it_stands(fake: FakeStripe, rail: Stripe, payment_id: str) -> None:
    dispute_id = fake.dispute(payment_id, status="warning_needs_response")
    for status in ("needs_response", "under_review", "won"):
        fake.move_dispute(dispute_id, status)
    about = ("created", "updated", "funds_withdrawn", "funds_reinstated", "closed")
    facts = [told_fact(fake, rail, f"charge.dispute.{what}") for what in about]
    assert {fact.state for fact in facts} == {"won"} and len(set(facts)) == 1


def test_a_dispute_may_be_about_a_part(fake: FakeStripe, rail: Stripe, payment_id: str) -> None:
    fake.dispute(payment_id, 800)
    assert told_fact(fake, rail, "charge.dispute.funds_withdrawn").amount == Money(800, "USD")


def test_two_disputes_of_one_payment_are_two(fake: FakeStripe, rail: Stripe, payment_id: str) -> None:
    first = fake.dispute(payment_id, 800)
    one = told_fact(fake, rail, "charge.dispute.created")
    second = fake.dispute(payment_id, 900)
    two = told_fact(fake, rail, "charge.dispute.created")
    assert [one.object_id, two.object_id] == [first, second]
    assert [one.amount.minor, two.amount.minor] == [800, 900]


# What is not ours


def test_refunds_and_disputes_of_somebody_elses_payment_are_nothing(fake: FakeStripe, rail: Stripe) -> None:
    foreign = fake.charge_saved_card(2500, "usd", {"shop": "other"})
    fake.move_refund(fake.refund(foreign, 100, {"purser_reversal": "rev_1", "purser_purchase": "pay_1"}), "failed")
    fake.move_dispute(fake.dispute(foreign), "lost")
    kinds = {event["type"] for event in fake.events if event["type"].startswith(("refund.", "charge."))}
    followed = kinds - {"charge.succeeded"}
    assert followed >= {*REFUND_EVENTS, *MOVED_EVENTS, "charge.dispute.created", "charge.dispute.closed"}
    assert [told(fake, rail, event_type) for event_type in sorted(followed)] == [()] * len(followed)


def test_a_charge_without_a_payment_intent_is_nobodys(fake: FakeStripe, rail: Stripe, payment_id: str) -> None:
    """What is charged in Stripe's older ways has no intent, so neither have its refund and dispute."""
    refund = fake.get(fake.refund(payment_id, 100), "refund")
    charge = fake.get(refund["charge"], "charge")
    dispute = fake.get(fake.dispute(payment_id, 100), "dispute")
    for old in (refund, charge, dispute):
        old["payment_intent"] = None
    for event_type in (*REFUND_EVENTS, "charge.dispute.created"):
        assert told(fake, rail, event_type) == ()


def test_an_open_checkout_has_nothing_to_give_back(fake: FakeStripe, rail: Stripe) -> None:
    payment_id = fake.decline(rail.start_checkout(an_order()).session_id)
    with pytest.raises(ProviderRefused, match="successful charge"):
        rail.refund(asking(payment_id))
