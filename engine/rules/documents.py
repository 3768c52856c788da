"""Documents: a purchase becomes its receipt, a refund its credit note, with their numbers and their arithmetic.

What they hold is in `document_data` and named here too, so that readers import one module. A `Document` that
exists adds up; its canonical bytes are what its digest and its PDF are made from.
"""

import hashlib
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import msgspec

from engine.rules.catalog import Unit
from engine.rules.credit_notes import Credited, cancellation, correction, credit_note, credited_by, remaining_lines
from engine.rules.document_data import TEMPLATE_VERSION, Buyer, Document, Issuer, Kind, Line, LineKey, UnitName
from engine.rules.document_kinds import Row, category_of
from engine.rules.money import Money, currency_digits
from engine.rules.sellers import Seller, Tax
from engine.rules.tax_currency import national_tax

__all__ = [
    "TEMPLATE_VERSION",
    "Buyer",
    "Credited",
    "Document",
    "Issuer",
    "Kind",
    "Line",
    "LineKey",
    "TaxSplit",
    "UnitName",
    "cancellation",
    "canonical",
    "correction",
    "credit_note",
    "credited_by",
    "digest",
    "document_number",
    "read",
    "receipt",
    "remaining_lines",
    "tax_split",
]

NUMBER_LENGTH_MAX = 16
"""The longest document number that every tax law allows (India, CGST Rules 46 and 53)."""

XML_DIGITS_MAX = 2
"""EN 16931 writes amounts with at most two decimal places (BR-DEC)."""

SERIES_LETTER: dict[Kind, str] = {
    "receipt": "R",
    "simplified_invoice": "S",
    "invoice": "I",
    "credit_note": "C",
    "payment_confirmation": "P",
}


@dataclass(frozen=True, slots=True)
class TaxSplit:
    """An amount of money in minor units: `net_minor + tax_minor = total_minor`."""

    net_minor: int
    tax_minor: int
    total_minor: int


def canonical(document: Document) -> bytes:
    """The document as compact JSON with sorted keys: the same bytes for the same document, always."""
    return msgspec.json.encode(document, order="sorted")


def digest(document: Document) -> str:
    """SHA-256 of the canonical bytes, in hexadecimal."""
    return hashlib.sha256(canonical(document)).hexdigest()


def read(data: bytes) -> Document:
    """The document in its canonical bytes; `msgspec.ValidationError` for anything that is not a sound document."""
    return msgspec.json.decode(data, type=Document)


def document_number(prefix: str, kind: Kind, year: int, n: int) -> str:
    """`("ALP", "receipt", 2026, 42)` → `ALPR26-0000042`: unique in its series, at most 16 characters."""
    assert n >= 1, "a series starts at 1"
    number = f"{prefix}{SERIES_LETTER[kind]}{year % 100:02d}-{n:07d}"
    assert len(number) <= NUMBER_LENGTH_MAX, f"{number} is longer than {NUMBER_LENGTH_MAX} characters"
    return number


def tax_split(price_minor: int, percent: Decimal, *, prices_include_tax: bool) -> TaxSplit:
    """Take the tax out of a price, or put it on top: rounded once, half to even, the rest by subtraction."""
    assert price_minor >= 0 and percent >= 0
    rate = Fraction(percent)
    if prices_include_tax:
        net = round(price_minor * 100 / (100 + rate))
        return TaxSplit(net, price_minor - net, price_minor)
    tax = round(price_minor * rate / 100)
    return TaxSplit(price_minor, tax, price_minor + tax)


def receipt(
    *,
    document_id: str,
    number: str,
    issued_at: datetime,
    paid_at: datetime,
    locale: str,
    timezone: str,
    seller: Seller,
    tax: Tax,
    unit: Unit,
    buyer: Buyer,
    lines: tuple[Line, ...],
    price: Money,
    price_per_credit: str | None,
    order_id: str,
    payment_id: str | None,
    provider: str,
    row: Row | None = None,
) -> Document:
    """The document of a paid purchase, of the kind that `row` says, a plain receipt without one. `price` is the quoted
    amount, before tax on top, what `lines` sum to; the tax is the buyer's country's; `price_per_credit` the quote's."""
    percent = tax.percent_for(buyer.country or None) if row is None or not row.is_untaxed else Decimal(0)
    split = tax_split(price.minor, percent, prices_include_tax=tax.prices_include_tax)
    return Document(
        document_id=document_id,
        **_of_row(row, percent, price.currency, buyer),
        number=number,
        issued_at=issued_at,
        paid_at=paid_at,
        locale=locale,
        timezone=timezone,
        currency=price.currency,
        seller=_issuer(seller),
        buyer=buyer,
        unit=_unit_name(unit),
        lines=lines,
        **_of_tax(tax, buyer, percent),
        **asdict(split),
        credits_total=sum(line.credits for line in lines),
        order_id=order_id,
        provider=provider,
        template_version=TEMPLATE_VERSION,
        payment_id=payment_id,
        price_per_credit=price_per_credit,
        national_tax=national_tax(row, seller, tax, split.tax_minor, price.currency, paid_at),
    )


def _of_row(row: Row | None, percent: Decimal, currency: str, buyer: Buyer) -> dict[str, Any]:
    """The fields that the row of the table says."""
    if row is None:
        return {"kind": "receipt"}
    return {
        "kind": row.kind,
        "title": row.title,
        "tax_category": category_of(row, percent),
        "exemption_code": row.exemption_code,
        "mentions": row.mentions,
        "place_of_supply": (buyer.region or buyer.country) if row.states_place else "",
        "has_xml": row.has_xml and currency_digits(currency) <= XML_DIGITS_MAX,
    }


def _of_tax(tax: Tax, buyer: Buyer, percent: Decimal) -> dict[str, Any]:
    """The fields that the catalogue's `[tax]` says."""
    return {
        "prices_include_tax": tax.prices_include_tax,
        "tax_label": tax.label_for(buyer.country or None),
        "tax_percent": f"{percent.normalize():f}",
        "notes": (tax.note,) if tax.note else (),
        "service_code": tax.service_code,
    }


def _issuer(seller: Seller) -> Issuer:
    return Issuer(
        name=seller.name,
        address_lines=seller.address_lines,
        country=seller.country,
        email=seller.email,
        website=seller.website,
        vat_id=seller.vat_id,
        example=seller.example,
        registration_id=seller.registration_id,
        postal_code=seller.postal_code,
        city=seller.city,
    )


def _unit_name(unit: Unit) -> UnitName:
    return UnitName(
        singular=unit.singular,
        plural=unit.plural,
        credits_per_usd=unit.credits_per_usd,
        shown_as_usd=unit.display == "usd",
    )
