"""`POST coupons/redeem`: a code becomes credits."""

from typing import Annotated, Any

from msgspec import Meta

from api.body import Body
from api.scope import Answer, Call, Resource
from api.transactions import View
from engine.flows.coupons import RedeemOrder, redeem
from engine.rules.errors import (
    CouponExpired,
    CouponRedeemed,
    CouponTermsNotMet,
    CouponUnknown,
    CouponUsedUp,
    IdempotencyMismatch,
    RateLimited,
    WalletNotActive,
)
from engine.rules.money import usd_text

CODE_LENGTH_MAX = 200


class RedeemBody(Body, frozen=True, kw_only=True):
    """The code, in any case and with blanks around it."""

    code: Annotated[str, Meta(min_length=1, max_length=CODE_LENGTH_MAX)]


class RedeemAnswer(View, frozen=True, kw_only=True):
    """`usdcEquivalent` is null where a credit has no USD value."""

    code: str
    credits_granted: str
    usdc_equivalent: str | None
    description: str
    new_balance: str


def post_redeem(call: Call[RedeemBody]) -> Answer:
    """Redeem a coupon."""
    order = RedeemOrder(account_id=call.account_id, actor=call.actor, code=call.ask.code, key=call.key)
    redeemed = redeem(call.runtime, order)
    given = redeemed.redemption
    answer = RedeemAnswer(
        code=given.code,
        credits_granted=str(given.credits),
        usdc_equivalent=usd_text(given.credits, call.runtime.catalog.unit.credits_per_usd),
        description=given.description,
        new_balance=str(given.balance_after),
    )
    return Answer(answer, is_replay=redeemed.is_replay)


RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="POST",
        path="coupons/redeem",
        may="buy",
        handler=post_redeem,
        asks=RedeemBody,
        answers=RedeemAnswer,
        status=201,
        key="optional",
        refuses=(
            CouponUnknown,
            CouponRedeemed,
            CouponExpired,
            CouponTermsNotMet,
            CouponUsedUp,
            RateLimited,
            WalletNotActive,
            IdempotencyMismatch,
        ),
        summary="Redeem a coupon: once for each account, at once.",
    ),
)
