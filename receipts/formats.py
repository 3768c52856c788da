"""Formats: money, credits, percentages and times as a locale writes them, exact to the last digit.

Money always carries its ISO code and its own number of digits, whatever the locale's habit.
"""

import re
from datetime import datetime
from decimal import Decimal
from functools import cache
from zoneinfo import ZoneInfo

from babel.core import Locale
from babel.dates import format_date, format_time
from babel.numbers import format_decimal, format_percent, parse_pattern

from engine.rules.documents import UnitName
from engine.rules.money import Money, currency_digits, major_text, usd_text
from receipts.phrases import Language, unit_text

NBSP = "\u00a0"
PRICE_PLACES = 12
"""Decimal places a price per credit may need: eight significant digits of a ten-thousandth."""

CREDIT_VALUE_PLACES = 6


def money_text(amount: Money, locale: Locale) -> str:
    """`Money(2500, "USD")` → `USD 25.00`, in German `25,00 USD`."""
    return _currency_text(major_text(amount), amount.currency, currency_digits(amount.currency), 0, locale)


def price_text(price: str, currency: str, locale: Locale) -> str:
    """A price in major units with every digit it has, and at least those of the currency."""
    return _currency_text(price, currency, currency_digits(currency), PRICE_PLACES, locale)


def credits_text(count: int, unit: UnitName, spoken: Language) -> str:
    """`37,500 credits`, or what they are worth where the catalogue shows dollars."""
    if unit.shown_as_usd:
        value = usd_text(count, unit.credits_per_usd)
        assert value is not None, "credits shown as dollars have a value in dollars"
        return _currency_text(value, "USD", 2, CREDIT_VALUE_PLACES, spoken.locale)
    return f"{format_decimal(count, locale=spoken.locale)}{NBSP}{unit_text(spoken, unit, count)}"


def percent_text(percent: str, locale: Locale) -> str:
    """`"19"` → `19%`, in German `19 %`; as many places as it has."""
    return format_percent(Decimal(percent) / 100, locale=locale, decimal_quantization=False)


def moment_text(instant: datetime, timezone: str, locale: Locale) -> str:
    """Date and time of day in that IANA zone, with its offset from UTC, the month in words."""
    local = instant.astimezone(ZoneInfo(timezone))
    date, time = format_date(local, "long", locale), format_time(local, "short", locale=locale)
    joined: str = locale.datetime_formats["medium"]
    return f"{joined.replace('{1}', date).replace('{0}', time)} {_offset(local)}"


def _offset(local: datetime) -> str:
    """`UTC`, `UTC+1`, `UTC+5:30`."""
    away = local.utcoffset()
    assert away is not None
    minutes = int(away.total_seconds()) // 60
    if minutes == 0:
        return "UTC"
    hours, rest = divmod(abs(minutes), 60)
    return f"UTC{'+' if minutes > 0 else '-'}{hours}" + (f":{rest:02d}" if rest else "")


def _currency_text(value: str, currency: str, places: int, places_max: int, locale: Locale) -> str:
    pattern = parse_pattern(_money_pattern(locale, places, max(places, places_max)))
    return str(pattern.apply(Decimal(value), locale, currency=currency, currency_digits=False))


@cache
def _money_pattern(locale: Locale, places: int, places_max: int) -> str:
    """The locale's own pattern with the ISO code for the symbol and this many decimal places."""
    pattern = str(locale.currency_formats["standard"].pattern)
    decimals = "0" * places + "#" * (places_max - places)
    pattern = re.sub(r"0(?:\.0+)?(?![#0])", f"0.{decimals}" if decimals else "0", pattern)
    pattern = pattern.replace("¤", "¤¤")
    pattern = re.sub(r"¤¤(?=[#0])", f"¤¤{NBSP}", pattern)
    return re.sub(r"(?<=[#0])¤¤", f"{NBSP}¤¤", pattern)
