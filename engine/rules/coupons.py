"""Coupons: who may use one, the grant that a redemption becomes, and what one adds to a purchase.

A coupon on a purchase is used from the moment its purchase is written, so that of several accounts at once no more
reserve it than its cap allows. The use is given back when the purchase ends unpaid, and taken again, above the cap if
it must be, should the money come after all: what was agreed is granted. A card that was declined is not yet the end:
another may pay on the same page for as long as that is open.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from engine.rules.catalog import Coupon, Descriptions, coupon_key, describe
from engine.rules.commands import Grant
from engine.rules.errors import CouponExpired, CouponRedeemed, CouponTermsNotMet
from engine.rules.quotes import CouponOffer, Quote

GUESSES_MAX = 20
GUESS_WINDOW = timedelta(hours=1)
"""An account may try so many unknown codes in a window, which begins with the first of them."""

ENDED_UNPAID = ("failed", "expired", "cancelled", "refunded")
"""How a purchase ends of which nothing was ever granted; `refunded`: its money was quarantined and went back."""


@dataclass(frozen=True, slots=True)
class Redeemer:
    """What a coupon's terms look at. `has_topped_up`: a payment landed and was not wholly refunded."""

    plan: str | None
    country: str | None
    has_topped_up: bool
    has_redeemed: bool


def check_redeemable(coupon: Coupon, redeemer: Redeemer, now: datetime) -> None:
    """Whether this account may redeem the coupon now, its cap aside."""
    if coupon.percent is not None:
        raise CouponTermsNotMet("purchase", "The coupon adds credits to a top-up: use it there.")
    _check_terms(coupon, redeemer, now)


def check_usable(coupon: Coupon, redeemer: Redeemer, now: datetime) -> None:
    """Whether this account may use the coupon on a purchase now, its cap aside."""
    if coupon.percent is None:
        raise CouponTermsNotMet("redemption", "The coupon is not for a top-up: redeem it, and its credits are yours.")
    _check_terms(coupon, redeemer, now)


def _check_terms(coupon: Coupon, redeemer: Redeemer, now: datetime) -> None:
    """A coupon lives until `ends_at`, exclusive."""
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
    assert coupon.credits is not None and coupon.bucket is not None, "only a coupon for credits is redeemed"
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


def coupon_offer(coupon: Coupon, quoted: Quote) -> CouponOffer:
    """What the coupon adds to this purchase; refused where that is less than one credit, for it can be used once."""
    assert coupon.percent is not None, "only a coupon with a percentage adds to a purchase"
    if quoted.coupon_credits == 0:
        raise CouponTermsNotMet("amount", "This amount is too small for the coupon to add a credit.")
    return CouponOffer(
        code=coupon.code,
        description=coupon.description,
        percent=coupon.percent,
        credits=quoted.coupon_credits,
        uses_max=coupon.max_redemptions,
    )


def uses_coupon(status: str, *, has_landed: bool, is_over: bool) -> bool:
    """Whether a purchase in this state has its coupon's use: not once it has ended with nothing granted.

    `is_over`: its page, where it has one, can't be paid any more.
    """
    if status == "failed" and not is_over:
        return True
    return has_landed or status not in ENDED_UNPAID
