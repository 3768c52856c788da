"""Coupons: who may redeem one, and the grant it becomes."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from engine.rules.catalog import Coupon, Descriptions, coupon_key, describe
from engine.rules.commands import Grant
from engine.rules.errors import CouponExpired, CouponRedeemed, CouponTermsNotMet

GUESSES_MAX = 20
GUESS_WINDOW = timedelta(hours=1)
"""An account may try so many unknown codes in a window, which begins with the first of them."""


@dataclass(frozen=True, slots=True)
class Redeemer:
    """What a coupon's terms look at. `has_topped_up`: a payment landed and was not wholly refunded."""

    plan: str | None
    country: str | None
    has_topped_up: bool
    has_redeemed: bool


def check_redeemable(coupon: Coupon, redeemer: Redeemer, now: datetime) -> None:
    """Whether this account may redeem the coupon now, its cap aside. A coupon lives until `ends_at`, exclusive."""
    if redeemer.has_redeemed:
        raise CouponRedeemed
    if coupon.ends_at is not None and now >= coupon.ends_at:
        raise CouponExpired(coupon.ends_at.isoformat().replace("+00:00", "Z"))
    if coupon.first_top_up_required and not redeemer.has_topped_up:
        raise CouponTermsNotMet("first_top_up", "The coupon can be redeemed after a first top-up.")
    if coupon.plans and redeemer.plan not in coupon.plans:
        raise CouponTermsNotMet("plan", "The coupon is not for this plan.")
    if coupon.countries and redeemer.country not in coupon.countries:
        raise CouponTermsNotMet("country", "The coupon is not for this country.")


def coupon_grant(coupon: Coupon, words: Descriptions, account_id: str, actor: str, now: datetime) -> Grant:
    """The grant of a redemption. Its key is the coupon itself: an account has at most one."""
    days = coupon.expires_after_days
    return Grant(
        operation="coupon",
        account_id=account_id,
        actor=actor,
        type="coupon_credit",
        source="coupon",
        bucket=coupon.bucket,
        credits=coupon.credits,
        description=describe(words.coupon_credit, code=coupon.code, description=coupon.description),
        expires_at=None if days is None else now + timedelta(days=days),
        reference_type="coupon",
        reference_id=coupon.code,
        key=coupon_key(coupon.code),
    )
