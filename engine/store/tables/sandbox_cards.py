"""The sandbox provider's own books: its customers, the cards they saved, and the events it has told."""

from datetime import datetime

from sqlalchemy import Index
from sqlmodel import Field

from engine.store.tables.base import Base


class SandboxCustomerRow(Base, table=True):
    """A customer, as the seller named them."""

    __tablename__ = "sandbox_customers"
    customer_id: str = Field(primary_key=True)
    idempotency_key: str = Field(unique=True)
    account_id: str
    email: str | None = None
    created_at: datetime


class SandboxCardRow(Base, table=True):
    """A saved card; `behaviour` is what its bank says to a charge that the customer is not there for."""

    __tablename__ = "sandbox_cards"
    card_id: str = Field(primary_key=True)
    customer_id: str = Field(index=True)
    brand: str
    last4: str
    exp_month: int
    exp_year: int
    behaviour: str = "succeed"
    is_attached: bool = True
    created_at: datetime


class SandboxEventRow(Base, table=True):
    """An event as it was told, so that it can be listed when its webhook got lost."""

    __tablename__ = "sandbox_events"
    __table_args__ = (Index("ix_sandbox_events_created_at", "created_at", "event_id"),)
    event_id: str = Field(primary_key=True)
    type: str
    object_kind: str
    object_id: str
    created_at: datetime
