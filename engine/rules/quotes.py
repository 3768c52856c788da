"""Quotes: what an amount of money would give, exactly, and the signed token that keeps that offer for a while."""

import hmac
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from typing import Annotated

import jwt
import msgspec
from msgspec import Meta

from engine.rules.catalog import Catalog, coupon_key
from engine.rules.errors import AboveMaximum, BelowMinimum, MalformedAmount, QuoteRefused
from engine.rules.money import Money, currency_digits
from engine.rules.pricing import Pricing, exact_credits, major_unit, tier_index, tier_rate

PRICE_DIGITS = 8
"""Significant digits of a price per credit."""

TOKEN_PURPOSE = "purser:quote"  # noqa: S105 - a purpose, not a secret
TOKEN_LENGTH_MAX = 8_192
"""More than the longest account id, coupon code and tier name need."""

_CENTS = re.compile(r"[0-9]{1,12}", re.ASCII)


@dataclass(frozen=True, slots=True)
class QuoteTier:
    """The tier an amount is in: `[from_minor, to_minor)`, without an end for the last."""

    name: str
    from_minor: int
    to_minor: int | None


@dataclass(frozen=True, slots=True)
class NextTier:
    """The next better tier: how much more money reaches it and how many more credits that gives."""

    from_minor: int
    add_minor: int
    extra_credits: int
    credits_then: int
    near: bool


@dataclass(frozen=True, slots=True)
class Quote:
    """What `amount` gives. `credits = base_credits + bonus_credits` is what will be granted.

    `price_per_credit`: major units of money ÷ credits granted, plain decimal notation, 8 significant digits,
    half up. `credits_per_unit`: credits for one major unit at this amount's effective rate, bonus included,
    rounded down. `save_percent`: 1 − price at that rate ÷ price at the base rate, two places, rounded down; rates
    are compared before credits are rounded, so the fraction of a credit lost never moves it. `save_badge`: its
    whole part, `None` below 1.
    """

    amount: Money
    credits: int
    base_credits: int
    bonus_credits: int
    bonus_percent: Decimal
    price_per_credit: str
    credits_per_unit: int
    tier: QuoteTier
    save_percent: Decimal
    save_badge: int | None
    next_tier: NextTier | None


def quote(pricing: Pricing, amount: Money, provider: str | None) -> Quote:
    """What `amount` gives on that rail; with none chosen yet, what it gives where every bonus is given.

    Raises `MalformedAmount` (another currency, a negative amount), `BelowMinimum` or `AboveMaximum`.
    """
    minor = amount.minor
    if amount.currency != pricing.currency or minor < 0:
        raise MalformedAmount(f"The amount must be a number of minor units of {pricing.currency}.")
    if minor < pricing.min_minor:
        raise BelowMinimum(minor, pricing.min_minor, pricing.currency)
    if minor > pricing.max_minor:
        raise AboveMaximum(minor, pricing.max_minor, pricing.currency)

    unit = major_unit(pricing)
    exact = exact_credits(pricing, minor, provider)
    credits = int(exact)
    base_credits = minor * pricing.credits_per_unit // unit if pricing.model == "bonus" else credits
    rate = exact * unit / minor
    saved = 1 - pricing.credits_per_unit / rate
    return Quote(
        amount=amount,
        credits=credits,
        base_credits=base_credits,
        bonus_credits=credits - base_credits,
        bonus_percent=_bonus_percent(pricing, minor, provider),
        price_per_credit=price_per_credit(amount, credits),
        credits_per_unit=int(rate),
        tier=_tier(pricing, minor),
        save_percent=Decimal(int(saved * 10_000)).scaleb(-2),
        save_badge=int(saved * 100) or None,
        next_tier=_next_tier(pricing, minor, provider, credits),
    )


def price_per_credit(amount: Money, credits: int) -> str:
    """Major units of money for one of `credits`: `PRICE_DIGITS` significant digits, half up, plain notation."""
    return _decimal_text(Fraction(amount.minor, 10 ** currency_digits(amount.currency)) / credits)


def parse_amount_cents(text: str) -> int:
    """`"29000"` → 29000: 1 to 12 ASCII digits and nothing else, or `MalformedAmount`."""
    if not _CENTS.fullmatch(text):
        raise MalformedAmount("The amount must be a whole number of minor units, in digits only.")
    return int(text)


def providers_for(catalog: Catalog, enabled: Collection[str], country: str | None, platform: str) -> tuple[str, ...]:
    """The rails to offer, in the catalogue's order: enabled, on this platform, open to this country.

    Where the country is not known, rails that are limited to some countries are left out.
    """
    return tuple(
        rail.name
        for rail in catalog.providers
        if rail.name in enabled and platform in rail.platforms and (not rail.regions or country in rail.regions)
    )


@dataclass(frozen=True, slots=True)
class QuoteOffer:
    """What a quote token promises, to whom and until when: good while `now < expires_at`.

    `provider` is the rail that was named when the offer was made; `None` is an offer made without one.
    """

    account_id: str
    amount: Money
    provider: str | None
    coupon: str | None
    base_credits: int
    bonus_credits: int
    tier: str
    catalog: str
    expires_at: Annotated[datetime, Meta(tz=True)]


def make_offer(
    catalog: Catalog, quoted: Quote, account_id: str, provider: str | None, coupon: str | None, now: datetime
) -> QuoteOffer:
    """The quote as an offer to that account, good for the catalogue's `quote_ttl_minutes` from `now` on."""
    return QuoteOffer(
        account_id=account_id,
        amount=quoted.amount,
        provider=provider,
        coupon=coupon,
        base_credits=quoted.base_credits,
        bonus_credits=quoted.bonus_credits,
        tier=quoted.tier.name,
        catalog=catalog.id,
        expires_at=now + timedelta(minutes=catalog.quote_ttl_minutes),
    )


def sign_quote(offer: QuoteOffer, secret: bytes) -> str:
    """The offer as a token (JWT, HS256) that is good for nothing else; `secret` has at least 32 bytes."""
    claims = {"aud": TOKEN_PURPOSE, "offer": msgspec.to_builtins(offer)}
    return jwt.encode(claims, secret, algorithm="HS256")


def read_quote(token: str, secrets: Sequence[bytes], now: datetime) -> QuoteOffer:
    """The offer in a token that one of `secrets` signed, while `now < expires_at`; else `QuoteRefused`.

    A token exists from its signing on, so the half-open `[signed, expires_at)` has only its end to check.
    """
    if len(token) > TOKEN_LENGTH_MAX or not token.isascii():
        raise QuoteRefused("The quote token is not one of ours.")
    for secret in secrets:
        offer = _verified(token, secret)
        if offer is not None:
            break
    else:
        raise QuoteRefused("The quote token is not one of ours.")
    if now >= offer.expires_at:
        raise QuoteRefused("The quote has ended: ask for a new one.")
    return offer


def check_offer(offer: QuoteOffer, account_id: str, amount: Money, provider: str | None, coupon: str | None) -> None:
    """The checkout is the one the offer was made for, else `QuoteRefused`.

    The rail must be the same, and an offer without a rail is for a checkout that names none: a bonus may depend
    on the rail. Coupon codes are compared as coupons are, without case.
    """
    if offer.account_id != account_id:
        raise QuoteRefused("The quote was made for another account.")
    if offer.amount != amount:
        raise QuoteRefused("The quote was made for another amount.")
    if offer.provider != provider:
        raise QuoteRefused("The quote was made for another payment provider.")
    if _coupon_or_none(offer.coupon) != _coupon_or_none(coupon):
        raise QuoteRefused("The quote was made with another coupon.")


def _bonus_percent(pricing: Pricing, minor: int, provider: str | None) -> Decimal:
    if pricing.model != "bonus":
        return Decimal(0)
    return pricing.tiers[tier_index(pricing, minor)].bonus_on(provider)


def _tier(pricing: Pricing, minor: int) -> QuoteTier:
    if not pricing.tiers:
        return QuoteTier("Standard", 0, None)
    index = tier_index(pricing, minor)
    tier, above = pricing.tiers[index], pricing.tiers[index + 1 : index + 2]
    return QuoteTier(tier.name, tier.from_minor, above[0].from_minor if above else None)


def _next_tier(pricing: Pricing, minor: int, provider: str | None, credits: int) -> NextTier | None:
    """The first higher tier whose rate on this rail is better than the present one's."""
    if not pricing.tiers:
        return None
    now_at = tier_index(pricing, minor)
    rate = tier_rate(pricing, now_at, provider)
    for index, tier in enumerate(pricing.tiers[now_at + 1 :], start=now_at + 1):
        if tier_rate(pricing, index, provider) > rate:
            then = int(exact_credits(pricing, tier.from_minor, provider))
            add = tier.from_minor - minor
            near = add <= Fraction(pricing.upsell_within) * tier.from_minor
            return NextTier(tier.from_minor, add, then - credits, then, near)
    return None


def _decimal_text(value: Fraction) -> str:
    """`Fraction(1, 125)` → `"0.0080000000"`: `PRICE_DIGITS` significant digits, half up, no exponent."""
    context = Context(prec=PRICE_DIGITS, rounding=ROUND_HALF_UP)
    rounded = context.divide(Decimal(value.numerator), Decimal(value.denominator))
    places = PRICE_DIGITS - 1 - rounded.adjusted()
    return f"{rounded:.{max(places, 0)}f}"


def _verified(token: str, secret: bytes) -> QuoteOffer | None:
    """The offer, if this secret made this very token: signed again it must be the same text, so that no second
    spelling of a base64 character passes."""
    try:
        claims = jwt.decode(
            token,
            secret,
            algorithms=["HS256"],
            audience=TOKEN_PURPOSE,
            options={"verify_exp": False, "verify_iat": False, "verify_nbf": False, "require": ["aud"]},
        )
        offer = msgspec.convert(claims.get("offer"), QuoteOffer)
    except (jwt.PyJWTError, msgspec.ValidationError):
        return None
    return offer if hmac.compare_digest(sign_quote(offer, secret), token) else None


def _coupon_or_none(code: str | None) -> str | None:
    return None if code is None else coupon_key(code)
