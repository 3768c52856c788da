"""Rollover: what a month left unspent lives on as a lot of its own, as far as the plan says, once for each month.

The old lots expire with their ledger rows; the new lot is granted under a key made from where one month became the
next. It is granted before that month's own credits, so that of two lots that end together it is spent first.
"""

from datetime import datetime

from sqlmodel import Session

from engine import book
from engine.rules.commands import Grant
from engine.rules.descriptions import describe
from engine.rules.plans import Plan
from engine.rules.subscriptions import Period, next_period, rolled_over
from engine.runtime import Runtime
from engine.store import subscriptions


def roll_over(
    session: Session, runtime: Runtime, account_id: str, plan: Plan, anchor: datetime, month: Period, reference_id: str
) -> None:
    """Grant what the lots that ended where `month` begins leave to it; the wallet is locked."""
    now = runtime.clock.now()
    credits = rolled_over(plan, subscriptions.ending_lots(session, account_id, month.start))
    if credits == 0:
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
        key=f"{reference_id}:{month.start.isoformat()}",
    )
    book.post(session, [command], runtime.terms, now)
