"""A saved card at Stripe: kept by a checkout, charged without its owner, confirmed by them, removed by anyone."""

from datetime import timedelta
from typing import Any

import pytest
import stripe.params as params

from engine.payments import Card, ChargeRequest, Detached, ProviderRefused, ProviderUnreachable, keeps_cards
from engine.rules.money import Money
from psp.stripe import Stripe
from tests.engine.support import FakeClock
from tests.psp.fake_stripe import FakeStripe
from tests.psp.stripe_contract import read_params
from tests.psp.stripe_orders import MARKS, an_order, last_event, sent, told, told_fact

BACK = "https://shop.example/back"


def saved(fake: FakeStripe, rail: Stripe) -> Card:
    """The card that a paid checkout saved."""
    customer_id = rail.customer("mira", "mira@customer.example", "customer:mira")
    checkout = rail.start_checkout(an_order(save_card=True, customer_id=customer_id))
    fake.pay(checkout.session_id)
    (fact,) = rail.payment(checkout.session_id)
    assert fact.card is not None
    return fact.card


def a_charge(card: Card, purchase_id: str = "pay_2", **changed: Any) -> ChargeRequest:
    asked: dict[str, Any] = {
        "account_id": "mira",
        "purchase_id": purchase_id,
        "customer_id": card.customer_id,
        "card_reference": card.reference,
        "amount": Money(1000, "USD"),
        "description": "Auto-recharge $10.00",
        "return_url": BACK,
        "idempotency_key": f"autorecharge:{purchase_id}",
    }
    return ChargeRequest(**(asked | changed))


def test_the_rail_keeps_cards(rail: Stripe) -> None:
    assert keeps_cards(rail)


def test_a_checkout_that_saves_its_card_tells_all_we_may_know_of_it(fake: FakeStripe, rail: Stripe) -> None:
    card = saved(fake, rail)
    assert (card.brand, card.last4, card.exp_month, card.exp_year) == ("visa", "4242", 8, 2030)
    assert card.reference.startswith("pm_") and card.customer_id.startswith("cus_")


def test_a_checkout_that_saves_nothing_tells_no_card(fake: FakeStripe, rail: Stripe) -> None:
    checkout = rail.start_checkout(an_order())
    fake.pay(checkout.session_id)
    (fact,) = rail.payment(checkout.session_id)
    assert fact.card is None


def test_a_customer_is_made_once_for_its_key_and_carries_our_account(fake: FakeStripe, rail: Stripe) -> None:
    first = rail.customer("mira", None, "customer:mira")
    assert rail.customer("mira", None, "customer:mira") == first
    assert fake.get(first, "customer")["metadata"] == {"purser_account": "mira"}


def test_a_charge_without_the_customer_asks_for_exactly_this(fake: FakeStripe, rail: Stripe) -> None:
    card = saved(fake, rail)
    (fact,) = rail.charge(a_charge(card))
    asked = [r for r in fake.requests if (r.method, r.path) == ("POST", "/v1/payment_intents")][-1]
    assert asked.idempotency_key == "autorecharge:pay_2"
    assert read_params(params.PaymentIntentCreateParams, asked.given) == {
        "amount": 1000,
        "currency": "usd",
        "customer": card.customer_id,
        "payment_method": card.reference,
        "automatic_payment_methods": {"enabled": True},
        "return_url": BACK,
        "confirm": True,
        "off_session": "true",
        "description": "Auto-recharge $10.00",
        "metadata": MARKS | {"purser_purchase": "pay_2"},
        "expand": ["latest_charge"],
    }
    assert (fact.state, fact.amount, fact.purchase_id) == ("paid", Money(1000, "USD"), "pay_2")
    assert fact.receipt_url is not None and fact.decline is None


def test_a_charge_asked_twice_is_one_payment(fake: FakeStripe, rail: Stripe) -> None:
    card = saved(fake, rail)
    (first,) = rail.charge(a_charge(card))
    assert rail.charge(a_charge(card)) == (first,)
    assert len(fake.every("payment_intent", customer=card.customer_id)) == 2, "the checkout's and the charge's"


@pytest.mark.parametrize("code", ["insufficient_funds", "expired_card", "try_again_later"])
def test_a_decline_is_an_answer_that_says_why(fake: FakeStripe, rail: Stripe, code: str) -> None:
    card = saved(fake, rail)
    fake.banks_say[card.reference] = code
    (fact,) = rail.charge(a_charge(card))
    assert (fact.state, fact.decline) == ("failed", code)
    (again,) = rail.charge(a_charge(card))
    assert again.object_id == fact.object_id, "the bank is not asked a second time"
    assert told_fact(fake, rail, "payment_intent.payment_failed").decline == code


def test_a_charge_on_its_way_is_processing_until_it_is_not(fake: FakeStripe, rail: Stripe) -> None:
    card = saved(fake, rail)
    fake.banks_say[card.reference] = "processing"
    (fact,) = rail.charge(a_charge(card))
    assert fact.state == "processing"
    fake.settle_charge(fact.object_id)
    (paid,) = rail.find_charge(a_charge(card))
    assert (paid.state, paid.object_id) == ("paid", fact.object_id) and paid.version > fact.version


def test_a_bank_that_wants_the_customer_gets_them_for_the_same_payment(
    fake: FakeStripe, rail: Stripe, clock: FakeClock
) -> None:
    card = saved(fake, rail)
    fake.banks_say[card.reference] = "authentication_required"
    (wanting,) = rail.charge(a_charge(card))
    assert (wanting.state, wanting.decline) == ("open", "authentication_required")
    url = rail.confirm_url(wanting.object_id, BACK)
    assert url is not None and wanting.object_id in url
    assert rail.confirm_url(wanting.object_id, BACK) == url, "the same page again, and no second attempt"
    clock.advance(timedelta(minutes=5))
    fake.settle_charge(wanting.object_id)
    (paid,) = told(fake, rail, "payment_intent.succeeded")
    assert (paid.state, paid.object_id) == ("paid", wanting.object_id)
    assert rail.confirm_url(wanting.object_id, BACK) is None


def test_a_payment_nobody_confirmed_is_given_up_and_one_that_was_stays_paid(fake: FakeStripe, rail: Stripe) -> None:
    card = saved(fake, rail)
    fake.banks_say[card.reference] = "authentication_required"
    (first,) = rail.charge(a_charge(card))
    (ended,) = rail.give_up(first.object_id)
    assert ended.state == "cancelled"
    (second,) = rail.charge(a_charge(card, "pay_3"))
    rail.confirm_url(second.object_id, BACK)
    fake.settle_charge(second.object_id)
    (paid,) = rail.give_up(second.object_id)
    assert paid.state == "paid"


def test_a_charge_nobody_heard_of_is_looked_up_and_never_asked_again(fake: FakeStripe, rail: Stripe) -> None:
    card = saved(fake, rail)
    assert rail.find_charge(a_charge(card)) == ()
    fake.drop(times=3, executed=True)
    with pytest.raises(ProviderUnreachable):
        rail.charge(a_charge(card))
    fake.forget_keys()
    before = len([r for r in fake.requests if r.method == "POST"])
    (found,) = rail.find_charge(a_charge(card))
    assert found.state == "paid"
    assert len([r for r in fake.requests if r.method == "POST"]) == before


def test_a_card_that_is_gone_is_refused_before_the_bank_is_asked(fake: FakeStripe, rail: Stripe) -> None:
    card = saved(fake, rail)
    rail.detach(card.reference)
    with pytest.raises(ProviderRefused):
        rail.charge(a_charge(card))
    with pytest.raises(ProviderRefused):
        rail.detach(card.reference)


def test_a_card_removed_in_the_portal_says_which_and_a_deleted_customer_takes_all(
    fake: FakeStripe, rail: Stripe
) -> None:
    card = saved(fake, rail)
    assert rail.portal_url(card.customer_id, BACK).startswith("https://billing.stripe.com/")
    fake.detach(card.reference)
    gone = sent(fake, last_event(fake, "payment_method.detached"), rail)
    assert rail.detached(gone) == Detached(card_references=(card.reference,))
    assert rail.facts(gone) == ()
    fake.delete_customer(card.customer_id)
    deleted = sent(fake, last_event(fake, "customer.deleted"), rail)
    assert rail.detached(deleted) == Detached(customer_id=card.customer_id)
    assert rail.detached(sent(fake, last_event(fake, "payment_intent.succeeded"), rail)) is None


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        (Money(1000, "HUF"), "currency_not_supported"),
        (Money(1000, "TWD"), "currency_not_supported"),
        (Money(1005, "KWD"), "amount_invalid"),
    ],
)
def test_currencies_with_rules_of_their_own_are_refused_before_anything_is_asked(
    fake: FakeStripe, rail: Stripe, amount: Money, code: str
) -> None:
    with pytest.raises(ProviderRefused) as refused:
        rail.start_checkout(an_order(amount=amount))
    assert refused.value.code == code and fake.requests == []


def test_three_decimals_that_end_in_zero_are_sold(fake: FakeStripe, rail: Stripe) -> None:
    checkout = rail.start_checkout(an_order(amount=Money(25_000, "KWD")))
    fake.pay(checkout.session_id)
    (fact,) = rail.payment(checkout.session_id)
    assert fact.amount == Money(25_000, "KWD")
