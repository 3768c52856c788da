"""Who sells, what tax is said on documents, and the made-up customer of a demo: a catalogue's legal side."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engine.rules.fields import Country, Email, Note, Text, Website, check_currency, check_decimal, check_unique

AddressLines = Annotated[tuple[Text, ...], Meta(min_length=1, max_length=6)]
SeriesPrefix = Annotated[str, Meta(pattern=r"\A[A-Z]{2,5}\Z")]
"""Leads document numbers: with year and counter they stay within 16 characters, the least that tax law allows."""


RATE_MAX, RATE_PLACES_MAX = 1_000_000, 10
"""Rates of exchange as central banks publish them, and more."""


class Seller(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The company on receipts where no merchant of record sells; documents are dated in its IANA `timezone`.
    `example` says that it is made up. `registration_id`, `postal_code` and `city` go into machine-readable invoices."""

    name: Text
    address_lines: AddressLines
    country: Country
    email: Email
    website: Website
    series_prefix: SeriesPrefix
    vat_id: Text | None = None
    timezone: Text = "UTC"
    example: bool = False
    registration_id: str = ""
    postal_code: str = ""
    city: str = ""


class TaxRate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rate for buyers in one country, and what the tax is called there."""

    country: Country
    percent: Decimal
    label: Text

    def __post_init__(self) -> None:
        check_decimal("percent", self.percent, 100)


class Exchange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one unit of a currency is worth in that of the seller's country, from a day on; `source` says who says so,
    such as the ECB, and is printed."""

    currency: str
    since: date
    rate: Decimal
    source: Text

    def __post_init__(self) -> None:
        check_currency(self.currency)
        if not self.rate.is_finite() or not 0 < self.rate < RATE_MAX:
            raise ValueError(f"rate must be above 0 and below {RATE_MAX}, not {self.rate}")
        if self.rate != round(self.rate, RATE_PLACES_MAX):
            raise ValueError(f"rate has more than {RATE_PLACES_MAX} decimal places")


class Tax(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How tax stands on documents. With `prices_include_tax` it is part of the price, else it comes on top.
    `tax_point` says whether it is due when credits are sold or when they are used (multi-purpose vouchers).

    Only a merchant of record adds tax on top by itself: a catalogue that sells through Stripe or MoonPay has it in its
    prices, and what the sandbox charges includes it.

    Credits follow the price before tax on top. `note` is printed on every document. Where invoices are in another
    currency than the seller's country has, they state the tax in that too, at the newest rate of `exchange` that is
    no older than `exchange_days_max`; without one they say that none was known.
    """

    prices_include_tax: bool
    label: Text
    note: Note
    rates: tuple[TaxRate, ...] = ()
    default_percent: Decimal = Decimal(0)
    tax_point: Literal["sale", "redemption"] = "sale"
    service_code: Annotated[str, Meta(max_length=16)] = ""
    exchange: tuple[Exchange, ...] = ()
    exchange_days_max: Annotated[int, Meta(ge=1, le=366)] = 31

    def __post_init__(self) -> None:
        check_unique("exchange", (f"{rate.currency} since {rate.since}" for rate in self.exchange))
        check_decimal("default_percent", self.default_percent, 100)
        check_unique("country", (rate.country for rate in self.rates))

    def percent_for(self, country: str | None) -> Decimal:
        """The rate for a buyer in that country; the default where it has none of its own or is unknown."""
        return next((rate.percent for rate in self.rates if rate.country == country), self.default_percent)

    def exchange_on(self, currency: str, day: date) -> Exchange | None:
        """The rate that counts on that day; none if all begin later or the newest is too old."""
        earliest = day - timedelta(days=self.exchange_days_max)
        known = [rate for rate in self.exchange if rate.currency == currency and earliest < rate.since <= day]
        return max(known, key=lambda rate: rate.since, default=None)

    def label_for(self, country: str | None) -> str:
        """What the tax is called for a buyer in that country."""
        return next((rate.label for rate in self.rates if rate.country == country), self.label)


class Address(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A postal address in the fields of an account's profile."""

    line1: Text
    postal_code: Text
    city: Text
    country: Country
    line2: str = ""
    region: str = ""


class Demo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The made-up customer whom the demo and sample documents show."""

    name: Text
    email: Email
    country: Country
    address: Address
    company: str = ""
    tax_id: str | None = None
    locale: Text = "en"
