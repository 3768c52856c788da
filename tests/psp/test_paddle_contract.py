"""The fake speaks as Paddle does: its objects hold against the SDK and against Paddle's own API description."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from psp.paddle import Paddle
from psp.paddle_events import transaction_id
from psp.paddle_facts import transaction_facts
from tests.engine.support import FakeClock
from tests.psp.fake_paddle import FakePaddle
from tests.psp.paddle_contract import object_problems
from tests.psp.paddle_objects import Json
from tests.psp.paddle_orders import a_paid_order, a_rail, asking
from tests.psp.stripe_orders import an_order

CONTRACT = Path(__file__).parents[3] / "shared/contracts/paddle"
SAMPLES = CONTRACT / "notifications"
NEWER = ("chargeback_warning_reverse",)
"""What is newer than the description."""


@pytest.fixture
def fake(clock: FakeClock) -> Iterator[FakePaddle]:
    with FakePaddle(now=clock.now) as started:
        yield started


@pytest.fixture
def lived(fake: FakePaddle) -> FakePaddle:
    """An account in which everything has happened once."""
    rail = a_rail(fake)
    fake.tax_percent = 19
    rail.start_checkout(an_order("pay_0"))
    fake.cancel(rail.start_checkout(an_order("pay_2")).session_id)
    declined = rail.start_checkout(an_order("pay_3", tax_on_top=True)).session_id
    fake.decline(declined)
    fake.fall_due(declined)
    paid = a_paid_order(fake, rail)
    rail.refund(asking(paid, 500))
    fake.decide(next(iter(fake.adjustments)), "rejected")
    rail.refund(asking(paid, 500, "rev_2"))
    fake.decide(list(fake.adjustments)[-1], "approved")
    fake.reverse_chargeback(fake.charge_back(paid, 1000))
    fake.reverse_chargeback(fake.charge_back(paid, action="chargeback_warning"))
    return fake


def test_every_object_of_the_fake_is_read_by_the_sdk(lived: FakePaddle) -> None:
    told = [*lived.transactions.values(), *lived.adjustments.values(), *lived.events]
    assert [problem for one in told for problem in object_problems(one)] == []
    assert {event["event_type"] for event in lived.events} >= {
        "transaction.created",
        "transaction.paid",
        "transaction.completed",
        "transaction.canceled",
        "transaction.past_due",
        "transaction.payment_failed",
        "adjustment.created",
        "adjustment.updated",
    }


def test_an_object_that_is_not_paddles_is_found_out(lived: FakePaddle) -> None:
    transaction = next(iter(lived.transactions.values()))
    assert object_problems(transaction | {"status": "done"}) == ["Transaction.status: 'done' is unknown"]
    without = {name: value for name, value in transaction.items() if name != "details"}
    assert object_problems(without) == ["Transaction: KeyError: 'details'"]
    assert object_problems({"id": "cs_1"}) == ["not an object of Paddle's: cs_1"]


@cache
def described() -> Json:
    """Paddle's API description; skips where it is absent."""
    path = CONTRACT / "openapi.yaml"
    if not path.exists():
        pytest.skip(f"Paddle's API description is not at {path}")
    with path.open("rb") as file:
        told: Json = yaml.load(file, yaml.CSafeLoader)
    return told


def problems_with(schema: str, told: Any) -> list[str]:
    """Where this is not what the description says."""
    validator = jsonschema.Draft202012Validator({"$ref": f"#/components/schemas/{schema}", **described()})
    return [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(told)]


def test_the_fakes_transactions_are_as_paddle_describes_them(lived: FakePaddle) -> None:
    for one in lived.transactions.values():
        assert problems_with("transaction", one) == []


def test_the_fakes_adjustments_are_as_paddle_describes_them(lived: FakePaddle) -> None:
    found = [one for one in lived.adjustments.values() if one["action"] not in NEWER]
    assert len(found) >= 4
    for one in found:
        assert problems_with("adjustment", one) == []


def test_our_requests_are_as_paddle_describes_them(lived: FakePaddle) -> None:
    asked = {path: [r.body for r in lived.requests if r.path == path and r.method == "POST"] for path in PATHS}
    for path, bodies in asked.items():
        schema = described()["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        validator = jsonschema.Draft202012Validator({**schema, "components": described()["components"]})
        assert bodies, path
        for body in bodies:
            assert [f"{e.json_path}: {e.message[:300]}" for e in validator.iter_errors(body)] == []


PATHS = ("/transactions", "/adjustments")


@pytest.mark.parametrize("name", ["transaction.completed", "transaction.past_due", "transaction.payment_failed"])
def test_paddles_own_transactions_are_read_once_they_carry_our_purchase(name: str) -> None:
    path = SAMPLES / f"{name}.json"
    if not path.exists():
        pytest.skip(f"Paddle's samples are not at {SAMPLES}")
    sample = json.loads(path.read_text())
    assert transaction_facts(sample, is_live=True) == ()
    marked = sample | {"custom_data": {"purser_purchase": "pay_1", "purser_account": "mira"}}
    (fact,) = transaction_facts(marked, is_live=True)
    assert fact.amount.minor == int(sample["details"]["totals"]["total"]) and fact.live
    assert fact.state == {"transaction.completed": "paid", "transaction.past_due": "failed"}.get(name, "open")


@pytest.mark.parametrize("name", ["adjustment.created", "adjustment.updated"])
def test_paddles_own_adjustments_are_read_though_parts_of_them_are_null(name: str) -> None:
    path = SAMPLES / f"{name}.json"
    if not path.exists():
        pytest.skip(f"Paddle's samples are not at {SAMPLES}")
    adjustment = json.loads(path.read_text())
    assert transaction_id({"event_type": name, "data": adjustment}) == adjustment["transaction_id"]
    transaction = json.loads((SAMPLES / "transaction.completed.json").read_text())
    transaction |= {"custom_data": {"purser_purchase": "pay_1"}, "adjustments": [adjustment]}
    (payment,) = transaction_facts(transaction, is_live=False)
    adjustment["status"] = "approved"
    payment, refund = transaction_facts(transaction, is_live=False)
    assert (payment.kind, refund.kind, refund.state, refund.amount.minor) == ("payment", "refund", "succeeded", 100)


def test_the_rail_is_a_merchant_of_record() -> None:
    assert (Paddle.merchant_of_record, Paddle.can_refund) == ("Paddle", True)
