"""The credits of paid invoices: each month once, an upgrade's part once, what rolls over once, each its own lot.

Every grant has a key made from the invoice and the month, so that whatever is repeated is answered by what was done.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session

from engine import book
from engine.clock import new_id
from engine.flows.converge import apply_facts
from engine.flows.rollover import roll_over
from engine.rules.commands import Grant
from engine.rules.descriptions import describe
from engine.rules.errors import Refusal
from engine.rules.facts import Fact
from engine.rules.money import Money, nth_part
from engine.rules.purchases import KnownFact
from engine.rules.subscriptions import Period, credit_months, upgrade_credits
from engine.runtime import Runtime
from engine.store import outbox, purchases, subscriptions
from engine.store.tables import PurchaseRow, SubscriptionInvoiceRow, SubscriptionRow

COVERING = ("create", "renewal", "trial")
"""Kinds of invoices that pay for months; a proration only raises what a month gives."""


def paid_invoices(invoices: Sequence[SubscriptionInvoiceRow]) -> list[SubscriptionInvoiceRow]:
    """Those that were paid and that nothing is wrong with."""
    return [invoice for invoice in invoices if invoice.state == "paid" and invoice.problem is None]


def months_of(row: SubscriptionRow, invoice: SubscriptionInvoiceRow) -> tuple[Period, ...]:
    """The months of credits that an invoice pays for; a trial is one, however long."""
    whole = Period(invoice.period_start_at, invoice.period_end_at)
    return (whole,) if invoice.kind == "trial" else credit_months(row.anchor_at, whole)


def credits_to_come(session: Session, purchase: PurchaseRow) -> int:
    """What a subscription's payment has paid for and not granted yet: its months that have not begun."""
    if purchase.subscription_id is None:
        return 0
    row = subscriptions.get_subscription(session, purchase.account_id, purchase.subscription_id)
    assert row is not None, "a payment of a subscription has one"
    return sum(
        invoice.monthly_credits * (len(months_of(row, invoice)) - invoice.months_granted)
        for invoice in subscriptions.invoices_of(session, purchase.account_id, purchase.subscription_id)
        if invoice.purchase_id == purchase.purchase_id and invoice.kind in COVERING
    )


def grant_paid(
    session: Session, runtime: Runtime, row: SubscriptionRow, invoices: Sequence[SubscriptionInvoiceRow], actor: str
) -> None:
    """Note the payments, then grant every month that is paid for and due, and what upgrades add to them."""
    for invoice in invoices:
        if invoice.state == "refunded":
            _refund(session, runtime, row, invoice, actor)
        elif invoice.state == "paid" and invoice.purchase_id is None and invoice.amount_minor > 0:
            _note_payment(session, runtime, row, invoice)
    paid = paid_invoices(invoices)
    bought = [invoice.purchase_id for invoice in paid if invoice.purchase_id is not None]
    undone = subscriptions.undone_purchases(session, row.account_id, bought)
    for invoice in paid:
        if invoice.purchase_id in undone:
            continue
        if invoice.kind in COVERING:
            _grant_months(session, runtime, row, invoice, paid, actor)
        elif invoice.kind == "proration":
            _grant_upgrade(session, runtime, row, invoice, paid, actor)


def _grant_months(
    session: Session,
    runtime: Runtime,
    row: SubscriptionRow,
    invoice: SubscriptionInvoiceRow,
    paid: Sequence[SubscriptionInvoiceRow],
    actor: str,
) -> None:
    """The first month as soon as it is paid, each later one when it begins; a month that is over gives nothing."""
    now = runtime.clock.now()
    months = months_of(row, invoice)
    for month in months[: invoice.months_granted]:
        _roll_over(session, runtime, row, paid, month)
    for n in range(invoice.months_granted, len(months)):
        month = months[n]
        if n > 0 and month.start > now:
            break
        _roll_over(session, runtime, row, paid, month)
        if month.end > now and invoice.monthly_credits > 0:
            cost = nth_part(invoice.amount_minor, n, len(months))
            key = f"{invoice.subscription_id}:{invoice.invoice_id}:{n}"
            if not _grant(session, runtime, invoice, invoice.monthly_credits, month.end, key, cost, actor):
                return
        invoice.months_granted = n + 1
    session.add(invoice)
    session.flush()


def _grant_upgrade(
    session: Session,
    runtime: Runtime,
    row: SubscriptionRow,
    invoice: SubscriptionInvoiceRow,
    paid: Sequence[SubscriptionInvoiceRow],
    actor: str,
) -> None:
    """What an upgrade adds: its part of the month it happened in, and the whole difference from the next month on.

    It waits for the invoice that pays for that month, and looks only at what was granted, not at when it is told.
    """
    at = invoice.period_start_at
    covers = (c for c in reversed(paid) if c.kind in COVERING and c.period_start_at <= at < c.period_end_at)
    cover = next(covers, None)
    if cover is None or invoice.months_granted > 0:
        return
    now = runtime.clock.now()
    new = invoice.monthly_credits
    for n, month in enumerate(months_of(row, cover)[: cover.months_granted]):
        credits = upgrade_credits(cover.monthly_credits, new, month, at)
        if month.end > max(at, now) and credits > 0:
            key = f"{invoice.subscription_id}:{invoice.invoice_id}:{n}"
            cost = invoice.amount_minor if month.start <= at else 0
            if not _grant(session, runtime, invoice, credits, month.end, key, cost, actor):
                return
    cover.monthly_credits = max(cover.monthly_credits, new)
    invoice.months_granted = 1
    session.add_all([cover, invoice])
    session.flush()


def _grant(
    session: Session,
    runtime: Runtime,
    invoice: SubscriptionInvoiceRow,
    credits: int,
    ends_at: datetime,
    key: str,
    cost_minor: int,
    actor: str,
) -> bool:
    """Post one lot of the invoice's, and count it on its payment; `False` if the wallet may not take it."""
    now = runtime.clock.now()
    plan = subscriptions.read_terms(invoice.terms).plan
    command = Grant(
        operation="subscription",
        account_id=invoice.account_id,
        actor=actor,
        type="monthly_credit",
        source="subscription",
        bucket="monthly",
        credits=credits,
        description=describe(runtime.catalog.descriptions.monthly_credit, plan=plan.name),
        expires_at=ends_at,
        reference_type="subscription",
        reference_id=invoice.subscription_id,
        purchase_id=invoice.purchase_id,
        cost_minor=cost_minor,
        cost_currency=invoice.currency if cost_minor else None,
        key=key,
    )
    (outcome,) = book.post(session, [command], runtime.terms, now)
    purchase = None
    if invoice.purchase_id is not None:
        purchase = purchases.get_purchase(session, invoice.account_id, invoice.purchase_id, lock=True)
        assert purchase is not None
    if isinstance(outcome, Refusal):
        invoice.problem = f"{outcome.code}: {outcome.detail}"[:500]
        if purchase is not None:
            purchase.status = "quarantined"
            purchase.problem = invoice.problem
            session.add(purchase)
        session.add(invoice)
        session.flush()
        return False
    if purchase is not None:
        purchase.base_credits += credits
        purchase.updated_at = now
        session.add(purchase)
        session.flush()
    return True


def _note_payment(session: Session, runtime: Runtime, row: SubscriptionRow, invoice: SubscriptionInvoiceRow) -> None:
    """A paid invoice stands in the list of payments, as a purchase that landed; with a problem it goes to review."""
    now = runtime.clock.now()
    provider = runtime.providers[row.provider]
    plan = subscriptions.read_terms(invoice.terms).plan
    payment_id = invoice.payment_id or invoice.invoice_id
    purchase = PurchaseRow(
        account_id=row.account_id,
        purchase_id=new_id("pay", now),
        provider=row.provider,
        status="paid" if invoice.problem is None else "quarantined",
        amount_minor=invoice.amount_minor,
        currency=invoice.currency,
        base_credits=0,
        tier=plan.name,
        description=describe(runtime.catalog.descriptions.monthly_credit, plan=plan.name),
        success_url="",
        cancel_url="",
        provider_reference=payment_id,
        receipt_url=invoice.receipt_url,
        problem=invoice.problem,
        actor=row.actor,
        created_at=now,
        expires_at=now,
        landed_at=now if invoice.problem is None else None,
        updated_at=now,
        subscription_id=row.subscription_id,
    )
    session.add(purchase)
    session.flush()
    mode = "live" if invoice.is_live else "test"
    owner = (row.account_id, purchase.purchase_id)
    subscriptions.claim(session, provider.name, provider.account, mode, "payment", payment_id, owner, now)
    amount = Money(invoice.amount_minor, invoice.currency)
    fact = KnownFact(payment_id, "payment", payment_id, "paid", amount, invoice.version, invoice.is_live)
    purchases.keep_fact(session, row.account_id, purchase.purchase_id, fact, now)
    invoice.purchase_id = purchase.purchase_id
    session.add(invoice)
    session.flush()
    if invoice.problem is None:
        _tell_payment(session, row, purchase, now)


def _tell_payment(session: Session, row: SubscriptionRow, purchase: PurchaseRow, now: datetime) -> None:
    receipt: dict[str, object] = {"purchaseId": purchase.purchase_id, "kind": "receipt"}
    outbox.enqueue(session, row.account_id, "document", receipt, now)
    data: dict[str, object] = {
        "purchaseId": purchase.purchase_id,
        "subscriptionId": row.subscription_id,
        "amountMinor": purchase.amount_minor,
        "currency": purchase.currency,
        "provider": purchase.provider,
    }
    outbox.emit(session, row.account_id, "purchase.completed", data, now)


def _refund(
    session: Session, runtime: Runtime, row: SubscriptionRow, invoice: SubscriptionInvoiceRow, actor: str
) -> None:
    """A renewal that its provider says was refunded: its payment has a refund of all of it, once. One that is heard
    of only now is noted and granted nothing."""
    if invoice.purchase_id is None:
        if invoice.problem is not None or invoice.amount_minor == 0:
            return
        _note_payment(session, runtime, row, invoice)
    assert invoice.purchase_id is not None
    payment_id = invoice.payment_id or invoice.invoice_id
    refund = Fact(
        kind="refund",
        object_id=f"{invoice.invoice_id}:refund",
        state="succeeded",
        amount=Money(invoice.amount_minor, invoice.currency),
        version=invoice.version,
        live=invoice.is_live,
        parent_id=payment_id,
    )
    apply_facts(session, runtime, invoice.account_id, invoice.purchase_id, [refund], actor)


def _roll_over(
    session: Session,
    runtime: Runtime,
    row: SubscriptionRow,
    paid: Sequence[SubscriptionInvoiceRow],
    month: Period,
) -> None:
    """Where a month begins, what the one before left lives on as far as its plan says; once, when its time has come."""
    if month.start > runtime.clock.now() or (row.rolled_at is not None and month.start <= row.rolled_at):
        return
    for invoice in paid:
        if invoice.kind in COVERING and any(before.end == month.start for before in months_of(row, invoice)):
            plan = subscriptions.read_terms(invoice.terms).plan
            roll_over(session, runtime, row.account_id, plan, row.anchor_at, month, row.subscription_id)
    row.rolled_at = month.start
    session.add(row)
