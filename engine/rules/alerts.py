"""Alerts: what a customer is told the moment a wallet gets there, decided where credits move.

A crossing is `old > t >= new`, looked at once for what time did and once for what a command did as a whole: so a
capture, which releases before it debits, crosses nothing that its hold had not crossed, and a threshold is armed
again by nothing but a balance above it. Nothing here depends on how commands are cut into batches.
"""

from datetime import date, datetime, timedelta

from engine.rules.errors import LimitReached
from engine.rules.ledger import Message, Page
from engine.rules.outgoing import event

WARNINGS = (timedelta(days=7), timedelta(days=1))
"""How long before credits expire their owner is told."""

UNUSUAL_FACTOR = 3
"""A day is unusual when it spends more than so many times the average day of `UNUSUAL_DAYS` before it."""

UNUSUAL_DAYS = 7


def watch_balance(page: Page, before_credits: int) -> None:
    """Tell of a threshold crossed and of an empty wallet; `before_credits` was available before this step."""
    wallet = page.wallet
    after_credits = wallet.available_credits
    if after_credits >= before_credits or wallet.status == "closed":
        return
    threshold = wallet.low_balance_credits
    if threshold is not None and before_credits > threshold >= after_credits:
        facts: dict[str, object] = {"thresholdCredits": str(threshold)}
        _tell(page, "balance.low", "lowBalance", facts)
    if after_credits == 0:
        _tell(page, "balance.depleted", "depleted", {})


def watch_limit(page: Page) -> None:
    """Tell once a UTC day that all of the day's limit is spent."""
    limit = page.wallet.daily_limit_credits
    if limit is None or page.wallet.spent_today(page.at.date()) < max(1, limit):
        return
    _note_limit(page, limit, page.wallet.spent_today(page.at.date()))


def meet_limit(page: Page, refusal: LimitReached) -> None:
    """Tell once a UTC day that a spend was refused because of what the account has spent of its limit for the day.

    An API key's own limit says nothing of the account's, and a spend above the whole limit nothing of the day.
    """
    limit, facts = page.wallet.daily_limit_credits, refusal.facts
    is_the_days = facts["limitType"] == "daily" and "apiKeyId" not in facts
    if limit is not None and is_the_days and int(str(facts["requestedCredits"])) <= limit:
        _note_limit(page, limit, page.wallet.spent_today(page.at.date()))


def _note_limit(page: Page, limit_credits: int, spent_credits: int) -> None:
    today = page.at.date()
    if page.wallet.limit_alerted_on == today:
        return
    page.wallet.limit_alerted_on = today
    page.is_changed = True
    facts: dict[str, object] = {"limitCredits": str(limit_credits), "spentCredits": str(spent_credits)}
    page.messages.append(Message("notice", {"notice": "dailyLimitReached", **facts}))


def _tell(page: Page, event_type: str, notice: str, facts: dict[str, object]) -> None:
    wallet = page.wallet
    data = {"seq": wallet.seq, "balanceAfter": str(wallet.available_credits), **facts}
    page.messages.append(Message("event", event(wallet.account_id, event_type, data, page.at)))
    page.messages.append(Message("notice", {"notice": notice, **data}))


def next_warning(expires_at: datetime, after: datetime) -> datetime | None:
    """When the owner of a lot is next told that it expires; `None` when it is too late, or it never does."""
    if expires_at - after > timedelta(days=366 * 1_000):
        return None
    return next((expires_at - span for span in WARNINGS if expires_at - span > after), None)


def summed_up(kind: str, today: date) -> tuple[date, date]:
    """The first and last day of the newest period that is over: yesterday, or last Monday to Sunday."""
    if kind == "dailySummary":
        return today - timedelta(days=1), today - timedelta(days=1)
    monday = today - timedelta(days=today.weekday() + 7)
    return monday, monday + timedelta(days=6)
