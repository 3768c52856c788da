"""The table of kinds: every row is reached, by the sale it is for; what each says is consistent."""

from dataclasses import replace
from decimal import Decimal
from itertools import product
from typing import Any

import pytest

from engine.rules.document_data import Kind
from engine.rules.document_kinds import EU, TABLE, Row, Sale, category_of, row_for

PERSON = Sale(
    is_sold_by_us=True,
    tax_point="sale",
    seller_country="DE",
    seller_is_registered=True,
    buyer_country="DE",
    buyer_is_company=False,
    buyer_has_tax_id=False,
    is_tax_id_sound=False,
    wants_invoice=False,
    price_minor=30_000,
    currency="USD",
)
COMPANY: dict[str, Any] = {"buyer_is_company": True, "buyer_has_tax_id": True, "is_tax_id_sound": True}
SMALL_EURO: dict[str, Any] = {"currency": "EUR", "price_minor": 2_500}

CASES: list[tuple[str, dict[str, Any], Kind]] = [
    ("merchant of record", {"is_sold_by_us": False, **COMPANY}, "payment_confirmation"),
    ("merchant of record", {"is_sold_by_us": False, "tax_point": "redemption"}, "payment_confirmation"),
    ("multi-purpose voucher", {"tax_point": "redemption", **COMPANY}, "receipt"),
    ("EU, not registered", {"seller_is_registered": False, **COMPANY}, "receipt"),
    ("EU to a taxable person in another member state", {"buyer_country": "FR", **COMPANY}, "invoice"),
    ("EU to a company", {"buyer_country": "FR", **COMPANY, "is_tax_id_sound": False}, "invoice"),
    ("EU to a company outside the EU", {"buyer_country": "US", **COMPANY, "is_tax_id_sound": False}, "invoice"),
    ("EU to a company", COMPANY, "invoice"),
    ("EU to a company", {"buyer_is_company": True, "wants_invoice": True}, "invoice"),
    ("everyone else", {"buyer_is_company": True}, "receipt"),
    ("everyone else", {"wants_invoice": True}, "receipt"),
    ("EU, small amount", SMALL_EURO, "simplified_invoice"),
    ("EU, small amount", {"currency": "EUR", "price_minor": 25_000}, "simplified_invoice"),
    ("everyone else", {"currency": "EUR", "price_minor": 25_001}, "receipt"),
    ("EU, small amount", {**SMALL_EURO, "seller_country": "IE", "buyer_country": "IE"}, "simplified_invoice"),
    ("everyone else", {"currency": "EUR", "price_minor": 10_001, "seller_country": "IE", "buyer_country": "IE"},
     "receipt"),
    ("everyone else", {**SMALL_EURO, "buyer_country": "FR"}, "receipt"),
    ("everyone else", {**SMALL_EURO, "buyer_country": ""}, "receipt"),
    ("GB, not registered", {"seller_country": "GB", "seller_is_registered": False, **COMPANY}, "receipt"),
    ("GB to a company abroad", {"seller_country": "GB", "buyer_country": "DE", **COMPANY}, "invoice"),
    ("GB to a company", {"seller_country": "GB", "buyer_country": "GB", **COMPANY}, "invoice"),
    ("GB, small amount", {"seller_country": "GB", "buyer_country": "GB", "currency": "GBP"} | {"price_minor": 25_000},
     "simplified_invoice"),
    ("Japan, qualified invoice issuer", {"seller_country": "JP", "buyer_country": "JP", **COMPANY}, "invoice"),
    ("Japan, qualified simplified invoice", {"seller_country": "JP", "buyer_country": "JP"}, "simplified_invoice"),
    ("everyone else", {"seller_country": "JP", "buyer_country": "JP", "seller_is_registered": False}, "receipt"),
    ("Australia, registered, to a company", {"seller_country": "AU", "buyer_country": "AU", **COMPANY}, "invoice"),
    ("Australia, registered, small amount", {"seller_country": "AU", "buyer_country": "AU", "currency": "AUD"},
     "simplified_invoice"),
    ("everyone else", {"seller_country": "AU", "buyer_country": "AU", "currency": "AUD", "price_minor": 100_000},
     "receipt"),
    ("India, registered, to a company", {"seller_country": "IN", "buyer_country": "IN", **COMPANY}, "invoice"),
    ("India, registered, advance", {"seller_country": "IN", "buyer_country": "IN"}, "receipt"),
    ("elsewhere, to a company", {"seller_country": "US", "buyer_country": "US", **COMPANY}, "invoice"),
    ("everyone else", {"seller_country": "US", "buyer_country": "US"}, "receipt"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes", "kind"), CASES)
def test_a_sale_calls_for_its_row(name: str, changes: dict[str, Any], kind: Kind) -> None:
    row = row_for(replace(PERSON, **changes))
    assert (row.name, row.kind) == (name, kind)


def test_every_row_is_tested_and_names_its_source() -> None:
    assert {name for name, _, _ in CASES} == {row.name for row in TABLE}
    assert len({row.name for row in TABLE}) == len(TABLE)
    assert all(len(row.source) > 10 for row in TABLE)


def test_every_sale_has_a_row() -> None:
    names = set()
    yes_no = (True, False)
    for seller, buyer, ours, registered, company, tax_id, sound in product(
        ("DE", "GB", "JP", "AU", "IN", "US"), ("DE", "FR", "US", ""), yes_no, yes_no, yes_no, yes_no, yes_no
    ):
        row = row_for(
            replace(
                PERSON,
                seller_country=seller,
                buyer_country=buyer,
                is_sold_by_us=ours,
                seller_is_registered=registered,
                buyer_is_company=company,
                buyer_has_tax_id=tax_id,
                is_tax_id_sound=sound and tax_id,
            )
        )
        names.add(row.name)
        assert row.category != "AE" or (sound and tax_id and company and buyer in EU and buyer != seller)
        assert (row.kind == "payment_confirmation") == (not ours)
    assert len(names) > 8


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_what_a_row_says_fits_together(row: Row) -> None:
    if row.category == "AE":
        assert row.exemption_code == "VATEX-EU-AE" and "reverse_charge" in row.mentions
    assert not row.has_xml or row.kind == "invoice"
    assert bool(row.exemption_code) <= bool(row.mentions), "an exemption says its reason"
    assert (row.kind == "payment_confirmation") == ("not_a_tax_invoice" in row.mentions)
    assert category_of(row, Decimal(19)) in ("S", row.category)
    assert category_of(row, Decimal(0)) in ("Z", row.category)
