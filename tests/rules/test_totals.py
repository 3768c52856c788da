"""Totals obey the rules of EN 16931 whatever is sold, given back and cancelled."""

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.rules.document_data import coupon_line
from engine.rules.document_kinds import TABLE, Row
from engine.rules.documents import Credited, Document, Line, cancellation, correction, credited_by, remaining_lines
from engine.rules.money import Money
from engine.rules.sellers import Tax
from engine.rules.totals import totals
from tests.receipts.samples import BUYER, ISSUED_AT, a_credit_note, a_receipt

AMOUNTS = st.lists(st.integers(0, 10**9), min_size=1, max_size=20).filter(lambda amounts: sum(amounts) > 0)
PERCENTS = st.decimals(0, 100, places=3) | st.sampled_from([Decimal(0), Decimal(19), Decimal("8.875")])


def a_document(amounts: list[int], percent: Decimal, included: bool, row: Row) -> Document:
    lines = tuple(Line(key="top_up", credits=10 + n, amount_minor=minor) for n, minor in enumerate(amounts))
    tax = Tax(prices_include_tax=included, label="VAT", note="", default_percent=percent)
    return a_receipt(
        lines=lines, tax=tax, price=Money(sum(amounts), "EUR"), row=row, buyer=replace(BUYER, country="DE")
    )


def check_rules(document: Document) -> None:
    sums = totals(document)
    assert sums.lines_minor == sum(sums.line_nets), "BR-CO-10"
    assert sums.net_minor == sums.lines_minor, "BR-CO-13, without charges and allowances"
    assert sums.tax_minor == document.tax_minor, "BR-CO-14: one category, one sum"
    assert sums.total_minor == sums.net_minor + sums.tax_minor, "BR-CO-15"
    assert sums.due_minor == sums.total_minor - sums.prepaid_minor == 0, "BR-CO-16"
    assert min(sums.line_nets) >= 0
    for line, net in zip(document.lines, sums.line_nets, strict=True):
        share = Fraction(line.amount_minor * document.net_minor, max(document.priced_minor, 1))
        assert abs(net - share) < 1


@given(AMOUNTS, PERCENTS, st.booleans(), st.sampled_from(TABLE))
def test_a_document_of_any_row_adds_up(amounts: list[int], percent: Decimal, included: bool, row: Row) -> None:
    document = a_document(amounts, percent, included, row)
    check_rules(document)
    due = Fraction(document.net_minor) * Fraction(document.tax_percent) / 100
    assert abs(document.tax_minor - due) <= (1 + percent / 100) / 2, "BR-CO-17 to the minor unit"
    if row.is_untaxed:
        assert (document.tax_minor, document.tax_percent) == (0, "0")


@given(AMOUNTS, PERCENTS, st.booleans(), st.lists(st.integers(1, 99), max_size=4))
def test_refunds_then_a_cancellation_take_back_exactly_what_was_sold(
    amounts: list[int], percent: Decimal, included: bool, shares: list[int]
) -> None:
    original = a_document(amounts, percent, included, TABLE[-1])
    notes: list[Document] = []
    for share in shares:
        before = credited_by(tuple(notes))
        part = (original.total_minor - before.total_minor) * share // 100
        if part == 0:
            continue
        note = a_credit_note(
            original,
            refunded_minor=part,
            credits=min(share, original.credits_total - before.credits),
            bonus_credits=0,
            already_credited_minor=before.total_minor,
            already_credited_tax_minor=before.tax_minor,
        )
        check_rules(note)
        notes.append(note)
    credited = credited_by(tuple(notes))
    left = remaining_lines(original, credited)
    assert sum(line.credits for line in left) == original.credits_total - credited.credits
    rest = cancellation(
        original, credited, document_id="doc_9", number="ALPC26-0000009", issued_at=ISSUED_AT, reason="x"
    )
    check_rules(rest)
    assert sum(line.amount_minor for line in left) == rest.priced_minor
    assert rest.original_number == original.number and rest.credits_total == 0
    whole = credited_by((*notes, rest))
    assert (whole.total_minor, whole.tax_minor) == (original.total_minor, original.tax_minor)


def test_what_was_not_credited_leaves_the_lines_as_they_stand() -> None:
    original = a_receipt()
    assert remaining_lines(original, Credited()) == original.lines
    base, bonus = remaining_lines(original, Credited(10_000, 1_597, 13_125, 1_000))
    assert (base.key, base.credits, base.amount_minor) == ("top_up", 25_375, 20_000)
    assert (bonus.credits, bonus.amount_minor, bonus.bonus) == (875, 0, True)


def test_a_coupons_credits_are_given_back_first_and_said_by_themselves() -> None:
    original = a_receipt(
        lines=(
            Line(key="top_up", credits=30_000, amount_minor=30_000, bucket="recharge"),
            Line(key="bonus", credits=3_000, amount_minor=0, bucket="recharge", bonus=True),
            coupon_line(6_000, "TOPUP20", "recharge"),
        )
    )
    assert (original.bonus_credits, original.coupon_credits, original.coupon) == (9_000, 6_000, "TOPUP20")
    first = a_credit_note(original, refunded_minor=5_000, credits=6_500, bonus_credits=6_500, coupon_credits=6_000)
    assert [(line.key, line.credits, line.detail) for line in first.lines] == [
        ("refund", 0, ""),
        ("refund_bonus", 500, ""),
        ("refund_coupon", 6_000, "TOPUP20"),
    ]
    half = a_credit_note(original, refunded_minor=2_500, credits=3_250, bonus_credits=3_250, coupon_credits=3_250)
    left = remaining_lines(original, credited_by((half,)))
    assert [(line.key, line.credits) for line in left] == [("top_up", 30_000), ("bonus", 3_000), ("coupon", 2_750)]
    undone = correction(first, document_id="d", number="ALPR26-0000009", issued_at=ISSUED_AT, paid_at=ISSUED_AT)
    assert [line.key for line in undone.lines] == ["given_back", "given_back_bonus", "given_back_coupon"]
    assert (undone.coupon_credits, undone.coupon) == (6_000, "TOPUP20")
