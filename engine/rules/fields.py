"""The kinds of value a catalogue may hold, with their bounds, and the checks that several tables share."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Literal

from msgspec import Meta

from engine.rules.money import CREDITS_MAX

Provider = Literal["stripe", "paddle", "apple", "google", "moonpay", "sandbox"]
Platform = Literal["web", "ios", "android"]
Interval = Literal["month", "year"]

PROVIDER_NAMES: dict[str, str] = {
    "stripe": "Stripe",
    "paddle": "Paddle",
    "apple": "Apple",
    "google": "Google",
    "moonpay": "MoonPay",
    "sandbox": "Sandbox",
}
"""What a customer reads where a description or a document names the provider."""

Count = Annotated[int, Meta(ge=0, le=CREDITS_MAX)]
"""Credits, minor units or things: none is a valid answer."""

Positive = Annotated[int, Meta(ge=1, le=CREDITS_MAX)]
Minutes = Annotated[int, Meta(ge=1, le=7 * 24 * 60)]
Text = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\A[^\x00-\x1f\x7f]*\Z")]
"""One line that a person reads."""

Note = Annotated[str, Meta(max_length=2_000)]
Identifier = Annotated[str, Meta(pattern=r"\A[a-z][a-z0-9_-]{0,39}\Z")]
Country = Annotated[str, Meta(pattern=r"\A[A-Z]{2}\Z")]
"""ISO 3166-1 alpha-2."""

Email = Annotated[str, Meta(max_length=254, pattern=r"\A[^@\s]+@[^@\s]+\.[^@\s]+\Z")]
Website = Annotated[str, Meta(max_length=200, pattern=r"\Ahttps?://[^\s]+\Z")]

CURRENCIES = frozenset(
    """
    AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF
    CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD
    HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD
    MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN
    PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY
    TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWG
    """.split()
)
"""The ISO 4217 codes of money that people pay with: no funds, metals or test codes."""

PERCENT_DIGITS = 6
"""Decimal places a share or percentage may have: enough for any tariff, few enough to stay exact and cheap."""


def check_currency(currency: str) -> None:
    if currency not in CURRENCIES:
        raise ValueError(f"currency {currency!r} is not an ISO 4217 code of money in use")


def check_decimal(name: str, value: Decimal, highest: int) -> None:
    """`value` is in `[0, highest]` with at most `PERCENT_DIGITS` places; infinities and NaN are refused."""
    if not value.is_finite() or not 0 <= value <= highest:
        raise ValueError(f"{name} must be between 0 and {highest}, not {value}")
    if value != round(value, PERCENT_DIGITS):
        raise ValueError(f"{name} has more than {PERCENT_DIGITS} decimal places")


def check_unique(name: str, values: Iterable[str | int]) -> None:
    seen: set[str | int] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"{name} {value!r} stands there twice")
        seen.add(value)
