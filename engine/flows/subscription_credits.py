"""The credits of paid invoices: each month once, an upgrade's part once, what rolls over once, each its own lot.

Every grant has a key made from the invoice and the month, so that whatever is repeated is answered by what was done.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlmodel import Session

from engine import book
from engine.clock import StoppedClock
from engine.flows import converge
from engine.flows.late_months import grant_late, let_go
from engine.flows.rollover import Late, roll_into, roll_late
from engine.flows.subscription_months import (
    COVERING,
    cover_of,
    months_of,
    paid_invoices,
    raised_by,
    undone_of,
    upgrades_of,
)
from engine.flows.subscription_payments import note_payment, refund_payment, tell_payment
from engine.rules.commands import Grant, Posted
from engine.rules.descriptions import describe
from engine.rules.errors import Refusal
from engine.rules.money import nth_part, share_down
from engine.rules.subscriptions import Period, level_of
from engine.runtime import Runtime
from engine.store import books, purchases, subscriptions
from engine.store.tables import PurchaseRow, SubscriptionInvoiceRow, SubscriptionRow


@dataclass(frozen=True, slots=True)
class _Part:
    """What one month, by its number in the period, is given of an invoice, and that part of the price."""

    credits: int
    cost_minor: int
    month: Period
    number: int


def grant_paid(
    session: Session, runtime: Runtime, row: SubscriptionRow, invoices: Sequence[SubscriptionInvoiceRow], actor: str
) -> None:
    """Note the payments, grant every month that is paid for and due and what upgrades add to them, then tell of those
    payments that the wallet took."""
    noted = []
    for invoice in invoices:
        if invoice.state == "refunded":
            refund_payment(session, runtime, row, invoice, actor)
        elif invoice.state == "paid" and invoice.purchase_id is None and invoice.amount_minor > 0:
            noted.append(note_payment(session, runtime, row, invoice))
    _divide(invoices)
    undone = undone_of(session, invoices)
    for invoice in paid_invoices(invoices):
        if invoice.purchase_id in undone:
            continue
        if invoice.kind in COVERING:
            _grant_months(session, runtime, row, invoice, invoices, actor)
        elif invoice.kind == "proration":
            _grant_upgrade(session, runtime, row, invoice, invoices, undone, actor)
    for purchase in noted:
        tell_payment(session, purchase, runtime.clock.now())


def _divide(invoices: Sequence[SubscriptionInvoiceRow]) -> None:
    """Of an invoice that carries the level it was raised to: its months so far were granted with their upgrades, and
    from the next one on each payment grants its own."""
    for cover in invoices:
        own = level_of(subscriptions.read_terms(cover.terms), is_trial=cover.kind == "trial")
        if cover.kind in COVERING and cover.monthly_credits > own:
            for upgrade in upgrades_of(cover, invoices):
                if upgrade.months_granted > 0:
                    upgrade.months_granted = max(upgrade.months_granted, cover.months_granted)
            cover.monthly_credits = own


def _grant_months(
    session: Session,
    runtime: Runtime,
    row: SubscriptionRow,
    invoice: SubscriptionInvoiceRow,
    invoices: Sequence[SubscriptionInvoiceRow],
    actor: str,
) -> None:
    """The first month as soon as it is paid, each later one when it begins; one that is over expires at once."""
    now = runtime.clock.now()
    months = months_of(row, invoice)
    is_first = invoice.kind == "trial" and invoice.months_granted == 0 and invoice.amount_minor == 0
    if is_first and subscriptions.had_trial(session, row.account_id, row.subscription_id):
        invoice.monthly_credits = 0
    for month in months[: invoice.months_granted]:
        roll_into(session, runtime, row, invoices, month)
    for n in range(invoice.months_granted, len(months)):
        month = months[n]
        if n > 0 and month.start > now:
            break
        roll_into(session, runtime, row, invoices, month, is_new=True)
        if invoice.monthly_credits > 0:
            part = _Part(invoice.monthly_credits, nth_part(invoice.amount_minor, n, len(months)), month, n)
            if not _grant(session, runtime, row, invoice, invoices, part, actor):
                return
        invoice.months_granted = n + 1
    session.add(invoice)
    session.flush()


def _key(invoice: SubscriptionInvoiceRow, n: int) -> str:
    return f"{invoice.subscription_id}:{invoice.invoice_id}:{n}"


def _grant_upgrade(
    session: Session,
    runtime: Runtime,
    row: SubscriptionRow,
    invoice: SubscriptionInvoiceRow,
    invoices: Sequence[SubscriptionInvoiceRow],
    undone: set[str],
    actor: str,
) -> None:
    """What an upgrade adds: its part of the month it happened in, and the whole difference in each month from then on,
    as lots of its own payment. One that cost nothing ends with the payment that it raised.

    It waits for the invoice that pays for its months, and looks at when it happened, not at when it is told.
    """
    cover = cover_of(invoices, invoice.period_start_at)
    if cover is None or (invoice.purchase_id is None and cover.purchase_id in undone):
        return
    now = runtime.clock.now()
    months = months_of(row, cover)
    for n in range(invoice.months_granted, len(months)):
        month = months[n]
        if n > 0 and month.start > now:
            break
        roll_into(session, runtime, row, invoices, month, is_new=cover.months_granted <= n)
        credits = _added(session, cover, invoice, invoices, month, n)
        if month.end > invoice.period_start_at and credits > 0:
            part = _Part(credits, _cost_of(session, cover, invoice, month), month, n)
            if not _grant(session, runtime, row, invoice, invoices, part, actor):
                return
        invoice.months_granted = n + 1
    session.add(invoice)
    session.flush()


def _added(
    session: Session,
    cover: SubscriptionInvoiceRow,
    invoice: SubscriptionInvoiceRow,
    invoices: Sequence[SubscriptionInvoiceRow],
    month: Period,
    n: int,
) -> int:
    """The upgrade's part of the month. Told after a later one that was granted its own part, it adds no more than
    they all give together."""
    parts = raised_by(cover, invoices, month)
    own = parts[invoice.invoice_id]
    granted = [each for each in upgrades_of(cover, invoices) if each.months_granted > n and each is not invoice]
    if not any(each.period_start_at >= invoice.period_start_at for each in granted):
        return own
    due = own + sum(parts[each.invoice_id] for each in granted)
    if cover.months_granted > n:
        due += cover.monthly_credits
        granted.append(cover)
    has = subscriptions.granted_under(session, invoice.account_id, [_key(each, n) for each in granted])
    return min(own, max(0, due - has))


def _cost_of(session: Session, cover: SubscriptionInvoiceRow, invoice: SubscriptionInvoiceRow, month: Period) -> int:
    """The month's share, by time, of what its upgrade cost and no earlier lot did."""
    if invoice.purchase_id is None:
        return 0
    lots = purchases.purchase_lots(session, invoice.account_id, invoice.purchase_id)
    start = max(month.start, invoice.period_start_at)
    left, _ = month.left(start)
    to_come, _ = Period(cover.period_start_at, cover.period_end_at).left(start)
    return share_down(invoice.amount_minor - sum(lot.cost_minor for lot in lots), left, to_come)


def _grant(
    session: Session,
    runtime: Runtime,
    row: SubscriptionRow,
    invoice: SubscriptionInvoiceRow,
    invoices: Sequence[SubscriptionInvoiceRow],
    part: _Part,
    actor: str,
) -> bool:
    """Post one lot of the invoice's, and count it on its payment; `False` if the wallet may not take it.

    Of a month that is over the lot has no time of its own: it expires at once, and what it leaves rolls over.
    """
    at = _present(session, runtime, invoice.account_id)
    plan = subscriptions.read_terms(invoice.terms).plan
    command = _command(runtime, invoice, part, plan.name, actor)
    is_late = part.month.end <= at
    if is_late:
        outcome = grant_late(session, runtime, command, plan.name, part.month.end, at)
    else:
        (outcome,) = book.post(session, [command], runtime.terms, at)
    purchase = None
    if invoice.purchase_id is not None:
        purchase = purchases.get_purchase(session, invoice.account_id, invoice.purchase_id, lock=True)
        assert purchase is not None
    if isinstance(outcome, Refusal):
        _set_aside(session, invoice, purchase, outcome)
        return False
    assert isinstance(outcome, Posted)
    if purchase is not None:
        purchase.base_credits += part.credits
        purchase.updated_at = at
        session.add(purchase)
        session.flush()
        _take_share(session, replace(runtime, clock=StoppedClock(at)), purchase, actor)
    if is_late:
        let_go(session, runtime, invoice.account_id, at)
        unspent = subscriptions.unspent_of(session, invoice.account_id, outcome.transactions[0].entries[0].lot_id)
        cover = cover_of(invoices, part.month.start) or invoice
        roll_late(session, runtime, row, cover, invoices, part.month, Late(invoice.invoice_id, unspent))
    return True


def _present(session: Session, runtime: Runtime, account_id: str) -> datetime:
    """Now, or when the wallet was last changed should that be later."""
    now = runtime.clock.now()
    return books.lock_wallets(session, [account_id], now)[account_id].at


def _command(runtime: Runtime, invoice: SubscriptionInvoiceRow, part: _Part, plan_name: str, actor: str) -> Grant:
    return Grant(
        operation=subscriptions.GRANT,
        account_id=invoice.account_id,
        actor=actor,
        type="monthly_credit",
        source="subscription",
        bucket="monthly",
        credits=part.credits,
        description=describe(runtime.catalog.descriptions.monthly_credit, plan=plan_name),
        expires_at=part.month.end,
        reference_type="subscription",
        reference_id=invoice.subscription_id,
        purchase_id=invoice.purchase_id,
        cost_minor=part.cost_minor,
        cost_currency=invoice.currency if part.cost_minor else None,
        key=_key(invoice, part.number),
    )


def _set_aside(
    session: Session, invoice: SubscriptionInvoiceRow, purchase: PurchaseRow | None, refusal: Refusal
) -> None:
    """What the wallet may not take goes to review; a payment of which it took nothing has not landed."""
    invoice.problem = f"{refusal.code}: {refusal.detail}"[:500]
    session.add(invoice)
    if purchase is not None:
        purchase.status = "quarantined"
        purchase.problem = invoice.problem
        if purchase.base_credits == 0:
            purchase.landed_at = None
        session.add(purchase)
    session.flush()


def _take_share(session: Session, runtime: Runtime, purchase: PurchaseRow, actor: str) -> None:
    """Of a payment that goes back, or of which a part went back, each new lot loses its share at once."""
    if any(fact.kind != "payment" for fact in purchases.facts_of(session, purchase)):
        converge.settle(session, runtime, purchase, actor)
