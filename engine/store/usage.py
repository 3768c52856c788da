"""Daily usage: totals kept in the transaction that spends, and read without the ledger."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import date, datetime

from sqlalchemy import func, select
from sqlmodel import Session

from engine.rules.ledger import Page
from engine.rules.usage import DayUse, change_of_use
from engine.store.bulk import Row, add_rows
from engine.store.pens import AnySession
from engine.store.tables import Base

KEYS = ("account_id", "day", "provider_id")
SUMS = ("credits_spent", "call_count")
_TABLE = Base.metadata.tables["usage_daily"]


def save_usage(session: AnySession, pages: Iterable[Page]) -> None:
    """Add what a batch spent to its days, and take off what it reversed: one row a wallet, day and provider."""
    rows: list[Row] = []
    for page in pages:
        for use in change_of_use(page):
            key = (page.wallet.account_id, use.day, use.provider_id)
            rows.append((*key, use.credits_spent, use.call_count, use.provider_name))
    add_rows(session, "usage_daily", KEYS, SUMS, "provider_name", rows)


def usage_between(session: Session, account_id: str, first: date, last: date) -> list[DayUse]:
    """What was spent from the first day to the last, both included, by day and provider; none that came to nothing."""
    c = _TABLE.c
    rows = session.execute(
        select(c.day, c.provider_id, c.provider_name, c.credits_spent, c.call_count)
        .where(c.account_id == account_id, c.day >= first, c.day <= last)
        .where((c.credits_spent != 0) | (c.call_count != 0))
        .order_by(c.day, c.provider_id)
    )
    return [DayUse(*row) for row in rows]


def all_usage(session: Session, account_id: str) -> list[DayUse]:
    """Every day and provider of an account, those that came to nothing too."""
    c = _TABLE.c
    rows = session.execute(
        select(c.day, c.provider_id, c.provider_name, c.credits_spent, c.call_count).where(c.account_id == account_id)
    )
    return [DayUse(*row) for row in rows]


def spent_by_day(session: Session, account_id: str, first: date, last: date) -> dict[date, int]:
    """Credits spent on each day on which any were, less what was reversed of them."""
    c = _TABLE.c
    rows = session.execute(
        select(c.day, func.sum(c.credits_spent))
        .where(c.account_id == account_id, c.day >= first, c.day <= last)
        .group_by(c.day)
    )
    return {day: int(credits) for day, credits in rows if credits}


def spent_between(session: Session, account_id: str, first: date, last: date) -> int:
    """Credits spent from the first day to the last, both included."""
    return sum(spent_by_day(session, account_id, first, last).values())


@dataclass(frozen=True, slots=True)
class DebitLine:
    """A debit as the usage export shows it."""

    seq: int
    created_at: datetime
    transaction_id: str
    call_id: str | None
    provider_id: str | None
    capability_id: str | None
    amount_credits: int
    outcome: str | None
    description: str


def debits_after(session: Session, account_id: str, after_seq: int, last_seq: int, limit: int) -> list[DebitLine]:
    """The next debits of a ledger, oldest first: how all of them are read in pieces."""
    c = Base.metadata.tables["transactions"].c
    rows = session.execute(
        select(*(c[each.name] for each in fields(DebitLine)))
        .where(c.account_id == account_id, c.seq > after_seq, c.seq <= last_seq, c.type == "debit")
        .order_by(c.seq)
        .limit(limit)
    )
    return [DebitLine(*row) for row in rows]
