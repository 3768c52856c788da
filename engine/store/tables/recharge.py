"""Saved cards, the customer's wish for auto-recharge, each charge it led to, and why it fired or did not."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlmodel import Field

from engine.store.tables.base import Base, big, of_account, one_of, partial_index

IN_FLIGHT = text("status IN ('pending', 'processing', 'requires_action')")


class ProviderCustomerRow(Base, table=True):
    """Who an account is at a provider: one customer object each, per mode, made once."""

    __tablename__ = "provider_customers"
    __table_args__ = (of_account(), Index("ix_provider_customers_customer_id", "provider", "customer_id"))
    account_id: str = Field(primary_key=True, max_length=64)
    provider: str = Field(primary_key=True)
    mode: str = Field(primary_key=True)
    customer_id: str
    created_at: datetime


class PaymentMethodRow(Base, table=True):
    """A saved card, as far as we know it: brand, last four, expiry and the provider's own id. Gone if `detached_at`."""

    __tablename__ = "payment_methods"
    __table_args__ = (
        of_account(),
        UniqueConstraint("account_id", "provider", "provider_reference"),
        Index("ix_payment_methods_reference", "provider", "provider_reference"),
    )
    account_id: str = Field(primary_key=True, max_length=64)
    method_id: str = Field(primary_key=True)
    provider: str
    provider_reference: str
    customer_id: str
    brand: str
    last4: str
    exp_month: int
    exp_year: int
    is_default: bool = False
    created_at: datetime
    detached_at: datetime | None = None


class AutoRechargeRow(Base, table=True):
    """What a customer wants bought, when, and with which card; `failures` counts declines in a row."""

    __tablename__ = "auto_recharges"
    __table_args__ = (
        of_account(),
        CheckConstraint(
            "threshold_credits >= 0 AND amount_minor > 0 AND monthly_cap_minor > 0 AND failures >= 0", name="in_range"
        ),
    )
    account_id: str = Field(primary_key=True, max_length=64)
    is_enabled: bool = False
    threshold_credits: int | None = big(nullable=True)
    amount_minor: int | None = big(nullable=True)
    method_id: str | None = None
    monthly_cap_minor: int | None = big(nullable=True)
    failures: int = 0
    backoff_until_at: datetime | None = None
    updated_at: datetime


class RechargeRow(Base, table=True):
    """One charge of a saved card; `purchase_id` names the purchase it pays. One in flight per account, by an index."""

    __tablename__ = "recharges"
    __table_args__ = (
        ForeignKeyConstraint(["account_id", "purchase_id"], ["purchases.account_id", "purchases.purchase_id"]),
        one_of("status", "pending", "processing", "requires_action", "succeeded", "failed"),
        CheckConstraint("amount_minor > 0", name="positive"),
        Index(
            "ix_recharges_in_flight",
            "account_id",
            unique=True,
            postgresql_where=IN_FLIGHT,
            sqlite_where=IN_FLIGHT,
        ),
        Index("ix_recharges_created", "account_id", "created_at"),
        partial_index("ix_recharges_due", "due_at", where="status IN ('pending', 'processing', 'requires_action')"),
    )
    account_id: str = Field(primary_key=True, max_length=64)
    purchase_id: str = Field(primary_key=True)
    method_id: str
    amount_minor: int = big()
    currency: str
    status: str = "pending"
    payment_id: str | None = None
    decline: str | None = None
    created_at: datetime
    asked_at: datetime | None = None
    due_at: datetime
    ended_at: datetime | None = None


class RechargeDecisionRow(Base, table=True):
    """Why auto-recharge fired, or why it did not: one line that its customer can read, numbered in its account."""

    __tablename__ = "recharge_decisions"
    __table_args__ = (of_account(),)
    account_id: str = Field(primary_key=True, max_length=64)
    number: int = big(primary_key=True)
    decision_id: str
    fired: bool
    reason: str
    available_credits: int = big()
    threshold_credits: int | None = big(nullable=True)
    amount_minor: int | None = big(nullable=True)
    purchase_id: str | None = None
    again_at: datetime | None = None
    created_at: datetime
