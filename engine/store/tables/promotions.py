"""Coupons: how often one was used, and how often somebody guessed."""

from datetime import datetime

from sqlalchemy import CheckConstraint
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
    """How many accounts redeemed a coupon, counted in the transaction of each grant: what a cap is held against."""

    __tablename__ = "coupon_uses"
    __table_args__ = (CheckConstraint("used > 0", name="positive"),)
    coupon: str = Field(primary_key=True)
    used: int = big()
