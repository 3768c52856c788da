"""What documents say, line by line, as a reader of the PDF sees it."""

from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.rules.documents import Buyer, Document, Line
from engine.rules.money import Money
from tests.receipts.inspect_pdf import text_lines
from tests.receipts.kinds import abroad, an_invoice, documents, of_row
from tests.receipts.samples import DOLLARS, SELLER, TAX_ON_TOP, a_credit_note, a_receipt

GOLDENS = Path(__file__).parent / "goldens"
NEW_YEAR = datetime(2027, 1, 1, tzinfo=timezone.utc)

ON_TOP = a_receipt(
    tax=TAX_ON_TOP,
    price=Money(25_000, "KWD"),
    price_per_credit="0.01",
    timezone="America/New_York",
    buyer=Buyer(email="someone@customer.example"),
    provider="sandbox",
    payment_id=None,
    lines=(
        Line(
            key="subscription", detail="Pro", credits=1_000, amount_minor=20_000, bucket="monthly", expires_at=NEW_YEAR
        ),
        Line(key="commit", count=3, credits=1_000, amount_minor=5_000, bucket="recharge"),
        Line(
            key="coupon",
            detail="LAUNCH50",
            credits=500,
            amount_minor=0,
            bucket="limited_time",
            expires_at=NEW_YEAR,
            bonus=True,
        ),
    ),
)
DOCUMENTS = {
    **{f"invoice_{locale}": documents(locale)["reverse_charge"] for locale in ("fr", "es", "ja", "zh", "ar")},
    **{f"correction_{locale}": documents(locale)["correction"] for locale in ("en", "es", "ja")},
    **{f"other_currency_{locale}": documents(locale)["other_currency"] for locale in ("de", "fr", "zh", "ar")},
    **{f"{name}_{country}": each for country in ("AU", "IN", "JP") for name, each in abroad(country).items()},
    "no_rate_en": an_invoice(price=Money(30_000, "USD")),
    "not_registered_en": of_row("EU, not registered", seller=replace(SELLER, vat_id=None)),
    "cancellation_fr": documents("fr")["cancellation"],
    "payment_confirmation_es": documents("es")["payment_confirmation"],
    "refund_confirmation_zh": documents("zh")["refund_confirmation"],
    "receipt_ja": documents("ja")["receipt"],
    "receipt_ar": documents("ar")["receipt"],
    "receipt_en": a_receipt(),
    "receipt_de": a_receipt(locale="de"),
    "credit_note_en": a_credit_note(a_receipt()),
    "credit_note_de": a_credit_note(a_receipt(locale="de"), refunded_minor=10_000, credits=13_125, bonus_credits=1_875),
    "tax_on_top_en": ON_TOP,
    "dollars_en": a_receipt(
        unit=DOLLARS,
        price=Money(30_000, "USD"),
        price_per_credit="0.000001",
        lines=(Line(key="auto_recharge", credits=300_000_000, amount_minor=30_000, bucket="recharge"),),
    ),
}


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_a_document_says_what_its_golden_file_says(pdf: Callable[[Document], bytes], tmp_path: Path, name: str) -> None:
    expected = (GOLDENS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    assert text_lines(pdf(DOCUMENTS[name]), tmp_path) == expected


def test_every_golden_file_has_its_document() -> None:
    assert {path.stem for path in GOLDENS.glob("*.txt")} == set(DOCUMENTS)


def test_a_real_seller_has_no_example_banner(pdf: Callable[[Document], bytes], tmp_path: Path) -> None:
    document = a_receipt()
    real = replace(document, seller=replace(document.seller, example=False))
    assert any(line.startswith("Example data") for line in text_lines(pdf(document), tmp_path))
    assert not any(line.startswith("Example data") for line in text_lines(pdf(real), tmp_path))
