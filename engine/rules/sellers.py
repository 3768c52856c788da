"""Who sells, what tax is said on documents, and the made-up customer of a demo: a catalogue's legal side."""

from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engine.rules.fields import Country, Email, Note, Text, Website, check_decimal, check_unique

AddressLines = Annotated[tuple[Text, ...], Meta(min_length=1, max_length=6)]
SeriesPrefix = Annotated[str, Meta(pattern=r"\A[A-Z]{2,5}\Z")]
"""Leads document numbers: with year and counter they stay within 16 characters, the least that tax law allows."""


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


class Tax(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How tax stands on documents. With `prices_include_tax` it is part of the price, else it comes on top.
    `tax_point` says whether it is due when credits are sold or when they are used (multi-purpose vouchers).

    Credits follow the price before tax on top. `note` is printed on every document.
    """

    prices_include_tax: bool
    label: Text
    note: Note
    rates: tuple[TaxRate, ...] = ()
    default_percent: Decimal = Decimal(0)
    tax_point: Literal["sale", "redemption"] = "sale"

    def __post_init__(self) -> None:
        check_decimal("default_percent", self.default_percent, 100)
        check_unique("country", (rate.country for rate in self.rates))

    def percent_for(self, country: str | None) -> Decimal:
        """The rate for a buyer in that country; the default where it has none of its own or is unknown."""
        return next((rate.percent for rate in self.rates if rate.country == country), self.default_percent)

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
