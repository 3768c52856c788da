"""The sandbox provider's own side as a page: every payment and subscription, and a button for what may happen to it.

What a bank, a dashboard or the passing of time does is played here by hand: refunds whole, in part and failing,
disputes opened, won and lost, slow payments that fail, subscriptions that renew or do not. The buttons do what the
doors of a script do, need no cookie, token or script, and lead back to the page once Purser has heard of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

from litestar import Response, get, post
from litestar.params import FromPath
from sqlmodel import Session, col, select

from api import sandbox_subscriptions as subscriptions
from api.demo_pages import page
from api.sandbox_doors import PLAYS
from api.sandbox_page import AnyRequest, Server
from api.sandbox_returns import (
    Returned,
    can_close_dispute,
    close_dispute,
    fail_refund,
    open_dispute,
    refund_outside,
    standing_refund,
)
from api.sandbox_sessions import SandboxRefused, fail_late, find_payment
from engine.rules.descriptions import money_label
from engine.rules.money import Money
from engine.store.subscriptions import read_terms
from engine.store.tables import (
    SandboxCardRow,
    SandboxCustomerRow,
    SandboxRefundRow,
    SandboxSessionRow,
    SandboxSubscriptionRow,
)
from psp.sandbox_wire import Webhook

ROWS = 25
"""How many payments and subscriptions are shown, the newest first."""

HAS_BUTTONS = ("processing", "paid")


@dataclass(frozen=True, slots=True)
class Shown:
    """One payment or subscription: what it is, what came of it, and the buttons that make sense now."""

    reference: str
    title: str
    state: str
    notes: tuple[str, ...]
    buttons: tuple[tuple[str, str], ...]
    can_refund: bool = False


def shown_payments(session: Session, now: datetime) -> list[Shown]:
    """The newest payments that anything can still happen to."""
    wanted = select(SandboxSessionRow).where(col(SandboxSessionRow.state).in_(HAS_BUTTONS))
    newest = wanted.order_by(col(SandboxSessionRow.created_at).desc(), col(SandboxSessionRow.session_id).desc())
    return [_payment(session, row, now) for row in session.exec(newest.limit(ROWS)).all()]


def _payment(session: Session, row: SandboxSessionRow, now: datetime) -> Shown:
    amount = money_label(Money(row.amount_minor if row.paid_minor is None else row.paid_minor, row.currency))
    title = f"{amount}: {row.description}"
    if row.state == "processing":
        return Shown(row.payment_id, title, "on its way", (), (("late-fails", "The slow payment fails"),))
    refunds = session.exec(select(SandboxRefundRow).where(SandboxRefundRow.payment_id == row.payment_id)).all()
    notes = [f"refund of {money_label(Money(each.amount_minor, row.currency))} {each.state}" for each in refunds]
    buttons = []
    if any(each.state != "failed" for each in refunds):
        buttons.append(("refund-fails", "The newest refund fails"))
    if can_close_dispute(session, row.payment_id, "lost", now):
        notes.append("disputed")
        buttons += [("dispute-won", "The dispute is won"), ("dispute-lost", "The dispute is lost")]
    else:
        if can_close_dispute(session, row.payment_id, "won", now):
            notes.append("dispute lost")
            buttons.append(("dispute-won", "The appeal is won"))
        buttons.append(("dispute", "The bank disputes it"))
    given_minor = sum(each.amount_minor for each in refunds if each.state != "failed")
    can_refund = given_minor < (row.paid_minor or 0)
    return Shown(row.payment_id, title, row.state, tuple(notes), tuple(buttons), can_refund)


def shown_subscriptions(session: Session, now: datetime) -> list[Shown]:
    """The newest subscriptions that have begun and not ended."""
    table = SandboxSubscriptionRow
    wanted = select(table).where(col(table.state).not_in(("incomplete", "ended")))
    newest = wanted.order_by(col(table.created_at).desc(), col(table.reference).desc()).limit(ROWS)
    buttons = (("renew", "The next period is paid"), ("payment-failed", "Its payment fails"), ("cancel", "It is ended"))
    found = []
    for row in session.exec(newest).all():
        terms = read_terms(row.terms)
        title = f"{terms.plan}, {money_label(Money(terms.price_minor, row.currency))} a {terms.interval}"
        notes = (f"until {row.period_end_at:%Y-%m-%d %H:%M} UTC",)
        found.append(Shown(row.reference, title, row.state, notes, buttons))
    return found


def shown_customers(session: Session, now: datetime) -> list[SandboxCustomerRow]:
    """Who has a saved card: what its bank will say is chosen on the card's own page."""
    cards = select(SandboxCardRow.customer_id).where(col(SandboxCardRow.is_attached))
    wanted = select(SandboxCustomerRow).where(col(SandboxCustomerRow.customer_id).in_(cards))
    return list(session.exec(wanted.order_by(col(SandboxCustomerRow.created_at).desc()).limit(ROWS)).all())


def refund_part(session: Session, payment_id: str, amount: str, now: datetime) -> tuple[Webhook, ...]:
    """A refund made in the dashboard, of so many minor units or, without a number, of all that is left."""
    if amount and not (amount.isascii() and amount.isdigit() and len(amount) <= 15):
        raise SandboxRefused(400, "amount_invalid", "The amount is a number of minor units.")
    return refund_outside(session, payment_id, int(amount) if amount else None, now).events


def newest_refund_fails(session: Session, payment_id: str, now: datetime) -> Returned:
    refund_id = standing_refund(session, payment_id, now)
    if refund_id is None:
        raise SandboxRefused(409, "refund_unknown", "There is no refund that could fail.")
    return fail_refund(session, refund_id, now)


PAYMENT_PLAYS: dict[str, Callable[[Session, str, datetime], tuple[Webhook, ...]]] = {
    "refund-fails": lambda session, payment_id, now: newest_refund_fails(session, payment_id, now).events,
    "dispute": lambda session, payment_id, now: open_dispute(session, payment_id, now).events,
    "dispute-won": lambda session, payment_id, now: close_dispute(session, payment_id, "won", now).events,
    "dispute-lost": lambda session, payment_id, now: close_dispute(session, payment_id, "lost", now).events,
    "late-fails": lambda session, payment_id, now: fail_late(session, find_payment(session, payment_id, now), now),
}


@get("/provider")
async def show_provider(sandbox: Server) -> Response[str]:
    """The provider's own side of every payment and subscription."""
    payments = await sandbox.keep(shown_payments)
    running = await sandbox.keep(shown_subscriptions)
    customers = await sandbox.keep(shown_customers)
    return page(
        "provider.html",
        base=f"{sandbox.base_url}/sandbox/provider",
        portal=f"{sandbox.base_url}/sandbox/portal",
        payments=payments,
        subscriptions=running,
        customers=customers,
        back=sandbox.base_url,
    )


@post("/provider/payments/{payment_id:str}/{play:str}")
async def post_payment(
    request: AnyRequest, payment_id: FromPath[str], play: FromPath[str], sandbox: Server
) -> Response[Any]:
    """One button of a payment, then back to the page."""
    if play == "refund":
        amount = parse_qs(await request.body()).get(b"amountMinor", [b""])[0].decode("latin-1").strip()
        events = await sandbox.keep(lambda session, now: refund_part(session, payment_id, amount, now))
    elif play in PAYMENT_PLAYS:
        events = await sandbox.keep(lambda session, now: PAYMENT_PLAYS[play](session, payment_id, now))
    else:
        raise SandboxRefused(404, "action_unknown", "There is no such button.")
    await sandbox.announce(events)
    return _back(sandbox.base_url)


@post("/provider/subscriptions/{reference:str}/{play:str}")
async def post_subscription(reference: FromPath[str], play: FromPath[str], sandbox: Server) -> Response[Any]:
    """One button of a subscription, then back to the page."""
    if play not in PLAYS:
        raise SandboxRefused(404, "action_unknown", "There is no such button.")
    await sandbox.keep(lambda session, now: subscriptions.find(session, reference))
    await sandbox.announce(await sandbox.keep(lambda session, now: PLAYS[play](session, reference, now)))
    return _back(sandbox.base_url)


def _back(base_url: str) -> Response[Any]:
    where = f"{base_url}/sandbox/provider"
    return Response(None, status_code=303, headers={"Location": where, "Cache-Control": "no-store"})


PROVIDER_HANDLERS = (show_provider, post_payment, post_subscription)
