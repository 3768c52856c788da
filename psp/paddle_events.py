"""Paddle's webhooks: who signed these bytes, when, and which transaction or subscription they are about.

The check is our own. The SDK's verifier gives up after five seconds, so it refuses what was queued, drops its age
check altogether where the environment says `TEST_MODE`, and answers hostile headers and bodies with stray errors.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from engine.payments import Event
from engine.rules.errors import WebhookRefused
from psp.signed import check_age, check_signature, json_object

_HEADER = re.compile(r"ts=([0-9]{1,12})((?:;h1=[0-9a-f]{64}){1,8})")
_ID = re.compile(r"[\w-]{1,255}", re.ASCII)
_FOLLOWED = {"transaction": "id", "adjustment": "transaction_id", "subscription": "id"}
"""Kinds of events that are followed, and where each names the transaction or the subscription it is about."""


def verified_event(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> Event:
    """The event in these raw bytes, signed with one of the secrets, of now, and of a shape that can be followed.

    While a secret is replaced the header holds a signature for each. Raises `WebhookRefused`.
    """
    header = _HEADER.fullmatch(headers.get("paddle-signature", ""))
    if header is None:
        raise WebhookRefused("The Paddle-Signature header is missing, doubled or malformed.")
    check_age(header[1], now)
    check_signature(header[1].encode() + b":" + body, header[2].removeprefix(";h1=").split(";h1="), secrets)
    told = json_object(body)
    event_id, event_type = told.get("event_id"), told.get("event_type")
    if not is_id(event_id) or not isinstance(event_type, str) or not event_type:
        raise WebhookRefused("The event has no id or no type.")
    _named(told)
    return Event(str(event_id), event_type, body)


def transaction_id(told: Mapping[str, Any]) -> str | None:
    """The transaction that an event is about; `None` for a subscription's events and types we do not follow.

    Raises `WebhookRefused` where a followed event names none.
    """
    return None if _kind(told) == "subscription" else _named(told)


def subscription_id(told: Mapping[str, Any]) -> str | None:
    """The subscription that an event is about; `None` where it is about none. Raises as `transaction_id` does."""
    return _named(told) if _kind(told) == "subscription" else None


def is_followed(event_type: str) -> bool:
    """Whether events of this type are about something of ours at all."""
    return event_type.partition(".")[0] in _FOLLOWED


def is_id(value: object) -> bool:
    """Whether this may be one of Paddle's ids, and so stand in a path."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _kind(told: Mapping[str, Any]) -> str:
    return str(told["event_type"]).partition(".")[0]


def _named(told: Mapping[str, Any]) -> str | None:
    place = _FOLLOWED.get(_kind(told))
    if place is None:
        return None
    about = told.get("data")
    named = about.get(place) if isinstance(about, dict) else None
    if not is_id(named):
        raise WebhookRefused(
            f"The event names no {'subscription' if _kind(told) == 'subscription' else 'transaction'}."
        )
    return str(named)
