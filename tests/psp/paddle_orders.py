"""What the tests of the Paddle rail start from: an order of $25, and Paddle's events as the rail tells them."""

from typing import Any

from engine.payments import Event, Fact, RefundRequest
from engine.rules.money import Money
from psp.paddle import Paddle
from tests.psp.fake_paddle import FakePaddle
from tests.psp.paddle_objects import Json
from tests.psp.stripe_orders import an_order


def a_rail(fake: FakePaddle, timeout_seconds: float = 5) -> Paddle:
    return Paddle(fake.api_key, [fake.webhook_secret], api_base=fake.base_url, timeout_seconds=timeout_seconds)


def a_paid_order(fake: FakePaddle, rail: Paddle, purchase_id: str = "pay_1", **changed: Any) -> str:
    """Order, pay, and answer the transaction's id."""
    session_id = rail.start_checkout(an_order(purchase_id, **changed)).session_id
    fake.pay(session_id)
    return session_id


def asking(payment_id: str, minor: int = 2500, reversal_id: str = "rev_1", purchase_id: str = "pay_1") -> RefundRequest:
    return RefundRequest("mira", purchase_id, reversal_id, payment_id, Money(minor, "USD"), f"refund:{reversal_id}")


def sent(fake: FakePaddle, event: Json, rail: Paddle) -> Event:
    """An event of Paddle's as it reaches us: signed, posted, verified."""
    body, headers = fake.signed(event)
    return rail.verify(headers, body, fake.now())


def told(fake: FakePaddle, rail: Paddle, event_type: str) -> tuple[Fact, ...]:
    """The facts that the last event of this type leads to."""
    last = [event for event in fake.events if event["event_type"] == event_type][-1]
    return rail.facts(sent(fake, last, rail))


def by_kind(facts: tuple[Fact, ...], kind: str) -> list[Fact]:
    return [fact for fact in facts if fact.kind == kind]


def only(facts: tuple[Fact, ...], kind: str) -> Fact:
    (fact,) = by_kind(facts, kind)
    return fact
