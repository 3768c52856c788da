"""Accounts, wallets and their ledger: lots, holds, transactions, daily usage."""

from datetime import date, datetime

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, text
from sqlmodel import Field

from engine.store.tables.base import ROOM_TO_UPDATE, Base, big, of_account, one_of, partial_index, raw


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
    """The unit of locking: the chain's head, debt, and totals per bucket as a checked cache.

    `uses` are those of its newest day that are not in `usage_daily`, as JSON; `used_on` and `used_credits` are their
    day and sum, for questions about all accounts. `front_lot` is the first lot in spend order, as JSON: what its own
    row says remains, and the lot with what does remain. A spend from it writes no lot.
    """

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
        CheckConstraint("low_balance_credits >= 0", name="low_balance_not_negative"),
        Index("ix_wallets_next_expiry_at", "next_expiry_at"),
        Index("ix_wallets_next_hold_expiry_at", "next_hold_expiry_at"),
        Index("ix_wallets_used_on", "used_on"),
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
    low_balance_credits: int | None = big(nullable=True)
    limit_alerted_on: date | None = None
    recharge_at_credits: int | None = big(nullable=True)
    used_on: date | None = None
    used_credits: int | None = big(nullable=True)
    uses: str | None = None
    front_lot: str | None = None


class LotRow(Base, table=True):
    """Credits granted together; the partial index is the spend order of what can still be drawn.

    `is_open` (something remains) is a column of its own so that a draw that leaves something touches no index. What
    remains of the first lot in spend order is said by `front_lot` of the wallet, where it names the lot.
    `warn_at` is when the customer is next told that it expires, if ever.
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
        partial_index("ix_lots_warn", "warn_at", where="warn_at IS NOT NULL"),
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
    warn_at: datetime | None = None


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
    api_key_id: str | None = None


class TransactionRow(Base, table=True):
    """The ledger, append-only. `entries` is a JSON array of [lot, bucket, signed credits].

    No foreign key and no index on time: the wallet's lock has proved the account, and `created_at` grows with
    `seq`, so an instant is found by bisection (`store/history.py`); a row's id ends in its `seq`. Every index here is
    paid for by every spend.
    """

    __tablename__ = "transactions"
    __table_args__ = (
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
    api_key_id: str | None = None
    hash: bytes = raw()


class UsageDailyRow(Base, table=True):
    """What was spent on one UTC day on one provider, but for what the wallet still carries of its newest day."""

    __tablename__ = "usage_daily"
    __table_args__ = (
        of_account(),
        CheckConstraint("credits_spent >= 0 AND call_count >= 0", name="not_negative"),
        Index("ix_usage_daily_day", "day", "account_id"),
    )
    account_id: str = Field(primary_key=True, max_length=64)
    day: date = Field(primary_key=True)
    provider_id: str = Field(primary_key=True)
    provider_name: str | None = None
    credits_spent: int = big(default=0)
    call_count: int = big(default=0)


class KeyUsageDailyRow(Base, table=True):
    """What counted on a key's daily limit on one UTC day; a row stands for each day on which it was used."""

    __tablename__ = "key_usage_daily"
    __table_args__ = (
        of_account(),
        CheckConstraint("credits_spent >= 0", name="not_negative"),
        Index("ix_key_usage_daily_day", "day"),
    )
    account_id: str = Field(primary_key=True, max_length=64)
    api_key_id: str = Field(primary_key=True)
    day: date = Field(primary_key=True)
    credits_spent: int = big()
