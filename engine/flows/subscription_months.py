"""Which months a subscription's invoices pay for, with which plan each of them ends, and what is still to come."""

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session

from engine.rules.plans import Plan
from engine.rules.subscriptions import Period, Upgrade, credit_months, upgrade_parts
from engine.store import subscriptions
from engine.store.tables import PurchaseRow, SubscriptionInvoiceRow, SubscriptionRow

COVERING = ("create", "renewal", "trial")
"""Kinds of invoices that pay for months; a proration pays for what an upgrade adds to them."""


def paid_invoices(invoices: Sequence[SubscriptionInvoiceRow]) -> list[SubscriptionInvoiceRow]:
    """Those that were paid and that nothing is wrong with."""
    return [invoice for invoice in invoices if invoice.state == "paid" and invoice.problem is None]


def months_of(row: SubscriptionRow, invoice: SubscriptionInvoiceRow) -> tuple[Period, ...]:
    """The months of credits that an invoice pays for; a trial is one, however long."""
    whole = Period(invoice.period_start_at, invoice.period_end_at)
    return (whole,) if invoice.kind == "trial" else credit_months(row.anchor_at, whole)


def month_of(
    row: SubscriptionRow,
    invoice: SubscriptionInvoiceRow,
    *,
    starts_at: datetime | None = None,
    ends_at: datetime | None = None,
) -> Period | None:
    """The month that an invoice pays for which starts, or ends, at an instant."""
    months = months_of(row, invoice)
    return next((month for month in months if starts_at == month.start or ends_at == month.end), None)


def cover_of(invoices: Sequence[SubscriptionInvoiceRow], at: datetime) -> SubscriptionInvoiceRow | None:
    """The invoice that pays for the months around an instant; one whose money went back, if there is no other."""
    covers = [
        each
        for each in invoices
        if each.kind in COVERING and _was_paid(each) and each.period_start_at <= at < each.period_end_at
    ]
    return max(covers, key=lambda each: (each.state == "paid", each.period_start_at), default=None)


def upgrades_of(
    cover: SubscriptionInvoiceRow, invoices: Sequence[SubscriptionInvoiceRow]
) -> list[SubscriptionInvoiceRow]:
    """What was paid to raise a period, by the instants of the changes; also what went back, for the price of a later
    upgrade was reckoned from there."""
    raised = [each for each in invoices if each.kind == "proration" and _was_paid(each)]
    return [each for each in raised if cover_of(invoices, each.period_start_at) is cover]


def _was_paid(invoice: SubscriptionInvoiceRow) -> bool:
    return invoice.state in ("paid", "refunded") and invoice.problem is None


def highest_level(cover: SubscriptionInvoiceRow, invoices: Sequence[SubscriptionInvoiceRow]) -> int:
    """The monthly credits that a period was raised to: what a further upgrade is measured against."""
    return max(each.monthly_credits for each in (cover, *upgrades_of(cover, invoices)))


def gives_months(cover: SubscriptionInvoiceRow, invoices: Sequence[SubscriptionInvoiceRow]) -> bool:
    """Whether months are still granted for a period: for itself, or for an upgrade that outlives its refund."""
    return bool(paid_invoices([cover]) or paid_invoices(upgrades_of(cover, invoices)))


def is_given(session: Session, cover: SubscriptionInvoiceRow, invoices: Sequence[SubscriptionInvoiceRow]) -> bool:
    """Whether a period's months are granted now: while a payment of it is disputed, that one grants none."""
    undone = undone_of(session, invoices)
    upgrades = [each for each in paid_invoices(upgrades_of(cover, invoices)) if each.purchase_id is not None]
    return any(each.purchase_id not in undone for each in (*paid_invoices([cover]), *upgrades))


def plan_of_month(
    session: Session, cover: SubscriptionInvoiceRow, invoices: Sequence[SubscriptionInvoiceRow], month: Period
) -> Plan:
    """The plan that a month ends with: the highest that it was raised to and that is still paid for, else its own."""
    raised = [each for each in paid_invoices(upgrades_of(cover, invoices)) if each.period_start_at < month.end]
    undone = undone_of(session, raised)
    standing = [each for each in raised if each.purchase_id not in undone]
    highest = max((cover, *standing), key=lambda each: (each.monthly_credits, each.period_start_at))
    return subscriptions.read_terms(highest.terms).plan


def undone_of(session: Session, invoices: Sequence[SubscriptionInvoiceRow]) -> set[str]:
    """Of these invoices' payments, those that went back whole or are disputed."""
    bought = [each.purchase_id for each in invoices if each.purchase_id is not None]
    return subscriptions.undone_purchases(session, invoices[0].account_id, bought) if bought else set()


def credits_to_come(session: Session, purchase: PurchaseRow) -> int:
    """What a subscription's payment has paid for and not granted yet: its part of the months that have not begun."""
    if purchase.subscription_id is None:
        return 0
    row = subscriptions.get_subscription(session, purchase.account_id, purchase.subscription_id)
    assert row is not None, "a payment of a subscription has one"
    invoices = subscriptions.invoices_of(session, purchase.account_id, purchase.subscription_id)
    bought = [each for each in paid_invoices(invoices) if each.purchase_id == purchase.purchase_id]
    return sum(_to_come(row, each, invoices) for each in bought)


def _to_come(row: SubscriptionRow, invoice: SubscriptionInvoiceRow, invoices: Sequence[SubscriptionInvoiceRow]) -> int:
    if invoice.kind in COVERING:
        return invoice.monthly_credits * (len(months_of(row, invoice)) - invoice.months_granted)
    cover = cover_of(invoices, invoice.period_start_at)
    if invoice.kind != "proration" or cover is None:
        return 0
    months = months_of(row, cover)[invoice.months_granted :]
    return sum(raised_by(cover, invoices, month)[invoice.invoice_id] for month in months)


def raised_by(
    cover: SubscriptionInvoiceRow, invoices: Sequence[SubscriptionInvoiceRow], month: Period
) -> dict[str, int]:
    """What each upgrade adds to a month, by its invoice."""
    upgrades = upgrades_of(cover, invoices)
    raises = [Upgrade(each.period_start_at, each.monthly_credits) for each in upgrades]
    added = upgrade_parts(cover.monthly_credits, raises, month)
    return {each.invoice_id: part for each, part in zip(upgrades, added, strict=True)}
