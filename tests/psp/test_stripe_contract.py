"""The checker of Stripe's types finds what is wrong, and finds nothing wrong with Stripe's own samples."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import stripe.params as params
import stripe.params.checkout as checkout_params

from psp.stripe import LOCALES
from tests.psp.fake_stripe import FakeStripe, parse_form
from tests.psp.stripe_contract import enum_values, object_problems, read_params
from tests.psp.stripe_objects import new_intent, new_session

SAMPLES = Path(__file__).parents[3] / "shared/contracts/stripe/fixtures3.json"
KNOWN_GAPS = {"dispute": ["dispute.evidence_details.submission_method: missing"]}
"""Where the samples are older than the SDK."""


@pytest.mark.parametrize(
    "kind",
    ["checkout.session", "payment_intent", "charge", "refund", "dispute", "balance_transaction", "event", "customer"],
)
def test_stripes_own_samples_are_of_stripes_types(kind: str) -> None:
    if not SAMPLES.exists():
        pytest.skip(f"Stripe's samples are not at {SAMPLES}")
    sample = json.loads(SAMPLES.read_text())["resources"][kind]
    assert object_problems(sample) == KNOWN_GAPS.get(kind, [])


def intent() -> dict[str, Any]:
    return new_intent("pi_1", 2500, "usd", {"purser_purchase": "pay_1"}, 1_790_000_000, False)


def session() -> dict[str, Any]:
    price = {"currency": "usd", "unit_amount": 2500}
    return new_session(
        "cs_1", {"mode": "payment", "line_items": [{"price_data": price}]}, 1_790_000_000, False, "https://x.test"
    )


def test_the_fakes_templates_are_of_stripes_types() -> None:
    assert object_problems(intent(), closed_enums=True) == []
    assert object_problems(session(), closed_enums=True) == []


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("colour", "blue", "payment_intent.colour: unknown"),
        ("amount", "2500", "payment_intent.amount: '2500' is not <class 'int'>"),
        ("amount", True, "payment_intent.amount: True is not <class 'int'>"),
        ("amount", 25.0, "payment_intent.amount: 25.0 is not <class 'int'>"),
        ("currency", None, "payment_intent.currency: None is not <class 'str'>"),
        ("payment_method_types", "card", "payment_intent.payment_method_types: not a list"),
        ("metadata", [], "payment_intent.metadata: not an object"),
        ("last_payment_error", {"type": "card_error", "mood": 1}, "payment_intent.last_payment_error.mood: unknown"),
        ("last_payment_error", {"code": "x"}, "payment_intent.last_payment_error.type: missing"),
    ],
)
def test_a_wrong_field_is_found(field: str, value: object, problem: str) -> None:
    assert object_problems(intent() | {field: value}) == [problem]


def test_a_missing_field_is_found() -> None:
    told = intent()
    del told["amount_received"]
    assert object_problems(told) == ["payment_intent.amount_received: missing"]


def test_a_wrong_field_is_found_inside_an_expanded_object() -> None:
    told = session() | {"payment_intent": intent() | {"colour": "blue"}}
    assert object_problems(told) == ["checkout.session.payment_intent.colour: unknown"]


def test_an_enum_is_open_as_in_the_sdk_and_closed_on_request() -> None:
    told = copy.deepcopy(session()) | {"status": "finished"}
    assert object_problems(told) == []
    assert len(object_problems(told, closed_enums=True)) == 1


def test_what_is_not_an_object_of_stripes_is_said_so() -> None:
    assert object_problems([1]) == ["not an object of Stripe's: [1]"]


def test_parameters_are_read_as_their_types() -> None:
    form = "amount=2500&payment_intent=pi_1&metadata[a]=1&expand[0]=charge"
    assert read_params(params.RefundCreateParams, parse_form(form)) == {
        "amount": 2500,
        "payment_intent": "pi_1",
        "metadata": {"a": "1"},
        "expand": ["charge"],
    }


@pytest.mark.parametrize(
    "form",
    [
        "colour=blue",
        "line_items[0][price_data][currency]=usd&line_items[0][price_data][colour]=blue",
        "line_items[0][price_data][unit_amount]=2500",
        "expires_at=soon",
        "metadata=text",
    ],
)
def test_a_wrong_parameter_is_found_at_any_depth(form: str) -> None:
    with pytest.raises(ValueError, match=r":"):
        read_params(checkout_params.SessionCreateParams, parse_form(form))


def test_every_locale_we_may_send_is_one_of_stripes() -> None:
    known = enum_values(checkout_params.SessionCreateParams, "locale")
    assert len(known) > 30
    assert set(LOCALES.values()) == known - {"auto"}


def test_crypto_is_a_payment_method_stripe_lets_us_exclude() -> None:
    assert "crypto" in enum_values(checkout_params.SessionCreateParams, "excluded_payment_method_types")


def test_a_fake_that_strays_from_stripes_types_fails_its_test() -> None:
    def stray() -> None:
        with FakeStripe() as fake:
            fake.told(intent() | {"colour": "blue"})

    with pytest.raises(AssertionError, match="colour: unknown"):
        stray()
