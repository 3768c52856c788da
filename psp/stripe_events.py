"""Stripe's webhooks: who signed these bytes, when, and which object they point at.

The SDK checks the signature; what it leaves open is closed here: it takes timestamps of the future, fails with
`UnicodeDecodeError` on any body that is not text and with `AttributeError` on a signed list.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import stripe

from engine.payments import Event
from engine.rules.errors import WebhookRefused

PAST_SECONDS = 300
FUTURE_SECONDS = 60
"""How far a webhook's timestamp may lie from now, either way (SPEC §4)."""

Pointed = Literal[
    "session",
    "payment_intent",
    "charge",
    "refund",
    "dispute",
    "early_fraud_warning",
    "payment_method",
    "card",
    "customer",
    "subscription",
    "invoice",
]

_SIGNED_AT = re.compile(r"t=([0-9]{1,12})")
_ID = re.compile(r"\w{1,255}", re.ASCII)
_FOLLOWED: dict[str, Pointed] = {
    "checkout.session.completed": "session",
    "checkout.session.async_payment_succeeded": "session",
    "checkout.session.async_payment_failed": "session",
    "checkout.session.expired": "session",
    "payment_intent.succeeded": "payment_intent",
    "payment_intent.processing": "payment_intent",
    "payment_intent.payment_failed": "payment_intent",
    "payment_intent.canceled": "payment_intent",
    "payment_intent.requires_action": "payment_intent",
    "charge.refunded": "charge",
    "charge.refund.updated": "refund",
    "refund.created": "refund",
    "refund.updated": "refund",
    "refund.failed": "refund",
    "charge.dispute.created": "dispute",
    "charge.dispute.updated": "dispute",
    "charge.dispute.closed": "dispute",
    "charge.dispute.funds_withdrawn": "dispute",
    "charge.dispute.funds_reinstated": "dispute",
    "radar.early_fraud_warning.created": "early_fraud_warning",
    "radar.early_fraud_warning.updated": "early_fraud_warning",
    "payment_method.detached": "payment_method",
    "payment_method.updated": "card",
    "payment_method.automatically_updated": "card",
    "customer.deleted": "customer",
    "customer.subscription.created": "subscription",
    "customer.subscription.updated": "subscription",
    "customer.subscription.deleted": "subscription",
    "customer.subscription.paused": "subscription",
    "customer.subscription.resumed": "subscription",
    "customer.subscription.trial_will_end": "subscription",
    "invoice.finalized": "invoice",
    "invoice.paid": "invoice",
    "invoice.payment_failed": "invoice",
    "invoice.payment_action_required": "invoice",
    "invoice.voided": "invoice",
    "invoice.marked_uncollectible": "invoice",
}

_SAID_BY_OTHERS = (
    "charge.refunded",
    "charge.refund.updated",
    "payment_intent.requires_action",
    "payment_intent.processing",
    "refund.failed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "customer.subscription.created",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.trial_will_end",
    "invoice.finalized",
    "invoice.payment_action_required",
    "invoice.voided",
    "invoice.marked_uncollectible",
)
POLLED = tuple(kind for kind in _FOLLOWED if kind not in _SAID_BY_OTHERS)
"""The types asked for when Stripe's own list is read; those left out have others that say so."""


def verified_event(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> Event:
    """The event in these raw bytes, signed with one of the secrets, of now, and of a shape that can be followed.

    Snapshot events (`event`) and thin ones (`v2.core.event`) are both taken. Raises `WebhookRefused`.
    """
    header = headers.get("stripe-signature", "")
    _check_age(header, now)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise WebhookRefused("The body is not UTF-8 text.") from error
    if not any(_is_signed(text, header, secret) for secret in secrets):
        raise WebhookRefused("The body carries no signature made with our secret.")
    told = _event_object(text)
    _pointer(told)
    return Event(told["id"], told["type"], body)


def pointer(event: Event) -> tuple[Pointed, str] | None:
    """Which kind of object a verified event names, and its id; `None` for types we do not follow."""
    return _pointer(json.loads(event.payload))


def _check_age(header: str, now: datetime) -> None:
    """Refuse a signature header that does not name exactly one moment, or one too far from now."""
    elements = header.split(",")
    moments = [element for element in elements if element.strip().startswith("t=")]
    moment = _SIGNED_AT.fullmatch(moments[0]) if len(moments) == 1 else None
    if not header.isascii() or moment is None:
        raise WebhookRefused("The Stripe-Signature header is missing, doubled or malformed.")
    age_seconds = now.timestamp() - int(moment[1])
    if not -FUTURE_SECONDS <= age_seconds <= PAST_SECONDS:
        raise WebhookRefused("The signature is too old, or lies in the future.")


def _is_signed(text: str, header: str, secret: str) -> bool:
    try:
        stripe.WebhookSignature.verify_header(text, header, secret)
    except stripe.SignatureVerificationError:
        return False
    return True


def _event_object(text: str) -> dict[str, Any]:
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise WebhookRefused("The body is not JSON.") from error
    if not isinstance(told, dict) or told.get("object") not in ("event", "v2.core.event"):
        raise WebhookRefused("The body is not an event of Stripe's.")
    if not _is_id(told.get("id")) or not isinstance(told.get("type"), str) or not told["type"]:
        raise WebhookRefused("The event has no id or no type.")
    return told


def _pointer(told: dict[str, Any]) -> tuple[Pointed, str] | None:
    """A snapshot names its object in `data.object`, a thin event in `related_object` and with `v1.` before its type.

    Raises `WebhookRefused` where a followed event names nothing.
    """
    kind = _FOLLOWED.get(told["type"].removeprefix("v1."))
    if kind is None:
        return None
    if told["object"] == "v2.core.event":
        related = told.get("related_object")
    else:
        data = told.get("data")
        related = data.get("object") if isinstance(data, dict) else None
    object_id = related.get("id") if isinstance(related, dict) else None
    if not _is_id(object_id):
        raise WebhookRefused("The event names no object.")
    return kind, str(object_id)


def _is_id(value: object) -> bool:
    return isinstance(value, str) and _ID.fullmatch(value) is not None
