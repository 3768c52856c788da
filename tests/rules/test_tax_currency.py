"""Tax in the national currency: at the operator's rate only, by the rows that need it, in parts that sum up."""

from datetime import date
from decimal import Decimal
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.rules.catalog import CatalogError, read_catalog
from engine.rules.document_data import NationalTax
from engine.rules.document_kinds import EU, TABLE, note_title_of
from engine.rules.documents import Credited, Document, Line, cancellation
from engine.rules.money import Money
from engine.rules.tax_currency import NATIONAL, national_tax
from tests.receipts.kinds import COMPANY, ECB, ROWS, WITH_RATE, an_invoice
from tests.receipts.samples import ISSUED_AT, PAID_AT, SELLER, TAX, a_credit_note

STATING = [row for row in TABLE if row.states_national_tax]


def in_dollars(minor: int = 30_000, **changes: Any) -> Document:
    return an_invoice(**({"price": Money(minor, "USD"), "lines": (line(minor),), "tax": WITH_RATE} | changes))


def line(minor: int) -> Line:
    return Line(key="top_up", credits=minor, amount_minor=minor)


def test_an_invoice_in_dollars_states_its_tax_in_euro_at_the_given_rate() -> None:
    document = in_dollars()
    assert document.tax_minor == 4_790
    assert document.national_tax == NationalTax(
        currency="EUR", minor=4_413, rate="0.9213", source="ECB", since=date(2026, 11, 1)
    )


@pytest.mark.parametrize("row", STATING, ids=lambda row: row.name)
def test_each_row_that_states_it_does(row: Any) -> None:
    country = {"EU": "DE"}.get(row.seller, row.seller)
    seller = replace(SELLER, country=country)
    rate = replace(ECB, currency="CHF")
    told = national_tax(row, seller, replace(TAX, exchange=(rate,)), 1_000, "CHF", PAID_AT)
    assert told is not None and told.currency == NATIONAL[country]
    assert told.minor == (9 if country == "JP" else 921), "yen has no minor unit"
    assert national_tax(row, seller, TAX, 1_000, NATIONAL[country], PAID_AT) is None


def test_every_row_with_tax_for_companies_at_home_states_it_and_no_receipt_does() -> None:
    at_home = {row.name for row in TABLE if row.seller in ("EU", "GB", "JP", "AU", "IN") and row.category is None}
    assert at_home == {row.name for row in STATING}


@pytest.mark.parametrize(
    ("since", "days", "known"),
    [
        (date(2026, 11, 21), 31, True),
        (date(2026, 11, 22), 31, False),
        (date(2026, 10, 22), 31, True),
        (date(2026, 10, 21), 31, False),
        (date(2026, 10, 21), 32, True),
    ],
)
def test_a_rate_counts_from_its_day_in_the_sellers_zone_and_not_when_it_is_old(
    since: date, days: int, known: bool
) -> None:
    """Paid at 23:29 UTC on the 20th, which is the 21st in Berlin."""
    tax = replace(TAX, exchange=(replace(ECB, since=since),), exchange_days_max=days)
    told = in_dollars(tax=tax, seller=replace(SELLER, timezone="Europe/Berlin")).national_tax
    assert told is not None and (told.minor is not None) == known
    assert told.currency == "EUR"


def test_the_newest_rate_of_the_currency_counts() -> None:
    older, later = replace(ECB, since=date(2026, 10, 30)), replace(ECB, since=date(2026, 12, 1))
    tax = replace(TAX, exchange=(later, ECB, older, replace(ECB, currency="GBP", rate=Decimal(9))))
    assert tax.exchange_on("USD", date(2026, 11, 20)) == ECB
    assert tax.exchange_on("JPY", date(2026, 11, 20)) is None


def test_what_needs_no_other_currency_says_nothing_of_one() -> None:
    assert an_invoice().national_tax is None
    assert in_dollars(row=ROWS["everyone else"]).national_tax is None
    assert in_dollars(row=ROWS["EU to a taxable person in another member state"]).national_tax is None
    assert in_dollars(buyer=replace(COMPANY, country="FR")).national_tax is None, "no rate for France: no tax"
    swiss = national_tax(ROWS["EU to a company"], replace(SELLER, country="CH"), TAX, 1, "USD", PAID_AT)
    assert swiss is None


@given(st.integers(2, 10**6), st.decimals("0.0001", 400, places=4), st.lists(st.integers(1, 10**6), max_size=5))
def test_credit_notes_in_parts_sum_up_to_what_was_stated(minor: int, rate: Decimal, parts: list[int]) -> None:
    original = in_dollars(minor, tax=replace(TAX, exchange=(replace(ECB, rate=rate),)))
    if original.tax_minor == 0:
        assert original.national_tax is None
        return
    assert original.national_tax is not None
    stated, done, tax_done = 0, 0, 0
    for part in parts:
        refunded = min(part, original.total_minor - done - 1)
        if refunded < 1:
            break
        note = a_credit_note(
            original, refunded_minor=refunded, credits=0, bonus_credits=0,
            already_credited_minor=done, already_credited_tax_minor=tax_done,
        )  # fmt: skip
        done, tax_done = done + refunded, tax_done + note.tax_minor
        stated += _stated(note)
    rest = cancellation(
        original, Credited(done, tax_done), document_id="d", number="ALPC26-0000003", issued_at=ISSUED_AT, reason="x"
    )
    assert stated + _stated(rest) == original.national_tax.minor


def _stated(note: Document) -> int:
    assert (note.national_tax is None) == (note.tax_minor == 0)
    return (note.national_tax.minor or 0) if note.national_tax else 0


def test_a_note_on_an_invoice_without_a_rate_says_so_too() -> None:
    note = a_credit_note(in_dollars(tax=TAX))
    assert note.national_tax == NationalTax(currency="EUR")


@pytest.mark.parametrize(
    "rate", ["0", "-1", "1000000", "0.12345678901", "nan", "inf"]
)  # fmt: skip
def test_a_rate_that_is_none_is_refused(rate: str) -> None:
    with pytest.raises(ValueError, match="rate"):
        replace(ECB, rate=Decimal(rate))


def test_a_catalogue_gives_rates_once_for_each_day() -> None:
    text = files("engine.catalogs").joinpath("alphio.toml").read_text(encoding="utf-8")
    rate = '{ currency = "USD", since = 2026-11-01, rate = 0.9213, source = "ECB" }'
    with_one = text.replace("[tax]\n", f"[tax]\nexchange = [{rate}]\n")
    assert read_catalog(with_one).tax.exchange == (ECB,)
    with pytest.raises(CatalogError, match="twice"):
        read_catalog(with_one.replace(rate, f"{rate}, {rate}"))
    with pytest.raises(CatalogError, match="ISO 4217"):
        read_catalog(with_one.replace('"USD", since', '"XYZ", since'))


def test_every_member_state_has_its_currency() -> None:
    assert set(NATIONAL) >= EU | {"GB", "JP", "AU", "IN"}
    assert (NATIONAL["DE"], NATIONAL["BG"], NATIONAL["SE"]) == ("EUR", "EUR", "SEK")


@pytest.mark.parametrize(
    ("title", "country", "note"),
    [
        ("invoice", "DE", "credit_note"),
        ("receipt", "FR", "credit_note"),
        ("payment_confirmation", "DE", "refund_confirmation"),
        ("qualified_invoice", "JP", "qualified_return_invoice"),
        ("qualified_simplified_invoice", "JP", "qualified_return_invoice"),
        ("tax_invoice", "AU", "adjustment_note"),
        ("tax_invoice", "IN", "credit_note"),
        ("receipt_voucher", "IN", "refund_voucher"),
        ("correction", "DE", "credit_note"),
    ],
)
def test_a_credit_note_is_called_as_the_sellers_country_calls_it(title: Any, country: str, note: str) -> None:
    assert note_title_of(title, country) == note
    original = replace(an_invoice(), title=title, has_xml=False, seller=replace(an_invoice().seller, country=country))
    assert a_credit_note(original).title == note
