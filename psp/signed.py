"""What a signed webhook must be, whoever signed it: of now, in bytes that one of our secrets signed, and JSON."""

import hmac
import json
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

from engine.rules.errors import WebhookRefused

PAST_SECONDS = 300
FUTURE_SECONDS = 60
"""How far a webhook's timestamp may lie from now, either way (SPEC §4)."""


def check_age(signed_at: str, now: datetime) -> None:
    """Refuse a signature made too far from now; `signed_at` is Unix seconds in digits."""
    age_seconds = now.timestamp() - int(signed_at)
    if not -FUTURE_SECONDS <= age_seconds <= PAST_SECONDS:
        raise WebhookRefused("The signature is too old, or lies in the future.")


def check_signature(signed: bytes, signatures: Iterable[str], secrets: Iterable[str]) -> None:
    """Refuse bytes that none of the secrets signed (HMAC-SHA256, lower-case hex); compared in constant time."""
    expected = [hmac.new(secret.encode(), signed, "sha256").hexdigest() for secret in secrets]
    if not any(hmac.compare_digest(one, given) for given in signatures for one in expected):
        raise WebhookRefused("The body carries no signature made with our secret.")


def json_object(body: bytes) -> dict[str, Any]:
    """The object in a verified body; its numbers with a point are `Decimal`, never a float."""
    try:
        told = json.loads(body.decode("utf-8"), parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise WebhookRefused("The body is not JSON in UTF-8.") from error
    if not isinstance(told, dict):
        raise WebhookRefused("The body is not an event.")
    return told
