"""Issuing receipts, invoices and credit notes: frozen data and a gap-free number, in one short transaction.

A document is unique per order, kind and cause, so issuing again is finding it. Money has moved before; a document
that can't be issued now is issued later by the same job.
"""

from sqlmodel import Session

from engine.clock import new_id
from engine.flows.document_orders import order_of
from engine.flows.document_parts import compose, keep, take_number
from engine.flows.notify import write_mail
from engine.rules import documents as rules
from engine.runtime import Runtime
from engine.store import books, documents, purchases
from engine.store.database import transact
from engine.store.tables import AccountRow, DocumentRow, FactRow, PurchaseRow, ReversalRow

PAYMENT = "payment"
"""The cause of a document that a payment called for."""


def issue_receipt(runtime: Runtime, account_id: str, purchase_id: str) -> DocumentRow:
    """Issue the receipt or invoice of a paid purchase, or find it; the mail that announces it is written with it."""
    return transact(runtime.db, lambda session: _issue_receipt(session, runtime, account_id, purchase_id))


def issue_credit_note(runtime: Runtime, account_id: str, purchase_id: str, fact_id: str) -> DocumentRow:
    """Issue the credit note for one refund that succeeded, or find it; the receipt is issued first if it is not."""
    return transact(runtime.db, lambda session: _issue_credit_note(session, runtime, account_id, purchase_id, fact_id))


def _issue_receipt(session: Session, runtime: Runtime, account_id: str, purchase_id: str) -> DocumentRow:
    there = documents.payment_document(session, account_id, purchase_id)
    if there is not None:
        return there
    books.lock_wallets(session, [account_id], runtime.clock.now())
    purchase = purchases.get_purchase(session, account_id, purchase_id, lock=True)
    account = session.get(AccountRow, account_id)
    assert purchase is not None and account is not None
    there = documents.payment_document(session, account_id, purchase_id)
    if there is not None:
        return there
    document, number = compose(session, runtime, account, order_of(session, purchase))
    row = keep(session, runtime, account_id, document, PAYMENT, number)
    write_mail(session, runtime, account, "paymentConfirmed", purchase=purchase, document=row, now=document.issued_at)
    return row


def _issue_credit_note(
    session: Session, runtime: Runtime, account_id: str, purchase_id: str, fact_id: str
) -> DocumentRow:
    books.lock_wallets(session, [account_id], runtime.clock.now())
    receipt = _issue_receipt(session, runtime, account_id, purchase_id)
    there = documents.find_document(session, account_id, purchase_id, "credit_note", fact_id)
    if there is not None:
        return there
    fact = session.get(FactRow, (account_id, purchase_id, fact_id))
    assert fact is not None
    if fact.state == "failed":  # it failed before its note was written: there is nothing to credit
        return receipt
    left = fact.amount_minor
    notes: list[DocumentRow] = []
    for charge in documents.charges(session, account_id, purchase_id):
        earlier = documents.notes_on(session, account_id, purchase_id, charge.number)
        credited = rules.credited_by(tuple(rules.read(row.data.encode()) for row in earlier))
        part = min(left, charge.amount_minor - credited.total_minor)
        if part > 0:
            cause = documents.part_of(fact_id, len(notes) + 1)
            notes.append(_note(session, runtime, charge, credited, fact, part, cause))
            left -= part
    if not notes:  # the provider says more than was paid: what was paid is credited already
        return documents.last_note(session, account_id, purchase_id)
    return notes[0]


def _note(
    session: Session,
    runtime: Runtime,
    charge: DocumentRow,
    credited: rules.Credited,
    fact: FactRow,
    amount_minor: int,
    cause: str,
) -> DocumentRow:
    """One credit note of a refund, or of the part of it that this document can bear."""
    account_id, now = charge.account_id, runtime.clock.now()
    purchase = purchases.get_purchase(session, account_id, charge.purchase_id, lock=True)
    account = session.get(AccountRow, account_id)
    assert purchase is not None and account is not None
    original = rules.read(charge.data.encode())
    credits = _credits_back(purchase, fact, amount_minor)
    bonus = min(credits, max(0, original.bonus_credits - credited.bonus_credits))
    reversal = session.get(ReversalRow, (account_id, fact.fact_id))
    number = take_number(session, runtime, "credit_note", now)
    document = rules.credit_note(
        original,
        document_id=new_id("doc", now),
        number=number.number,
        issued_at=now,
        refunded_at=now,
        reason=reversal.reason if reversal else "Refund",
        refunded_minor=amount_minor,
        credits=credits,
        bonus_credits=bonus,
        coupon_credits=min(bonus, original.coupon_credits - credited.coupon_credits),
        already_credited_minor=credited.total_minor,
        already_credited_tax_minor=credited.tax_minor,
        payment_id=purchase.provider_reference,
    )
    row = keep(session, runtime, account_id, document, cause, number)
    write_mail(session, runtime, account, "refunds", purchase=purchase, document=row, now=now)
    return row


def _credits_back(purchase: PurchaseRow, fact: FactRow, amount_minor: int) -> int:
    """Credits this refund took. What a coupon added went first, then the bonus, as far as earlier refunds left any."""
    granted = purchase.base_credits + purchase.bonus_credits
    if fact.own_credits is None:
        return granted * amount_minor // purchase.amount_minor
    return fact.own_credits * min(amount_minor, fact.amount_minor) // fact.amount_minor
