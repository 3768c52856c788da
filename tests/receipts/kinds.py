"""One sample document of every kind, in any language: what the picture, XML and archive tests are made of."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from msgspec.structs import replace

from engine.rules.document_kinds import TABLE, Row
from engine.rules.documents import Buyer, Credited, Document, Line, cancellation, correction
from engine.rules.money import Money
from engine.rules.sellers import Exchange, TaxRate
from tests.receipts.samples import LINES, PAID_AT, SELLER, TAX, a_credit_note, a_receipt

ROWS = {row.name: row for row in TABLE}
LOCALES = ("en", "de", "fr", "es", "ja", "zh", "ar")

ECB = Exchange(currency="USD", since=date(2026, 11, 1), rate=Decimal("0.9213"), source="ECB")
WITH_RATE = replace(TAX, exchange=(ECB,))

COMPANY = Buyer(
    name="Noor Example",
    email="noor@customer.example",
    company="Example Compute GmbH",
    tax_id="DE136695976",
    address_lines=("Beispielweg 12", "20095 Hamburg"),
    country="DE",
    street_lines=("Beispielweg 12",),
    postal_code="20095",
    city="Hamburg",
)
ABROAD = Buyer(
    name="Camille Exemple",
    email="camille@customer.example",
    company="Calcul Exemple SARL",
    tax_id="FR40303265045",
    address_lines=("8 rue des Capucins", "69001 Lyon"),
    country="FR",
    street_lines=("8 rue des Capucins",),
    postal_code="69001",
    city="Lyon",
)
OVERSEAS = Buyer(
    email="ap@customer.example",
    company="Example Compute Inc.",
    address_lines=("1 Sample Street", "Springfield, IL 62701"),
    country="US",
    street_lines=("1 Sample Street",),
    postal_code="62701",
    city="Springfield",
    region="IL",
)
NAMES = {
    "ja": Buyer(
        name="山田 太郎", email="taro@customer.example", address_lines=("東京都千代田区丸の内1-1",), country="JP"
    ),
    "zh": Buyer(name="王小明", email="wang@customer.example", address_lines=("北京市朝阳区示例路 8 号",), country="CN"),
    "ar": Buyer(
        name="نور الخطيب", email="noor@customer.example", address_lines=("شارع المثال 12", "دبي"), country="AE"
    ),
}


def an_invoice(**changes: Any) -> Document:
    """A German company's invoice, in euro."""
    plain: dict[str, Any] = {
        "document_id": "doc_01JD8XKQ2Z4M6P8R0T2V4X6Z9A",
        "number": "ALPI26-0000007",
        "seller": replace(SELLER, vat_id="DE129273398", postal_code="10115", city="Berlin"),
        "buyer": COMPANY,
        "row": ROWS["EU to a company"],
        "price": Money(30_000, "EUR"),
        "purchase_order": "PO-2026-118",
        "balance_after_credits": 41_250,
    }
    return a_receipt(**(plain | changes))


def of_row(name: str, **changes: Any) -> Document:
    """The document that a row of the table calls for."""
    row: Row = ROWS[name]
    return an_invoice(row=row, **changes)


def documents(locale: str) -> dict[str, Document]:
    """One of each kind in a language, for a customer who writes as the language does."""
    person = NAMES.get(locale, replace(COMPANY, company="", tax_id="", street_lines=(), postal_code="", city=""))
    receipt = a_receipt(locale=locale, buyer=person, row=ROWS["everyone else"], balance_after_credits=41_250)
    invoice = an_invoice(locale=locale)
    reverse = of_row("EU to a taxable person in another member state", locale=locale, buyer=ABROAD)
    simplified = of_row(
        "EU, small amount",
        locale=locale,
        buyer=person,
        price=Money(2_500, "EUR"),
        price_per_credit="0.01",
        lines=(Line(key="top_up", credits=2_500, amount_minor=2_500, bucket="recharge"),),
        number="ALPS26-0000003",
        purchase_order="",
    )
    confirmation = of_row(
        "merchant of record", locale=locale, buyer=person, provider="paddle", sold_by="Paddle", number="ALPP26-0000004"
    )
    note = a_credit_note(invoice, refunded_minor=10_000, credits=13_125, bonus_credits=1_875)
    return {
        "receipt": receipt,
        "simplified_invoice": simplified,
        "invoice": invoice,
        "reverse_charge": reverse,
        "credit_note": note,
        "correction": corrected(note),
        "other_currency": an_invoice(locale=locale, price=Money(30_000, "USD"), tax=WITH_RATE),
        "cancellation": cancelled(receipt),
        "payment_confirmation": confirmation,
        "refund_confirmation": a_credit_note(confirmation),
    }


def cancelled(original: Document) -> Document:
    """All of a document taken back, since another replaces it."""
    return cancellation(
        original,
        Credited(),
        document_id="doc_01JD8XKQ2Z4M6P8R0T2V4X6Z9C",
        number="ALPC26-0000009",
        issued_at=original.issued_at,
        reason="Replaced by an invoice",
    )


def corrected(note: Document) -> Document:
    """A credit note taken back, since its refund failed three days later."""
    return correction(
        note,
        document_id="doc_01JD8XKQ2Z4M6P8R0T2V4X6Z9D",
        number="ALPI26-0000008",
        issued_at=note.issued_at + timedelta(days=3),
        paid_at=PAID_AT,
    )


def abroad(country: str, locale: str = "en") -> dict[str, Document]:
    """What sellers outside Europe write: Japan, Australia, India."""
    ids = {"JP": "T1234567890123", "AU": "51824753556", "IN": "29AAGCB7383J1Z4"}
    names = {"JP": "Japan, qualified invoice issuer", "AU": "Australia, registered, to a company"}
    label = "GST" if country in ("AU", "IN") else "Consumption tax"
    tax = replace(WITH_RATE, rates=(TaxRate(country=country, percent=Decimal(10), label=label),), service_code="998439")
    buyer = replace(OVERSEAS, country=country, region="Karnataka" if country == "IN" else "", tax_id=ids[country])
    document = of_row(
        names.get(country, "India, registered, to a company"),
        seller=replace(SELLER, country=country, vat_id=ids[country]),
        buyer=buyer,
        tax=tax if country == "IN" else replace(tax, service_code=""),
        price=Money(30_000, "USD"),
        purchase_order="",
        locale=locale,
    )
    return {"invoice": document, "credit_note": a_credit_note(document)}


__all__ = ["LINES", "LOCALES", "ROWS", "an_invoice", "cancelled", "documents", "of_row"]
