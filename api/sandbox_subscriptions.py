"""The sandbox provider's books of subscriptions: what they cost and when, and what each of its own doors does.

The first invoice is paid on the hosted page; later ones by the operator's `renew`. A paid invoice has a payment in
the same books as a checkout's, so it can be refunded and disputed in the same way. Every function works inside its
caller's transaction and answers the webhooks that the change makes.
"""

from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from api.sandbox_sessions import PAYABLE, SandboxRefused, act, confirm_late, find_session, move
from engine.clock import new_id
from engine.rules.money import Share, proration_down
from engine.rules.subscriptions import Period, next_period
from engine.store.subscriptions import read_terms, write_terms
from engine.store.tables import SandboxInvoiceRow, SandboxSessionRow, SandboxSubscriptionRow
from psp.sandbox_subscription_wire import Asked, Invoice, NewSubscription, NewTerms, Subscription, Told
from psp.sandbox_wire import Pointed, Webhook

Row = SandboxSubscriptionRow
NEWEST = 3
"""How many invoices are told with a subscription."""


def create(session: Session, asked: NewSubscription, key: str, now: datetime) -> SandboxSessionRow:
    """The hosted checkout of a new subscription, or the one this key made before."""
    before = session.exec(select(Row).where(Row.idempotency_key == key)).first()
    if before is not None:
        return find_session(session, before.session_id, now)
    if asked.expires_at <= now:
        raise SandboxRefused(400, "expiry_invalid", "The session would be over before it began.")
    page = _session(session, asked.account_id, 0 if asked.trial_days else asked.terms.price_minor, asked.currency, now)
    page.idempotency_key = key
    page.description = asked.description
    page.success_url, page.cancel_url, page.expires_at = asked.success_url, asked.cancel_url, asked.expires_at
    row = Row(
        reference=new_id("sbxsub", now),
        session_id=page.session_id,
        idempotency_key=key,
        account_id=asked.account_id,
        subscription_id=asked.subscription_id,
        terms=write_terms(asked.terms),
        currency=asked.currency,
        trial_days=asked.trial_days,
        anchor_at=now,
        period_start_at=now,
        period_end_at=next_period(now, now, asked.terms.interval).end,
        created_at=now,
    )
    session.add_all([page, row])
    return page


def press(session: Session, session_id: str, action: str, now: datetime) -> tuple[Webhook, ...]:
    """One button of the hosted page, and what it means for the subscription that the page is about, if it is."""
    return _follow(session, session_id, act(session, session_id, action, now), now)


def end_checkout(session: Session, session_id: str, now: datetime) -> SandboxSessionRow:
    """Expire a page that can still be paid; any other stays as it is."""
    page = find_session(session, session_id, now)
    if page.state in PAYABLE:
        move(page, "expired")
    return page


def arrive_late(session: Session, session_id: str, now: datetime) -> tuple[Webhook, ...]:
    """The bank's late yes, and the subscription that begins with it."""
    return _follow(session, session_id, confirm_late(session, session_id, now), now)


def _follow(session: Session, session_id: str, events: tuple[Webhook, ...], now: datetime) -> tuple[Webhook, ...]:
    """Webhooks of a subscription's checkout point at the subscription and its invoice, in the same order."""
    row = session.exec(select(Row).where(Row.session_id == session_id)).first()
    if row is None:
        return events
    page = find_session(session, session_id, now)
    if page.state != "paid":
        return ()
    if row.state != "incomplete":
        raise AssertionError("a checkout is paid once")
    invoice = _begin(session, row, page, now)
    told: list[Webhook] = []
    for event in events:
        is_payment = event.type.startswith("payment.")
        kind = "invoice.updated" if is_payment else "subscription.updated"
        at = Pointed("invoice", invoice.invoice_id) if is_payment else Pointed("subscription", row.reference)
        told.append(Webhook(event.id, kind, at))
    return tuple(told)


def _begin(session: Session, row: Row, page: SandboxSessionRow, now: datetime) -> SandboxInvoiceRow:
    """The first period, or the trial before it, begins when the page is paid."""
    row.anchor_at = row.period_start_at = now
    row.period_end_at = next_period(now, now, read_terms(row.terms).interval).end
    if row.trial_days > 0:
        row.anchor_at = row.period_end_at = now + timedelta(days=row.trial_days)
    _move(row, "trialing" if row.trial_days else "active")
    kind = "trial" if row.trial_days else "create"
    paid = page.amount_minor if page.paid_minor is None else page.paid_minor
    invoice = _invoice(session, row, kind, paid, Period(row.period_start_at, row.period_end_at), now)
    invoice.state = "paid"
    invoice.payment_id = page.payment_id if paid else None
    return invoice


def find(session: Session, reference: str) -> Row:
    """A running or ended subscription by its own id, by Purser's, by its account, its checkout or one of its
    payments: whichever a script has at hand; of several the newest."""
    paid = session.exec(select(SandboxInvoiceRow.reference).where(SandboxInvoiceRow.payment_id == reference)).first()
    rows = session.exec(
        select(Row)
        .where(
            (col(Row.reference) == (paid or reference))
            | (col(Row.subscription_id) == reference)
            | (col(Row.session_id) == reference)
            | (col(Row.account_id) == reference)
        )
        .order_by(col(Row.created_at).desc())
        .with_for_update()
    ).all()
    begun = [row for row in rows if row.state != "incomplete"] or list(rows)
    if not begun:
        raise SandboxRefused(404, "subscription_unknown", "There is no such subscription.")
    return begun[0]


def set_terms(session: Session, reference: str, asked: NewTerms, key: str, now: datetime) -> tuple[Webhook, ...]:
    """Another plan, once for a key. Now: the difference for the time left is charged, or kept for the next invoice."""
    row = _running(session, reference)
    if row.last_key == key:
        return ()
    row.last_key = key
    old = read_terms(row.terms)
    row.cancel_at_period_end = False
    row.pending_terms = None
    if asked.when == "period_end":
        row.pending_terms = write_terms(asked.terms)
        _move(row, row.state)
        return (_about(row, now),)
    row.terms = write_terms(asked.terms)
    _move(row, row.state)
    period = Period(row.period_start_at, row.period_end_at)
    left, whole = period.left(asked.at)
    due = proration_down(Share(asked.terms.price_minor, left, whole), Share(old.price_minor, left, whole))
    if row.state == "trialing" or asked.terms == old:
        return (_about(row, now),)
    row.credit_minor += max(0, -due)
    invoice = _invoice(session, row, "proration", max(0, due), Period(max(asked.at, period.start), period.end), now)
    _pay(session, row, invoice, now)
    return (_about_invoice(invoice, now), _about(row, now))


def do(session: Session, reference: str, asked: Asked, key: str, now: datetime) -> tuple[Webhook, ...]:
    """Cancel at the period's end, take that back, pause or resume, once for a key."""
    row = _running(session, reference)
    if row.last_key == key:
        return ()
    row.last_key = key
    match asked.act:
        case "cancel":
            row.cancel_at_period_end = True
            row.pending_terms = None
        case "reactivate":
            row.cancel_at_period_end = False
            row.pending_terms = None
        case "pause":
            row.is_paused = True
        case "resume":
            row.is_paused = False
            if now >= row.period_end_at:
                return _begin_anew(session, row, now)
    _move(row, row.state)
    return (_about(row, now),)


def renew(session: Session, reference: str, now: datetime) -> tuple[Webhook, ...]:
    """The next period is paid: the invoice that failed before, or a new one. One that was cancelled ends instead."""
    row = _running(session, reference)
    if row.is_paused:
        raise SandboxRefused(409, "subscription_paused", "A paused subscription is not renewed.")
    if row.cancel_at_period_end:
        return cancel(session, reference, now)
    invoice = _open_invoice(session, row) or _next_invoice(session, row, now)
    _pay(session, row, invoice, now)
    row.terms = invoice.terms
    row.pending_terms = None
    row.period_start_at, row.period_end_at = invoice.period_start_at, invoice.period_end_at
    _move(row, "active")
    return (_about_invoice(invoice, now), _about(row, now))


def _begin_anew(session: Session, row: Row, now: datetime) -> tuple[Webhook, ...]:
    """A new period is charged from now on; one that was overdue before is not any more."""
    row.anchor_at = row.period_end_at = now
    overdue = _open_invoice(session, row)
    if overdue is None:
        return renew(session, row.reference, now)
    overdue.state = "void"
    overdue.version += 1
    row.credit_minor += read_terms(overdue.terms).price_minor - overdue.amount_minor
    return (_about_invoice(overdue, now), *renew(session, row.reference, now))


def fail_payment(session: Session, reference: str, now: datetime) -> tuple[Webhook, ...]:
    """The next period's payment is declined: the subscription is past due until it is paid after all."""
    row = _running(session, reference)
    invoice = _open_invoice(session, row) or _next_invoice(session, row, now)
    invoice.state = "failed"
    invoice.version += 1
    _move(row, "past_due")
    return (_about_invoice(invoice, now), _about(row, now))


def cancel(session: Session, reference: str, now: datetime) -> tuple[Webhook, ...]:
    """The provider ends the subscription at once."""
    row = _running(session, reference)
    _move(row, "ended")
    return (_about(row, now),)


def told(session: Session, row: Row) -> Told:
    newest = session.exec(
        select(SandboxInvoiceRow)
        .where(SandboxInvoiceRow.reference == row.reference)
        .order_by(col(SandboxInvoiceRow.created_at).desc(), col(SandboxInvoiceRow.invoice_id).desc())
        .limit(NEWEST)
    ).all()
    return Told(subscription=_told(row), invoices=tuple(_invoice_told(row, each) for each in newest))


def find_invoice(session: Session, invoice_id: str) -> Invoice:
    invoice = session.get(SandboxInvoiceRow, invoice_id)
    if invoice is None:
        raise SandboxRefused(404, "invoice_unknown", "There is no such invoice.")
    return _invoice_told(session.get_one(Row, invoice.reference), invoice)


def _told(row: Row) -> Subscription:
    terms = read_terms(row.terms)
    pending = read_terms(row.pending_terms) if row.pending_terms else None
    is_paused = row.is_paused and row.state != "ended"
    return Subscription(
        id=row.reference,
        session_id=row.session_id,
        account_id=row.account_id,
        subscription_id=row.subscription_id,
        state="paused" if is_paused else row.state,  # type: ignore[arg-type]  # the column's kinds are its states
        version=row.version,
        plan=terms.plan.id,
        interval=terms.interval,
        price_minor=terms.price_minor,
        currency=row.currency,
        anchor_at=row.anchor_at,
        period_start=row.period_start_at,
        period_end=row.period_end_at,
        cancel_at_period_end=row.cancel_at_period_end,
        pending_plan=pending.plan.id if pending else None,
        pending_interval=pending.interval if pending else None,
    )


def _invoice_told(row: Row, invoice: SandboxInvoiceRow) -> Invoice:
    terms = read_terms(invoice.terms)
    return Invoice(
        id=invoice.invoice_id,
        reference=row.reference,
        account_id=row.account_id,
        subscription_id=row.subscription_id,
        kind=invoice.kind,  # type: ignore[arg-type]  # written by this module alone
        state=invoice.state,  # type: ignore[arg-type]
        version=invoice.version,
        amount_minor=invoice.amount_minor,
        currency=row.currency,
        plan=terms.plan.id,
        interval=terms.interval,
        period_start=invoice.period_start_at,
        period_end=invoice.period_end_at,
        payment_id=invoice.payment_id,
    )


def _running(session: Session, reference: str) -> Row:
    row = find(session, reference)
    if row.state in ("incomplete", "ended"):
        raise SandboxRefused(409, f"subscription_{row.state}", f"This subscription is {row.state}.")
    return row


def _open_invoice(session: Session, row: Row) -> SandboxInvoiceRow | None:
    return session.exec(
        select(SandboxInvoiceRow).where(
            SandboxInvoiceRow.reference == row.reference, col(SandboxInvoiceRow.state).in_(("open", "failed"))
        )
    ).first()


def _next_invoice(session: Session, row: Row, now: datetime) -> SandboxInvoiceRow:
    """What the next period costs, less what is owed to the customer. After a long silence it begins anew, now."""
    terms = read_terms(row.pending_terms or row.terms)
    period = next_period(row.anchor_at, row.period_end_at, terms.interval)
    if period.end <= now:
        row.anchor_at = now
        period = next_period(now, now, terms.interval)
    amount = max(0, terms.price_minor - row.credit_minor)
    row.credit_minor -= terms.price_minor - amount
    invoice = _invoice(session, row, "renewal", amount, period, now)
    invoice.terms = write_terms(terms)
    return invoice


def _invoice(
    session: Session, row: Row, kind: str, amount_minor: int, period: Period, now: datetime
) -> SandboxInvoiceRow:
    invoice = SandboxInvoiceRow(
        invoice_id=new_id("sbxin", now),
        reference=row.reference,
        kind=kind,
        state="open",
        amount_minor=amount_minor,
        terms=row.terms,
        period_start_at=period.start,
        period_end_at=period.end,
        created_at=now,
    )
    session.add(invoice)
    return invoice


def _pay(session: Session, row: Row, invoice: SandboxInvoiceRow, now: datetime) -> None:
    """Charge the customer off-session: a payment in the same books as every other."""
    invoice.state = "paid"
    invoice.version += 1
    if invoice.amount_minor > 0:
        payment = _session(session, row.account_id, invoice.amount_minor, row.currency, now)
        payment.state = "paid"
        payment.paid_minor = invoice.amount_minor
        invoice.payment_id = payment.payment_id
        session.add(payment)


def _session(session: Session, account_id: str, amount_minor: int, currency: str, now: datetime) -> SandboxSessionRow:
    return SandboxSessionRow(
        session_id=new_id("sbxcs", now),
        payment_id=new_id("sbxpay", now),
        idempotency_key=new_id("sbxkey", now),
        account_id=account_id,
        purchase_id="",
        amount_minor=amount_minor,
        currency=currency,
        description="Subscription",
        success_url="",
        cancel_url="",
        expires_at=now,
        created_at=now,
    )


def _move(row: Row, state: str) -> None:
    row.state = state
    row.version += 1


def _about(row: Row, now: datetime) -> Webhook:
    return Webhook(new_id("sbxevt", now), "subscription.updated", Pointed("subscription", row.reference))


def _about_invoice(invoice: SandboxInvoiceRow, now: datetime) -> Webhook:
    return Webhook(new_id("sbxevt", now), "invoice.updated", Pointed("invoice", invoice.invoice_id))
