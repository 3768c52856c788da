"""What travels between Purser and the sandbox provider: the shapes of its answers and webhooks, and the signature.

Both sides read and write these, so that neither can drift from the other. Field names are camelCase on the wire.
"""

import hmac
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec

from engine.payments import DisputeState, RefundState
from engine.rules.errors import WebhookRefused

SIGNATURE_HEADER = "sandbox-signature"
PAST_SECONDS = 300
FUTURE_SECONDS = 60
"""How far a webhook's timestamp may lie from now, either way (SPEC §4)."""

SessionState = Literal["open", "requires_action", "processing", "paid", "failed", "expired", "cancelled"]

_SIGNATURE = re.compile(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})")
_ID = re.compile(r"[A-Za-z0-9_]{1,100}")


class NewSession(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The request for a hosted checkout; its idempotency key stands in the header."""

    account_id: str
    purchase_id: str
    amount_minor: int
    currency: str
    description: str
    success_url: str
    cancel_url: str
    expires_at: datetime
    customer_id: str | None = None


class NewCustomer(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The request for a customer object, on which cards are saved."""

    account_id: str
    email: str | None = None


class Customer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A customer object."""

    id: str


class NewCharge(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The request to charge a saved card while its owner is away."""

    account_id: str
    purchase_id: str
    customer_id: str
    card_id: str
    amount_minor: int
    currency: str
    description: str
    return_url: str


class CardTold(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A saved card, as a payment tells it."""

    id: str
    customer_id: str
    brand: str
    last4: str
    exp_month: int
    exp_year: int


class Nothing(msgspec.Struct, frozen=True, kw_only=True):
    """The body of a request whose path says all."""


class NewRefund(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The request to give money back; its idempotency key stands in the header."""

    payment_id: str
    amount_minor: int
    currency: str
    reversal_id: str


class Session(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A hosted checkout and where the customer opens it."""

    id: str
    url: str
    expires_at: datetime


class Payment(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The payment of a session: what was paid once it is, what is asked before. `version` grows with each change.

    One that pays for a subscription names no purchase: Purser knows it by its id.
    """

    id: str
    session_id: str
    state: SessionState
    amount_minor: int
    currency: str
    version: int
    purchase_id: str
    account_id: str
    card: CardTold | None = None
    decline: str | None = None


class Refund(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Money given back of a payment; `reversal_id` is Purser's where it asked."""

    id: str
    payment_id: str
    state: RefundState
    amount_minor: int
    currency: str
    version: int
    purchase_id: str
    account_id: str
    reversal_id: str | None


class Dispute(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A payment that the customer's bank questions."""

    id: str
    payment_id: str
    state: DisputeState
    amount_minor: int
    currency: str
    version: int
    purchase_id: str
    account_id: str


class Problem(msgspec.Struct, frozen=True):
    """Why the sandbox said no."""

    code: str = "refused"
    detail: str = ""


class Pointed(msgspec.Struct, frozen=True):
    """What a webhook is about: a `payment`, `refund`, `dispute`, `card`, `subscription` or `invoice`, and its id."""

    kind: str
    id: str


class Webhook(msgspec.Struct, frozen=True):
    """One event: it only points at what changed."""

    id: str
    type: str
    object: Pointed


class Listed(msgspec.Struct, frozen=True, rename="camel"):
    """Events as the sandbox lists them, oldest first, and when each of them happened."""

    events: tuple[Webhook, ...]
    happened_at: tuple[datetime, ...]


def sign(secret: str, body: bytes, at: datetime) -> str:
    """The value of the `sandbox-signature` header: the time in Unix seconds, and the HMAC over it and the body."""
    signed_at = int(at.timestamp())
    return f"t={signed_at},v1={_digest(secret, signed_at, body)}"


def check_signature(secret: str, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
    """Refuse (`WebhookRefused`) bytes that were not signed with this secret about now."""
    signature = _SIGNATURE.fullmatch(headers.get(SIGNATURE_HEADER, ""))
    if signature is None:
        raise WebhookRefused("The Sandbox-Signature header is missing or malformed.")
    signed_at = int(signature[1])
    if not -FUTURE_SECONDS <= now.timestamp() - signed_at <= PAST_SECONDS:
        raise WebhookRefused("The signature is too old, or lies in the future.")
    if not hmac.compare_digest(_digest(secret, signed_at, body), signature[2]):
        raise WebhookRefused("The body carries no signature made with our secret.")


def read_webhook(body: bytes) -> Webhook:
    """The event in these bytes; raises `WebhookRefused` for everything else."""
    try:
        told = msgspec.json.decode(body, type=Webhook)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WebhookRefused("The body is not an event of the sandbox's.") from error
    if not told.type or not _ID.fullmatch(told.id) or not _ID.fullmatch(told.object.id):
        raise WebhookRefused("The event has no id or type, or names no object.")
    return told


def _digest(secret: str, signed_at: int, body: bytes) -> str:
    return hmac.digest(secret.encode(), str(signed_at).encode() + b"." + body, "sha256").hex()
