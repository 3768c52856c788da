"""Amounts of money as people type and read them on the top-up page."""

import re

from api.pages.tongues import ENGLISH, Tongue
from api.pages.words import money_short
from engine.rules.errors import AboveMaximum, BelowMinimum, MalformedAmount, Refusal
from engine.rules.money import Money, currency_digits
from engine.rules.pricing import Pricing

_GROUPED = re.compile(r"[0-9]{1,3}(,[0-9]{3})+(\.[0-9]*)?|[0-9]+([.,][0-9]*)?", re.ASCII)
_WHOLE_DIGITS_MAX = 9

COUPON_REFUSALS = (
    "There is no such coupon.",
    "This account redeemed the coupon before.",
    "The coupon has expired.",
    "The coupon was redeemed as often as it may be.",
    "The coupon is not for a top-up: redeem it, and its credits are yours.",
    "The coupon can be redeemed after a first top-up.",
    "The coupon is not for this plan.",
    "The coupon is not for this country.",
    "This amount is too small for the coupon to add a credit.",
    "A purchase in an app store takes no coupon: its products are fixed.",
    "Too many tries; try again later.",
)
"""What the rules say of a coupon on a purchase when they refuse it."""


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


def limit_text(refusal: Refusal, pricing: Pricing, tongue: Tongue = ENGLISH) -> str:
    """A refused amount in words, with the limit it met."""
    said = tongue.say(refusal.detail)
    if isinstance(refusal, BelowMinimum):
        least = money_short(pricing.min_minor, pricing.currency, tongue)
        return f"{said} {tongue.say('The minimum is %(money)s.', money=least)}"
    if isinstance(refusal, AboveMaximum):
        most = money_short(pricing.max_minor, pricing.currency, tongue)
        return f"{said} {tongue.say('The maximum is %(money)s.', money=most)}"
    return said


def hints_of(pricing: Pricing, tongue: Tongue = ENGLISH) -> dict[str, str]:
    """What the script says of an amount before, or instead of, asking."""
    return {
        "malformed": tongue.say("Type an amount such as 25 or 25.50."),
        "least": limit_text(BelowMinimum(0, pricing.min_minor, pricing.currency), pricing, tongue),
        "most": limit_text(AboveMaximum(0, pricing.max_minor, pricing.currency), pricing, tongue),
    }


def phrases_of(tongue: Tongue) -> dict[str, str]:
    """The phrases that the script fills in itself, and how this language writes numbers; what a quote refuses a
    coupon with under its own words."""
    return {
        **{said: tongue.say(said) for said in COUPON_REFUSALS},
        "group": tongue.group,
        "decimal": tongue.decimal,
        "isMoneyFirst": "yes" if tongue.is_money_first else "",
        "badge": tongue.say("Save %(percent)s%%"),
        "price": tongue.say("%(price)s per %(unit)s"),
        "upsell": tongue.say("+%(money)s to unlock %(amount)s extra %(unit)s"),
        "upsellUsd": tongue.say("+%(money)s to unlock %(amount)s extra credit"),
        "pay": tongue.say("Pay %(money)s"),
        "payNothing": tongue.say("Pay"),
        "leaving": tongue.say("Taking you to the checkout…"),
        "signedOut": tongue.say("You are signed out. Open this page from your link again."),
        "unreachable": tongue.say(
            "The price can’t be fetched right now. Check your connection and change the amount again."
        ),
    }


def first_amount(pricing: Pricing) -> str:
    """What the field shows first: the middle preset, else the least."""
    presets = pricing.presets_minor
    minor = presets[len(presets) // 2] if presets else pricing.min_minor
    return plain_amount(Money(minor, pricing.currency))
