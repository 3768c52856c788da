"""The demo's clock and the sandbox provider's own books."""

from datetime import datetime

from sqlmodel import Field

from engine.store.tables.base import Base, big


class DemoClockRow(Base, table=True):
    """How far a demo's clock has been moved, so that a restart does not go back in time."""

    __tablename__ = "demo_clock"
    name: str = Field(primary_key=True)
    offset_seconds: int = big(default=0)


class SandboxSessionRow(Base, table=True):
    """The sandbox provider's own books: a hosted checkout and the payment made on it."""

    __tablename__ = "sandbox_sessions"
    session_id: str = Field(primary_key=True)
    payment_id: str = Field(unique=True)
    idempotency_key: str = Field(unique=True)
    account_id: str
    purchase_id: str
    amount_minor: int = big()
    paid_minor: int | None = big(nullable=True)
    currency: str
    description: str
    success_url: str
    cancel_url: str
    customer_id: str | None = None
    card_id: str | None = None
    decline: str | None = None
    state: str = "open"
    version: int = big(default=1)
    expires_at: datetime
    created_at: datetime


class SandboxRefundRow(Base, table=True):
    """The sandbox provider's own books: money it gave back of a payment."""

    __tablename__ = "sandbox_refunds"
    refund_id: str = Field(primary_key=True)
    payment_id: str = Field(index=True)
    idempotency_key: str = Field(unique=True)
    reversal_id: str | None = None
    amount_minor: int = big()
    state: str
    version: int = big(default=1)
    created_at: datetime


class SandboxDisputeRow(Base, table=True):
    """The sandbox provider's own books: a payment its customer's bank questions."""

    __tablename__ = "sandbox_disputes"
    dispute_id: str = Field(primary_key=True)
    payment_id: str = Field(index=True)
    amount_minor: int = big()
    state: str
    version: int = big(default=1)
    created_at: datetime


class SandboxSubscriptionRow(Base, table=True):
    """The sandbox provider's own books: a subscription. `version` grows with each change; `credit_minor` is money
    that the next invoice gives back."""

    __tablename__ = "sandbox_subscriptions"
    reference: str = Field(primary_key=True)
    session_id: str = Field(unique=True)
    idempotency_key: str = Field(unique=True)
    last_key: str | None = None
    account_id: str = Field(index=True)
    subscription_id: str = Field(index=True)
    state: str = "incomplete"
    version: int = big(default=1)
    terms: str
    currency: str
    pending_terms: str | None = None
    credit_minor: int = big(default=0)
    trial_days: int = big(default=0)
    anchor_at: datetime
    period_start_at: datetime
    period_end_at: datetime
    cancel_at_period_end: bool = False
    is_paused: bool = False
    created_at: datetime


class SandboxInvoiceRow(Base, table=True):
    """The sandbox provider's own books: what a subscription's customer is asked to pay, and whether they did."""

    __tablename__ = "sandbox_invoices"
    invoice_id: str = Field(primary_key=True)
    reference: str = Field(index=True)
    kind: str
    state: str
    version: int = big(default=1)
    amount_minor: int = big()
    terms: str
    period_start_at: datetime
    period_end_at: datetime
    payment_id: str | None = None
    created_at: datetime
