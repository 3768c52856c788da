"""Every table. Money tables lead every key with `account_id`, so they can be sharded by it as they are.

Rows are built only from frozen values (SQLModel table classes do not validate on construction). Credits and money
are 64-bit (`big`), kinds are text with a CHECK, instants are aware and in UTC. What must be unique in the whole
service, or exists before an account is known, stands in `GLOBAL_TABLES` and nowhere else.
"""

from datetime import date, datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel
from sqlmodel._compat import SQLModelConfig

GLOBAL_TABLES = frozenset(
    {
        "claims",
        "provider_events",
        "document_series",
        "credentials",
        "portal_sessions",
        "demo_clock",
        "sandbox_sessions",
        "sandbox_refunds",
        "sandbox_disputes",
    }
)
"""Tables whose keys do not start with an account: global uniqueness, ingest before the account is known, the demo."""


def big(*, default: int | None = None, primary_key: bool = False, nullable: bool = False) -> int:
    """A 64-bit integer column: SQLModel's own `int` is 32-bit on PostgreSQL."""
    if default is None and not nullable:
        field = Field(sa_type=BigInteger, primary_key=primary_key)
    else:
        field = Field(default=default, sa_type=BigInteger, primary_key=primary_key, nullable=nullable)
    return field  # type: ignore[no-any-return]


def raw(*, default: bytes | None = None, nullable: bool = False) -> bytes:
    """A column of bytes, kept exactly as they came."""
    return Field(default=default, sa_type=LargeBinary, nullable=nullable)  # type: ignore[no-any-return]


def one_of(column: str, *kinds: str) -> CheckConstraint:
    """A CHECK that a text column holds one of these kinds."""
    listed = ", ".join(f"'{kind}'" for kind in kinds)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_kind")


class Base(SQLModel, registry=registry()):
    """All tables share one metadata; constraint names are deterministic for the migrations."""

    model_config = SQLModelConfig(extra="forbid")


Base.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


def partial_index(name: str, *columns: str, where: str) -> Index:
    """An index over the rows that meet a condition, on both databases."""
    return Index(name, *columns, postgresql_where=text(where), sqlite_where=text(where))


ROOM_TO_UPDATE = {"postgresql_with": {"fillfactor": 70}}
"""For rows that every spend updates: with room on its page, the new version touches no index."""


def of_account() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["account_id"], ["accounts.account_id"])


class AccountRow(Base, table=True):
    """The customer: profile, plan, and the anchor of the first plan's monthly credits."""

    __tablename__ = "accounts"
    account_id: str = Field(primary_key=True, max_length=64)
    email: str | None = Field(default=None, index=True)
    name: str | None = None
    country: str | None = None
    locale: str = "en"
    profile: str = "{}"
    plan: str | None = None
    anchor_at: datetime
    next_grant_at: datetime | None = Field(default=None, index=True)
    created_at: datetime = Field(index=True)


class WalletRow(Base, table=True):
    """The unit of locking: the chain's head, debt, and totals per bucket as a checked cache."""

    __tablename__ = "wallets"
    __table_args__ = (
        of_account(),
        one_of("status", "active", "suspended", "closed"),
        CheckConstraint("debt_credits >= 0 AND seq >= 0", name="not_negative"),
        CheckConstraint(
            "available_limited_time >= 0 AND available_monthly >= 0 AND available_recharge >= 0 "
            "AND held_limited_time >= 0 AND held_monthly >= 0 AND held_recharge >= 0",
            name="buckets_not_negative",
        ),
        CheckConstraint("daily_limit_credits >= 0", name="daily_limit_not_negative"),
        CheckConstraint("per_call_limit_credits >= 0", name="per_call_limit_not_negative"),
        Index("ix_wallets_next_expiry_at", "next_expiry_at"),
        Index("ix_wallets_next_hold_expiry_at", "next_hold_expiry_at"),
        ROOM_TO_UPDATE,
    )
    account_id: str = Field(primary_key=True, max_length=64)
    status: str = "active"
    seq: int = big(default=0)
    head: bytes = raw(default=b"")
    debt_credits: int = big(default=0)
    available_limited_time: int = big(default=0)
    available_monthly: int = big(default=0)
    available_recharge: int = big(default=0)
    held_limited_time: int = big(default=0)
    held_monthly: int = big(default=0)
    held_recharge: int = big(default=0)
    next_expiry_at: datetime
    last_at: datetime
    spent_on: date
    spent_credits: int = big(default=0)
    next_hold_expiry_at: datetime | None = None
    daily_limit_credits: int | None = big(nullable=True)
    per_call_limit_credits: int | None = big(nullable=True)


class LotRow(Base, table=True):
    """Credits granted together; the partial index is the spend order of what can still be drawn.

    `is_open` (something remains) is a column of its own so that a draw that leaves something touches no index.
    """

    __tablename__ = "lots"
    __table_args__ = (
        of_account(),
        UniqueConstraint("account_id", "granted_seq"),
        one_of("bucket", "limited_time", "monthly", "recharge"),
        CheckConstraint("remaining_credits BETWEEN 0 AND granted_credits", name="remaining_in_range"),
        CheckConstraint("is_open = (remaining_credits > 0)", name="open_while_remaining"),
        CheckConstraint(
            "granted_credits > 0 AND held_credits >= 0 AND taken_credits >= 0 AND owed_credits >= 0 "
            "AND expired_credits >= 0 AND cost_minor >= 0",
            name="not_negative",
        ),
        partial_index(
            "ix_lots_spend_order", "account_id", "bucket_order", "expires_at", "granted_seq", where="is_open"
        ),
        partial_index("ix_lots_purchase", "account_id", "purchase_id", where="purchase_id IS NOT NULL"),
        ROOM_TO_UPDATE,
    )
    account_id: str = Field(primary_key=True, max_length=64)
    lot_id: str = Field(primary_key=True)
    granted_seq: int = big()
    bucket: str
    bucket_order: int
    source: str
    expires_at: datetime
    granted_credits: int = big()
    remaining_credits: int = big()
    is_open: bool
    held_credits: int = big(default=0)
    taken_credits: int = big(default=0)
    owed_credits: int = big(default=0)
    expired_credits: int = big(default=0)
    purchase_id: str | None = None
    cost_minor: int = big(default=0)
    cost_currency: str | None = None
    granted_at: datetime


class HoldRow(Base, table=True):
    """Credits reserved for later. `parts` is a JSON array of [lot, bucket, credits, day], in the order held; what
    they sum up to stands in `held_credits` too, for the audit."""

    __tablename__ = "holds"
    __table_args__ = (
        of_account(),
        one_of("status", "open", "captured", "voided", "expired"),
        CheckConstraint(
            "held_credits > 0 AND captured_credits >= 0 AND counted_credits BETWEEN 0 AND captured_credits",
            name="in_range",
        ),
        partial_index("ix_holds_open", "account_id", "expires_at", where="status = 'open'"),
        Index("ix_holds_created", "account_id", "created_at"),
    )
    account_id: str = Field(primary_key=True, max_length=64)
    hold_id: str = Field(primary_key=True)
    status: str
    parts: str
    held_credits: int = big()
    captured_credits: int = big(default=0)
    counted_credits: int = big(default=0)
    ttl_seconds: int = big()
    expires_at: datetime
    description: str
    provider_id: str | None = None
    provider_name: str | None = None
    capability_id: str | None = None
    call_id: str | None = None
    metadata_json: str
    actor: str
    created_at: datetime
    ended_at: datetime | None = None


class TransactionRow(Base, table=True):
    """The ledger, append-only. `entries` is a JSON array of [lot, bucket, signed credits].

    No foreign key and no index on time: the wallet's lock has proved the account, and `created_at` grows with
    `seq`, so an instant is found by bisection (`store/history.py`). Every index here is paid for by every spend.
    """

    __tablename__ = "transactions"
    __table_args__ = (
        UniqueConstraint("account_id", "transaction_id"),
        UniqueConstraint("account_id", "operation", "idempotency_key"),
        CheckConstraint("balance_after >= 0 AND debt_after >= 0 AND seq > 0", name="not_negative"),
        partial_index("ix_transactions_reverses", "account_id", "reverses_id", where="reverses_id IS NOT NULL"),
        partial_index("ix_transactions_purchase", "account_id", "purchase_id", where="purchase_id IS NOT NULL"),
        Index(
            "ix_transactions_campaign",
            "account_id",
            "reference_id",
            unique=True,
            postgresql_where=text("reference_type = 'campaign'"),
            sqlite_where=text("reference_type = 'campaign'"),
        ),
    )
    account_id: str = Field(primary_key=True, max_length=64)
    seq: int = big(primary_key=True)
    transaction_id: str
    type: str
    amount_credits: int = big()
    balance_after: int = big()
    debt_after: int = big()
    source: str | None = None
    description: str
    reference_type: str | None = None
    reference_id: str | None = None
    reverses_id: str | None = None
    purchase_id: str | None = None
    provider_id: str | None = None
    provider_name: str | None = None
    capability_id: str | None = None
    outcome: str | None = None
    call_id: str | None = None
    actor: str
    metadata_json: str
    entries: str
    created_at: datetime
    operation: str | None = None
    idempotency_key: str | None = None
    fingerprint: str | None = None
    command_rows: int
    hash: bytes = raw()


class ReplyRow(Base, table=True):
    """The first answer to a keyed request that is not a ledger command (checkout, reversal, account)."""

    __tablename__ = "replies"
    scope: str = Field(primary_key=True, max_length=64)
    operation: str = Field(primary_key=True)
    idempotency_key: str = Field(primary_key=True)
    fingerprint: str
    status: int
    answer: str
    created_at: datetime


class PurchaseRow(Base, table=True):
    """The intention to pay, the quote it was made from, and what has come of it."""

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
        CheckConstraint("amount_minor > 0 AND base_credits > 0 AND bonus_credits >= 0", name="positive"),
        CheckConstraint("credits_out BETWEEN 0 AND base_credits + bonus_credits", name="out_in_range"),
        Index("ix_purchases_id", "purchase_id"),
        Index("ix_purchases_created", "account_id", "created_at"),
        Index("ix_purchases_status", "status", "expires_at"),
    )
    account_id: str = Field(primary_key=True, max_length=64)
    purchase_id: str = Field(primary_key=True)
    provider: str
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


class DocumentRow(Base, table=True):
    """A receipt or credit note as it was issued: frozen data, its digest, and the PDF once it was made."""

    __tablename__ = "documents"
    __table_args__ = (
        ForeignKeyConstraint(["account_id", "purchase_id"], ["purchases.account_id", "purchases.purchase_id"]),
        UniqueConstraint("account_id", "purchase_id", "kind", "cause"),
        one_of("kind", "receipt", "invoice", "credit_note", "payment_confirmation"),
        Index("ix_documents_series", "series", "number_in_series"),
    )
    account_id: str = Field(primary_key=True, max_length=64)
    document_id: str = Field(primary_key=True)
    purchase_id: str
    kind: str
    cause: str
    series: str
    number_in_series: int = big()
    number: str
    original_number: str | None = None
    amount_minor: int = big()
    tax_minor: int = big()
    currency: str
    data: str
    digest: str
    pdf: bytes | None = raw(nullable=True)
    pdf_digest: str | None = None
    issued_at: datetime


class OutboxRow(Base, table=True):
    """Work and messages that must follow a commit: written with it, done by `engine/jobs.py`, once each."""

    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_due", "done_at", "due_at"),)
    account_id: str = Field(primary_key=True, max_length=64)
    outbox_id: str = Field(primary_key=True)
    kind: str
    payload: str
    due_at: datetime
    attempts: int = 0
    problem: str | None = None
    done_at: datetime | None = None
    created_at: datetime


class MailRow(Base, table=True):
    """A mail as it was written; `sent_at` once a mail server took it (a demo keeps them in its mailbox)."""

    __tablename__ = "mails"
    account_id: str = Field(primary_key=True, max_length=64)
    mail_id: str = Field(primary_key=True)
    kind: str
    recipient: str
    subject: str
    text: str
    created_at: datetime
    sent_at: datetime | None = None


class AuditRow(Base, table=True):
    """Who did what to whom, when and why: append-only."""

    __tablename__ = "audit_log"
    account_id: str = Field(primary_key=True, max_length=64)
    audit_id: str = Field(primary_key=True)
    actor: str
    action: str
    object_id: str
    reason: str
    facts: str = "{}"
    created_at: datetime


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


class DocumentSeriesRow(Base, table=True):
    """The last number taken in a series; taken in the transaction that writes the document, so no gap is left."""

    __tablename__ = "document_series"
    series: str = Field(primary_key=True)
    last: int = big(default=0)


class CredentialRow(Base, table=True):
    """A key: its keyed hash, whom it stands for, what it may do."""

    __tablename__ = "credentials"
    __table_args__ = (one_of("role", "service", "account", "support", "approver", "admin", "auditor"),)
    key_hash: str = Field(primary_key=True)
    credential_id: str = Field(unique=True)
    role: str
    account_id: str | None = Field(default=None, index=True)
    name: str
    hint: str
    created_at: datetime
    revoked_at: datetime | None = None


class PortalSessionRow(Base, table=True):
    """A one-time link or the browser session it opened, by the hash of its token."""

    __tablename__ = "portal_sessions"
    __table_args__ = (one_of("kind", "link", "session"),)
    token_hash: str = Field(primary_key=True)
    kind: str
    role: str
    subject: str
    account_id: str | None = None
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None


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
