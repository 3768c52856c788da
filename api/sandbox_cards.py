"""The sandbox provider's books: customers, saved cards, and charges while their owner is away.

What the bank says to such a charge is set on the card (`BEHAVIOURS`), so that a demo can play every way it may go.
"""

from datetime import datetime, timedelta
from typing import TypeVar

from sqlmodel import Session, col, select

from api.sandbox_returns import Returned
from api.sandbox_sessions import SandboxRefused, card_told, events_of, move, payment_told
from engine.clock import new_id
from engine.store.tables import SandboxCardRow, SandboxCustomerRow, SandboxEventRow, SandboxSessionRow
from psp.sandbox_wire import CardTold, Listed, NewCharge, NewCustomer, Payment, Pointed, Webhook

BEHAVIOURS = ("succeed", "decline", "lost-card", "authenticate", "late")
"""What a card's bank says: yes, too little money, a lost card, only with the customer, or yes after a while."""

_DECLINES = {"decline": "insufficient_funds", "lost-card": "lost_card"}
CONFIRM_WITHIN = timedelta(hours=24)
LISTED_MAX = 10_000
T = TypeVar("T")


def make_customer(session: Session, asked: NewCustomer, key: str, now: datetime) -> str:
    """A customer object, once per key."""
    before = session.exec(select(SandboxCustomerRow).where(SandboxCustomerRow.idempotency_key == key)).first()
    if before is not None:
        return before.customer_id
    row = SandboxCustomerRow(
        customer_id=new_id("sbxcus", now),
        idempotency_key=key,
        account_id=asked.account_id,
        email=asked.email,
        created_at=now,
    )
    session.add(row)
    return row.customer_id


def charge_card(session: Session, asked: NewCharge, key: str, now: datetime) -> tuple[Payment, tuple[Webhook, ...]]:
    """Charge a saved card, once per key; the bank's word is the card's behaviour."""
    before = session.exec(select(SandboxSessionRow).where(SandboxSessionRow.idempotency_key == key)).first()
    if before is not None:
        same = (before.card_id, before.amount_minor, before.currency)
        if same != (asked.card_id, asked.amount_minor, asked.currency):
            raise SandboxRefused(409, "idempotency_mismatch", "This Idempotency-Key made another charge.")
        return payment_told(before), ()
    card = find_card(session, asked.card_id)
    if not card.is_attached or card.customer_id != asked.customer_id:
        raise SandboxRefused(400, "card_detached", "This card is not attached to that customer.")
    row = SandboxSessionRow(
        session_id=new_id("sbxcs", now),
        payment_id=new_id("sbxpay", now),
        idempotency_key=key,
        account_id=asked.account_id,
        purchase_id=asked.purchase_id,
        amount_minor=asked.amount_minor,
        currency=asked.currency,
        description=asked.description,
        success_url=asked.return_url,
        cancel_url=asked.return_url,
        customer_id=asked.customer_id,
        card_id=asked.card_id,
        expires_at=now + CONFIRM_WITHIN,
        created_at=now,
    )
    session.add(row)
    events = _bank(row, card.behaviour, now)
    return payment_told(row), events


def _bank(row: SandboxSessionRow, behaviour: str, now: datetime) -> tuple[Webhook, ...]:
    if behaviour == "late":
        move(row, "processing")
        return events_of(row, ("payment.processing",), now)
    if behaviour == "authenticate":
        row.decline = "authentication_required"
        move(row, "requires_action")
        return events_of(row, ("payment.requires_action",), now)
    if behaviour in _DECLINES:
        row.decline = _DECLINES[behaviour]
        move(row, "failed")
        return events_of(row, ("payment.failed",), now)
    row.paid_minor = row.amount_minor
    move(row, "paid")
    return events_of(row, ("payment.succeeded",), now)


def payment_of_purchase(session: Session, purchase_id: str) -> Payment:
    """The payment of a charge that was made for a purchase."""
    row = session.exec(
        select(SandboxSessionRow).where(
            SandboxSessionRow.purchase_id == purchase_id, col(SandboxSessionRow.card_id).is_not(None)
        )
    ).first()
    if row is None:
        raise SandboxRefused(404, "payment_unknown", "There is no such payment.")
    return payment_told(row)


def cancel_payment(session: Session, row: SandboxSessionRow, now: datetime) -> tuple[Payment, tuple[Webhook, ...]]:
    """Cancel a payment that waits for its customer; one that has ended stays as it is."""
    events: tuple[Webhook, ...] = ()
    if row.state in ("requires_action", "failed", "expired"):
        move(row, "cancelled")
        events = events_of(row, ("payment.cancelled",), now)
    return payment_told(row), events


def find_card(session: Session, card_id: str) -> SandboxCardRow:
    row = session.get(SandboxCardRow, card_id, with_for_update=True)
    if row is None:
        raise SandboxRefused(404, "card_unknown", "There is no such card.")
    return row


def cards_of(session: Session, customer_id: str) -> list[SandboxCardRow]:
    """A customer's cards, the newest first; `SandboxRefused` for nobody's."""
    if session.get(SandboxCustomerRow, customer_id) is None:
        raise SandboxRefused(404, "customer_unknown", "There is no such customer.")
    return list(
        session.exec(
            select(SandboxCardRow)
            .where(SandboxCardRow.customer_id == customer_id, col(SandboxCardRow.is_attached))
            .order_by(col(SandboxCardRow.created_at).desc(), col(SandboxCardRow.card_id).desc())
        ).all()
    )


def set_behaviour(session: Session, card_id: str, behaviour: str) -> str:
    """Set what the card's bank will say; its customer."""
    row = find_card(session, card_id)
    if behaviour not in BEHAVIOURS:
        raise SandboxRefused(404, "behaviour_unknown", "No bank of the sandbox's does that.")
    row.behaviour = behaviour
    session.add(row)
    return row.customer_id


def detach_card(session: Session, card_id: str, now: datetime) -> tuple[CardTold, tuple[Webhook, ...]]:
    """A card is forgotten; one that is gone already is refused."""
    row = find_card(session, card_id)
    if not row.is_attached:
        raise SandboxRefused(409, "card_detached", "This card was detached before.")
    row.is_attached = False
    session.add(row)
    event = Webhook(new_id("sbxevt", now), "card.detached", Pointed("card", card_id))
    return card_told(card_id, row.customer_id), (event,)


def keep_events(session: Session, made: object, now: datetime) -> None:
    """Keep the webhooks that a change makes, in its own transaction, so that they can be listed when they get lost."""
    events = made.events if isinstance(made, Returned) else made
    if isinstance(events, tuple) and len(events) == 2 and isinstance(events[1], tuple):
        events = events[1]
    if not isinstance(events, tuple):
        return
    for event in {each.id: each for each in events if isinstance(each, Webhook)}.values():
        session.add(
            SandboxEventRow(
                event_id=event.id,
                type=event.type,
                object_kind=event.object.kind,
                object_id=event.object.id,
                created_at=now,
            )
        )


def events_since(session: Session, since: datetime) -> Listed:
    """Every event from then on, oldest first."""
    rows = session.exec(
        select(SandboxEventRow)
        .where(SandboxEventRow.created_at >= since)
        .order_by(col(SandboxEventRow.created_at), col(SandboxEventRow.event_id))
        .limit(LISTED_MAX)
    ).all()
    events = tuple(Webhook(row.event_id, row.type, Pointed(row.object_kind, row.object_id)) for row in rows)
    return Listed(events, tuple(row.created_at for row in rows))
