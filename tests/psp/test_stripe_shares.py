"""What goes back is a share of the price: with tax on top, in another currency, and before any dispute."""

import pytest

from engine.payments import RefundRequest
from engine.rules.money import Money
from engine.rules.purchases import KnownFact, Terms, converge, merge
from psp.stripe import Stripe
from tests.psp.fake_stripe import FakeStripe
from tests.psp.stripe_objects import new_balance_transaction
from tests.psp.stripe_orders import an_order, kept, told, told_fact, verdict_after


def paid_with_tax(fake: FakeStripe, rail: Stripe, tax_minor: int = 500) -> str:
    """$25 and the tax on top of it."""
    payment_id = fake.pay(rail.start_checkout(an_order()).session_id, tax_minor=tax_minor)
    assert payment_id is not None
    return payment_id


@pytest.mark.parametrize(("refunded", "share"), [(3000, 2500), (1500, 1250), (1, 0)])
def test_a_refund_of_the_charge_is_its_share_of_the_price(
    fake: FakeStripe, rail: Stripe, refunded: int, share: int
) -> None:
    payment_id = paid_with_tax(fake, rail)
    fake.refund(payment_id, refunded)
    assert told_fact(fake, rail, "refund.created").amount == Money(share, "USD")


def test_our_refund_of_the_price_gives_the_tax_back_too(fake: FakeStripe, rail: Stripe) -> None:
    payment_id = paid_with_tax(fake, rail)
    request = RefundRequest("mira", "pay_1", "rev_1", payment_id, Money(2500, "USD"), "refund:rev_1")
    (fact,) = rail.refund(request)
    assert fact.amount == Money(2500, "USD")
    (refund,) = fake.every("refund", payment_intent=payment_id)
    assert refund["amount"] == 3000


def test_refunds_of_ours_in_parts_leave_no_cent_of_price_or_tax_behind(fake: FakeStripe, rail: Stripe) -> None:
    """$25 and $4.75 on top: what the parts lose in rounding, the last one gives back."""
    payment_id = paid_with_tax(fake, rail, 475)
    known: list[KnownFact] = []
    for number, minor in enumerate((833, 833, 834), start=1):
        asked = KnownFact(f"rev_{number}", "refund", None, "pending", Money(minor, "USD"), 0, False, minor)
        request = RefundRequest(
            "mira", "pay_1", asked.fact_id, payment_id, asked.amount, f"refund:{number}", is_last=number == 3
        )
        (fact,) = rail.refund(request)
        told = merge([*known, asked], fact)
        assert told is not None
        known.append(told)
    assert [refund.amount.minor for refund in known] == [833, 833, 834]
    assert sum(refund["amount"] for refund in fake.every("refund", payment_intent=payment_id)) == 2_975


def test_a_dispute_with_tax_on_top_is_a_share_of_the_price(fake: FakeStripe, rail: Stripe) -> None:
    payment_id = paid_with_tax(fake, rail)
    fake.dispute(payment_id, 1500)
    assert told_fact(fake, rail, "charge.dispute.created").amount == Money(1250, "USD")


def disputed_in_euros(fake: FakeStripe, payment_id: str, withdrawn_minor: int, status: str = "needs_response") -> None:
    """The bank disputes in its own currency; our balance, in dollars, knows what that took."""
    charge = fake.every("charge", payment_intent=payment_id)[0]
    settled = fake._keep(new_balance_transaction("txn_settled", 2500, "usd", 1_790_000_000))
    settled["type"], settled["reporting_category"] = "charge", "charge"
    charge["balance_transaction"] = settled["id"]
    dispute = fake.get(fake.dispute(payment_id, 1100, status), "dispute")
    dispute["currency"] = "eur"
    for row in dispute["balance_transactions"]:
        row["amount"] = -withdrawn_minor


def test_a_dispute_in_another_currency_is_what_it_took_of_what_the_charge_brought(
    fake: FakeStripe, rail: Stripe
) -> None:
    payment_id = fake.pay(rail.start_checkout(an_order()).session_id)
    assert payment_id is not None
    disputed_in_euros(fake, payment_id, 1250)
    assert told_fact(fake, rail, "charge.dispute.created").amount == Money(1250, "USD")


def test_a_dispute_in_another_currency_that_took_nothing_yet_is_about_all_of_it(fake: FakeStripe, rail: Stripe) -> None:
    payment_id = fake.pay(rail.start_checkout(an_order()).session_id)
    assert payment_id is not None
    disputed_in_euros(fake, payment_id, 0, "warning_needs_response")
    fact = told_fact(fake, rail, "charge.dispute.created")
    assert (fact.state, fact.amount) == ("inquiry", Money(2500, "USD"))


def test_an_early_warning_freezes_by_policy_and_only_then(fake: FakeStripe, rail: Stripe) -> None:
    session_id = rail.start_checkout(an_order()).session_id
    payment_id = fake.pay(session_id)
    assert payment_id is not None
    fake.warn(payment_id)
    seen = [*rail.payment(session_id), told_fact(fake, rail, "radar.early_fraud_warning.created")]
    assert seen[-1].state == "warning"
    terms = Terms(Money(2500, "USD"), base_credits=2500, bonus_credits=0, has_landed=False)
    frozen = converge(terms, kept(seen).values(), is_live=False, freezes_warnings=True)
    assert (frozen.is_disputed, frozen.out_credits, frozen.firm_credits) == (True, 2500, 0)
    noted = verdict_after(*seen)
    assert (noted.is_disputed, noted.out_credits) == (False, 0)


def test_a_dispute_ends_the_warning_before_it(fake: FakeStripe, rail: Stripe) -> None:
    session_id = rail.start_checkout(an_order()).session_id
    payment_id = fake.pay(session_id)
    assert payment_id is not None
    fake.warn(payment_id)
    seen = [*rail.payment(session_id), told_fact(fake, rail, "radar.early_fraud_warning.created")]
    dispute_id = fake.dispute(payment_id)
    seen += told(fake, rail, "charge.dispute.created")
    fake.move_dispute(dispute_id, "won")
    seen += told(fake, rail, "charge.dispute.closed")
    terms = Terms(Money(2500, "USD"), base_credits=2500, bonus_credits=0, has_landed=False)
    for order in (seen, seen[::-1]):
        ended = converge(terms, kept(order).values(), is_live=False, freezes_warnings=True)
        assert (ended.status, ended.is_disputed, ended.out_credits) == ("paid", False, 0)


def test_polling_finds_what_no_webhook_brought_in_order_and_with_an_overlap(fake: FakeStripe, rail: Stripe) -> None:
    for number in range(60):
        fake.pay(rail.start_checkout(an_order(f"pay_{number}")).session_id)
    polled = rail.poll(None, fake.now())
    assert [event.type for event in polled.events[:2]] == ["payment_intent.succeeded", "checkout.session.completed"]
    assert len(polled.events) == 120, "two of each, over more than one page"
    (fact,) = rail.facts(polled.events[-1])
    assert (fact.state, fact.purchase_id) == ("paid", "pay_59")
    again = rail.poll(polled.cursor, fake.now())
    assert [event.event_id for event in again.events] == [event.event_id for event in polled.events]


def test_a_refund_in_another_currency_than_its_charge_is_told_in_its_own_and_takes_nothing(
    fake: FakeStripe, rail: Stripe
) -> None:
    session_id = rail.start_checkout(an_order()).session_id
    payment_id = fake.pay(session_id)
    assert payment_id is not None
    fake.refund(payment_id, 2500)
    fake.every("refund", payment_intent=payment_id)[0]["currency"] = "jpy"
    fact = told_fact(fake, rail, "refund.created")
    assert fact.amount == Money(2500, "JPY")
    verdict = verdict_after(*rail.payment(session_id), fact)
    assert (verdict.status, verdict.out_credits) == ("paid", 0)


def test_what_a_shopper_saw_in_their_own_currency_changes_nothing_of_ours(fake: FakeStripe, rail: Stripe) -> None:
    session_id = rail.start_checkout(an_order()).session_id
    payment_id = fake.pay(session_id)
    assert payment_id is not None
    for object_id, kind in ((session_id, "checkout.session"), (payment_id, "payment_intent")):
        fake.get(object_id, kind)["presentment_details"] = {
            "presentment_amount": 2312,
            "presentment_currency": "eur",
        }
    fake.refund(payment_id, 1250)
    (paid,) = rail.payment(session_id)
    back = told_fact(fake, rail, "refund.created")
    assert (paid.amount, back.amount) == (Money(2500, "USD"), Money(1250, "USD"))
    assert verdict_after(paid, back).out_credits == 1250
