"""What a top-up would give, priced live."""

import asyncio
from functools import lru_cache
from typing import Annotated, Any

from msgspec import Meta
from msgspec.structs import replace

from api.body import Body
from api.instants import instant
from api.payments import usd
from api.posting import carry_out, look_up
from api.scope import Answer, Call, Resource
from engine.flows import purchase_coupons, topups
from engine.rules.catalog import Coupon
from engine.rules.commands import Expire
from engine.rules.countries import check_country
from engine.rules.coupons import coupon_offer
from engine.rules.errors import (
    AboveMaximum,
    BelowMinimum,
    CouponExpired,
    CouponRedeemed,
    CouponTermsNotMet,
    CouponUnknown,
    CouponUsedUp,
    Invalid,
    MalformedAmount,
    NotFound,
    QuoteRefused,
    RateLimited,
)
from engine.rules.money import Money
from engine.rules.pricing import Pricing
from engine.rules.quotes import Quote, make_offer, parse_amount_cents, quote, sign_quote
from engine.runtime import Runtime
from engine.store import accounts
from engine.store.accounts import Buyer
from engine.store.database import reading

Country = Annotated[str, Meta(pattern=r"\A[A-Z]{2}\Z")]
Platform = Annotated[str, Meta(pattern=r"\A(web|ios|android)\Z")]
Text = Annotated[str, Meta(max_length=200)]

OF_COUPONS = (CouponUnknown, CouponRedeemed, CouponExpired, CouponTermsNotMet, CouponUsedUp, RateLimited)


class QuoteQuery(Body, frozen=True, kw_only=True):
    amount_usd_cents: str | None = None
    amount_minor: str | None = None
    currency: str | None = None
    provider: Text | None = None
    coupon: Text | None = None
    country: Country | None = None
    platform: Platform = "web"


class Tier(Body, frozen=True, kw_only=True):
    name: str
    from_minor: int
    to_minor: int | None


class NextTier(Body, frozen=True, kw_only=True):
    from_minor: int
    add_minor: int
    extra_credits: str
    credits_then: str
    near: bool


class QuotedCoupon(Body, frozen=True, kw_only=True):
    code: str
    description: str
    percent: int


class QuoteAnswer(Body, frozen=True, kw_only=True):
    amount_minor: int
    currency: str
    amount_usd: str | None
    credits: str
    base_credits: str
    bonus_credits: str
    coupon_credits: str
    coupon: QuotedCoupon | None
    price_per_credit: str
    credits_per_unit: int
    tier: Tier
    save_percent: str
    save_badge: int | None
    next_tier: NextTier | None
    min_minor: int
    max_minor: int
    presets: tuple[int, ...]
    providers: tuple[str, ...]
    balance_after: str
    quote_token: str
    expires_at: str


async def get_quote(call: Call[QuoteQuery]) -> Answer:
    """What an amount gives, priced now, with a token that holds the price; writes nothing and asks no provider.

    A coupon is looked up under the wallet's lock, and an unknown one is a guess that is kept: that is done aside.
    """
    amount = amount_asked(call.ask)
    check_country("country", call.ask.country)
    buyer = await look_up(call.runtime, accounts.buyers, call.account_id)
    if buyer is not None and buyer.wallet.is_due(call.runtime.clock.now()):
        await carry_out(call.runtime, Expire(account_id=call.account_id, actor="system"))
        buyer = await look_up(call.runtime, accounts.buyers, call.account_id)
    if call.ask.coupon is not None:
        return Answer(await asyncio.to_thread(_quote, call.runtime, call.account_id, buyer, amount, call.ask))
    return Answer(_quote(call.runtime, call.account_id, buyer, amount, call.ask))


def quote_for(runtime: Runtime, account_id: str, amount: Money, ask: QuoteQuery) -> QuoteAnswer:
    """The quote as the contract words it, for a page."""
    with reading(runtime.db) as session:
        buyer = accounts.buyers(session, [account_id]).get(account_id)
    return _quote(runtime, account_id, buyer, amount, ask)


def _quote(runtime: Runtime, account_id: str, buyer: Buyer | None, amount: Money, ask: QuoteQuery) -> QuoteAnswer:
    if buyer is None:
        raise NotFound("account")
    country = ask.country or buyer.country
    catalog = runtime.catalog
    offered = topups.offered_providers(runtime, country, ask.platform)
    if ask.provider is not None and ask.provider not in offered:
        raise Invalid("provider", "This provider is not offered here.")
    rail = ask.provider or (offered[0] if offered else None)
    priced, shown = _priced(catalog.pricing, amount, rail, None)
    coupon = None
    if ask.coupon is not None:
        found = purchase_coupons.coupon_for(runtime, account_id, ask.coupon, rail)
        priced, shown = _priced(catalog.pricing, amount, rail, found)
        coupon = coupon_offer(found, priced)
    offer = make_offer(catalog, priced, account_id, ask.provider, coupon, runtime.clock.now())
    return replace(
        shown,
        providers=offered,
        balance_after=str(max(0, buyer.wallet.available_credits + priced.credits - buyer.wallet.debt_credits)),
        quote_token=sign_quote(offer, runtime.secrets.signing("quote")),
        expires_at=instant(offer.expires_at),
    )


@lru_cache(maxsize=1024)
def _priced(pricing: Pricing, amount: Money, provider: str | None, coupon: Coupon | None) -> tuple[Quote, QuoteAnswer]:
    """A price, and how it is shown to whoever asks: worked out once, for most ask for the same few amounts.

    What is one buyer's own is left blank.
    """
    percent = 0 if coupon is None else coupon.percent or 0
    priced = quote(pricing, amount, provider, percent)
    further = priced.next_tier
    return priced, QuoteAnswer(
        amount_minor=amount.minor,
        currency=amount.currency,
        amount_usd=usd(amount),
        credits=str(priced.credits),
        base_credits=str(priced.base_credits),
        bonus_credits=str(priced.bonus_credits),
        coupon_credits=str(priced.coupon_credits),
        coupon=None
        if coupon is None
        else QuotedCoupon(code=coupon.code, description=coupon.description, percent=percent),
        price_per_credit=priced.price_per_credit,
        credits_per_unit=priced.credits_per_unit,
        tier=Tier(name=priced.tier.name, from_minor=priced.tier.from_minor, to_minor=priced.tier.to_minor),
        save_percent=str(priced.save_percent),
        save_badge=priced.save_badge,
        next_tier=None
        if further is None
        else NextTier(
            from_minor=further.from_minor,
            add_minor=further.add_minor,
            extra_credits=str(further.extra_credits),
            credits_then=str(further.credits_then),
            near=further.near,
        ),
        min_minor=pricing.min_minor,
        max_minor=pricing.max_minor,
        presets=pricing.presets_minor,
        providers=(),
        balance_after="",
        quote_token="",
        expires_at="",
    )


def amount_asked(ask: QuoteQuery) -> Money:
    """The amount of money a query names, in one of the two ways."""
    if (ask.amount_usd_cents is None) == (ask.amount_minor is None):
        raise MalformedAmount("Give amountUsdCents, or amountMinor with currency.")
    if ask.amount_usd_cents is not None:
        if ask.currency not in (None, "USD"):
            raise MalformedAmount("amountUsdCents is in US dollars.")
        return Money(parse_amount_cents(ask.amount_usd_cents), "USD")
    if ask.currency is None:
        raise MalformedAmount("amountMinor needs its currency.")
    assert ask.amount_minor is not None
    return Money(parse_amount_cents(ask.amount_minor), ask.currency)


RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="GET",
        path="quote",
        may="read",
        handler=get_quote,
        is_hot=True,
        asks=QuoteQuery,
        answers=QuoteAnswer,
        refuses=(MalformedAmount, BelowMinimum, AboveMaximum, NotFound, QuoteRefused, *OF_COUPONS),
        summary="Price a top-up.",
    ),
)
