"""Credit notes whose refund failed: each is cancelled by a document, and the papers sum to the money."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlmodel import select

from engine.flows.cancelled_notes import correct_credit_note, issue_cancellation
from engine.flows.reissues import issue_invoice
from engine.payments import Fact
from engine.rules.documents import Document
from engine.store.database import Database, reading, transact
from engine.store.tables import OutboxRow, PurchaseRow
from tests.engine.support import FakeClock
from tests.flows.test_documents import PROFILE, frozen, is_clean, set_profile, stored
from tests.flows.world import ACCOUNT, World, open_world

PERSON = '{"address":{"line1":"1 Way","city":"Berlin","country":"DE"}}'


@pytest.fixture
def german(db: Database, clock: FakeClock) -> Iterator[World]:
    """alphio: a German seller, 19 % for German buyers, and an account that may buy."""
    opened = open_world(db, clock, "alphio", "pro")
    set_profile(opened, PERSON, "DE")
    yield opened
    opened.close()


def paid(world: World, minor: int = 10_000) -> PurchaseRow:
    purchase = world.buy(minor)
    world.deliver(world.pay(purchase))
    return purchase


def later(world: World, *facts: Fact) -> None:
    world.clock.advance(timedelta(days=1))
    world.deliver(*facts)


def owed(world: World) -> tuple[int, int]:
    """What all papers together charge, and its tax: credit notes count against it."""
    signed = [(-1 if row.kind == "credit_note" else 1, row) for row in stored(world)]
    return sum(sign * row.amount_minor for sign, row in signed), sum(sign * row.tax_minor for sign, row in signed)


def newest(world: World) -> Document:
    return frozen(world)[-1]


def test_a_correction_mirrors_the_note_and_names_it(german: World) -> None:
    purchase = paid(german)
    later(german, german.refund_elsewhere(purchase, "re_1", 3_333))
    note = newest(german)
    assert (note.kind, note.total_minor, note.tax_minor) == ("credit_note", 3_333, 532)
    later(german, german.refund_elsewhere(purchase, "re_1", 3_333, "failed"))
    told = newest(german)
    assert (told.kind, told.title, told.cancels_number) == ("receipt", "correction", note.number)
    assert (told.net_minor, told.tax_minor, told.total_minor) == (note.net_minor, note.tax_minor, note.total_minor)
    assert [(line.key, line.credits) for line in told.lines] == [("given_back", note.credits_total)]
    assert (told.cancels_issued_at, told.original_number, told.reason) == (note.issued_at, None, None)
    assert told.mentions[-1] == "refund_failed"
    assert owed(german) == (10_000, frozen(german)[0].tax_minor)
    row = stored(german)[-1]
    assert (row.kind, row.original_number) == ("receipt", note.number), "the list links it to its note"
    with reading(german.db) as session:
        notices = [r.payload for r in session.exec(select(OutboxRow).where(OutboxRow.kind == "notice")).all()]
    assert sum('"refundFailed"' in payload for payload in notices) == 1
    assert is_clean(german)


def test_a_correction_of_an_invoices_note_is_an_invoice_with_its_xml(german: World) -> None:
    set_profile(german, PROFILE, "IE")
    purchase = paid(german)
    later(german, german.refund_elsewhere(purchase, "re_1", 10_000))
    later(german, german.refund_elsewhere(purchase, "re_1", 10_000, "failed"))
    invoice, note, told = frozen(german)
    assert [document.kind for document in (invoice, note, told)] == ["invoice", "credit_note", "invoice"]
    assert told.number.startswith("ALPI26-") and told.number != invoice.number
    assert told.has_xml and told.mentions == ("reverse_charge", "refund_failed")
    assert owed(german) == (10_000, 0) and is_clean(german)


def test_where_another_sells_the_correction_confirms_the_payment(german: World) -> None:
    german.provider.merchant_of_record = "Paddle"  # type: ignore[assignment]
    purchase = paid(german)
    later(german, german.refund_elsewhere(purchase, "re_1", 10_000))
    later(german, german.refund_elsewhere(purchase, "re_1", 10_000, "failed"))
    told = newest(german)
    assert (told.kind, told.title, told.sold_by) == ("payment_confirmation", "payment_confirmation", "Paddle")
    assert told.number.startswith("ALPP26-") and is_clean(german)


def test_a_correction_is_made_once_and_only_of_a_note(german: World) -> None:
    purchase = paid(german)
    later(german, german.refund_elsewhere(purchase, "re_1", 1_000))
    later(german, german.refund_elsewhere(purchase, "re_1", 1_000, "failed"))
    first = stored(german)[-1]
    again = issue_cancellation(german.runtime, ACCOUNT, purchase.purchase_id, "re_1")
    assert again.document_id == first.document_id and len(stored(german)) == 3
    with pytest.raises(AssertionError):
        transact(
            german.db,
            lambda session: correct_credit_note(session, german.runtime, ACCOUNT, purchase.purchase_id, "re_none"),
        )


def test_what_is_corrected_may_be_refunded_again(german: World) -> None:
    purchase = paid(german)
    for name in ("re_1", "re_2"):
        later(german, german.refund_elsewhere(purchase, name, 10_000))
        later(german, german.refund_elsewhere(purchase, name, 10_000, "failed"))
    assert owed(german)[0] == 10_000
    later(german, german.refund_elsewhere(purchase, "re_3", 10_000))
    assert owed(german) == (0, 0) and len(stored(german)) == 6
    assert is_clean(german)


def test_a_note_on_a_replaced_receipt_is_corrected_beside_the_invoice(german: World) -> None:
    """What the invoice can't bear of a later refund is credited on the correction: two notes, one refund."""
    purchase = paid(german)
    later(german, german.refund_elsewhere(purchase, "re_1", 4_000))
    set_profile(german, PROFILE.replace("IE", "DE").replace("6433435F", "129273398"), "DE")
    german.clock.advance(timedelta(days=1))
    receipt = stored(german)[0]
    invoice, is_new = issue_invoice(german.runtime, ACCOUNT, receipt.document_id, None)
    assert is_new and invoice.amount_minor == 6_000
    later(german, german.refund_elsewhere(purchase, "re_1", 4_000, "failed"))
    correction = stored(german)[-1]
    assert (correction.amount_minor, owed(german)[0]) == (4_000, 10_000)
    later(german, german.refund_elsewhere(purchase, "re_2", 10_000))
    notes = sorted(row.amount_minor for row in stored(german) if row.cause.startswith("re_2"))
    assert notes == [4_000, 6_000] and owed(german) == (0, 0)
    later(german, german.refund_elsewhere(purchase, "re_2", 10_000, "failed"))
    assert owed(german)[0] == 10_000
    later(german, german.refund_elsewhere(purchase, "re_3", 10_000))
    assert owed(german) == (0, 0) and is_clean(german)


def test_a_receipt_replaced_after_its_note_was_corrected_counts_once(german: World) -> None:
    purchase = paid(german)
    later(german, german.refund_elsewhere(purchase, "re_1", 4_000))
    later(german, german.refund_elsewhere(purchase, "re_1", 4_000, "failed"))
    set_profile(german, PROFILE.replace("IE", "DE").replace("6433435F", "129273398"), "DE")
    german.clock.advance(timedelta(days=1))
    invoice, _ = issue_invoice(german.runtime, ACCOUNT, stored(german)[0].document_id, None)
    assert (invoice.amount_minor, owed(german)[0]) == (10_000, 10_000)
    later(german, german.refund_elsewhere(purchase, "re_2", 10_000))
    assert owed(german) == (0, 0)
    assert [row.cause for row in stored(german) if row.cause.startswith("re_2")] == ["re_2"]
