"""Refunds wait for Paddle's approval, and what a bank takes and gives back is told as one dispute of what is left."""

from collections.abc import Iterator

import pytest

from engine.payments import Fact, ProviderRefused
from engine.rules.money import Money
from engine.rules.purchases import KnownFact
from psp.paddle import Paddle
from tests.engine.support import FakeClock
from tests.psp.fake_paddle import FakePaddle
from tests.psp.paddle_orders import a_paid_order, a_rail, asking, by_kind, only, told
from tests.psp.stripe_orders import kept, verdict_after


@pytest.fixture
def fake(clock: FakeClock) -> Iterator[FakePaddle]:
    with FakePaddle(now=clock.now) as started:
        yield started


@pytest.fixture
def rail(fake: FakePaddle) -> Paddle:
    return a_rail(fake)


@pytest.fixture
def payment_id(fake: FakePaddle, rail: Paddle) -> str:
    """A paid order of $25."""
    return a_paid_order(fake, rail)


def refunded(rail: Paddle, payment_id: str, minor: int = 2500, reversal_id: str = "rev_1") -> Fact:
    return only(rail.refund(asking(payment_id, minor, reversal_id)), "refund")


def told_of(facts: tuple[Fact, ...], kind: str) -> list[tuple[str, int]]:
    return [(fact.state, fact.amount.minor) for fact in by_kind(facts, kind)]


# Refunds we ask for


def test_a_whole_refund_of_ours_carries_our_reversal_and_waits(fake: FakePaddle, rail: Paddle, payment_id: str) -> None:
    fact = refunded(rail, payment_id)
    assert (fact.state, fact.amount, fact.own_reference, fact.parent_id) == (
        "pending",
        Money(2500, "USD"),
        "rev_1",
        payment_id,
    )
    assert fake.requests[-1].body == {
        "action": "refund",
        "type": "full",
        "reason": "Refund [rev_1]",
        "transaction_id": payment_id,
    }


@pytest.mark.parametrize(("decision", "state"), [("approved", "succeeded"), ("rejected", "failed")])
def test_paddle_decides_later_and_its_word_is_the_same_refund(
    fake: FakePaddle, rail: Paddle, payment_id: str, decision: str, state: str
) -> None:
    asked = refunded(rail, payment_id)
    fake.decide(asked.object_id, decision)  # type: ignore[arg-type]
    fact = only(told(fake, rail, "adjustment.updated"), "refund")
    assert (fact.object_id, fact.own_reference, fact.state) == (asked.object_id, "rev_1", state)
    assert fact.version > asked.version


@pytest.mark.parametrize("reversal_id", ["rev_1", "sec_1", "sec_1_2"])
def test_whatever_we_refund_is_known_again_by_its_reason(
    fake: FakePaddle, rail: Paddle, payment_id: str, reversal_id: str
) -> None:
    asked = refunded(rail, payment_id, reversal_id=reversal_id)
    assert asked.own_reference == reversal_id
    assert refunded(rail, payment_id, reversal_id=reversal_id).object_id == asked.object_id


@pytest.mark.parametrize(("on_top", "mode"), [(False, "internal"), (True, "external")])
def test_a_part_goes_back_of_the_price_as_it_is_counted(
    fake: FakePaddle, rail: Paddle, on_top: bool, mode: str
) -> None:
    fake.tax_percent = 19
    paid = a_paid_order(fake, rail, "pay_2", tax_on_top=on_top)
    fact = only(rail.refund(asking(paid, 999, "rev_9", "pay_2")), "refund")
    assert fact.amount == Money(999, "USD")
    line_id = fake.transactions[paid]["details"]["line_items"][0]["id"]
    assert fake.requests[-1].body == {
        "action": "refund",
        "type": "partial",
        "tax_mode": mode,
        "reason": "Refund [rev_9]",
        "transaction_id": paid,
        "items": [{"item_id": line_id, "type": "partial", "amount": "999"}],
    }


def test_the_same_reversal_is_asked_once_however_often(fake: FakePaddle, rail: Paddle, payment_id: str) -> None:
    first = refunded(rail, payment_id, 1000)
    fake.decide(first.object_id, "approved")
    again = refunded(rail, payment_id, 1000)
    assert (again.object_id, again.state) == (first.object_id, "succeeded") and len(fake.adjustments) == 1


def test_a_second_part_is_a_refund_of_its_own_even_if_it_is_all_that_is_left(
    fake: FakePaddle, rail: Paddle, payment_id: str
) -> None:
    fake.refund_status = "approved"
    first, second = refunded(rail, payment_id, 1000), refunded(rail, payment_id, 1500, "rev_2")
    assert {first.object_id, second.object_id} == set(fake.adjustments)
    assert verdict_after(*rail.payment(payment_id)).status == "refunded"


def test_more_than_is_left_and_another_purchases_payment_are_refused(
    fake: FakePaddle, rail: Paddle, payment_id: str
) -> None:
    fake.refund_status = "approved"
    refunded(rail, payment_id, 2000)
    with pytest.raises(ProviderRefused, match="above_remaining"):
        refunded(rail, payment_id, 501, "rev_2")
    with pytest.raises(ProviderRefused, match="payment_of_another_purchase"):
        rail.refund(asking(payment_id, purchase_id="pay_2"))


def test_while_somebody_elses_refund_waits_ours_is_refused(fake: FakePaddle, rail: Paddle, payment_id: str) -> None:
    fake.refund(payment_id, 500)
    with pytest.raises(ProviderRefused, match="adjustment_pending_refund_request"):
        refunded(rail, payment_id, 1000)


# Refunds and disputes from outside


def test_a_refund_in_the_dashboard_is_nothing_until_paddle_approves_it(
    fake: FakePaddle, rail: Paddle, payment_id: str
) -> None:
    first = fake.refund(payment_id, 400)
    assert told_of(told(fake, rail, "adjustment.created"), "refund") == []
    fake.decide(first, "rejected")
    assert told_of(told(fake, rail, "adjustment.updated"), "refund") == [("failed", 400)]
    fake.decide(fake.refund(payment_id, 500), "approved")
    fact = by_kind(told(fake, rail, "adjustment.updated"), "refund")[1]
    assert (fact.state, fact.amount, fact.own_reference) == ("succeeded", Money(500, "USD"), None)


def test_full_refunds_with_tax_on_top_leave_nothing(fake: FakePaddle, rail: Paddle) -> None:
    fake.tax_percent, fake.refund_status = 19, "approved"
    paid = a_paid_order(fake, rail, tax_on_top=True)
    fake.refund(paid)
    assert told_of(rail.payment(paid), "refund") == [("succeeded", 2500)]


def test_a_chargeback_is_lost_until_paddle_wins_it(fake: FakePaddle, rail: Paddle, payment_id: str) -> None:
    chargeback = fake.charge_back(payment_id)
    before = told(fake, rail, "adjustment.created")
    assert told_of(before, "dispute") == [("lost", 2500)]
    fake.reverse_chargeback(chargeback)
    after = told(fake, rail, "adjustment.updated")
    assert told_of(after, "dispute") == [("won", 2500)]
    assert verdict_after(*before, *after) == verdict_after(*after, *before)
    assert verdict_after(*before, *after).out_credits == 0


def test_a_win_is_news_even_where_the_chargeback_itself_was_not_touched(
    fake: FakePaddle, rail: Paddle, payment_id: str
) -> None:
    chargeback = fake.charge_back(payment_id)
    before = rail.payment(payment_id)
    fake.reverse_chargeback(chargeback, is_marked=False)
    after = told(fake, rail, "adjustment.created")
    assert verdict_after(*after, *before) == verdict_after(*before, *after)
    assert verdict_after(*before, *after).out_credits == 0


def test_a_part_of_a_chargeback_won_leaves_the_rest_lost(fake: FakePaddle, rail: Paddle, payment_id: str) -> None:
    chargeback = fake.charge_back(payment_id, 2000)
    fake.reverse_chargeback(chargeback, 500)
    assert told_of(rail.payment(payment_id), "dispute") == [("lost", 1500)]


def test_two_chargebacks_of_one_payment_are_two_and_a_reversal_wins_the_first(
    fake: FakePaddle, rail: Paddle, payment_id: str
) -> None:
    first = fake.charge_back(payment_id, 1000)
    fake.charge_back(payment_id, 1500)
    assert told_of(rail.payment(payment_id), "dispute") == [("lost", 1000), ("lost", 1500)]
    fake.reverse_chargeback(first)
    assert told_of(rail.payment(payment_id), "dispute") == [("won", 1000), ("lost", 1500)]


def test_a_warning_moves_nothing(fake: FakePaddle, rail: Paddle, payment_id: str) -> None:
    warning = fake.charge_back(payment_id, action="chargeback_warning")
    assert told_of(told(fake, rail, "adjustment.created"), "dispute") == [("inquiry", 2500)]
    fake.reverse_chargeback(warning)
    verdict = verdict_after(*rail.payment(payment_id))
    assert (verdict.status, verdict.is_disputed, verdict.out_credits) == ("paid", False, 0)


def test_a_chargeback_after_a_refund_takes_no_more_than_was_paid(
    fake: FakePaddle, rail: Paddle, payment_id: str
) -> None:
    fake.refund_status = "approved"
    fake.refund(payment_id, 1000)
    fake.charge_back(payment_id)
    verdict = verdict_after(*rail.payment(payment_id))
    assert (verdict.status, verdict.out_credits) == ("refunded", 2500)


def test_a_credit_counts_as_given_back_until_it_is_reversed(fake: FakePaddle, rail: Paddle, payment_id: str) -> None:
    credit = fake.charge_back(payment_id, 500, action="credit")
    assert told_of(rail.payment(payment_id), "refund") == [("succeeded", 500)]
    fake.reverse_chargeback(credit)
    assert told_of(rail.payment(payment_id), "refund") == [("failed", 500)]


def test_sightings_in_any_order_end_in_the_last(fake: FakePaddle, rail: Paddle, payment_id: str) -> None:
    sightings = [rail.payment(payment_id)]
    refund = fake.refund(payment_id, 500)
    sightings.append(rail.payment(payment_id))
    fake.decide(refund, "approved")
    sightings.append(rail.payment(payment_id))
    chargeback = fake.charge_back(payment_id, 1000)
    sightings.append(rail.payment(payment_id))
    fake.reverse_chargeback(chargeback)
    sightings.append(rail.payment(payment_id))

    def after(order: list[tuple[Fact, ...]]) -> dict[str, KnownFact]:
        return kept(fact for facts in order for fact in facts)

    last = after(sightings[-1:])
    assert after(sightings) == last == after(sightings[::-1]) == after([*sightings[2:], *sightings[:2]])
