"""Amounts of money as people type and read them on the top-up page."""

import re

from api.pages.words import money_short
from engine.rules.errors import AboveMaximum, BelowMinimum, MalformedAmount, Refusal
from engine.rules.money import Money, currency_digits
from engine.rules.pricing import Pricing

_GROUPED = re.compile(r"[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?|[0-9]+([.,][0-9]*)?", re.ASCII)
_WHOLE_DIGITS_MAX = 9


def parse_amount(text: str, currency: str) -> Money:
    """What a person types (`300`, `$1,250.50`, `12,5`) as money; `MalformedAmount` for anything else.

    Commas between groups of three digits are thousands; a single comma before other digits is a decimal comma.
    """
    digits = currency_digits(currency)
    bare = "".join(text.split()).removeprefix("$").removesuffix(currency)
    if not _GROUPED.fullmatch(bare):
        raise MalformedAmount("Type an amount such as 25 or 25.50.")
    is_grouped = re.fullmatch(r"[0-9]{1,3}(,[0-9]{3})+(\..*)?", bare) is not None
    whole, _, part = (bare.replace(",", "") if is_grouped else bare.replace(",", ".")).partition(".")
    if len(part) > digits:
        raise MalformedAmount(f"{currency} has at most {digits} digits after the point.")
    if len(whole) > _WHOLE_DIGITS_MAX:
        raise MalformedAmount("That is more money than can be paid at once.")
    return Money(int(whole + part.ljust(digits, "0")), currency)


def plain_amount(amount: Money) -> str:
    """As the field shows it: `"300"` or `"25.50"`."""
    unit = 10 ** currency_digits(amount.currency)
    whole, part = divmod(amount.minor, unit)
    return f"{whole}.{part:0{currency_digits(amount.currency)}d}" if part else str(whole)


def limit_text(refusal: Refusal, pricing: Pricing) -> str:
    """A refused amount in words, with the limit it met."""
    if isinstance(refusal, BelowMinimum):
        return f"{refusal.detail} The minimum is {money_short(pricing.min_minor, pricing.currency)}."
    if isinstance(refusal, AboveMaximum):
        return f"{refusal.detail} The maximum is {money_short(pricing.max_minor, pricing.currency)}."
    return refusal.detail


def hints_of(pricing: Pricing) -> dict[str, str]:
    """What the script says of an amount before, or instead of, asking."""
    return {
        "malformed": "Type an amount such as 25 or 25.50.",
        "least": limit_text(BelowMinimum(0, pricing.min_minor, pricing.currency), pricing),
        "most": limit_text(AboveMaximum(0, pricing.max_minor, pricing.currency), pricing),
    }


def first_amount(pricing: Pricing) -> str:
    """What the field shows first: the middle preset, else the least."""
    presets = pricing.presets_minor
    minor = presets[len(presets) // 2] if presets else pricing.min_minor
    return plain_amount(Money(minor, pricing.currency))
