"""Documents add up whatever is bought and given back, and an issued one never changes its bytes."""

from datetime import datetime, timedelta, timezone
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.rules.documents import (
    Document,
    Line,
    canonical,
    credit_note,
    digest,
    document_number,
    read,
    tax_split,
)
from engine.rules.lots import NEVER
from engine.rules.money import Money
from tests.receipts.samples import BUYER, ISSUED_AT, TAX_ON_TOP, a_credit_note, a_receipt

PERCENTS = st.decimals(0, 100, places=3) | st.sampled_from([Decimal(0), Decimal(19), Decimal("8.875")])


@pytest.mark.parametrize(
    ("price", "percent", "included", "net", "tax", "total"),
    [
        (30_000, "19", True, 25_210, 4_790, 30_000),
        (11_900, "19", True, 10_000, 1_900, 11_900),
        (30_000, "0", True, 30_000, 0, 30_000),
        (1, "19", True, 1, 0, 1),
        (3, "100", True, 2, 1, 3),  # 1.5 → 2: half to even
        (5, "100", True, 2, 3, 5),  # 2.5 → 2
        (25_000, "8.875", False, 25_000, 2_219, 27_219),
        (10, "5", False, 10, 0, 10),  # 0.5 → 0
        (30, "5", False, 30, 2, 32),  # 1.5 → 2
        (0, "19", False, 0, 0, 0),
    ],
)
def test_tax_is_rounded_once_half_to_even(
    price: int, percent: str, included: bool, net: int, tax: int, total: int
) -> None:
    split = tax_split(price, Decimal(percent), prices_include_tax=included)
    assert (split.net_minor, split.tax_minor, split.total_minor) == (net, tax, total)


@given(st.integers(0, 10**15), PERCENTS, st.booleans())
def test_net_and_tax_always_make_the_total_and_are_within_half_a_minor_unit(
    price: int, percent: Decimal, included: bool
) -> None:
    split = tax_split(price, percent, prices_include_tax=included)
    assert split.net_minor + split.tax_minor == split.total_minor
    assert (split.total_minor if included else split.net_minor) == price
    assert split.tax_minor >= 0
    # |net × percent ÷ 100 − tax| is at most half a unit, scaled by 1 + percent ÷ 100 where net was rounded
    error = abs(Decimal(split.net_minor) * percent / 100 - split.tax_minor)
    assert error <= (1 + percent / 100) / 2


@given(
    total=st.integers(1, 10**9),
    percent=PERCENTS,
    included=st.booleans(),
    parts=st.lists(st.integers(1, 100), min_size=1, max_size=8),
)
def test_partial_credit_notes_never_exceed_the_receipt_and_the_last_takes_the_rest(
    total: int, percent: Decimal, included: bool, parts: list[int]
) -> None:
    tax = replace(TAX_ON_TOP, prices_include_tax=included, default_percent=percent)
    line = Line(key="top_up", credits=100, amount_minor=total)
    original = a_receipt(tax=tax, price=Money(total, "USD"), lines=(line,), buyer=replace(BUYER, country="US"))
    credited = credited_tax = 0
    for part in cut(original.total_minor, parts):
        note = a_credit_note(
            original,
            refunded_minor=part,
            credits=0,
            already_credited_minor=credited,
            already_credited_tax_minor=credited_tax,
        )
        assert note.total_minor == part
        assert abs(note.tax_minor - Decimal(part) * original.tax_minor / original.total_minor) <= 1
        credited += note.total_minor
        credited_tax += note.tax_minor
        assert credited_tax <= original.tax_minor
        assert credited - credited_tax <= original.net_minor
    assert (credited, credited_tax) == (original.total_minor, original.tax_minor)


def cut(total: int, weights: list[int]) -> list[int]:
    """`total` in positive parts of about these weights."""
    bounds = [total * sum(weights[: i + 1]) // sum(weights) for i in range(len(weights))]
    return [high - low for low, high in zip([0, *bounds], bounds, strict=False) if high > low]


@given(st.integers(2, 5_000), st.data())
def test_the_earlier_notes_tax_may_be_anything_that_fits(total: int, data: st.DataObject) -> None:
    line = Line(key="top_up", credits=1, amount_minor=total)
    original = a_receipt(price=Money(total, "USD"), lines=(line,))
    already = data.draw(st.integers(1, total - 1))
    lowest = max(0, already - original.net_minor)
    already_tax = data.draw(st.integers(lowest, max(lowest, min(already, original.tax_minor))))
    part = data.draw(st.integers(1, total - already))
    note = a_credit_note(
        original,
        refunded_minor=part,
        credits=0,
        bonus_credits=0,
        already_credited_minor=already,
        already_credited_tax_minor=already_tax,
    )
    assert note.net_minor >= 0 and note.tax_minor >= 0
    assert already_tax + note.tax_minor <= original.tax_minor
    assert already - already_tax + note.net_minor <= original.net_minor


def test_more_than_was_paid_is_never_credited() -> None:
    with pytest.raises(AssertionError, match="creditable"):
        a_credit_note(a_receipt(), refunded_minor=30_001)
    with pytest.raises(AssertionError, match="creditable"):
        a_credit_note(a_receipt(), refunded_minor=1, already_credited_minor=30_000, already_credited_tax_minor=4_790)
    with pytest.raises(AssertionError, match="answers a receipt"):
        a_credit_note(a_credit_note(a_receipt()))


def test_a_receipt_holds_what_was_bought() -> None:
    document = a_receipt()
    assert (document.net_minor, document.tax_minor, document.total_minor) == (25_210, 4_790, 30_000)
    assert (document.credits_total, document.bonus_credits) == (39_375, 1_875)
    assert (document.tax_label, document.tax_percent) == ("VAT", "19")
    assert document.seller.name == "Alphio Example GmbH"
    assert document.notes == ("Example tax table.",)


def test_a_buyer_in_another_country_pays_the_default_rate() -> None:
    document = a_receipt(buyer=replace(BUYER, country="FR"))
    assert (document.tax_percent, document.tax_minor, document.net_minor) == ("0", 0, 30_000)


def test_tax_on_top_raises_the_total_above_the_lines() -> None:
    document = a_receipt(tax=TAX_ON_TOP)
    assert (document.net_minor, document.tax_minor, document.total_minor) == (30_000, 2_662, 32_662)
    note = a_credit_note(document)
    assert (note.net_minor, note.tax_minor, note.lines[0].amount_minor) == (30_000, 2_662, 30_000)


def test_a_credit_note_names_its_original_and_keeps_its_parties() -> None:
    original = a_receipt()
    note = a_credit_note(original)
    assert (note.kind, note.original_number, note.reason) == ("credit_note", original.number, "Bought by mistake")
    assert note.original_issued_at == original.issued_at
    assert (note.seller, note.buyer, note.order_id) == (original.seller, original.buyer, original.order_id)
    assert [(line.key, line.credits, line.amount_minor, line.bonus) for line in note.lines] == [
        ("refund", 37_500, 30_000, False),
        ("refund_bonus", 1_875, 0, True),
    ]
    assert note.price_per_credit is None


def test_an_issued_document_has_the_same_digest_for_ever() -> None:
    assert digest(a_receipt()) == "3b43ebec5ed055211420e3bfb9f1d9dc930bc2454e4c36afa9410abad6324fca"
    assert digest(a_credit_note(a_receipt())) == "3a46f72405ed69819cf421bdce93faf82421e915855f91bac114618b2e08e9d8"


def test_canonical_bytes_are_sorted_compact_and_leave_out_what_is_default() -> None:
    data = canonical(a_receipt())
    assert data.startswith(b'{"buyer":{"address_lines":["Beispielweg 12","20095 Hamburg"],"company":')
    assert b'"issued_at":"2026-11-20T23:30:05Z"' in data
    assert b"original_number" not in data
    assert "Musterstraße".encode() in data


@pytest.mark.parametrize("document", [a_receipt(), a_receipt(tax=TAX_ON_TOP), a_credit_note(a_receipt())])
def test_a_document_is_read_back_as_it_was(document: Document) -> None:
    assert read(canonical(document)) == document
    assert canonical(read(canonical(document))) == canonical(document)


@pytest.mark.parametrize(
    "changes",
    [
        {"tax_minor": 4_791},
        {"tax_minor": -1, "net_minor": 30_001},
        {"total_minor": 30_001, "net_minor": 25_211},
        {"credits_total": 39_376},
        {"kind": "credit_note"},
        {"original_number": "ALPR26-0000001", "reason": "none"},
        {"issued_at": ISSUED_AT.replace(tzinfo=None)},
        {"paid_at": ISSUED_AT.astimezone(timezone(timedelta(hours=1)))},
        {"lines": (Line(key="top_up", credits=39_375, amount_minor=30_000, expires_at=NEVER),)},
    ],
)
def test_a_document_that_does_not_add_up_cannot_exist(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        replace(a_receipt(), **changes)


@pytest.mark.parametrize("damage", [(b'"tax_minor":4790', b'"tax_minor":4789'), (b'"kind":', b'"kin":'), (b"Z", b"")])
def test_stored_bytes_that_are_not_a_sound_document_are_refused(damage: tuple[bytes, bytes]) -> None:
    data = canonical(a_receipt())
    assert damage[0] in data
    with pytest.raises(msgspec.ValidationError):
        read(data.replace(*damage))


def test_numbers_are_short_and_tell_kind_and_year() -> None:
    assert document_number("ALP", "receipt", 2026, 42) == "ALPR26-0000042"
    assert document_number("ALP", "credit_note", 2026, 1) == "ALPC26-0000001"
    assert document_number("PURSE", "receipt", 2031, 9_999_999) == "PURSER31-9999999"


@pytest.mark.parametrize(("prefix", "n"), [("PURSER", 1), ("PURSE", 10_000_000), ("ALP", 0), ("ALP", -1)])
def test_a_number_is_never_longer_than_sixteen_characters_nor_before_the_first(prefix: str, n: int) -> None:
    with pytest.raises(AssertionError):
        document_number(prefix, "receipt", 2026, n)


def test_the_bonus_is_part_of_what_was_taken_back() -> None:
    with pytest.raises(AssertionError):
        credit_note(
            a_receipt(),
            document_id="doc_2",
            number="ALPC26-0000001",
            issued_at=datetime(2026, 11, 22, tzinfo=timezone.utc),
            refunded_at=datetime(2026, 11, 22, tzinfo=timezone.utc),
            reason="x",
            refunded_minor=1,
            credits=1,
            bonus_credits=2,
        )
