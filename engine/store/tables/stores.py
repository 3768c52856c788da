"""App stores: the token that names an account to them, and whose each purchase is."""

from datetime import datetime

from sqlalchemy import Index
from sqlmodel import Field

from engine.store.tables.base import Base, of_account, one_of


class StoreCustomerRow(Base, table=True):
    """The token an account's app gives the stores, and whether its customer lets a store be told what was used."""

    __tablename__ = "store_customers"
    __table_args__ = (of_account(), Index("ix_store_customers_token", "token"))
    account_id: str = Field(primary_key=True, max_length=64)
    token: str
    has_consented: bool = False
    updated_at: datetime


class StorePurchaseRow(Base, table=True):
    """One purchase at a store: unclaimed, with its newest sighting, until it is bound once, by its buyer or by support.

    Whoever sights or binds a purchase writes this row, so the two meet here and neither misses what the other did.
    `unclaimed_id` is what the desk calls it. A purchase that support dismissed or sends back waits for nobody; its
    buyer may still claim it, for what was sent back is taken from it again.
    """

    __tablename__ = "store_purchases"
    __table_args__ = (
        one_of("status", "waiting", "bound", "refunding", "refunded", "dismissed"),
        Index("ix_store_purchases_unclaimed", "status", "seen_at"),
        Index("ix_store_purchases_unclaimed_id", "unclaimed_id", unique=True),
    )
    provider: str = Field(primary_key=True)
    provider_account: str = Field(primary_key=True)
    mode: str = Field(primary_key=True)
    object_id: str = Field(primary_key=True)
    unclaimed_id: str
    status: str = "waiting"
    product_id: str
    sighting: str
    problem: str | None = None
    seen_at: datetime
    bound_at: datetime | None = None
    account_id: str | None = None
    purchase_id: str | None = None
    decided_by: str | None = None
    reason: str | None = None
