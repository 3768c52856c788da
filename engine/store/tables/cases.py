"""What a provider said that could not be carried out, and so waits for a person."""

from datetime import datetime

from sqlalchemy import Index
from sqlmodel import Field

from engine.store.tables.base import Base, big, one_of, partial_index


class ProviderCaseRow(Base, table=True):
    """One event that failed too often or names nothing we know, or one refund that can't be reckoned.

    `object_id` is the event's id, or the refund's or dispute's; `account_id` is known for the latter. A case whose
    cause went away is `closed` by itself; one that a person tries again is `retrying` until it succeeds or waits anew.
    """

    __tablename__ = "provider_cases"
    __table_args__ = (
        one_of("kind", "event", "foreign_refund"),
        one_of("status", "waiting", "retrying", "closed", "dismissed"),
        Index("ix_provider_cases_id", "case_id", unique=True),
        partial_index("ix_provider_cases_waiting", "created_at", where="status = 'waiting'"),
    )
    provider: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    object_id: str = Field(primary_key=True)
    case_id: str
    status: str = "waiting"
    about: str
    account_id: str | None = None
    purchase_id: str | None = None
    amount_minor: int | None = big(nullable=True)
    currency: str | None = None
    problem: str
    decided_by: str | None = None
    reason: str | None = None
    created_at: datetime
    updated_at: datetime
