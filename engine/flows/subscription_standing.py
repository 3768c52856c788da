"""The plan that follows from a subscription: what the account holds, what is told of a change, when to look again.

An account's plan comes from its subscriptions while one of them holds a plan (of several, the highest), and falls
back to the first plan, with that plan's monthly credits, when none does.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from sqlmodel import Session

from engine.flows.rollover_ahead import is_followed, tell_clipped
from engine.flows.subscription_months import COVERING, gives_months, months_of, paid_invoices, plan_of_month
from engine.rules.subscriptions import Standing, standing
from engine.runtime import Runtime
from engine.store import outbox, subscriptions
from engine.store.tables import AccountRow, SubscriptionInvoiceRow, SubscriptionRow


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What was last told of a subscription; empty before anything was."""

    plan: str = ""
    interval: str = ""
    status: str = "incomplete"
    cancel_at_period_end: bool = False
    pending_plan: str | None = None
    period_end: str = ""


def note_standing(
    session: Session, runtime: Runtime, row: SubscriptionRow, invoices: Sequence[SubscriptionInvoiceRow]
) -> None:
    """Let the account's plan, the events and notices, and the next look follow from where the subscription stands."""
    now = runtime.clock.now()
    is_over = row.state == "incomplete" and now >= row.expires_at
    if is_over:
        row.state = "ended"  # a checkout nobody paid; should it be paid after all, the provider's word counts
    stands = standing_of(runtime, row, paid_invoices(invoices), now)
    _drive_plan(session, runtime, row, stands.holds_plan, now)
    _tell(session, row, stands, now)
    row.next_at = _next_look(session, runtime, row, invoices, stands, now)


def standing_of(
    runtime: Runtime, row: SubscriptionRow, paid: Sequence[SubscriptionInvoiceRow], now: datetime
) -> Standing:
    """Where it stands: while its provider says it is active, the period it names counts as paid for."""
    if row.problem is not None:
        return Standing("ended" if row.state == "ended" else "incomplete", False, None)
    ends = [invoice.period_end_at for invoice in paid if invoice.kind in COVERING]
    if row.state in ("active", "trialing", "paused"):
        ends.append(row.period_end_at)
    grace = timedelta(days=runtime.catalog.subscriptions.grace_days)
    return standing(
        row.state,
        max(ends, default=row.period_start_at),
        now,
        grace=grace,
        cancels_at_end=row.cancel_at_period_end,
    )


def _drive_plan(session: Session, runtime: Runtime, row: SubscriptionRow, holds_plan: bool, now: datetime) -> None:
    was_driving, row.is_driving = row.is_driving, holds_plan
    if not was_driving and not holds_plan:
        return
    account = session.get_one(AccountRow, row.account_id)
    driving = [other for other in subscriptions.subscriptions_of(session, row.account_id) if other.is_driving]
    if driving:
        plans = [subscriptions.read_terms(other.terms).plan for other in driving]
        account.plan = max(plans, key=lambda plan: plan.rank).id
        account.next_grant_at = None
    else:
        first = runtime.catalog.first_plan
        account.plan = first.id if first else None
        account.next_grant_at = now if first is not None and first.monthly_credits > 0 else None
    session.add(account)


def _tell(session: Session, row: SubscriptionRow, stands: Standing, now: datetime) -> None:
    """One event for every change that shows, and the notice that goes with it."""
    terms = subscriptions.read_terms(row.terms)
    before = msgspec.json.decode(row.shown, type=Shown)
    after = Shown(
        plan=terms.plan.id,
        interval=terms.interval,
        status=stands.status,
        cancel_at_period_end=row.cancel_at_period_end,
        pending_plan=row.pending_plan,
        period_end=_text(row.period_end_at),
    )
    is_quiet = before.status == "incomplete" and not stands.holds_plan
    if after == before or is_quiet:
        return
    row.shown = msgspec.json.encode(after).decode()
    data: dict[str, object] = {
        "subscriptionId": row.subscription_id,
        "plan": after.plan,
        "interval": after.interval,
        "status": after.status,
        "previousPlan": before.plan or None,
        "cancelAtPeriodEnd": after.cancel_at_period_end,
        "pendingPlan": after.pending_plan,
        "currentPeriodEnd": after.period_end,
    }
    outbox.emit(session, row.account_id, "subscription.changed", data, now)
    notice = _notice(before, after)
    if notice is not None:
        facts: dict[str, object] = {
            "notice": notice,
            "plan": terms.plan.name,
            "status": after.status,
            "periodEnd": after.period_end,
            "pendingPlan": after.pending_plan or "",
        }
        outbox.enqueue(session, row.account_id, "notice", facts, now)


def _notice(before: Shown, after: Shown) -> str | None:
    """Which mail a change is worth; the start of a subscription has its payment's receipt, its end was told once."""
    if after.status != before.status and after.status in ("past_due", "ended"):
        return "subscriptionPastDue" if after.status == "past_due" else "subscriptionEnded"
    if not before.plan or after.status == before.status == "ended":
        return None
    told = (before.plan, before.interval, before.cancel_at_period_end, before.pending_plan, before.status == "paused")
    now = (after.plan, after.interval, after.cancel_at_period_end, after.pending_plan, after.status == "paused")
    return "subscriptionChanged" if told != now else None


def _next_look(
    session: Session,
    runtime: Runtime,
    row: SubscriptionRow,
    invoices: Sequence[SubscriptionInvoiceRow],
    stands: Standing,
    now: datetime,
) -> datetime | None:
    """When time alone changes something next: a month begins, the period or its grace ends, a warning is due."""
    looks = [stands.next_at] if stands.next_at is not None else []
    if row.state == "incomplete":
        looks.append(row.expires_at)
    notice = timedelta(days=runtime.catalog.subscriptions.rollover_notice_days)
    for invoice in invoices:
        if invoice.kind not in COVERING or not gives_months(invoice, invoices):
            continue
        for month in months_of(row, invoice):
            if month.start > now:
                looks.append(month.start)
            elif now < month.end and row.warned_for_at != month.end:
                plan = plan_of_month(session, invoice, invoices, month)
                if plan.rollover_periods > 0 and now < month.end - notice:
                    looks.append(month.end - notice)
                elif plan.rollover_periods > 0 and is_followed(session, row, invoices, month.end):
                    row.warned_for_at = month.end
                    tell_clipped(session, row.account_id, plan, month.end, now)
    return min((look for look in looks if look > now), default=None)


def _text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
