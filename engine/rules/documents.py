"""Documents: a purchase becomes its receipt, a refund its credit note, with their numbers and their arithmetic.

What they hold is in `document_data` and named here too, so that readers import one module. A `Document` that
exists adds up; its canonical bytes are what its digest and its PDF are made from.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

import msgspec

from engine.rules.catalog import Unit
from engine.rules.document_data import Buyer, Document, Issuer, Kind, Line, LineKey, UnitName
from engine.rules.money import Money
from engine.rules.sellers import Seller, Tax

__all__ = [
    "TEMPLATE_VERSION",
    "Buyer",
    "Document",
    "Issuer",
    "Kind",
    "Line",
    "LineKey",
    "TaxSplit",
    "UnitName",
    "canonical",
    "credit_note",
    "digest",
    "document_number",
    "read",
    "receipt",
    "tax_split",
]

TEMPLATE_VERSION = 1
"""What new documents are rendered with; an older document keeps the template it was issued with."""

NUMBER_LENGTH_MAX = 16
"""The longest document number that every tax law allows (India, CGST Rules 46 and 53)."""

SERIES_LETTER: dict[Kind, str] = {"receipt": "R", "credit_note": "C"}


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
) -> Document:
    """The receipt of a paid purchase. `price` is the quoted amount, before tax on top, and what `lines` sum to;
    the tax is that of the buyer's country. `price_per_credit` is the quote's, in major units."""
    percent = tax.percent_for(buyer.country or None)
    split = tax_split(price.minor, percent, prices_include_tax=tax.prices_include_tax)
    return Document(
        document_id=document_id,
        kind="receipt",
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
        prices_include_tax=tax.prices_include_tax,
        tax_label=tax.label_for(buyer.country or None),
        tax_percent=f"{percent.normalize():f}",
        net_minor=split.net_minor,
        tax_minor=split.tax_minor,
        total_minor=split.total_minor,
        credits_total=sum(line.credits for line in lines),
        order_id=order_id,
        provider=provider,
        template_version=TEMPLATE_VERSION,
        payment_id=payment_id,
        price_per_credit=price_per_credit,
        notes=(tax.note,) if tax.note else (),
    )


def credit_note(
    original: Document,
    *,
    document_id: str,
    number: str,
    issued_at: datetime,
    refunded_at: datetime,
    reason: str,
    refunded_minor: int,
    credits: int,
    bonus_credits: int = 0,
    already_credited_minor: int = 0,
    already_credited_tax_minor: int = 0,
    payment_id: str | None = None,
) -> Document:
    """The credit note for money of `original` that went back: all of it, or a part with tax in proportion.

    `refunded_minor` is money as it was paid, tax included. `credits` is what was taken back with it, of which
    `bonus_credits` were bonus. The two `already_credited` sums are those of the earlier notes on the same
    original: whatever the parts, the notes' tax never exceeds the receipt's, and the last one takes the rest.
    """
    assert original.kind == "receipt", "a credit note answers a receipt"
    assert 0 <= bonus_credits <= credits
    tax = _credited_tax(original, refunded_minor, already_credited_minor, already_credited_tax_minor)
    priced = refunded_minor if original.prices_include_tax else refunded_minor - tax
    base = Line(key="refund", credits=credits - bonus_credits, amount_minor=priced)
    bonus = Line(key="refund_bonus", credits=bonus_credits, amount_minor=0, bonus=True)
    return msgspec.structs.replace(
        original,
        document_id=document_id,
        kind="credit_note",
        number=number,
        issued_at=issued_at,
        paid_at=refunded_at,
        lines=(base, bonus) if bonus_credits else (base,),
        net_minor=refunded_minor - tax,
        tax_minor=tax,
        total_minor=refunded_minor,
        credits_total=credits,
        template_version=TEMPLATE_VERSION,
        payment_id=payment_id or original.payment_id,
        price_per_credit=None,
        original_number=original.number,
        original_issued_at=original.issued_at,
        reason=reason,
    )


def _credited_tax(original: Document, refunded: int, already: int, already_tax: int) -> int:
    """The tax in this part: what is due on all parts so far, half to even, less what earlier notes credited.

    What is due never passes the receipt's tax, nor what is left of its net, so neither does the sum of the notes.
    """
    left, tax_left = original.total_minor - already, original.tax_minor - already_tax
    assert 0 < refunded <= left, f"{refunded} of {left} creditable"
    assert 0 <= tax_left <= left, "earlier notes credited more tax or more net than the receipt has"
    due = round(Fraction(original.tax_minor * (already + refunded), original.total_minor))
    return min(max(due - already_tax, 0), refunded)


def _issuer(seller: Seller) -> Issuer:
    return Issuer(
        name=seller.name,
        address_lines=seller.address_lines,
        country=seller.country,
        email=seller.email,
        website=seller.website,
        vat_id=seller.vat_id,
        example=seller.example,
    )


def _unit_name(unit: Unit) -> UnitName:
    return UnitName(
        singular=unit.singular,
        plural=unit.plural,
        credits_per_usd=unit.credits_per_usd,
        shown_as_usd=unit.display == "usd",
    )
