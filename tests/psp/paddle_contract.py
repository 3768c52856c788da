"""Paddle's own types as a contract: the SDK parses every object the fake emits, and knows every value in it."""

from dataclasses import fields, is_dataclass
from typing import Any

from paddle_billing.Entities.Adjustment import Adjustment
from paddle_billing.Entities.Event import Event
from paddle_billing.Entities.Subscription import Subscription
from paddle_billing.Entities.SubscriptionPreview import SubscriptionPreview
from paddle_billing.Entities.Transaction import Transaction
from paddle_billing.PaddleStrEnum import PaddleStrEnum

Json = dict[str, Any]
KNOWN_GAPS = frozenset({"Event.data.action: 'chargeback_warning_reverse' is unknown"})
"""What Paddle's API names and the SDK's types of webhooks do not."""

_TYPES: dict[str, Any] = {"txn": Transaction, "adj": Adjustment, "evt": Event, "sub": Subscription}


def object_problems(told: Json) -> list[str]:
    """Where an object or an event is not what the SDK reads; empty for a good one."""
    name = str(told.get("event_id") or told.get("id"))
    kind = SubscriptionPreview if "update_summary" in told else _TYPES.get(name.partition("_")[0])
    if kind is None:
        return [f"not an object of Paddle's: {name}"]
    try:
        parsed = kind.from_dict(told)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return [f"{kind.__name__}: {type(error).__name__}: {error}"]
    return sorted(set(_unknown(parsed, kind.__name__)) - KNOWN_GAPS)


def _unknown(value: Any, place: str) -> list[str]:
    if isinstance(value, PaddleStrEnum):
        return [] if value.is_known() else [f"{place}: {value.value!r} is unknown"]
    if isinstance(value, list):
        return [problem for item in value for problem in _unknown(item, f"{place}[]")]
    if is_dataclass(value):
        return [p for f in fields(value) for p in _unknown(getattr(value, f.name), f"{place}.{f.name}")]
    return []
