"""What waits for a person at the support desk, and what was decided."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, text
from sqlmodel import Field

from engine.store.tables.base import Base, big, of_account, one_of, partial_index


class ProposalRow(Base, table=True):
    """A grant or debit that moves nothing until a person says so. `command` is what will be posted then, as JSON;
    `reference` is its campaign step, of which there is one for each account."""

    __tablename__ = "proposals"
    __table_args__ = (
        of_account(),
        one_of("kind", "host_grant", "admin_grant", "admin_debit"),
        one_of("status", "pending", "approved", "rejected"),
        CheckConstraint("credits > 0", name="positive"),
        Index(
            "ix_proposals_reference",
            "account_id",
            "reference",
            unique=True,
            postgresql_where=text("reference IS NOT NULL"),
            sqlite_where=text("reference IS NOT NULL"),
        ),
        Index("ix_proposals_id", "proposal_id"),
        Index("ix_proposals_waiting", "status", "created_at"),
    )
    account_id: str = Field(primary_key=True, max_length=64)
    proposal_id: str = Field(primary_key=True)
    kind: str
    status: str = "pending"
    credits: int = big()
    bucket: str | None = None
    source: str | None = None
    reference: str | None = None
    description: str
    command: str
    reason: str
    requested_by: str
    decided_by: str | None = None
    decision_reason: str | None = None
    transaction_id: str | None = None
    created_at: datetime
    updated_at: datetime


class ResolutionRow(Base, table=True):
    """What was decided of a purchase whose money was not credited; it waits for nobody any more."""

    __tablename__ = "resolutions"
    __table_args__ = (
        ForeignKeyConstraint(["account_id", "purchase_id"], ["purchases.account_id", "purchases.purchase_id"]),
        one_of("action", "credit", "refund", "dismiss"),
    )
    account_id: str = Field(primary_key=True, max_length=64)
    purchase_id: str = Field(primary_key=True)
    action: str
    actor: str
    reason: str
    reversal_id: str | None = None
    created_at: datetime


class SecondPaymentRow(Base, table=True):
    """Money that came for a purchase which another payment had paid: never credited, sent back or left by a person.

    `tries` counts how often the provider was asked to send it back.
    """

    __tablename__ = "second_payments"
    __table_args__ = (
        ForeignKeyConstraint(["account_id", "purchase_id"], ["purchases.account_id", "purchases.purchase_id"]),
        one_of("status", "waiting", "refunding", "refunded", "dismissed"),
        CheckConstraint("amount_minor > 0 AND tries >= 0", name="positive"),
        Index("ix_second_payments_id", "second_id"),
        partial_index("ix_second_payments_waiting", "created_at", where="status = 'waiting'"),
    )
    account_id: str = Field(primary_key=True, max_length=64)
    purchase_id: str = Field(primary_key=True)
    payment_id: str = Field(primary_key=True)
    second_id: str
    status: str = "waiting"
    amount_minor: int = big()
    currency: str
    tries: int = big(default=0)
    problem: str | None = None
    decided_by: str | None = None
    reason: str | None = None
    created_at: datetime
    updated_at: datetime
