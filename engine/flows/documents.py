"""Issuing receipts, invoices and credit notes: frozen data and a gap-free number, in one short transaction.

A document is unique per order, kind and cause, so issuing again is finding it. Money has moved before; a document
that can't be issued now is issued later by the same job.
"""

from msgspec.structs import replace
from sqlmodel import Session

from engine.clock import new_id
from engine.flows.document_parts import Order, compose, keep, take_number
from engine.flows.notify import write_mail
from engine.rules import documents as rules
from engine.rules.document_data import Line
from engine.rules.money import Money
from engine.rules.quotes import price_per_credit
from engine.runtime import Runtime
from engine.store import books, documents, purchases
from engine.store.database import transact
from engine.store.tables import AccountRow, DocumentRow, FactRow, PurchaseRow, ReversalRow

PAYMENT = "payment"
"""The cause of a document that a payment called for."""


def issue_receipt(runtime: Runtime, account_id: str, purchase_id: str) -> DocumentRow:
    """Issue the receipt or invoice of a paid purchase, or find it; the mail that announces it is written with it."""
    return transact(runtime.db, lambda session: _issue_receipt(session, runtime, account_id, purchase_id))


def issue_order(runtime: Runtime, account_id: str, order: Order) -> DocumentRow:
    """Issue the document of something paid that is no purchase, such as a subscription's month, or find it."""

    def work(session: Session) -> DocumentRow:
        books.lock_wallets(session, [account_id], runtime.clock.now())
        there = documents.payment_document(session, account_id, order.order_id)
        if there is not None:
            return there
        account = session.get_one(AccountRow, account_id)
        document, number = compose(session, runtime, account, order)
        return keep(session, runtime, account_id, document, PAYMENT, number)

    return transact(runtime.db, work)


def issue_credit_note(runtime: Runtime, account_id: str, purchase_id: str, fact_id: str) -> DocumentRow:
    """Issue the credit note for one refund that succeeded, or find it; the receipt is issued first if it is not."""
    return transact(runtime.db, lambda session: _issue_credit_note(session, runtime, account_id, purchase_id, fact_id))


def order_of(session: Session, purchase: PurchaseRow) -> Order:
    """A purchase that landed, as its document tells it."""
    assert purchase.landed_at is not None
    price = Money(purchase.amount_minor, purchase.currency)
    credits = purchase.base_credits + purchase.bonus_credits
    return Order(
        order_id=purchase.purchase_id,
        provider=purchase.provider,
        payment_id=purchase.provider_reference,
        paid_at=purchase.landed_at,
        price=price,
        lines=_lines(purchase, price),
        price_per_credit=price_per_credit(price, credits) if purchase.subscription_id is None else None,
        balance_after_credits=documents.balance_after(session, purchase.account_id, purchase.purchase_id),
    )


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


def _lines(purchase: PurchaseRow, price: Money) -> tuple[Line, ...]:
    """What was bought: credits and their bonus, or a subscription's period with the credits granted for it."""
    credits = purchase.base_credits
    if purchase.subscription_id is not None:
        line = Line(key="subscription", credits=credits, amount_minor=price.minor, detail=purchase.tier)
        return (replace(line, bucket="monthly") if credits > 0 else line,)
    lines = [Line(key="top_up", credits=credits, amount_minor=price.minor, bucket="recharge")]
    if purchase.bonus_credits > 0:
        lines.append(Line(key="bonus", credits=purchase.bonus_credits, amount_minor=0, bucket="recharge", bonus=True))
    return tuple(lines)


def _issue_credit_note(
    session: Session, runtime: Runtime, account_id: str, purchase_id: str, fact_id: str
) -> DocumentRow:
    books.lock_wallets(session, [account_id], runtime.clock.now())
    receipt = _issue_receipt(session, runtime, account_id, purchase_id)
    there = documents.find_document(session, account_id, purchase_id, "credit_note", fact_id)
    if there is not None:
        return there
    purchase = purchases.get_purchase(session, account_id, purchase_id, lock=True)
    account = session.get(AccountRow, account_id)
    fact = session.get(FactRow, (account_id, purchase_id, fact_id))
    assert purchase is not None and account is not None and fact is not None
    if fact.state == "failed":  # it failed before its note was written: there is nothing to credit
        return receipt
    head = documents.current_document(session, account_id, purchase_id)
    earlier = documents.notes_on(session, account_id, purchase_id, head.number)
    now = runtime.clock.now()
    original = rules.read(head.data.encode())
    credited = rules.credited_by(tuple(rules.read(row.data.encode()) for row in earlier))
    amount = min(fact.amount_minor, original.total_minor - credited.total_minor)
    if amount <= 0:  # the provider says more than was paid: what was paid is credited already
        return earlier[-1]
    credits, bonus = _credits_back(purchase, fact, amount)
    reversal = session.get(ReversalRow, (account_id, fact_id))
    number = take_number(session, runtime, "credit_note", now)
    document = rules.credit_note(
        original,
        document_id=new_id("doc", now),
        number=number.number,
        issued_at=now,
        refunded_at=now,
        reason=reversal.reason if reversal else "Refund",
        refunded_minor=amount,
        credits=credits,
        bonus_credits=bonus,
        already_credited_minor=credited.total_minor,
        already_credited_tax_minor=credited.tax_minor,
        payment_id=purchase.provider_reference,
    )
    row = keep(session, runtime, account_id, document, fact_id, number)
    write_mail(session, runtime, account, "refunds", purchase=purchase, document=row, now=now)
    return row


def is_cancelled(session: Session, note: DocumentRow) -> bool:
    """Whether a credit note's refund failed after all: it counts no more against what may be credited."""
    fact = session.get(FactRow, (note.account_id, note.purchase_id, note.cause))
    return fact is not None and fact.state == "failed"


def _credits_back(purchase: PurchaseRow, fact: FactRow, amount_minor: int) -> tuple[int, int]:
    """Credits this refund took, and how many of them were bonus: the bonus goes first, as it was taken."""
    granted = purchase.base_credits + purchase.bonus_credits
    credits = fact.own_credits
    if credits is None:
        credits = granted * amount_minor // purchase.amount_minor
    return credits, min(purchase.bonus_credits, credits)
