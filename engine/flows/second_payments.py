"""Money that came for a purchase beside the payment that settled it: noted as it comes, for a person to send it back.

The purchase was credited for that other payment, or a person has decided what becomes of it. A second payment is never
credited, so what goes back of it takes no credits either: the facts of it concern this money alone.
"""

from datetime import datetime

from sqlmodel import Session

from engine.clock import new_id
from engine.flows.rails import Rail
from engine.rules.purchases import KnownFact, sent_back_minor, surplus_payments
from engine.store import outbox, proposals, purchases
from engine.store.tables import PurchaseRow, ReversalRow, SecondPaymentRow


def note_second_payments(session: Session, purchase: PurchaseRow, rail: Rail, now: datetime) -> None:
    """Keep a row for each second payment at its newest state; the wallet is locked.

    Before the purchase was credited or decided there is none yet: each payment may still be the one that is credited.
    """
    if purchase.provider_reference is None:
        return
    account_id, purchase_id = purchase.account_id, purchase.purchase_id
    is_settled = purchase.landed_at is not None or proposals.resolution_of(session, account_id, purchase_id) is not None
    known = purchases.known_facts(session, account_id, purchase_id)
    for payment in surplus_payments(known, purchase.provider_reference):
        row = proposals.second_payment(session, account_id, purchase_id, payment.fact_id)
        if row is None and is_settled:
            row = _note_new(session, purchase, rail, payment, now)
        if row is not None:
            _follow(session, row, known, now)
            _note_reversals(session, row, known, now)


def _note_new(
    session: Session, purchase: PurchaseRow, rail: Rail, payment: KnownFact, now: datetime
) -> SecondPaymentRow | None:
    """A row for money that came again, unless it is another purchase's; said in the audit log."""
    mode = "live" if payment.is_live else "test"
    claimed = purchases.claim_object(session, rail.name, rail.account, mode, "payment", payment.fact_id, purchase, now)
    if not claimed or payment.amount.minor == 0:
        return None
    purchase.problem = f"paid more than once: {payment.fact_id} came too and was not credited"[:500]
    row = SecondPaymentRow(
        account_id=purchase.account_id,
        purchase_id=purchase.purchase_id,
        payment_id=payment.fact_id,
        second_id=new_id("sec", now),
        amount_minor=payment.amount.minor,
        currency=payment.amount.currency,
        created_at=now,
        updated_at=now,
    )
    session.add(row)
    session.flush()
    settled_by = "credited" if purchase.landed_at is not None else "decided"
    facts: dict[str, object] = {settled_by: purchase.provider_reference, "payment": payment.fact_id}
    outbox.note_act(
        session,
        purchase.account_id,
        f"provider:{purchase.provider}",
        "purchase.paid_again",
        purchase.purchase_id,
        purchase.problem,
        facts,
        now,
    )
    return row


def _follow(session: Session, row: SecondPaymentRow, known: list[KnownFact], now: datetime) -> None:
    """All of it went back or is on its way, wherever that was asked for; or it did not go after all."""
    is_back = sent_back_minor(known, row.payment_id, firm=True) >= row.amount_minor
    is_asked = sent_back_minor(known, row.payment_id, firm=False) >= row.amount_minor
    has_failed = any(f.kind == "refund" and f.state == "failed" and f.parent_id == row.payment_id for f in known)
    status = row.status
    if is_back:
        status = "refunded"
    elif is_asked and status == "waiting":
        status = "refunding"
    elif status in ("refunding", "refunded") and has_failed and not is_asked:
        status, row.problem = "waiting", "Its refund failed after all."
    if status != row.status:
        row.status, row.updated_at = status, now
        session.add(row)
        session.flush()


def _note_reversals(session: Session, row: SecondPaymentRow, known: list[KnownFact], now: datetime) -> None:
    """A refund that was asked for before another payment was credited learns how it ended."""
    for fact in known:
        if fact.kind != "refund" or fact.parent_id != row.payment_id or fact.state not in ("succeeded", "failed"):
            continue
        reversal = session.get(ReversalRow, (row.account_id, fact.fact_id))
        if reversal is not None and reversal.status not in ("rejected", fact.state):
            reversal.status, reversal.updated_at = fact.state, now
            session.add(reversal)
