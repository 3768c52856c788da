"""A receipt becomes an invoice, or an invoice gets the right company: cancelled and issued anew, never changed.

The old document keeps its number and is taken back by a credit note of what is left of it; the new one names it. No
money and no credits move.
"""

from sqlmodel import Session

from engine.clock import new_id
from engine.flows.document_parts import Order, Reissue, buyer_of, compose, keep, row_of, take_number
from engine.rules import documents as rules
from engine.rules.document_data import Buyer, Document
from engine.rules.errors import AlreadyRefunded, Invalid, NotFound
from engine.rules.money import Money
from engine.runtime import Runtime
from engine.store import books, documents
from engine.store.database import transact
from engine.store.tables import AccountRow, DocumentRow

REASON = "Replaced by an invoice"


def issue_invoice(
    runtime: Runtime, account_id: str, document_id: str, purchase_order: str | None
) -> tuple[DocumentRow, bool]:
    """The invoice of what this document is about, for the company the profile names now, and whether it is new.

    One that already stands for this company (and this order number, if one is given) is found. Refuses `NotFound`,
    `Invalid` where no invoice can be made, `AlreadyRefunded` where nothing is left of the document.
    """
    return transact(
        runtime.db, lambda session: _issue_invoice(session, runtime, account_id, document_id, purchase_order)
    )


def _issue_invoice(
    session: Session, runtime: Runtime, account_id: str, document_id: str, purchase_order: str | None
) -> tuple[DocumentRow, bool]:
    books.lock_wallets(session, [account_id], runtime.clock.now())
    row = documents.get_document(session, account_id, document_id)
    account = session.get(AccountRow, account_id)
    if row is None or account is None:
        raise NotFound("receipt")
    if row.kind == "credit_note":
        raise Invalid("receiptId", "A credit note is not replaced: name the receipt or invoice.")
    if row.kind == "payment_confirmation":
        raise Invalid("receiptId", "The merchant of record sold this and issues the invoice.")
    buyer = buyer_of(account)
    if not buyer.is_company:
        raise Invalid("company", "An invoice needs a company's name, billing address and country in the profile.")
    head = documents.current_document(session, account_id, row.purchase_id)
    original = rules.read(head.data.encode())
    credited = rules.credited_by(
        tuple(
            rules.read(note.data.encode())
            for note in documents.notes_on(session, account_id, row.purchase_id, head.number)
        )
    )
    if original.kind == "invoice" and _is_for(original, buyer, purchase_order):
        return head, False
    order = _what_is_left(original, credited)
    if order is None:
        raise AlreadyRefunded("Everything on this document was refunded: nothing is left to invoice.")
    if row_of(runtime, buyer, order, wants_invoice=True).kind != "invoice":
        raise Invalid("receiptId", "This seller issues no invoices for such a sale.")
    return _replace(session, runtime, account, head, original, credited, order, purchase_order), True


def _replace(
    session: Session,
    runtime: Runtime,
    account: AccountRow,
    head: DocumentRow,
    original: Document,
    credited: rules.Credited,
    order: Order,
    purchase_order: str | None,
) -> DocumentRow:
    """Cancel what stands and issue the invoice: two numbers of two series, in one transaction."""
    now = runtime.clock.now()
    number = take_number(session, runtime, "credit_note", now)
    note = rules.cancellation(
        original, credited, document_id=new_id("doc", now), number=number.number, issued_at=now, reason=REASON
    )
    keep(session, runtime, account.account_id, note, f"replaced:{head.document_id}", number)
    reissue = Reissue(original, original.purchase_order if purchase_order is None else purchase_order)
    document, number = compose(session, runtime, account, order, reissue)
    row = keep(session, runtime, account.account_id, document, f"replaces:{head.document_id}", number)
    head.replaced_by = row.document_id
    session.add(head)
    session.flush()
    return row


def _is_for(original: Document, buyer: Buyer, purchase_order: str | None) -> bool:
    """Whether an invoice names this company already, and this order number if one is given."""
    had = original.buyer
    return (had.company, had.tax_id, had.address_lines, had.country) == (
        buyer.company,
        buyer.tax_id,
        buyer.address_lines,
        buyer.country,
    ) and purchase_order in (None, original.purchase_order)


def _what_is_left(original: Document, credited: rules.Credited) -> Order | None:
    """The sale less its refunds; `None` if nothing is left."""
    lines = rules.remaining_lines(original, credited)
    left = sum(line.amount_minor for line in lines)
    if left <= 0:
        return None
    return Order(
        order_id=original.order_id,
        provider=original.provider,
        payment_id=original.payment_id,
        paid_at=original.paid_at,
        price=Money(left, original.currency),
        lines=lines,
        price_per_credit=original.price_per_credit,
        balance_after_credits=original.balance_after_credits,
    )
