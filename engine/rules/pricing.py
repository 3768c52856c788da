"""The tariff: what an amount of money is worth in credits, before any rounding but one.

Three models, one question. `rate` tiers name credits per unit of money, for the whole amount (`volume`) or for
each slice of it (`graduated`); `bonus` tiers add a percentage to the base rate; `linear` is the base rate alone.
A tier is `[from, next from)`, so every amount is in exactly one, and no tier is worse than the one below it.
"""

from decimal import Decimal
from fractions import Fraction
from typing import Literal

import msgspec

from engine.rules.fields import (
    Count,
    Positive,
    Provider,
    Text,
    check_currency,
    check_decimal,
    check_unique,
)
from engine.rules.money import CREDITS_MAX, currency_digits


class Tier(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One step of the tariff: `credits_per_unit` in the `rate` model, `bonus_percent` in the `bonus` model.

    `providers` are the rails on which the bonus is given; none named means all.
    """

    name: Text
    from_minor: Count
    credits_per_unit: Positive | None = None
    bonus_percent: Decimal = Decimal(0)
    providers: tuple[Provider, ...] = ()

    def __post_init__(self) -> None:
        check_decimal("bonus_percent", self.bonus_percent, 1_000)
        check_unique("provider", self.providers)

    def bonus_on(self, provider: str | None) -> Decimal:
        """The percentage of bonus credits on this rail; no rail named yet means the best there is."""
        if provider is None or not self.providers or provider in self.providers:
            return self.bonus_percent
        return Decimal(0)


class Pricing(msgspec.Struct, frozen=True, cache_hash=True, kw_only=True, forbid_unknown_fields=True):
    """What can be bought at once and what it gives. `credits_per_unit` is the base rate per major unit of money.

    `upsell_within` is the share of the next tier's start within which the page mentions that tier.
    """

    model: Literal["rate", "bonus", "linear"]
    currency: str
    min_minor: Positive
    max_minor: Positive
    credits_per_unit: Positive
    mode: Literal["volume", "graduated"] = "volume"
    presets_minor: tuple[Positive, ...] = ()
    upsell_within: Decimal = Decimal(0)
    tiers: tuple[Tier, ...] = ()

    def __post_init__(self) -> None:
        check_currency(self.currency)
        check_decimal("upsell_within", self.upsell_within, 1)
        _check_amounts(self)
        _check_tiers(self)
        if self.min_minor * self.credits_per_unit < major_unit(self):
            raise ValueError("min_minor buys less than one credit")
        if exact_credits(self, self.max_minor, None) > CREDITS_MAX:
            raise ValueError(f"max_minor buys more than {CREDITS_MAX} credits, bonus included")


def exact_credits(pricing: Pricing, amount_minor: int, provider: str | None) -> Fraction:
    """All credits that `amount_minor` gives on this rail, bonus included, not yet rounded."""
    unit = major_unit(pricing)
    if pricing.model == "rate" and pricing.mode == "graduated":
        return Fraction(_graduated(pricing.tiers, amount_minor), unit)
    return amount_minor * tier_rate(pricing, tier_index(pricing, amount_minor), provider) / unit


def major_unit(pricing: Pricing) -> int:
    """Minor units in one major unit of the tariff's currency: 100 for USD, 1 for JPY."""
    units: int = 10 ** currency_digits(pricing.currency)
    return units


def tier_index(pricing: Pricing, amount_minor: int) -> int:
    """Which tier the amount is in; 0 where the tariff has none."""
    reached = [index for index, tier in enumerate(pricing.tiers) if tier.from_minor <= amount_minor]
    return reached[-1] if reached else 0


def tier_rate(pricing: Pricing, index: int, provider: str | None) -> Fraction:
    """Credits per major unit of money in that tier on this rail, bonus included."""
    if not pricing.tiers:
        return Fraction(pricing.credits_per_unit)
    tier = pricing.tiers[index]
    base = tier.credits_per_unit or pricing.credits_per_unit
    return base * (1 + Fraction(tier.bonus_on(provider)) / 100)


def base_at_most(pricing: Pricing) -> Fraction:
    """What the dearest top-up buys without a bonus, not yet rounded: what a coupon's percentage is of."""
    if pricing.model == "bonus":
        return Fraction(pricing.max_minor * pricing.credits_per_unit, major_unit(pricing))
    return exact_credits(pricing, pricing.max_minor, None)


def _graduated(tiers: tuple[Tier, ...], amount_minor: int) -> int:
    """Σ slice × rate, in credits × minor units per major unit."""
    ends = [*(tier.from_minor for tier in tiers[1:]), amount_minor]
    return sum(
        max(0, min(end, amount_minor) - tier.from_minor) * (tier.credits_per_unit or 0)
        for tier, end in zip(tiers, ends, strict=True)
    )


def _check_amounts(pricing: Pricing) -> None:
    if pricing.min_minor > pricing.max_minor:
        raise ValueError("min_minor is above max_minor")
    if list(pricing.presets_minor) != sorted(set(pricing.presets_minor)):
        raise ValueError("presets_minor must be ascending, each once")
    for preset in pricing.presets_minor:
        if not pricing.min_minor <= preset <= pricing.max_minor:
            raise ValueError(f"preset {preset} is not between min_minor and max_minor")


def _check_tiers(pricing: Pricing) -> None:
    if pricing.mode == "graduated" and pricing.model != "rate":
        raise ValueError("mode graduated belongs to the rate model only")
    if pricing.model == "linear" and len(pricing.tiers) > 1:
        raise ValueError("the linear model has at most one tier")
    if pricing.model != "linear" and not pricing.tiers:
        raise ValueError(f"the {pricing.model} model needs tiers")
    for tier in pricing.tiers:
        if (tier.credits_per_unit is not None) != (pricing.model == "rate"):
            raise ValueError(f"tier {tier.name!r}: credits_per_unit stands on tiers of the rate model, and only there")
        if pricing.model != "bonus" and (tier.bonus_percent or tier.providers):
            raise ValueError(f"tier {tier.name!r}: bonus_percent and providers belong to the bonus model only")
    check_unique("tier", (tier.name for tier in pricing.tiers))
    _check_steps(pricing)


def _check_steps(pricing: Pricing) -> None:
    """The first tier starts at 0 with the base rate; each next one starts higher and gives no less."""
    if not pricing.tiers:
        return
    first = pricing.tiers[0]
    if first.from_minor != 0:
        raise ValueError(f"the first tier, {first.name!r}, must start at 0")
    if tier_rate(pricing, 0, None) != pricing.credits_per_unit:
        raise ValueError(f"the first tier, {first.name!r}, must give the base rate and no bonus")
    for index, tier in enumerate(pricing.tiers[1:], start=1):
        if tier.from_minor <= pricing.tiers[index - 1].from_minor:
            raise ValueError(f"tier {tier.name!r} does not start above the tier before it")
        if tier.from_minor > pricing.max_minor:
            raise ValueError(f"tier {tier.name!r} starts above max_minor")
        if tier_rate(pricing, index, None) < tier_rate(pricing, index - 1, None):
            raise ValueError(f"tier {tier.name!r} gives fewer credits than the tier before it")
