"""One sample document of every kind, in any language: what the picture, XML and archive tests are made of."""

from typing import Any

from msgspec.structs import replace

from engine.rules.document_kinds import TABLE, Row
from engine.rules.documents import Buyer, Credited, Document, Line, cancellation
from engine.rules.money import Money
from tests.receipts.samples import LINES, SELLER, a_credit_note, a_receipt

ROWS = {row.name: row for row in TABLE}
LOCALES = ("en", "de", "fr", "es", "ja", "zh", "ar")

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
    return {
        "receipt": receipt,
        "simplified_invoice": simplified,
        "invoice": invoice,
        "reverse_charge": reverse,
        "credit_note": a_credit_note(invoice, refunded_minor=10_000, credits=13_125, bonus_credits=1_875),
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


__all__ = ["LINES", "LOCALES", "ROWS", "an_invoice", "cancelled", "documents", "of_row"]
