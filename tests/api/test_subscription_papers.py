"""A subscription's payments have documents in the same list, which say what they pay for and until when it lives."""

from collections.abc import Iterator
from datetime import datetime

import pytest
from sqlmodel import select

from engine.rules.documents import Document, read
from engine.store.database import Database, reading
from engine.store.documents import list_documents
from engine.store.tables import DocumentRow
from receipts.page import pots
from tests.api.subscriber import Subscriber, subscriber
from tests.engine.support import FakeClock


@pytest.fixture
def mira(db: Database, clock: FakeClock) -> Iterator[Subscriber]:
    made = subscriber(db, clock)
    yield made
    made.runtime.group.close()


def papers(mira: Subscriber) -> list[Document]:
    with reading(mira.runtime.db) as session:
        rows = session.exec(select(DocumentRow).order_by(DocumentRow.number)).all()
    return [read(row.data.encode()) for row in rows]


def test_a_months_credits_end_with_their_period_on_the_receipt_too(mira: Subscriber) -> None:
    now = mira.subscribe("pro")
    [receipt] = papers(mira)
    [line] = receipt.lines
    assert (line.key, line.detail, line.credits, line.amount_minor) == ("subscription", "Pro", 10_000, 4_900)
    assert (line.bucket, line.expires_at) == ("monthly", datetime.fromisoformat(now["currentPeriodEnd"]))
    [pot] = pots(receipt)
    assert pot.expires_at == line.expires_at, "the page does not say that they never expire"
    assert receipt.price_per_credit is None
    account_id = mira.path.rpartition("/")[2]
    with reading(mira.runtime.db) as session:
        listed, total = list_documents(session, account_id, 1, 20)
    assert [(row.kind, row.purchase_id) for row in listed] == [("receipt", mira.payments()[0]["id"])] and total == 1


def test_each_payment_has_its_own_document_and_what_is_told_twice_none_more(mira: Subscriber) -> None:
    now = mira.subscribe("base", button="pay-twice")
    mira.wait_until(now["currentPeriodEnd"], seconds=1)
    events = mira.play("renew")
    mira.tell(*events)
    first, second = papers(mira)
    assert first.order_id != second.order_id and first.number != second.number
    assert {payment["id"] for payment in mira.payments()} == {first.order_id, second.order_id}
    assert [document.lines[0].credits for document in (first, second)] == [3_000, 3_000]
    assert first.lines[0].expires_at != second.lines[0].expires_at
    assert mira.is_clean()


def test_a_refunded_payments_note_names_its_receipt(mira: Subscriber) -> None:
    mira.subscribe("pro")
    payment = mira.payments()[0]
    mira.refund_payment(payment["providerReference"])
    note, receipt = papers(mira)
    assert (note.kind, note.original_number, note.total_minor) == ("credit_note", receipt.number, 4_900)
    assert mira.is_clean()
