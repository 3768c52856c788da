"""What Purser asks of a payment provider, and the facts a provider's word is translated into.

A provider module makes two translations and no decision: our request into theirs, their event into facts.
It holds no session and knows no wallet. `flows/topups.py` and `flows/refunds.py` are its only callers, and
they never call it inside a database transaction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from engine.rules.money import Money

FactKind = Literal["payment", "refund", "dispute"]
PaymentState = Literal["open", "processing", "paid", "failed", "expired", "cancelled"]
RefundState = Literal["pending", "succeeded", "failed"]
DisputeState = Literal["inquiry", "open", "won", "lost", "prevented"]


@dataclass(frozen=True, slots=True)
class Fact:
    """One provider object as it stood at `version`: the newest version of each object counts, nothing else.

    `object_id` is the provider's own id (`pi_…`, `re_…`, `dp_…`). `parent_id` names the payment a refund or
    dispute belongs to. `purchase_id` and `account_id` are what we wrote into the provider's object when it was
    ours to write; `own_reference` is our reversal id in a refund that we made. `amount` is what was paid before
    tax on top, or what is refunded or disputed. `version` orders two sightings of one object: the provider's own
    time or counter, never ours.
    """

    kind: FactKind
    object_id: str
    state: PaymentState | RefundState | DisputeState
    amount: Money
    version: int
    live: bool
    parent_id: str | None = None
    purchase_id: str | None = None
    account_id: str | None = None
    own_reference: str | None = None
    session_id: str | None = None
    receipt_url: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """A verified webhook: the provider's event id, its type, and the raw bytes it came as."""

    event_id: str
    type: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class CheckoutRequest:
    """What a hosted checkout must know. `idempotency_key` is made from our row and never changes for it."""

    account_id: str
    purchase_id: str
    amount: Money
    description: str
    email: str | None
    locale: str | None
    success_url: str
    cancel_url: str
    expires_at: datetime
    idempotency_key: str
    save_card: bool = False
    bonus: bool = False


@dataclass(frozen=True, slots=True)
class Checkout:
    """A hosted checkout the customer can be sent to."""

    session_id: str
    url: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """Money to give back of one payment. `reversal_id` travels in the provider's object and comes back as a fact."""

    account_id: str
    purchase_id: str
    reversal_id: str
    payment_id: str
    amount: Money
    idempotency_key: str


class ProviderRefused(Exception):
    """The provider said no, for good: `code` and `detail` are its own words."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class ProviderUnreachable(Exception):
    """No answer, or one that says 'later': the outcome is unknown and the same key must be used again."""


class PaymentProvider(Protocol):
    """One rail. Every method but `verify` may use the network, so none is called inside a transaction."""

    name: str
    account: str
    """Our account at the provider, as `claims` scopes it; `default` where there is only one."""
    can_refund: bool
    merchant_of_record: str | None
    """Who sells to the customer when it is not us, e.g. `Paddle`; `None` when we are the seller."""

    def start_checkout(self, request: CheckoutRequest) -> Checkout: ...

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Event:
        """The event in these raw bytes. `headers` has lower-case names; raises `WebhookRefused`."""
        ...

    def facts(self, event: Event) -> tuple[Fact, ...]:
        """What the event is about, re-fetched where its payload may be stale; empty for types we ignore.

        Raises `ProviderUnreachable` when a fetch must be tried again later.
        """
        ...

    def refund(self, request: RefundRequest) -> tuple[Fact, ...]:
        """Ask for a refund and answer the refund object as a fact; `ProviderRefused` or `ProviderUnreachable`."""
        ...

    def payment(self, session_id: str) -> tuple[Fact, ...]:
        """The present state of a checkout we started, fetched: what a sweeper asks when no webhook came."""
        ...
