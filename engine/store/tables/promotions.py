"""Coupons: how often one was used, on which purchases, and how often somebody guessed."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index
from sqlmodel import Field

from engine.store.tables.base import Base, big, of_account


class CouponGuessRow(Base, table=True):
    """How many unknown codes an account has tried since `started_at`: a window begins with its first guess."""

    __tablename__ = "coupon_guesses"
    __table_args__ = (of_account(), CheckConstraint("guesses > 0", name="positive"))
    account_id: str = Field(primary_key=True, max_length=64)
    started_at: datetime
    guesses: int = big()


class CouponUseRow(Base, table=True):
    """How many accounts redeemed a coupon or have it on a purchase: what a cap is held against.

    A redemption is counted in the transaction of its grant; a purchase in the one that writes it, and no more from the
    one in which it ends unpaid.
    """

    __tablename__ = "coupon_uses"
    __table_args__ = (CheckConstraint("used > 0", name="positive"),)
    coupon: str = Field(primary_key=True)
    used: int = big()


class PurchaseCouponRow(Base, table=True):
    """A coupon on a purchase: the part of the purchase's bonus credits that it adds, as it was agreed at checkout.

    `is_counted`: whether this use is one of the coupon's, for the account and against the cap.
    """

    __tablename__ = "purchase_coupons"
    __table_args__ = (
        ForeignKeyConstraint(["account_id", "purchase_id"], ["purchases.account_id", "purchases.purchase_id"]),
        CheckConstraint("percent > 0 AND credits > 0", name="positive"),
        Index("ix_purchase_coupons_coupon", "account_id", "coupon"),
    )
    account_id: str = Field(primary_key=True, max_length=64)
    purchase_id: str = Field(primary_key=True)
    coupon: str
    code: str
    description: str
    percent: int
    credits: int = big()
    is_counted: bool
