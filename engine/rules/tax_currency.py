"""The VAT of a document in the currency that tax is reported in, where another one is charged.

The rate is the operator's, from the catalogue; none is ever guessed, and one that is too old is none. Sources:
Directive 2006/112/EC Art. 91 and 230; VAT Regulations 1995 (UK) reg. 14(5); GST Act 1999 (AU) s. 9-85; CGST Rules 2017
(IN) r. 34; Consumption Tax Act (JP) Art. 57-4(1).
"""

from datetime import datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

from engine.rules.document_data import Document, NationalTax
from engine.rules.document_kinds import EU, Row
from engine.rules.money import currency_digits
from engine.rules.sellers import Seller, Tax

EU_OTHER = {"CZ": "CZK", "DK": "DKK", "HU": "HUF", "PL": "PLN", "RO": "RON", "SE": "SEK"}
"""Member states with a currency of their own; the others have the euro, Bulgaria since 2026."""

NATIONAL: dict[str, str] = dict.fromkeys(EU, "EUR") | EU_OTHER | {"GB": "GBP", "JP": "JPY", "AU": "AUD", "IN": "INR"}
"""What tax is reported in, by the seller's country."""


def national_tax(
    row: Row | None, seller: Seller, tax: Tax, tax_minor: int, currency: str, paid_at: datetime
) -> NationalTax | None:
    """What a document of this row states; `None` where it need not: no tax, or its own currency is the national one.

    The rate is that of the day of payment where the seller is.
    """
    national = NATIONAL.get(seller.country)
    if row is None or not row.states_national_tax or tax_minor == 0 or national in (None, currency):
        return None
    assert national is not None
    exchange = tax.exchange_on(currency, paid_at.astimezone(ZoneInfo(seller.timezone)).date())
    if exchange is None:
        return NationalTax(currency=national)
    rate = f"{exchange.rate.normalize():f}"
    return NationalTax(
        currency=national,
        minor=_exchanged(tax_minor, currency, national, rate),
        rate=rate,
        source=exchange.source,
        since=exchange.since,
    )


def national_part(original: Document, before_minor: int, tax_minor: int) -> NationalTax | None:
    """The same for tax credited on `original` after `before_minor` of it was: at its rate, so that all parts sum up."""
    whole = original.national_tax
    if whole is None or whole.minor is None or tax_minor == 0:
        return whole if tax_minor else None
    done, after = (
        _exchanged(minor, original.currency, whole.currency, whole.rate)
        for minor in (before_minor, before_minor + tax_minor)
    )
    return NationalTax(
        currency=whole.currency, minor=after - done, rate=whole.rate, source=whole.source, since=whole.since
    )


def _exchanged(minor: int, currency: str, national: str, rate: str) -> int:
    """Rounded half to even, once."""
    digits = currency_digits(national) - currency_digits(currency)
    return round(Fraction(minor) * Fraction(rate) * Fraction(10) ** digits)
