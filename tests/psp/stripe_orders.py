"""What the tests of the Stripe rail start from: an order of $25, and Stripe's events as the rail tells them."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

from engine.payments import CheckoutRequest, Event, Fact
from engine.rules.money import Money
from engine.rules.purchases import KnownFact, Terms, Verdict, converge, merge
from psp.stripe import Stripe
from tests.engine.support import DAY_0
from tests.psp.fake_stripe import FakeStripe
from tests.psp.stripe_objects import Json

SUCCESS_URL = "https://shop.example/back?status=success&purchase=pay_1&session_id={CHECKOUT_SESSION_ID}"
MARKS = {"purser_account": "mira", "purser_purchase": "pay_1"}
"""What makes an object of Stripe's ours."""


def an_order(purchase_id: str = "pay_1", **changed: Any) -> CheckoutRequest:
    """A checkout of $25 that ends after half an hour, its key made from the purchase."""
    order = CheckoutRequest(
        account_id="mira",
        purchase_id=purchase_id,
        amount=Money(2500, "USD"),
        description="Credit top-up: $25.00",
        email="mira@customer.example",
        locale="de",
        success_url=SUCCESS_URL,
        cancel_url="https://shop.example/back?status=cancelled&purchase=pay_1",
        expires_at=DAY_0 + timedelta(minutes=30),
        idempotency_key=f"checkout:{purchase_id}",
    )
    return replace(order, **changed)


def a_rail(fake: FakeStripe, timeout_seconds: float = 20) -> Stripe:
    return Stripe(fake.secret_key, [fake.webhook_secret], api_base=fake.base_url, timeout_seconds=timeout_seconds)


def a_paid_order(fake: FakeStripe, rail: Stripe, purchase_id: str = "pay_1", **changed: Any) -> str:
    """Order, pay, and answer the payment intent."""
    payment_id = fake.pay(rail.start_checkout(an_order(purchase_id, **changed)).session_id)
    assert payment_id is not None
    return payment_id


def sent(fake: FakeStripe, event: Json, rail: Stripe) -> Event:
    """An event of Stripe's as it reaches us: signed, posted, verified."""
    body, headers = fake.signed(event)
    return rail.verify(headers, body, fake.now())


def last_event(fake: FakeStripe, event_type: str) -> Json:
    return [event for event in fake.events if event["type"] == event_type][-1]


def told(fake: FakeStripe, rail: Stripe, event_type: str) -> tuple[Fact, ...]:
    """The facts that the last event of this type leads to."""
    return rail.facts(sent(fake, last_event(fake, event_type), rail))


def told_fact(fake: FakeStripe, rail: Stripe, event_type: str) -> Fact:
    (fact,) = told(fake, rail, event_type)
    return fact


def kept(sightings: Iterable[Fact]) -> dict[str, KnownFact]:
    """What is known of each object after these sightings, in this order."""
    known: dict[str, KnownFact] = {}
    for sighting in sightings:
        fact = merge(known.values(), sighting)
        if fact is not None:
            known[fact.fact_id] = fact
    return known


def verdict_after(*sightings: Fact) -> Verdict:
    """How the order of $25 is judged after these sightings, in this order."""
    terms = Terms(Money(2500, "USD"), base_credits=2500, bonus_credits=0, has_landed=False)
    return converge(terms, kept(sightings).values(), is_live=False)
