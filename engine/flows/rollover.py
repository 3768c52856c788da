"""Rollover: what a month left unspent lives on as a lot of its own, as far as the plan says, once for each month.

The old lots expire with their ledger rows; the new lot is granted under a key made from where one month became the
next. It is granted before that month's own credits, so that of two lots that end together it is spent first. What is
granted of a month only after it ended rolls over too, as it is granted, and together no more than the plan says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session

from engine import book
from engine.flows.subscription_months import COVERING, gives_months, is_given, month_of, plan_of_month
from engine.rules.commands import Grant
from engine.rules.descriptions import describe
from engine.rules.plans import Plan
from engine.rules.subscriptions import Period, next_period, rolled_over
from engine.runtime import Runtime
from engine.store import subscriptions
from engine.store.tables import SubscriptionInvoiceRow, SubscriptionRow


@dataclass(frozen=True, slots=True)
class Late:
    """What a lot left that was granted after its month had ended, and the name of what granted it."""

    name: str
    unspent_credits: int


def roll_over(
    session: Session,
    runtime: Runtime,
    account_id: str,
    plan: Plan,
    anchor: datetime,
    month: Period,
    reference_id: str,
    late: Late | None = None,
) -> None:
    """Grant what the lots that ended where `month` begins leave to it and none has granted yet; the wallet is locked.

    With `late` no more than that lot left. A rolled over lot whose own time is over is not granted: nothing of it
    could reach the present.
    """
    now = runtime.clock.now()
    key = f"{reference_id}:{month.start.isoformat()}"
    credits = rolled_over(plan, subscriptions.ending_lots(session, account_id, month.start))
    credits -= subscriptions.rolled_under(session, account_id, key) if credits > 0 else 0
    if late is not None:
        credits = min(credits, late.unspent_credits)
    if credits <= 0:
        return
    ends_at = month.end
    for _ in range(1, plan.rollover_periods):
        ends_at = next_period(anchor, ends_at, "month").end
    if ends_at <= now:
        return
    command = Grant(
        operation=subscriptions.ROLLOVER,
        account_id=account_id,
        actor="system",
        type="monthly_credit",
        source="subscription",
        bucket="monthly",
        credits=credits,
        description=describe(runtime.catalog.descriptions.monthly_credit, plan=f"{plan.name} (rolled over)"),
        expires_at=ends_at,
        reference_type="subscription",
        reference_id=reference_id,
        key=key if late is None else f"{key}:{late.name}",
    )
    book.post(session, [command], runtime.terms, now)


def roll_into(
    session: Session,
    runtime: Runtime,
    row: SubscriptionRow,
    invoices: Sequence[SubscriptionInvoiceRow],
    month: Period,
    *,
    is_new: bool = False,
) -> None:
    """Where a month begins, what the one before left lives on as far as its plan says; once, when its time has come.

    A month that is new is looked at also when a later one was before.
    """
    now = runtime.clock.now()
    if month.start > now or (not is_new and row.rolled_at is not None and month.start <= row.rolled_at):
        return
    for plan in plans_ending(session, row, invoices, month.start):
        roll_over(session, runtime, row.account_id, plan, row.anchor_at, month, row.subscription_id)
    row.rolled_at = month.start if row.rolled_at is None else max(month.start, row.rolled_at)
    session.add(row)


def plans_ending(
    session: Session, row: SubscriptionRow, invoices: Sequence[SubscriptionInvoiceRow], ends_at: datetime
) -> list[Plan]:
    """The plans of a subscription's months that end at an instant and were paid for."""
    found = []
    for invoice in invoices:
        month = month_of(row, invoice, ends_at=ends_at) if invoice.kind in COVERING else None
        if month is not None and gives_months(invoice, invoices):
            found.append(plan_of_month(session, invoice, invoices, month))
    return found


def roll_late(
    session: Session,
    runtime: Runtime,
    row: SubscriptionRow,
    cover: SubscriptionInvoiceRow,
    invoices: Sequence[SubscriptionInvoiceRow],
    over: Period,
    late: Late,
) -> None:
    """What was granted of a month that was over rolls into the one after it, if that is paid for; else it waits for
    the payment."""
    found = [
        month
        for each in invoices
        if each.kind in COVERING and is_given(session, each, invoices)
        if (month := month_of(row, each, starts_at=over.end)) is not None
    ]
    if found and late.unspent_credits > 0:
        plan = plan_of_month(session, cover, invoices, over)
        reference = row.subscription_id
        roll_over(session, runtime, row.account_id, plan, row.anchor_at, found[0], reference, late)
