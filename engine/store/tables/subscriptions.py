"""Subscriptions, the invoices that pay for them, and what was set for one account alone."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index
from sqlmodel import Field

from engine.store.tables.base import Base, big, of_account, one_of


class SubscriptionRow(Base, table=True):
    """A subscription as its provider last told it, the terms it was sold under, and what was last shown of it.

    `terms` is JSON; until the provider has said something, `state` is `incomplete` and the period is the one asked
    for. `is_driving` says that the account's plan comes from here; `asked_at` is since when its provider is being
    asked for a change.
    """

    __tablename__ = "subscriptions"
    __table_args__ = (
        of_account(),
        one_of("state", "incomplete", "trialing", "active", "past_due", "paused", "ended"),
        CheckConstraint("version >= 0", name="not_negative"),
        Index("ix_subscriptions_id", "subscription_id"),
        Index("ix_subscriptions_next_at", "next_at"),
    )
    account_id: str = Field(primary_key=True, max_length=64)
    subscription_id: str = Field(primary_key=True)
    provider: str
    reference: str | None = None
    session_id: str | None = None
    checkout_url: str | None = None
    state: str = "incomplete"
    version: int = big(default=0)
    terms: str
    currency: str
    anchor_at: datetime
    period_start_at: datetime
    period_end_at: datetime
    cancel_at_period_end: bool = False
    pending_plan: str | None = None
    pending_interval: str | None = None
    has_trial: bool = False
    is_driving: bool = False
    shown: str = "{}"
    problem: str | None = None
    previewed: str | None = None
    previewed_at: datetime | None = None
    warned_for_at: datetime | None = None
    rolled_at: datetime | None = None
    asked_at: datetime | None = None
    success_url: str
    cancel_url: str
    actor: str
    created_at: datetime
    expires_at: datetime
    next_at: datetime | None = None
    updated_at: datetime


class SubscriptionInvoiceRow(Base, table=True):
    """An invoice at its newest version, and how far what it pays for was granted.

    `terms` is what its period was sold under, kept when it was first seen; `monthly_credits` what its plan gives each
    month. Of the months of the period that it pays for, or pays a part for, the first `months_granted` were granted.
    """

    __tablename__ = "subscription_invoices"
    __table_args__ = (
        ForeignKeyConstraint(
            ["account_id", "subscription_id"], ["subscriptions.account_id", "subscriptions.subscription_id"]
        ),
        one_of("kind", "create", "renewal", "proration", "trial", "other"),
        one_of("state", "open", "paid", "failed", "void", "refunded"),
        CheckConstraint("amount_minor >= 0 AND monthly_credits >= 0 AND months_granted >= 0", name="not_negative"),
    )
    account_id: str = Field(primary_key=True, max_length=64)
    subscription_id: str = Field(primary_key=True)
    invoice_id: str = Field(primary_key=True)
    kind: str
    state: str
    version: int = big()
    is_live: bool
    amount_minor: int = big()
    currency: str
    terms: str
    period_start_at: datetime
    period_end_at: datetime
    monthly_credits: int = big()
    months_granted: int = big(default=0)
    payment_id: str | None = None
    receipt_url: str | None = None
    purchase_id: str | None = None
    problem: str | None = None
    seen_at: datetime


class EntitlementOverrideRow(Base, table=True):
    """Features set for one account, a JSON object of flags and numbers by name."""

    __tablename__ = "entitlement_overrides"
    __table_args__ = (of_account(),)
    account_id: str = Field(primary_key=True, max_length=64)
    features: str
    updated_at: datetime
