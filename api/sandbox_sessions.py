"""The sandbox provider's books: hosted checkouts, the payments made on them, and what each button does.

A session and its payment are one row, one state and one `version`, which grows with every change. Every function
works inside its caller's transaction and answers the webhooks that the change makes, in the order they happen.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session, col, select

from engine.clock import new_id
from engine.store.tables import SandboxCardRow, SandboxSessionRow
from psp.sandbox_wire import CardTold, NewSession, Payment, Pointed, Webhook

ACTIONS = (
    "pay",
    "decline",
    "challenge",
    "cancel",
    "pay-late",
    "pay-twice",
    "pay-shuffled",
    "pay-wrong-amount",
    "expire",
)
"""What a customer, or a script, may do on the hosted page (SPEC §13)."""

PAYABLE = ("open", "requires_action", "failed")
"""States from which the customer may still pay; a declined card leaves the session open to another try."""

_PAID_ORDER = ("payment.processing", "payment.succeeded", "session.completed")
_PAID_EVENTS = {
    "pay-twice": ("payment.processing", "payment.succeeded", "payment.succeeded", "session.completed"),
    "pay-shuffled": ("payment.succeeded", "session.completed", "payment.processing"),
}
_ENDS = {
    "decline": ("failed", "payment.failed"),
    "cancel": ("cancelled", "session.cancelled"),
    "expire": ("expired", "session.expired"),
}


class SandboxRefused(Exception):
    """The sandbox says no: an HTTP status, a code for programs, a sentence for people. Nothing was changed."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail


def create_session(session: Session, asked: NewSession, key: str, now: datetime) -> SandboxSessionRow:
    """A new open session, or the one this key made before; another request under the same key is refused."""
    before = session.exec(select(SandboxSessionRow).where(SandboxSessionRow.idempotency_key == key)).first()
    if before is not None:
        if _asked(before) != asked:
            raise SandboxRefused(409, "idempotency_mismatch", "This Idempotency-Key made another session.")
        return before
    if asked.amount_minor < 1:
        raise SandboxRefused(400, "amount_invalid", "The amount is at least one minor unit.")
    if asked.expires_at <= now:
        raise SandboxRefused(400, "expiry_invalid", "The session would be over before it began.")
    row = SandboxSessionRow(
        session_id=new_id("sbxcs", now),
        payment_id=new_id("sbxpay", now),
        idempotency_key=key,
        account_id=asked.account_id,
        purchase_id=asked.purchase_id,
        amount_minor=asked.amount_minor,
        currency=asked.currency,
        description=asked.description,
        success_url=asked.success_url,
        cancel_url=asked.cancel_url,
        customer_id=asked.customer_id,
        expires_at=asked.expires_at,
        created_at=now,
    )
    session.add(row)
    return row


def _asked(row: SandboxSessionRow) -> NewSession:
    return NewSession(**{field: getattr(row, field) for field in NewSession.__struct_fields__})


def find_session(session: Session, session_id: str, now: datetime) -> SandboxSessionRow:
    """The session as it stands now, locked; past its end, nobody having paid, it has expired."""
    row = session.exec(
        select(SandboxSessionRow).where(SandboxSessionRow.session_id == session_id).with_for_update()
    ).first()
    if row is None:
        raise SandboxRefused(404, "session_unknown", "There is no such session.")
    _expire_if_over(row, now)
    return row


def find_payment(session: Session, payment_id: str, now: datetime) -> SandboxSessionRow:
    """The session of this payment, as `find_session` gives it."""
    row = session.exec(
        select(SandboxSessionRow).where(SandboxSessionRow.payment_id == payment_id).with_for_update()
    ).first()
    if row is None:
        raise SandboxRefused(404, "payment_unknown", "There is no such payment.")
    _expire_if_over(row, now)
    return row


def payment_told(row: SandboxSessionRow) -> Payment:
    """The payment as the sandbox's API tells it: the amount that was paid, or is asked."""
    return Payment(
        id=row.payment_id,
        session_id=row.session_id,
        state=row.state,  # type: ignore[arg-type]  # the column's kinds are SessionState
        amount_minor=row.amount_minor if row.paid_minor is None else row.paid_minor,
        currency=row.currency,
        version=row.version,
        purchase_id=row.purchase_id,
        account_id=row.account_id,
        card=card_told(row.card_id, row.customer_id) if row.card_id and row.customer_id else None,
        decline=row.decline,
    )


def card_told(card_id: str, customer_id: str) -> CardTold:
    """Every card of the sandbox is the same Visa."""
    return CardTold(id=card_id, customer_id=customer_id, brand="visa", last4="4242", exp_month=12, exp_year=2034)


def act(session: Session, session_id: str, action: str, now: datetime) -> tuple[Webhook, ...]:
    """Carry out one button. `challenge` is asking for 3-D Secure; `pay-late` only begins, `confirm_late` ends it."""
    row = find_session(session, session_id, now)
    _check_open(row, is_late=action == "pay-late", now=now)
    match action:
        case "decline" | "cancel" | "expire":
            state, event = _ENDS[action]
            row.decline = "card_declined" if action == "decline" and row.card_id else row.decline
            move(row, state)
            return events_of(row, (event,), now)
        case "challenge":
            move(row, "requires_action")
            return events_of(row, ("payment.requires_action",), now)
        case "pay-late":
            move(row, "processing")
            return ()
        case _:
            return _pay(session, row, action, now)


def confirm_late(session: Session, session_id: str, now: datetime) -> tuple[Webhook, ...]:
    """The bank's late yes: a payment that was on its way arrives, whether or not the session is over by now."""
    row = find_session(session, session_id, now)
    return _pay(session, row, "pay", now) if row.state == "processing" else ()


def fail_late(session: Session, row: SandboxSessionRow, now: datetime) -> tuple[Webhook, ...]:
    """The bank's late no: a payment that was on its way comes to nothing."""
    if row.state != "processing":
        raise SandboxRefused(409, f"session_{row.state}", "No payment is on its way.")
    row.decline = "expired" if row.card_id is None else "insufficient_funds"
    move(row, "failed")
    session.add(row)
    return events_of(row, ("payment.failed",), now)


def late_sessions(session: Session) -> tuple[str, ...]:
    """Sessions whose payment is on its way: what a restart must still bring to its end."""
    return tuple(session.exec(select(SandboxSessionRow.session_id).where(SandboxSessionRow.state == "processing")))


def expire_over(session: Session, now: datetime) -> tuple[Webhook, ...]:
    """Expire every open session that is past its end."""
    rows = session.exec(
        select(SandboxSessionRow).where(
            col(SandboxSessionRow.state).in_(("open", "requires_action")), SandboxSessionRow.expires_at <= now
        )
    ).all()
    for row in rows:
        _expire_if_over(row, now)
    return tuple(event for row in rows for event in events_of(row, ("session.expired",), now))


def _pay(session: Session, row: SandboxSessionRow, action: str, now: datetime) -> tuple[Webhook, ...]:
    """The wrong amount is half of what was asked: the mistake that would cost the seller. A card may be saved."""
    if row.customer_id is not None and row.card_id is None:
        row.card_id = new_id("sbxcard", now)
        told = card_told(row.card_id, row.customer_id)
        session.add(
            SandboxCardRow(
                card_id=row.card_id,
                customer_id=row.customer_id,
                brand=told.brand,
                last4=told.last4,
                exp_month=told.exp_month,
                exp_year=told.exp_year,
                created_at=now,
            )
        )
    row.decline = None
    row.paid_minor = (row.amount_minor // 2 or 2) if action == "pay-wrong-amount" else row.amount_minor
    move(row, "paid")
    return events_of(row, _PAID_EVENTS.get(action, _PAID_ORDER), now)


def _check_open(row: SandboxSessionRow, *, is_late: bool, now: datetime) -> None:
    if row.state in PAYABLE and (is_late or now < row.expires_at):
        return
    if row.state == "expired" and is_late:
        return
    state = "expired" if row.state in PAYABLE else row.state
    raise SandboxRefused(409, f"session_{state}", _CLOSED[state])


_CLOSED = {
    "paid": "This checkout was paid before. Nothing was charged again.",
    "processing": "A payment for this checkout is on its way. Nothing was charged again.",
    "expired": "This checkout has expired. Nothing was charged.",
    "cancelled": "This checkout was cancelled. Nothing was charged.",
}


def _expire_if_over(row: SandboxSessionRow, now: datetime) -> None:
    if row.state in ("open", "requires_action") and row.expires_at <= now:
        move(row, "expired")


def move(row: SandboxSessionRow, state: str) -> None:
    """A new state is a new version."""
    row.state = state
    row.version += 1


def events_of(row: SandboxSessionRow, types: Sequence[str], now: datetime) -> tuple[Webhook, ...]:
    """One webhook a type; a type named twice is the same webhook twice."""
    once = {
        kind: Webhook(new_id("sbxevt", now), kind, Pointed("payment", row.payment_id)) for kind in dict.fromkeys(types)
    }
    return tuple(once[kind] for kind in types)
