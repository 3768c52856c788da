"""Money and credits: integers only, and the only functions that round, each named by its direction."""

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

CREDITS_MAX = 10**15
"""The most credits one grant, and one wallet, may hold (SPEC §2.10)."""

ZERO_DECIMAL = frozenset("BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF UGX VND VUV XAF XOF XPF".split())
THREE_DECIMAL = frozenset(["BHD", "JOD", "KWD", "OMR", "TND"])


@dataclass(frozen=True, slots=True)
class Money:
    """An amount of money: integer minor units (cents for USD, yen for JPY) and an ISO 4217 code."""

    minor: int
    currency: str


def currency_digits(currency: str) -> int:
    """How many decimal digits the currency's minor unit has: 0, 2 or 3."""
    if currency in ZERO_DECIMAL:
        return 0
    return 3 if currency in THREE_DECIMAL else 2


def share_down(whole: int, part: int, of: int) -> int:
    """`whole × part ÷ of`, rounded down; `of` is positive, nothing is negative."""
    assert whole >= 0 and part >= 0 and of > 0
    return whole * part // of


def percent_down(whole: int, percent: int) -> int:
    """`percent` of `whole`, rounded down."""
    return share_down(whole, percent, 100)


@dataclass(frozen=True, slots=True)
class Share:
    """A price and the part of its period that is still to come, `left` of `whole` (in any one unit)."""

    minor: int
    left: int
    whole: int

    def __post_init__(self) -> None:
        assert self.minor >= 0 and 0 <= self.left <= self.whole and self.whole > 0


def proration_down(new: Share, old: Share) -> int:
    """What a change of plan costs now: the new price for the time left, less the old one's unused time.

    Rounded once, down, so that the customer never pays for a part of a cent; below zero it is money to the customer.
    """
    return (new.minor * new.left * old.whole - old.minor * old.left * new.whole) // (new.whole * old.whole)


def nth_part(whole: int, n: int, of: int) -> int:
    """The `n`-th (from 0) of `of` whole parts of `whole`: as equal as integers can be, and together exactly `whole`."""
    assert 0 <= n < of
    return whole * (n + 1) // of - whole * n // of


def decimal_down(value: Decimal, digits: int) -> Decimal:
    """`value` cut to `digits` places after the point, towards zero."""
    return value.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_DOWN)


def major_text(money: Money) -> str:
    """`Money(2500, "USD")` → `"25.00"`: exact, with the currency's own digits."""
    digits = currency_digits(money.currency)
    return f"{Decimal(money.minor).scaleb(-digits):.{digits}f}"


def usd_text(credits: int, credits_per_usd: int | None) -> str | None:
    """The USD value of credits with six decimals, rounded towards zero; `None` where a credit has no USD value."""
    if credits_per_usd is None:
        return None
    sign = "-" if credits < 0 else ""
    micro = abs(credits) * 1_000_000 // credits_per_usd
    return f"{sign}{micro // 1_000_000}.{micro % 1_000_000:06d}"


def credits_of_usd(usd: Decimal, credits_per_usd: int) -> int:
    """The credits that so many US dollars stand for, rounded down; never negative."""
    assert usd >= 0
    return int(decimal_down(usd * credits_per_usd, 0))
