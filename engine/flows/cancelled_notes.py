"""Credit notes whose refund failed after all: each is cancelled by a document that charges the same again.

A document is never changed. The correction mirrors the note line by line, tax included, names it, has a number of its
own and is unique for its note, so the papers of a purchase always sum up to the money that is with the seller.
"""

from sqlmodel import Session

from engine.clock import new_id
from engine.flows.document_parts import keep, take_number
from engine.flows.notify import write_mail
from engine.rules import documents as rules
from engine.runtime import Runtime
from engine.store import books, documents, purchases
from engine.store.database import transact
from engine.store.tables import AccountRow, DocumentRow, PurchaseRow


def issue_cancellation(runtime: Runtime, account_id: str, purchase_id: str, fact_id: str) -> DocumentRow:
    """Cancel the credit note of a refund that failed, or find the document that does."""
    return transact(runtime.db, lambda session: correct_credit_note(session, runtime, account_id, purchase_id, fact_id))


def correct_credit_note(
    session: Session, runtime: Runtime, account_id: str, purchase_id: str, fact_id: str
) -> DocumentRow:
    """The same within the caller's transaction; the credit note of this refund must have been issued.

    A refund whose note was split over two documents has both cancelled; the first correction is answered.
    """
    books.lock_wallets(session, [account_id], runtime.clock.now())
    purchase = purchases.get_purchase(session, account_id, purchase_id, lock=True)
    notes = documents.notes_of(session, account_id, purchase_id, fact_id)
    assert purchase is not None and notes, "only a note that was issued is cancelled"
    made = [documents.cancelling(session, note) or _correct(session, runtime, purchase, note) for note in notes]
    return made[0]


def _correct(session: Session, runtime: Runtime, purchase: PurchaseRow, note: DocumentRow) -> DocumentRow:
    now, account_id = runtime.clock.now(), purchase.account_id
    account = session.get(AccountRow, account_id)
    assert account is not None
    credited = rules.read(note.data.encode())
    number = take_number(session, runtime, credited.original_kind or "receipt", now)
    document = rules.correction(
        credited,
        document_id=new_id("doc", now),
        number=number.number,
        issued_at=now,
        paid_at=purchase.landed_at or now,
    )
    charged = documents.charges(session, account_id, purchase.purchase_id)
    is_beside = note.original_number not in {row.number for row in charged}
    cause = f"{documents.CHARGES_AGAIN if is_beside else documents.CANCELS + ':'}{note.cause}"
    row = keep(session, runtime, account_id, document, cause, number)
    write_mail(session, runtime, account, "refundFailed", purchase=purchase, document=row, now=now)
    return row
