"""A subscription's payments have documents in the same list, which say what they pay for and until when it lives."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from sqlmodel import select

from engine.rules.catalog import SOLD_BY_SELLER
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


def test_papers_state_what_was_charged_where_nobody_added_tax_on_top(db: Database, clock: FakeClock) -> None:
    def on_top(catalog: Any) -> Any:
        tax = msgspec.structs.replace(catalog.tax, prices_include_tax=False, default_percent=Decimal(19), rates=())
        rails = tuple(rail for rail in catalog.providers if rail.name not in SOLD_BY_SELLER)
        return msgspec.structs.replace(catalog, tax=tax, providers=rails)

    mira = subscriber(db, clock, on_top)
    mira.subscribe("pro")
    mira.wait(seconds=1)
    started = mira.host.post(f"{mira.path}/checkout", {"amountUsdCents": 50_000, "provider": "sandbox"})
    mira.press(started.json()["checkoutUrl"], "pay")
    top_up, plan = mira.payments()
    assert (top_up["amountMinor"], plan["amountMinor"]) == (50_000, 4_900)
    mira.wait(seconds=1)
    mira.refund_payment(top_up["providerReference"])
    note, *receipts = papers(mira)
    assert [(paper.order_id, paper.total_minor, paper.tax_minor) for paper in (note, *receipts)] == [
        (top_up["id"], 50_000, 7_983),
        (plan["id"], 4_900, 782),
        (top_up["id"], 50_000, 7_983),
    ]
    assert {paper.lines[0].amount_minor for paper in (note, receipts[1])} == {50_000}
    assert mira.is_clean()
    mira.runtime.group.close()
