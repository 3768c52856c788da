"""Quotes: what an amount of money would give, exactly, and the signed token that keeps that offer for a while."""

import hmac
import re
from base64 import urlsafe_b64encode
from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Annotated

import jwt
import msgspec
from msgspec import Meta

from engine.rules.catalog import Catalog, coupon_key
from engine.rules.errors import AboveMaximum, BelowMinimum, MalformedAmount, QuoteRefused
from engine.rules.keyed_hash import hmac_sha256
from engine.rules.money import Money, currency_digits, percent_down
from engine.rules.pricing import Pricing, exact_credits, major_unit, tier_rate

PRICE_DIGITS = 8
"""Significant digits of a price per credit."""

TOKEN_PURPOSE = "purser:quote"  # noqa: S105 - a purpose, not a secret
TOKEN_LENGTH_MAX = 8_192
"""More than the longest account id, coupon code and tier name need."""

_JWT_HEADER = b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
"""`{"alg":"HS256","typ":"JWT"}`"""
_CENTS = re.compile(r"[0-9]{1,30}", re.ASCII)


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
    """What `amount` gives. `credits = base_credits + bonus_credits + coupon_credits` is what will be granted.

    `coupon_credits`: the coupon's percentage of the base credits, rounded down.
    `price_per_credit`: major units of money ÷ credits granted, plain decimal notation, 8 significant digits,
    half up. `credits_per_unit`: credits for one major unit at this amount's effective rate, bonus and coupon included,
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
    coupon_credits: int = 0


def quote(pricing: Pricing, amount: Money, provider: str | None, coupon_percent: int = 0) -> Quote:
    """What `amount` gives on that rail; with none chosen yet, what it gives where every bonus is given.

    A coupon adds its percentage of the base credits, on every rail and in every tier alike.

    Raises `MalformedAmount` (another currency, a negative amount), `BelowMinimum` or `AboveMaximum`.
    """
    minor = amount.minor
    if amount.currency != pricing.currency or minor < 0:
        raise MalformedAmount(f"The amount must be a number of minor units of {pricing.currency}.")
    if minor < pricing.min_minor:
        raise BelowMinimum(minor, pricing.min_minor, pricing.currency)
    if minor > pricing.max_minor:
        raise AboveMaximum(minor, pricing.max_minor, pricing.currency)

    starts, steps = _steps(pricing, provider)
    step = steps[bisect_right(starts, minor) - 1]
    unit = major_unit(pricing)
    if pricing.mode == "graduated":
        exact = exact_credits(pricing, minor, provider)
        rate = exact * unit / minor
        credits = int(exact)
    else:
        rate = step.rate
        credits = minor * rate.numerator // (rate.denominator * unit)
    base_credits = minor * pricing.credits_per_unit // unit if pricing.model == "bonus" else credits
    coupon_credits = percent_down(base_credits, coupon_percent)
    credits += coupon_credits
    if coupon_percent:
        rate += (pricing.credits_per_unit if pricing.model == "bonus" else rate) * Fraction(coupon_percent, 100)
    saved = (rate.numerator - pricing.credits_per_unit * rate.denominator) * 10_000 // rate.numerator
    return Quote(
        amount=amount,
        credits=credits,
        base_credits=base_credits,
        bonus_credits=credits - coupon_credits - base_credits,
        bonus_percent=step.bonus_percent,
        price_per_credit=price_per_credit(amount, credits),
        credits_per_unit=rate.numerator // rate.denominator,
        tier=step.tier,
        save_percent=Decimal(saved).scaleb(-2),
        save_badge=saved // 100 or None,
        next_tier=None if step.further is None else step.further.seen_from(minor, credits, coupon_percent),
        coupon_credits=coupon_credits,
    )


@dataclass(frozen=True, slots=True)
class _Further:
    """The first higher tier whose rate on a rail is better: `near` from `near_minor` below its start on."""

    from_minor: int
    credits_then: int
    base_then: int
    near_minor: int

    def seen_from(self, minor: int, credits: int, coupon_percent: int) -> NextTier:
        add = self.from_minor - minor
        then = self.credits_then + percent_down(self.base_then, coupon_percent)
        return NextTier(self.from_minor, add, then - credits, then, add <= self.near_minor)


@dataclass(frozen=True, slots=True)
class _Step:
    """A tier as one rail has it; `rate` in credits for a major unit of money, bonus included."""

    tier: QuoteTier
    rate: Fraction
    bonus_percent: Decimal
    further: _Further | None


@lru_cache(maxsize=256)
def _steps(pricing: Pricing, provider: str | None) -> tuple[tuple[int, ...], tuple[_Step, ...]]:
    """Where the tiers start and what each means on a rail, worked out once for a tariff."""
    if not pricing.tiers:
        return (0,), (_Step(QuoteTier("Standard", 0, None), Fraction(pricing.credits_per_unit), Decimal(0), None),)
    starts = tuple(tier.from_minor for tier in pricing.tiers)
    steps = []
    for index, tier in enumerate(pricing.tiers):
        shown = QuoteTier(tier.name, tier.from_minor, (*starts, None)[index + 1])
        bonus = tier.bonus_on(provider) if pricing.model == "bonus" else Decimal(0)
        steps.append(_Step(shown, tier_rate(pricing, index, provider), bonus, _further(pricing, index, provider)))
    return starts, tuple(steps)


def _further(pricing: Pricing, index: int, provider: str | None) -> _Further | None:
    rate = tier_rate(pricing, index, provider)
    for other, tier in enumerate(pricing.tiers[index + 1 :], start=index + 1):
        if tier_rate(pricing, other, provider) > rate:
            then = int(exact_credits(pricing, tier.from_minor, provider))
            is_bonus = pricing.model == "bonus"
            base = tier.from_minor * pricing.credits_per_unit // major_unit(pricing) if is_bonus else then
            return _Further(tier.from_minor, then, base, int(Fraction(pricing.upsell_within) * tier.from_minor))
    return None


def price_per_credit(amount: Money, credits: int) -> str:
    """Major units of money for one of `credits`: `PRICE_DIGITS` significant digits, half up, plain notation."""
    return _decimal_text(Fraction(amount.minor, 10 ** currency_digits(amount.currency)) / credits)


def parse_amount_cents(text: str) -> int:
    """`"29000"` → 29000: 1 to 30 ASCII digits and nothing else, or `MalformedAmount`."""
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


class CouponOffer(msgspec.Struct, frozen=True):
    """A coupon on a purchase as it was offered: what it is called, the credits it adds, and among how many accounts
    it may be used (`None`: any number)."""

    code: str
    description: str
    percent: int
    credits: int
    uses_max: int | None = None


class QuoteOffer(msgspec.Struct, frozen=True):
    """What a quote token promises, to whom and until when: good while `now < expires_at`.

    `provider` is the rail that was named when the offer was made; `None` is an offer made without one.
    """

    account_id: str
    amount: Money
    provider: str | None
    coupon: CouponOffer | None
    base_credits: int
    bonus_credits: int
    tier: str
    catalog: str
    expires_at: Annotated[datetime, Meta(tz=True)]

    @property
    def given_credits(self) -> int:
        """What is granted beside the base credits: the bonus and what the coupon adds."""
        return self.bonus_credits + (0 if self.coupon is None else self.coupon.credits)


def make_offer(
    catalog: Catalog, quoted: Quote, account_id: str, provider: str | None, coupon: CouponOffer | None, now: datetime
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
    """The offer as a token (JWT, HS256) that is good for nothing else; `secret` has at least 32 bytes.

    Written here, for a quote answers each keystroke and a JWT (RFC 7515 §3.1) is three texts and one digest; read
    with the library, which knows what must be refused.
    """
    claims = _base64(msgspec.json.encode({"aud": TOKEN_PURPOSE, "offer": offer}))
    signed = _JWT_HEADER + b"." + claims
    return (signed + b"." + _base64(hmac_sha256(secret)(signed))).decode()


def _base64(raw: bytes) -> bytes:
    """Base64 for URLs, without padding."""
    return urlsafe_b64encode(raw).rstrip(b"=")


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
    offered = None if offer.coupon is None else coupon_key(offer.coupon.code)
    if offered != (None if coupon is None else coupon_key(coupon)):
        raise QuoteRefused("The quote was made with another coupon.")


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
