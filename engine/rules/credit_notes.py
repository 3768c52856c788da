"""What takes a document back: the credit note of a refund, whole or in part, and cancelling to issue anew; and what
takes a credit note back whose refund failed.

All notes on one document together never exceed it, in total, in net and in tax; the last one takes the rest.
"""

from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

import msgspec

from engine.rules.document_data import TEMPLATE_VERSION, Document, Line, LineKey, coupon_line
from engine.rules.document_kinds import note_title_of
from engine.rules.tax_currency import national_part

UNDONE: dict[LineKey, LineKey] = {
    "refund": "given_back",
    "refund_bonus": "given_back_bonus",
    "refund_coupon": "given_back_coupon",
}
"""What each line of a credit note is on the document that cancels it."""


@dataclass(frozen=True, slots=True)
class Credited:
    """What earlier notes on one document sum to."""

    total_minor: int = 0
    tax_minor: int = 0
    credits: int = 0
    bonus_credits: int = 0
    coupon_credits: int = 0


def credited_by(notes: tuple[Document, ...]) -> Credited:
    """The sum of these notes."""
    return Credited(
        sum(note.total_minor for note in notes),
        sum(note.tax_minor for note in notes),
        sum(note.credits_total for note in notes),
        sum(note.bonus_credits for note in notes),
        sum(note.coupon_credits for note in notes),
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
    coupon_credits: int = 0,
    already_credited_minor: int = 0,
    already_credited_tax_minor: int = 0,
    payment_id: str | None = None,
) -> Document:
    """The credit note for money of `original` that went back: all of it, or a part with tax in proportion.

    `refunded_minor` is money as it was paid, tax included. `credits` is what was taken back with it, of which
    `bonus_credits` were bonus, `coupon_credits` of these the coupon's. The two `already_credited` sums are those of the
    earlier notes on the same original: whatever the parts, the notes' tax never exceeds the receipt's, and the last one
    takes the rest.
    """
    assert 0 <= coupon_credits <= bonus_credits <= credits
    tax = _credited_tax(original, refunded_minor, already_credited_minor, already_credited_tax_minor)
    priced = refunded_minor if original.prices_include_tax else refunded_minor - tax
    base = Line(key="refund", credits=credits - bonus_credits, amount_minor=priced)
    bonus = Line(key="refund_bonus", credits=bonus_credits - coupon_credits, amount_minor=0, bonus=True)
    coupon = coupon_line(coupon_credits, original.coupon, None, "refund_coupon")
    note = _against(original, document_id, number, issued_at, reason)
    return msgspec.structs.replace(
        note,
        national_tax=national_part(original, already_credited_tax_minor, tax),
        paid_at=refunded_at,
        lines=(base, *(line for line in (bonus, coupon) if line.credits)),
        net_minor=refunded_minor - tax,
        tax_minor=tax,
        total_minor=refunded_minor,
        credits_total=credits,
        payment_id=payment_id or original.payment_id,
    )


def cancellation(
    original: Document, credited: Credited, *, document_id: str, number: str, issued_at: datetime, reason: str
) -> Document:
    """The credit note that takes back all that is left of `original`, because another document replaces it.

    No money and no credits move.
    """
    total = original.total_minor - credited.total_minor
    tax = original.tax_minor - credited.tax_minor
    assert total > 0, "nothing is left to cancel"
    line = Line(key="cancellation", credits=0, amount_minor=total if original.prices_include_tax else total - tax)
    note = _against(original, document_id, number, issued_at, reason)
    return msgspec.structs.replace(
        note,
        title=None if note.title is None else "cancellation",
        national_tax=national_part(original, credited.tax_minor, tax),
        lines=(line,),
        net_minor=total - tax,
        tax_minor=tax,
        total_minor=total,
        credits_total=0,
    )


def correction(note: Document, *, document_id: str, number: str, issued_at: datetime, paid_at: datetime) -> Document:
    """The document that charges again what `note` credited, because its refund failed.

    It mirrors the note line by line, tax included, is of the kind the note was on, and names the note.
    """
    assert note.kind == "credit_note", "only a credit note is cancelled so"
    kind = note.original_kind or "receipt"
    lines = tuple(msgspec.structs.replace(line, key=UNDONE.get(line.key, line.key)) for line in note.lines)
    return msgspec.structs.replace(
        note,
        document_id=document_id,
        kind=kind,
        title="payment_confirmation" if kind == "payment_confirmation" else "correction",
        number=number,
        issued_at=issued_at,
        paid_at=paid_at,
        template_version=TEMPLATE_VERSION,
        lines=lines,
        original_number=None,
        original_issued_at=None,
        original_kind=None,
        reason=None,
        cancels_number=note.number,
        cancels_issued_at=note.issued_at,
        mentions=(*note.mentions, "refund_failed"),
    )


def remaining_lines(original: Document, credited: Credited) -> tuple[Line, ...]:
    """The lines of `original` less what was credited: as they stand, or after a refund one of each kind."""
    if not credited.total_minor:
        return original.lines
    left = original.total_minor - credited.total_minor
    if not original.prices_include_tax:
        left -= original.tax_minor - credited.tax_minor
    first = original.lines[0]
    credits = original.credits_total - credited.credits
    bonus = min(credits, max(0, original.bonus_credits - credited.bonus_credits))
    base = msgspec.structs.replace(first, credits=credits - bonus, amount_minor=left)
    coupon = min(bonus, original.coupon_credits - credited.coupon_credits)
    extra = Line(key="bonus", credits=bonus - coupon, amount_minor=0, bucket=first.bucket, bonus=True)
    return base, *(line for line in (extra, coupon_line(coupon, original.coupon, first.bucket)) if line.credits)


def _against(original: Document, document_id: str, number: str, issued_at: datetime, reason: str) -> Document:
    """A credit note on `original`, with nothing in it changed but what makes it one."""
    assert original.kind != "credit_note", "a credit note answers a receipt or an invoice"
    title = None if original.title is None else note_title_of(original.title, original.seller.country)
    return msgspec.structs.replace(
        original,
        document_id=document_id,
        kind="credit_note",
        number=number,
        issued_at=issued_at,
        template_version=TEMPLATE_VERSION,
        price_per_credit=None,
        balance_after_credits=None,
        original_number=original.number,
        original_issued_at=original.issued_at,
        original_kind=None if original.title is None else original.kind,
        title=title,
        replaces_number=None,
        replaces_issued_at=None,
        cancels_number=None,
        cancels_issued_at=None,
        mentions=tuple(key for key in original.mentions if key != "refund_failed"),
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
