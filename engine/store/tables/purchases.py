"""Purchases, what providers said of them, and what was taken back."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index
from sqlmodel import Field

from engine.store.tables.base import Base, big, of_account, one_of, partial_index, raw


class PurchaseRow(Base, table=True):
    """The intention to pay, the quote it was made from, and what has come of it.

    `kind` says what else it is than a top-up: a saved card charged without the customer, or months paid upfront.
    `bonus_credits` are all that is granted beside the base: the tier's bonus and what a coupon adds.
    One with a `subscription_id` is that subscription's paid invoice: `base_credits` is what was granted for it so far.
    """

    __tablename__ = "purchases"
    __table_args__ = (
        of_account(),
        one_of(
            "status",
            "created",
            "open",
            "processing",
            "paid",
            "failed",
            "expired",
            "cancelled",
            "partially_refunded",
            "refunded",
            "unclaimed",
            "quarantined",
        ),
        one_of("kind", "auto_recharge", "commit"),
        CheckConstraint("amount_minor > 0 AND base_credits >= 0 AND bonus_credits >= 0", name="positive"),
        CheckConstraint("credits_out BETWEEN 0 AND base_credits + bonus_credits", name="out_in_range"),
        Index("ix_purchases_id", "purchase_id"),
        Index("ix_purchases_created", "account_id", "created_at"),
        Index("ix_purchases_status", "status", "expires_at"),
    )
    account_id: str = Field(primary_key=True, max_length=64)
    purchase_id: str = Field(primary_key=True)
    provider: str
    kind: str | None = None
    status: str = "created"
    is_disputed: bool = False
    amount_minor: int = big()
    currency: str
    base_credits: int = big()
    bonus_credits: int = big(default=0)
    credits_out: int = big(default=0)
    tier: str
    description: str
    success_url: str
    cancel_url: str
    session_id: str | None = None
    checkout_url: str | None = None
    provider_reference: str | None = None
    receipt_url: str | None = None
    problem: str | None = None
    actor: str
    created_at: datetime
    expires_at: datetime
    landed_at: datetime | None = None
    updated_at: datetime
    subscription_id: str | None = None


class CommitRow(Base, table=True):
    """Months paid upfront: how many parts the purchase's credits land in, how many have, and when the next one does."""

    __tablename__ = "commit_purchases"
    __table_args__ = (
        ForeignKeyConstraint(["account_id", "purchase_id"], ["purchases.account_id", "purchases.purchase_id"]),
        CheckConstraint("parts > 0 AND parts_landed BETWEEN 0 AND parts", name="in_range"),
        partial_index("ix_commit_purchases_next_part", "next_part_at", where="next_part_at IS NOT NULL"),
    )
    account_id: str = Field(primary_key=True, max_length=64)
    purchase_id: str = Field(primary_key=True)
    plan_id: str
    plan_name: str
    months: int
    parts: int
    parts_landed: int = 0
    next_part_at: datetime | None = None


class FactRow(Base, table=True):
    """What a provider said of one of its objects, at its newest version; our own refunds before it answers."""

    __tablename__ = "purchase_facts"
    __table_args__ = (
        ForeignKeyConstraint(["account_id", "purchase_id"], ["purchases.account_id", "purchases.purchase_id"]),
        one_of("kind", "payment", "refund", "dispute"),
        CheckConstraint("amount_minor >= 0", name="not_negative"),
    )
    account_id: str = Field(primary_key=True, max_length=64)
    purchase_id: str = Field(primary_key=True)
    fact_id: str = Field(primary_key=True)
    kind: str
    object_id: str | None = None
    state: str
    amount_minor: int = big()
    currency: str
    version: int = big()
    is_live: bool
    own_credits: int | None = big(nullable=True)
    parent_id: str | None = None
    seen_at: datetime


class ReversalRow(Base, table=True):
    """A refund we ask for: proposed, approved, sent to the provider, and how it ended."""

    __tablename__ = "reversals"
    __table_args__ = (
        ForeignKeyConstraint(["account_id", "purchase_id"], ["purchases.account_id", "purchases.purchase_id"]),
        one_of("kind", "reversal", "refund"),
        one_of("status", "pending_approval", "refunding", "succeeded", "failed", "rejected"),
        CheckConstraint("amount_minor > 0 AND credits >= 0", name="positive"),
        Index("ix_reversals_id", "reversal_id"),
        Index("ix_reversals_purchase", "account_id", "purchase_id"),
        partial_index("ix_reversals_waiting", "created_at", where="status = 'pending_approval'"),
    )
    account_id: str = Field(primary_key=True, max_length=64)
    reversal_id: str = Field(primary_key=True)
    purchase_id: str
    kind: str
    status: str
    credits: int = big()
    amount_minor: int = big()
    currency: str
    reason: str
    requested_by: str
    decided_by: str | None = None
    problem: str | None = None
    created_at: datetime
    updated_at: datetime


class ClaimRow(Base, table=True):
    """What may happen once in the whole service: one provider object belongs to one purchase, for good."""

    __tablename__ = "claims"
    __table_args__ = (Index("ix_claims_object_id", "object_id"),)
    provider: str = Field(primary_key=True)
    provider_account: str = Field(primary_key=True)
    mode: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    object_id: str = Field(primary_key=True)
    account_id: str
    purchase_id: str
    created_at: datetime


class ProviderEventRow(Base, table=True):
    """A verified webhook as it came; `done_at` is set in the transaction that carried its facts out."""

    __tablename__ = "provider_events"
    __table_args__ = (
        one_of("status", "stored", "done", "ignored", "parked"),
        Index("ix_provider_events_due", "status", "due_at"),
    )
    provider: str = Field(primary_key=True)
    event_id: str = Field(primary_key=True)
    type: str
    payload: bytes = raw()
    status: str = "stored"
    attempts: int = 0
    problem: str | None = None
    received_at: datetime
    due_at: datetime
    done_at: datetime | None = None
