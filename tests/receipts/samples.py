"""Sample documents: one receipt and its credit note, with any field changed."""

from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from engine.rules.catalog import Unit
from engine.rules.documents import Buyer, Document, Line, credit_note, receipt
from engine.rules.money import Money
from engine.rules.sellers import Seller, Tax, TaxRate

SELLER = Seller(
    name="Alphio Example GmbH",
    address_lines=("Musterstraße 1", "10115 Berlin", "Germany"),
    country="DE",
    vat_id="DE000000000",
    email="billing@alphio.example",
    website="https://alphio.example",
    series_prefix="ALP",
    example=True,
)
TAX = Tax(
    prices_include_tax=True,
    label="VAT",
    note="Example tax table.",
    rates=(TaxRate(country="DE", percent=Decimal(19), label="VAT"),),
)
TAX_ON_TOP = Tax(prices_include_tax=False, label="Sales tax", note="", default_percent=Decimal("8.875"))
UNIT = Unit(singular="credit", plural="credits")
DOLLARS = Unit(singular="US dollar", plural="US dollars", credits_per_usd=1_000_000, display="usd")
BUYER = Buyer(
    name="Mira Example",
    email="mira@customer.example",
    company="Mira Example Studio",
    tax_id="DE111111111",
    address_lines=("Beispielweg 12", "20095 Hamburg"),
    country="DE",
)
LINES = (
    Line(key="top_up", credits=37_500, amount_minor=30_000, bucket="recharge"),
    Line(key="bonus", credits=1_875, amount_minor=0, bucket="recharge", bonus=True),
)
ADDED = ("sold_by", "purchase_order", "balance_after_credits", "replaces_number", "replaces_issued_at")
"""What the flow adds to a document once its kind is known."""

PAID_AT = datetime(2026, 11, 20, 23, 29, 58, tzinfo=timezone.utc)
ISSUED_AT = datetime(2026, 11, 20, 23, 30, 5, tzinfo=timezone.utc)


def a_receipt(**changes: Any) -> Document:
    """USD 300.00 for 37,500 credits and 1,875 bonus ones, tax included, at half past eleven at night UTC."""
    plain: dict[str, Any] = {
        "document_id": "doc_01JD8XKQ2Z4M6P8R0T2V4X6Z8A",
        "number": "ALPR26-0000042",
        "issued_at": ISSUED_AT,
        "paid_at": PAID_AT,
        "locale": "en",
        "timezone": "Europe/Berlin",
        "seller": SELLER,
        "tax": TAX,
        "unit": UNIT,
        "buyer": BUYER,
        "lines": LINES,
        "price": Money(30_000, "USD"),
        "price_per_credit": "0.0076190476",
        "order_id": "pur_01JD8XKQ2Z4M6P8R0T2V4X6Z8B",
        "payment_id": "pi_3QN2abcDEFghiJKL0mnop123",
        "provider": "stripe",
    }
    added = {name: changes.pop(name) for name in ADDED if name in changes}
    return replace(receipt(**(plain | changes)), **added)


def a_credit_note(original: Document, **changes: Any) -> Document:
    """The whole of `original` given back two hours later."""
    plain: dict[str, Any] = {
        "document_id": "doc_01JD8XKQ2Z4M6P8R0T2V4X6Z8C",
        "number": "ALPC26-0000001",
        "issued_at": datetime(2026, 11, 21, 1, 30, tzinfo=timezone.utc),
        "refunded_at": datetime(2026, 11, 21, 1, 29, tzinfo=timezone.utc),
        "reason": "Bought by mistake",
        "refunded_minor": original.total_minor,
        "credits": original.credits_total,
        "bonus_credits": original.bonus_credits,
    }
    return credit_note(original, **(plain | changes))
