"""What will roll over when a month ends, as far as that can be known before, and the notice of what a cap clips."""

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session

from engine.flows.rollover import plans_ending
from engine.flows.subscription_months import COVERING, is_given, month_of
from engine.rules.outgoing import instant_text
from engine.rules.plans import Plan
from engine.rules.subscriptions import clipped
from engine.runtime import Runtime
from engine.store import outbox, subscriptions
from engine.store.tables import AccountRow, SubscriptionInvoiceRow, SubscriptionRow


def plan_ahead(session: Session, runtime: Runtime, account_id: str, ends_at: datetime) -> Plan | None:
    """The plan by which the account's months that end at an instant will roll over; `None` if none ends there, or if
    nobody can know that another month follows."""
    granted = granted_plan(session, runtime, account_id, ends_at)
    if granted is not None:
        return granted
    for row in subscriptions.subscriptions_of(session, account_id):
        invoices = subscriptions.invoices_of(session, account_id, row.subscription_id)
        plans = plans_ending(session, row, invoices, ends_at)
        if plans and is_followed(session, row, invoices, ends_at):
            return plans[0]
    return None


def granted_plan(session: Session, runtime: Runtime, account_id: str, ends_at: datetime) -> Plan | None:
    """The same of months that no subscription pays for: the next one comes where this one ends."""
    account = session.get_one(AccountRow, account_id)
    if account.next_grant_at != ends_at:
        return None
    return next((plan for plan in runtime.catalog.plans if plan.id == account.plan), None)


def is_followed(
    session: Session, row: SubscriptionRow, invoices: Sequence[SubscriptionInvoiceRow], ends_at: datetime
) -> bool:
    """Whether another month of a subscription follows the one that ends: it is paid for, or will be as things stand."""
    following = [
        each for each in invoices if each.kind in COVERING and month_of(row, each, starts_at=ends_at) is not None
    ]
    if following:
        return any(is_given(session, each, invoices) for each in following)
    return row.state in ("active", "trialing") and not row.cancel_at_period_end and row.problem is None


def tell_clipped(session: Session, account_id: str, plan: Plan, ends_at: datetime, now: datetime) -> None:
    """Tell what the plan's cap clips when the month ends, if anything; the caller sees to it that this is once."""
    credits = clipped(plan, subscriptions.ending_lots(session, account_id, ends_at))
    if credits > 0:
        facts: dict[str, object] = {
            "notice": "rolloverClipped",
            "clippedCredits": str(credits),
            "periodEnd": instant_text(ends_at),
        }
        outbox.enqueue(session, account_id, "notice", facts, now)
