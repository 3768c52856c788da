"""The sandbox provider's books: money given back, and payments that the customer's bank questions.

Refunds that did not fail never sum up to more than was paid. A dispute is about the whole payment. Every function
works inside its caller's transaction and answers the changed object with the webhook that tells of it.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlmodel import Session, col, select

from api.sandbox_sessions import SandboxRefused, find_payment
from engine.clock import new_id
from engine.store.tables import SandboxDisputeRow, SandboxRefundRow, SandboxSessionRow
from psp.sandbox_wire import Dispute, NewRefund, Pointed, Refund, Webhook

Outcome = Literal["won", "lost"]


@dataclass(frozen=True, slots=True)
class Returned:
    """A refund or dispute as it stands after a change, and the webhooks that say so; none if nothing changed."""

    told: Refund | Dispute
    events: tuple[Webhook, ...]


def make_refund(session: Session, asked: NewRefund, key: str, now: datetime) -> Returned:
    """A refund that Purser asked for, once per key; it succeeds at once."""
    before = session.exec(select(SandboxRefundRow).where(SandboxRefundRow.idempotency_key == key)).first()
    payment = find_payment(session, asked.payment_id, now)
    if before is not None:
        same = (before.payment_id, before.amount_minor, before.reversal_id, payment.currency)
        if same != (asked.payment_id, asked.amount_minor, asked.reversal_id, asked.currency):
            raise SandboxRefused(409, "idempotency_mismatch", "This Idempotency-Key made another refund.")
        return Returned(_refund_told(before, payment), ())
    if asked.currency != payment.currency:
        raise SandboxRefused(400, "currency_invalid", "A refund has the payment's currency.")
    return _refund(session, payment, asked.amount_minor, key, asked.reversal_id, now)


def refund_outside(session: Session, payment_id: str, amount_minor: int | None, now: datetime) -> Returned:
    """A refund made in the provider's own dashboard; without an amount, of all that is left."""
    payment = find_payment(session, payment_id, now)
    amount = _refundable_minor(session, payment) if amount_minor is None else amount_minor
    return _refund(session, payment, amount, new_id("sbxkey", now), None, now)


def standing_refund(session: Session, payment_id: str, now: datetime) -> str | None:
    """The newest refund of a payment that has not failed, or `None`."""
    find_payment(session, payment_id, now)
    return session.exec(
        select(SandboxRefundRow.refund_id)
        .where(SandboxRefundRow.payment_id == payment_id, SandboxRefundRow.state != "failed")
        .order_by(col(SandboxRefundRow.created_at).desc(), col(SandboxRefundRow.refund_id).desc())
    ).first()


def fail_refund(session: Session, refund_id: str, now: datetime) -> Returned:
    """A refund fails after all: the money came back to the seller."""
    row = session.get(SandboxRefundRow, refund_id, with_for_update=True)
    if row is None or row.state == "failed":
        raise SandboxRefused(409, "refund_failed", "This refund failed before.")
    row.state = "failed"
    row.version += 1
    told = _refund_told(row, find_payment(session, row.payment_id, now))
    return Returned(told, (_event("refund.failed", "refund", refund_id, now),))


def get_refund(session: Session, refund_id: str, now: datetime) -> Refund:
    row = session.get(SandboxRefundRow, refund_id)
    if row is None:
        raise SandboxRefused(404, "refund_unknown", "There is no such refund.")
    return _refund_told(row, find_payment(session, row.payment_id, now))


def open_dispute(session: Session, payment_id: str, now: datetime) -> Returned:
    """The customer's bank questions the whole payment; one dispute at a time."""
    payment = find_payment(session, payment_id, now)
    paid_minor = _paid_minor(payment)
    newest = _newest_dispute(session, payment_id)
    if newest is not None and newest.state == "open":
        raise SandboxRefused(409, "dispute_open", "This payment is disputed already.")
    row = SandboxDisputeRow(
        dispute_id=new_id("sbxdp", now), payment_id=payment_id, amount_minor=paid_minor, state="open", created_at=now
    )
    session.add(row)
    return Returned(_dispute_told(row, payment), (_event("dispute.created", "dispute", row.dispute_id, now),))


def can_close_dispute(session: Session, payment_id: str, outcome: Outcome, now: datetime) -> bool:
    """Whether the newest dispute may end so: an open one either way, a lost one may still be won on appeal."""
    find_payment(session, payment_id, now)
    newest = _newest_dispute(session, payment_id)
    return newest is not None and (newest.state == "open" or (newest.state, outcome) == ("lost", "won"))


def close_dispute(session: Session, payment_id: str, outcome: Outcome, now: datetime) -> Returned:
    """The newest dispute ends for (`won`) or against (`lost`) the seller."""
    payment = find_payment(session, payment_id, now)
    row = _newest_dispute(session, payment_id)
    if row is None or not can_close_dispute(session, payment_id, outcome, now):
        raise SandboxRefused(409, "dispute_closed", "There is no dispute that could end so.")
    row.state = outcome
    row.version += 1
    return Returned(_dispute_told(row, payment), (_event("dispute.closed", "dispute", row.dispute_id, now),))


def get_dispute(session: Session, dispute_id: str, now: datetime) -> Dispute:
    row = session.get(SandboxDisputeRow, dispute_id)
    if row is None:
        raise SandboxRefused(404, "dispute_unknown", "There is no such dispute.")
    return _dispute_told(row, find_payment(session, row.payment_id, now))


def _refund(
    session: Session, payment: SandboxSessionRow, amount_minor: int, key: str, reversal_id: str | None, now: datetime
) -> Returned:
    if not 0 < amount_minor <= _refundable_minor(session, payment):
        raise SandboxRefused(409, "amount_not_refundable", "That is more than is left of the payment, or nothing.")
    row = SandboxRefundRow(
        refund_id=new_id("sbxre", now),
        payment_id=payment.payment_id,
        idempotency_key=key,
        reversal_id=reversal_id,
        amount_minor=amount_minor,
        state="succeeded",
        created_at=now,
    )
    session.add(row)
    return Returned(_refund_told(row, payment), (_event("refund.created", "refund", row.refund_id, now),))


def _refundable_minor(session: Session, payment: SandboxSessionRow) -> int:
    amounts = session.exec(
        select(SandboxRefundRow.amount_minor).where(
            SandboxRefundRow.payment_id == payment.payment_id, SandboxRefundRow.state != "failed"
        )
    ).all()
    return _paid_minor(payment) - sum(amounts)


def _paid_minor(payment: SandboxSessionRow) -> int:
    if payment.paid_minor is None:
        raise SandboxRefused(409, "payment_not_paid", "This payment was not paid.")
    return payment.paid_minor


def _newest_dispute(session: Session, payment_id: str) -> SandboxDisputeRow | None:
    return session.exec(
        select(SandboxDisputeRow)
        .where(SandboxDisputeRow.payment_id == payment_id)
        .order_by(col(SandboxDisputeRow.created_at).desc(), col(SandboxDisputeRow.dispute_id).desc())
        .with_for_update()
    ).first()


def _refund_told(row: SandboxRefundRow, payment: SandboxSessionRow) -> Refund:
    return Refund(
        id=row.refund_id,
        payment_id=row.payment_id,
        state=row.state,  # type: ignore[arg-type]  # the column's kinds are RefundState
        amount_minor=row.amount_minor,
        currency=payment.currency,
        version=row.version,
        purchase_id=payment.purchase_id,
        account_id=payment.account_id,
        reversal_id=row.reversal_id,
    )


def _dispute_told(row: SandboxDisputeRow, payment: SandboxSessionRow) -> Dispute:
    return Dispute(
        id=row.dispute_id,
        payment_id=row.payment_id,
        state=row.state,  # type: ignore[arg-type]  # the column's kinds are DisputeState
        amount_minor=row.amount_minor,
        currency=payment.currency,
        version=row.version,
        purchase_id=payment.purchase_id,
        account_id=payment.account_id,
    )


def _event(kind: str, object_kind: str, object_id: str, now: datetime) -> Webhook:
    return Webhook(new_id("sbxevt", now), kind, Pointed(object_kind, object_id))
