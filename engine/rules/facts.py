"""Facts: what a payment provider has said of one of its objects."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from engine.rules.money import Money


@dataclass(frozen=True, slots=True)
class Card:
    """A card that its provider keeps: all that we may know of it. `reference` is the provider's own id."""

    reference: str
    customer_id: str
    brand: str
    last4: str
    exp_month: int
    exp_year: int


FactKind = Literal["payment", "refund", "dispute"]
PaymentState = Literal["open", "processing", "paid", "failed", "expired", "cancelled"]
RefundState = Literal["pending", "succeeded", "failed"]
DisputeState = Literal["inquiry", "warning", "open", "won", "lost", "prevented"]


@dataclass(frozen=True, slots=True)
class Fact:
    """One provider object as it stood at `version`: the newest version of each object counts, nothing else.

    `object_id` is the provider's own id (`pi_…`, `re_…`, `dp_…`). `parent_id` names the payment a refund or
    dispute belongs to. `purchase_id` and `account_id` are what we wrote into the provider's object when it was
    ours to write; `own_reference` is our reversal id in a refund that we made. `amount` is what was paid before
    tax on top, or what is refunded or disputed. `version` orders two sightings of one object: the provider's own
    time or counter, never ours. `card` is the card that this payment saved; `decline` is why its last attempt failed,
    in the provider's word.
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
    card: Card | None = None
    decline: str | None = None


SubscriptionState = Literal["incomplete", "trialing", "active", "past_due", "paused", "ended"]
InvoiceKind = Literal["create", "renewal", "proration", "trial", "other"]
InvoiceState = Literal["open", "paid", "failed", "void", "refunded"]


@dataclass(frozen=True, slots=True)
class SubscriptionFact:
    """A provider's subscription as it stood at `version`.

    `plan` is the catalogue's id and `interval` its interval. `subscription_id` and `account_id` are what we wrote into
    the provider's object when it was ours to write; a store's subscription that began in the store names the account.
    """

    object_id: str
    state: SubscriptionState
    version: int
    live: bool
    plan: str
    interval: Literal["month", "year"]
    price: Money
    anchor_at: datetime
    period_start: datetime
    period_end: datetime
    cancel_at_period_end: bool = False
    pending_plan: str | None = None
    pending_interval: Literal["month", "year"] | None = None
    subscription_id: str | None = None
    account_id: str | None = None


@dataclass(frozen=True, slots=True)
class InvoiceFact:
    """A subscription's invoice, or a store's renewal: once it is paid, it pays for `[period_start, period_end)`.

    A proration's period begins at the instant of the change. `payment_id` is the payment that refunds and disputes
    will name; `refunded` is for providers whose renewals are refunded themselves.
    """

    object_id: str
    provider_subscription_id: str
    kind: InvoiceKind
    state: InvoiceState
    amount: Money
    version: int
    live: bool
    plan: str
    interval: Literal["month", "year"]
    period_start: datetime
    period_end: datetime
    payment_id: str | None = None
    subscription_id: str | None = None
    account_id: str | None = None
    receipt_url: str | None = None


ProviderFact = Fact | SubscriptionFact | InvoiceFact
