"""What travels between Purser and the sandbox provider about subscriptions; camelCase on the wire, as all of it."""

from datetime import datetime
from typing import Literal

import msgspec

from engine.payments import InvoiceFact, SubscriptionFact
from engine.rules.facts import InvoiceKind, InvoiceState, SubscriptionState
from engine.rules.fields import Interval
from engine.rules.money import Money
from engine.rules.subscriptions import Act, Terms


class NewSubscription(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The request for the hosted checkout of a subscription; its idempotency key stands in the header."""

    account_id: str
    subscription_id: str
    terms: Terms
    currency: str
    description: str
    success_url: str
    cancel_url: str
    expires_at: datetime
    trial_days: int


class NewTerms(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Another plan: at once, prorated from `at`, or with the next period."""

    terms: Terms
    when: Literal["now", "period_end"]
    at: datetime


class Asked(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Cancel at the period's end, take that back, pause or resume."""

    act: Act


class Subscription(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A subscription as the sandbox keeps it; `version` grows with each change."""

    id: str
    session_id: str
    account_id: str
    subscription_id: str
    state: SubscriptionState
    version: int
    plan: str
    interval: Interval
    price_minor: int
    currency: str
    anchor_at: datetime
    period_start: datetime
    period_end: datetime
    cancel_at_period_end: bool
    pending_plan: str | None
    pending_interval: Interval | None


class Invoice(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a subscription's customer is asked to pay for a period."""

    id: str
    reference: str
    account_id: str
    subscription_id: str
    kind: InvoiceKind
    state: InvoiceState
    version: int
    amount_minor: int
    currency: str
    plan: str
    interval: Interval
    period_start: datetime
    period_end: datetime
    payment_id: str | None


class Told(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A subscription with its newest invoices: what a change answers, and what is fetched."""

    subscription: Subscription
    invoices: tuple[Invoice, ...]

    def facts(self) -> tuple[SubscriptionFact | InvoiceFact, ...]:
        return (subscription_fact(self.subscription), *map(invoice_fact, self.invoices))


def subscription_fact(told: Subscription) -> SubscriptionFact:
    return SubscriptionFact(
        object_id=told.id,
        state=told.state,
        version=told.version,
        live=False,
        plan=told.plan,
        interval=told.interval,
        price=Money(told.price_minor, told.currency),
        anchor_at=told.anchor_at,
        period_start=told.period_start,
        period_end=told.period_end,
        cancel_at_period_end=told.cancel_at_period_end,
        pending_plan=told.pending_plan,
        pending_interval=told.pending_interval,
        subscription_id=told.subscription_id,
        account_id=told.account_id,
    )


def invoice_fact(told: Invoice) -> InvoiceFact:
    return InvoiceFact(
        object_id=told.id,
        provider_subscription_id=told.reference,
        kind=told.kind,
        state=told.state,
        amount=Money(told.amount_minor, told.currency),
        version=told.version,
        live=False,
        plan=told.plan,
        interval=told.interval,
        period_start=told.period_start,
        period_end=told.period_end,
        payment_id=told.payment_id,
        subscription_id=told.subscription_id,
        account_id=told.account_id,
    )
