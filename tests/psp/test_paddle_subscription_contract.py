"""Subscriptions as Paddle itself describes them: what the fake answers, what we ask, and what Paddle's samples say."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import jsonschema
import pytest

from engine.catalogs import load_catalog
from engine.payments import Act, InvoiceFact, ProviderRefused, SubscriptionFact
from engine.recurring import ProratingProvider, SubscriptionChange, SubscriptionProvider, SubscriptionRequest
from engine.rules.subscriptions import Terms, terms_of
from psp.paddle import Paddle
from psp.paddle_subscription_facts import invoice_fact, subscription_fact
from tests.engine.support import FakeClock
from tests.psp.fake_paddle import FakePaddle
from tests.psp.paddle_contract import object_problems
from tests.psp.paddle_orders import a_rail
from tests.psp.test_paddle_contract import SAMPLES, described, problems_with

OVERLAP = "is valid under each of"
"""Paddle describes a resumption now and one at a date as either of two, told apart by the date's format alone."""

MARKS = {"purser_subscription": "sub_1", "purser_account": "mira"}
PATHS = (
    "/subscriptions/{subscription_id}",
    "/subscriptions/{subscription_id}/preview",
    "/subscriptions/{subscription_id}/charge",
    "/subscriptions/{subscription_id}/charge/preview",
    "/subscriptions/{subscription_id}/pause",
    "/subscriptions/{subscription_id}/resume",
    "/subscriptions/{subscription_id}/cancel",
    "/transactions",
)


@pytest.fixture
def fake(clock: FakeClock) -> Iterator[FakePaddle]:
    with FakePaddle(now=clock.now) as started:
        yield started


def sold(plan: str, interval: str = "month") -> Terms:
    return terms_of(load_catalog("alphio"), plan, interval)


def asking(fake: FakePaddle, terms: Terms, *, trial_days: int = 0, currency: str = "USD") -> SubscriptionRequest:
    return SubscriptionRequest(
        account_id="mira",
        subscription_id="sub_1",
        terms=terms,
        currency=currency,
        description=f"{terms.plan.name} (monthly)",
        email="mira@customer.example",
        locale=None,
        success_url="https://purser.example/account/subscribe",
        cancel_url="https://purser.example/account/subscribe",
        expires_at=fake.now() + timedelta(minutes=30),
        trial_days=trial_days,
        idempotency_key="subscription:sub_1",
    )


@pytest.fixture
def lived(fake: FakePaddle, clock: FakeClock) -> FakePaddle:
    """Two subscriptions to which everything has happened once."""
    rail = a_rail(fake)
    fake.tax_percent = 19
    fake.subscribe(rail.start_subscription(asking(fake, sold("pro"), trial_days=14)).session_id)
    name = fake.subscribe(rail.start_subscription(asking(fake, sold("base"))).session_id)
    now = SubscriptionChange(name, sold("pro"), True, clock.now(), "change:1", 1_500)
    rail.preview_change(now)
    rail.change_subscription(now)
    rail.change_subscription(SubscriptionChange(name, sold("base", "year"), False, clock.now(), "change:2"))
    rail.act_on_subscription(name, "reactivate", "act:1")
    acts: tuple[Act, ...] = ("cancel", "reactivate", "pause", "resume", "pause")
    for act in acts:
        rail.act_on_subscription(name, act, f"act:{act}")
    clock.advance(timedelta(days=31))
    fake.advance()
    rail.act_on_subscription(name, "resume", "act:2")
    fake.card_declines = True
    clock.advance(timedelta(days=32))
    fake.advance()
    fake.replace_in_dashboard(name, 9_900, "month:elite")
    fake.end(name)
    return fake


def test_every_object_of_a_subscription_is_read_by_the_sdk(lived: FakePaddle) -> None:
    told = [*lived.subscriptions.values(), *lived.transactions.values(), *lived.events]
    assert [problem for one in told for problem in object_problems(one)] == []
    assert {event["event_type"] for event in lived.events} >= {
        f"subscription.{what}"
        for what in ("created", "trialing", "activated", "updated", "paused", "resumed", "past_due", "canceled")
    }
    assert {one["origin"] for one in lived.transactions.values()} == {
        "api",
        "subscription_charge",
        "subscription_recurring",
        "subscription_update",
    }


def test_the_fakes_subscriptions_are_as_paddle_describes_them(lived: FakePaddle) -> None:
    for one in lived.subscriptions.values():
        assert problems_with("subscription", one) == []
    for one in lived.transactions.values():
        assert problems_with("transaction", one) == []


def test_what_we_ask_about_subscriptions_is_as_paddle_describes_it(lived: FakePaddle) -> None:
    for path in PATHS:
        doors = described()["paths"][path]
        method = "patch" if "patch" in doors else "post"
        schema = doors[method]["requestBody"]["content"]["application/json"]["schema"]
        validator = jsonschema.Draft202012Validator({**schema, "components": described()["components"]})
        asked = [one.body for one in lived.requests if is_at(path, one.path) and one.method == method.upper()]
        assert asked, path
        for body in asked:
            found = [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(body)]
            assert [one for one in found if OVERLAP not in one] == [], path


def is_at(template: str, path: str) -> bool:
    parts = path.split("/")
    return len(parts) > 1 and "/".join("{subscription_id}" if p.startswith("sub_") else p for p in parts) == template


def test_a_preview_is_as_paddle_describes_it(fake: FakePaddle, clock: FakeClock) -> None:
    rail = a_rail(fake)
    name = fake.subscribe(rail.start_subscription(asking(fake, sold("base"))).session_id)
    price = {"amount": "1500", "currency_code": "USD"}
    item = {"price": {"unit_price": price, "product": {"name": "Pro", "tax_category": "standard"}}, "quantity": 1}
    item["price"] |= {"description": "Pro", "tax_mode": "internal"}  # type: ignore[operator]
    told = fake.preview_charge(name, {"effective_from": "immediately", "items": [item]})
    assert object_problems(told) == [] and problems_with("subscription-preview", told) == []
    assert told["immediate_transaction"]["details"]["totals"]["grand_total"] == "1500"


def sample(name: str) -> dict[str, Any]:
    path = SAMPLES / f"{name}.json"
    if not path.exists():
        pytest.skip(f"Paddle's samples are not at {SAMPLES}")
    told: dict[str, Any] = json.loads(path.read_text())
    return told


def marked(told: dict[str, Any], **more: str) -> dict[str, Any]:
    """A sample as it would be if we had made it."""
    for item in told["items"]:
        item["price"]["custom_data"] = {"purser_sells": "month:pro"}
    return told | {"custom_data": MARKS | more}


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("created", "active"),
        ("activated", "active"),
        ("trialing", "trialing"),
        ("updated", "active"),
        ("past_due", "past_due"),
        ("paused", "paused"),
        ("resumed", "active"),
        ("canceled", "ended"),
    ],
)
def test_paddles_own_subscriptions_are_read_once_they_carry_our_marks(name: str, state: str) -> None:
    told = sample(f"subscription.{name}")
    assert subscription_fact(told, [], is_live=True) == ()
    (fact,) = subscription_fact(marked(told), [], is_live=True)
    assert isinstance(fact, SubscriptionFact)
    assert (fact.state, fact.plan, fact.interval, fact.subscription_id) == (state, "pro", "month", "sub_1")
    assert fact.period_start <= fact.period_end and fact.live


def test_a_subscription_that_is_over_has_the_period_it_was_paid_for() -> None:
    told, paid = marked(sample("subscription.canceled")), marked(sample("transaction.completed"))
    (fact,) = subscription_fact(told, [paid], is_live=False)
    assert fact.period_end.isoformat() == paid["billing_period"]["ends_at"].replace("Z", "+00:00")


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({}, "create"),
        ({"origin": "api"}, "create"),
        ({"origin": "subscription_recurring"}, "renewal"),
        ({"origin": "subscription_update"}, "renewal"),
        ({"origin": "subscription_charge"}, None),
        ({"origin": "subscription_payment_method_change"}, None),
    ],
)
def test_the_origin_of_a_transaction_says_what_it_pays_for(changed: dict[str, str], kind: str | None) -> None:
    paid = marked(sample("transaction.completed")) | changed
    told = invoice_fact(paid, marked(sample("subscription.created")), is_live=False)
    assert [fact.kind for fact in told] == ([kind] if kind else [])
    for fact in told:
        assert isinstance(fact, InvoiceFact)
        assert (fact.state, fact.payment_id, fact.amount.minor > 0) == ("paid", paid["id"], True)


def test_a_currency_that_paddle_does_not_sell_in_is_refused_before_it_is_asked(fake: FakePaddle) -> None:
    with pytest.raises(ProviderRefused, match="currency_not_supported"):
        a_rail(fake).start_subscription(asking(fake, sold("pro"), currency="XTS"))
    assert fake.requests == []


def test_the_rail_sells_subscriptions_and_previews_their_changes() -> None:
    rail = Paddle("pdl_sdbx_apikey_1", ["pdl_ntfset_1"])
    assert isinstance(rail, SubscriptionProvider) and isinstance(rail, ProratingProvider)
