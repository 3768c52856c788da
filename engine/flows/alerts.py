"""Setting what an account is told of, under the wallet's lock, so that no spend is decided on half of a change."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec
from sqlmodel import Session

from engine.rules.alerts import summed_up
from engine.rules.errors import NotFound
from engine.rules.preferences import EmailNotifications
from engine.runtime import Runtime
from engine.store import alerts, books, history
from engine.store.database import reading, transact


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """The balance at which a customer is told that it is low (`None`: never), and the mails they want."""

    low_balance_credits: int | None
    notifications: EmailNotifications


def alert_settings(runtime: Runtime, account_id: str) -> AlertSettings:
    """The settings as they are; `NotFound` without such an account."""
    with reading(runtime.db) as session:
        wallet = history.find_wallet(session, account_id)
        if wallet is None:
            raise NotFound("account")
        return AlertSettings(wallet.low_balance_credits, alerts.notifications_of(session, account_id))


def change_alerts(
    runtime: Runtime, account_id: str, threshold: int | Literal["keep"] | None, changes: Mapping[str, bool]
) -> AlertSettings:
    """Change what is named; all settings as they are then. Refuses as `books.lock_open` does."""

    def change(session: Session) -> AlertSettings:
        page = books.lock_open(session, account_id, runtime.clock.now())
        credits = page.wallet.low_balance_credits if threshold == "keep" else threshold
        preferences = alerts.notifications_of(session, account_id)
        if threshold != "keep":
            alerts.set_threshold(session, account_id, credits)
        if changes:
            before, preferences = preferences, msgspec.structs.replace(preferences, **changes)
            alerts.keep_notifications(session, account_id, preferences)
            _begin_summaries(session, account_id, before, preferences, runtime.clock.now())
        return AlertSettings(credits, preferences)

    return transact(runtime.db, change)


def _begin_summaries(
    session: Session, account_id: str, before: EmailNotifications, after: EmailNotifications, now: datetime
) -> None:
    """A summary that was just switched on begins with the period under way, not with the one before."""
    for kind, was_on, is_on in (
        ("dailySummary", before.daily_summary, after.daily_summary),
        ("weeklySummary", before.weekly_summary, after.weekly_summary),
    ):
        if is_on and not was_on:
            alerts.mark_once(session, account_id, kind, summed_up(kind, now.date())[0].isoformat(), now)
