"""What customers are told by the calendar: credits about to expire, months that a cap will clip, unusual days, daily
and weekly summaries.

Each is told once: what says so (the lot's next warning, a mark) is written in the transaction of the notice, so a
crash in between repeats or skips nothing.
"""

from collections import defaultdict
from datetime import date, datetime, time, timedelta, timezone
from functools import partial

from sqlmodel import Session

from engine.flows.rollover_ahead import granted_plan, plan_ahead, tell_clipped
from engine.rules.alerts import UNUSUAL_DAYS, WARNINGS, next_warning, summed_up
from engine.rules.outgoing import instant_text
from engine.rules.subscriptions import Ending, rolled_over
from engine.runtime import Runtime
from engine.store import alerts, books, outbox, usage
from engine.store.database import reading, transact

BATCH_SIZE_MAX = 200
LOOK_EVERY = timedelta(minutes=5)
"""How often days are looked at: an index of today's and last week's usage is read, however little happened."""


class Digests:
    """What one job loop remembers: when it looks at days next. The rest is in the database."""

    def __init__(self) -> None:
        self._next_look: datetime | None = None

    def tell_due(self, runtime: Runtime, now: datetime) -> int:
        """Tell what is due; how much was looked at or told."""
        count = warn_of_expiry(runtime, now)
        if self._next_look is None or now >= self._next_look:
            told = warn_of_clips(runtime, now) + tell_unusual(runtime, now)
            told += sum_up(runtime, now, "dailySummary") + sum_up(runtime, now, "weeklySummary")
            count += told
            if told == 0:
                self._next_look = min(now + LOOK_EVERY, _midnight_after(now))
        return count


def warn_of_expiry(runtime: Runtime, now: datetime, limit: int = BATCH_SIZE_MAX) -> int:
    """Warn the owners of lots whose warning is due, one notice for all lots of the day; how many accounts."""
    with reading(runtime.db) as session:
        due = alerts.accounts_to_warn(session, now, limit)
    for account_id in due:
        transact(runtime.db, partial(_warn, runtime=runtime, account_id=account_id, now=now))
    return len(due)


def _warn(session: Session, runtime: Runtime, account_id: str, now: datetime) -> None:
    """Lots that are warned about later today come with those that are due: they share the mail.

    Of months that end together no more is named than leaves: what will roll over stays.
    """
    books.lock_wallets(session, [account_id], now)
    horizon = _midnight_after(now)
    lots = alerts.lots_to_warn(session, account_id, horizon)
    sums: dict[tuple[datetime, str], int] = defaultdict(int)
    endings: dict[datetime, list[Ending]] = defaultdict(list)
    for lot in lots:
        if lot.credits > 0 and now < lot.expires_at < horizon + WARNINGS[0]:
            sums[lot.expires_at, lot.bucket] += lot.credits
            if lot.ending is not None:
                endings[lot.expires_at].append(lot.ending)
    for ends_at, ending in endings.items():
        plan = plan_ahead(session, runtime, account_id, ends_at)
        sums[ends_at, "monthly"] -= rolled_over(plan, ending) if plan is not None else 0
    told: list[dict[str, object]] = [
        {"expiresAt": instant_text(expires_at), "bucket": bucket, "credits": str(credits)}
        for (expires_at, bucket), credits in sums.items()
        if credits > 0
    ]
    if told:
        outbox.enqueue(session, account_id, "notice", {"notice": "creditsExpiring", "lots": told}, now)
    alerts.set_warnings(session, account_id, [(lot.lot_id, next_warning(lot.expires_at, horizon)) for lot in lots])


def warn_of_clips(runtime: Runtime, now: datetime, limit: int = BATCH_SIZE_MAX) -> int:
    """Look once at every month that no subscription pays for, some days before it ends, and tell what its plan's cap
    will clip; how many months. Those that are paid for are looked at where their subscriptions are."""
    plans = [plan.id for plan in runtime.catalog.plans if plan.rollover_periods > 0]
    if not plans:
        return 0
    until = now + timedelta(days=runtime.catalog.subscriptions.rollover_notice_days)
    with reading(runtime.db) as session:
        due = alerts.months_to_look_at(session, plans, now, until, limit)

    def look(session: Session, month: alerts.EndingMonth) -> bool:
        books.lock_wallets(session, [month.account_id], now)
        plan = granted_plan(session, runtime, month.account_id, month.ends_at)
        if plan is None or not alerts.mark_month(session, month, now):
            return False
        tell_clipped(session, month.account_id, plan, month.ends_at, now)
        return True

    return sum(transact(runtime.db, partial(look, month=each)) for each in due)


def tell_unusual(runtime: Runtime, now: datetime, limit: int = BATCH_SIZE_MAX) -> int:
    """Tell accounts, once a day, that today far more was spent than on the days before: with one of their keys, which
    is named, or without any. How many were told.

    A key or account that is not `UNUSUAL_DAYS` old has no usual day yet.
    """
    today = now.date()
    span = timedelta(days=UNUSUAL_DAYS)
    with reading(runtime.db) as session:
        found = alerts.busy_accounts(session, today, today - span, now - span, limit)
        found += alerts.busy_keys(session, today, today - span, now - span, limit)

    def tell(session: Session, activity: alerts.Activity) -> bool:
        if not alerts.mark_once(session, activity.account_id, "unusualActivity", activity.subject(today), now):
            return False
        facts: dict[str, object] = {
            "notice": "unusualActivity",
            "day": today.isoformat(),
            "spentCredits": str(activity.spent_credits),
            "averageCredits": str(activity.spent_before_credits // UNUSUAL_DAYS),
        }
        if activity.api_key_id is not None:
            facts |= {"apiKeyId": activity.api_key_id, "keyName": activity.key_name or ""}
        outbox.enqueue(session, activity.account_id, "notice", facts, now)
        return True

    return sum(transact(runtime.db, partial(tell, activity=each)) for each in found)


def sum_up(runtime: Runtime, now: datetime, kind: str, limit: int = BATCH_SIZE_MAX) -> int:
    """Write the summary of the newest period that is over to whoever wants it, once each; how many."""
    first, last = summed_up(kind, now.date())
    with reading(runtime.db) as session:
        due = alerts.accounts_to_sum_up(session, kind, first.isoformat(), limit)

    def write(session: Session, account_id: str) -> bool:
        return _sum_up(session, account_id, kind, (first, last), now)

    return sum(transact(runtime.db, partial(write, account_id=each)) for each in due)


def _sum_up(session: Session, account_id: str, kind: str, period: tuple[date, date], now: datetime) -> bool:
    """The wallet's lock comes first, as everywhere."""
    page = books.lock_wallets(session, [account_id], now)[account_id]
    first, last = period
    if not alerts.mark_once(session, account_id, kind, first.isoformat(), now):
        return False
    used = usage.usage_between(session, account_id, first, last)
    facts: dict[str, object] = {
        "notice": kind,
        "from": first.isoformat(),
        "to": last.isoformat(),
        "spentCredits": str(sum(use.credits_spent for use in used)),
        "callCount": sum(use.call_count for use in used),
        "balanceAfter": str(page.wallet.available_credits),
    }
    outbox.enqueue(session, account_id, "notice", facts, now)
    return True


def _midnight_after(now: datetime) -> datetime:
    return datetime.combine(now.astimezone(timezone.utc).date() + timedelta(days=1), time(), timezone.utc)
