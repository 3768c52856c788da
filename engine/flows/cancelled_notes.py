"""Credit notes whose refund failed after all: each is cancelled by a document that charges the same again.

A document is never changed. The cancellation mirrors the note line by line, tax included, names it, and is unique for
its refund, so the papers of a purchase always sum up to the money that is with the seller.
"""

import msgspec
from sqlmodel import Session

from engine.clock import new_id
from engine.flows.document_parts import keep, take_number
from engine.rules import documents as rules
from engine.rules.document_data import Document, Line, LineKey
from engine.runtime import Runtime
from engine.store import documents, purchases
from engine.store.database import transact
from engine.store.tables import DocumentRow

MIRRORED: dict[LineKey, LineKey] = {"refund": "top_up", "refund_bonus": "bonus"}
"""What each line of a credit note is on the document that cancels it."""


def cause_of(fact_id: str) -> str:
    """What a cancellation is unique for."""
    return documents.CANCELS + fact_id


def issue_cancellation(runtime: Runtime, account_id: str, purchase_id: str, fact_id: str) -> DocumentRow:
    """Cancel the credit note of a refund that failed, or find the document that does."""

    def work(session: Session) -> DocumentRow:
        purchase = purchases.get_purchase(session, account_id, purchase_id, lock=True)
        note = documents.find_document(session, account_id, purchase_id, "credit_note", fact_id)
        assert purchase is not None and note is not None, "only a note that was issued is cancelled"
        there = documents.find_document(session, account_id, purchase_id, "receipt", cause_of(fact_id))
        if there is not None:
            return there
        now = runtime.clock.now()
        number = take_number(session, runtime, "receipt", now)
        document = msgspec.structs.replace(
            mirrored(rules.read(note.data.encode())),
            document_id=new_id("doc", now),
            number=number.number,
            issued_at=now,
            paid_at=purchase.landed_at or now,
        )
        return keep(session, runtime, account_id, document, cause_of(fact_id), number)

    return transact(runtime.db, work)


def mirrored(note: Document) -> Document:
    """The note's amounts as a receipt that says what it cancels."""
    said = f"Cancels credit note {note.number}: the refund failed, so the payment stands."
    return msgspec.structs.replace(
        note,
        kind="receipt",
        lines=tuple(_mirrored_line(line) for line in note.lines),
        original_number=None,
        original_issued_at=None,
        reason=None,
        notes=(said, *note.notes),
    )


def _mirrored_line(line: Line) -> Line:
    return msgspec.structs.replace(line, key=MIRRORED.get(line.key, line.key))
