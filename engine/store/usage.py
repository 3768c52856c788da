"""Daily usage: totals kept in the transaction that spends, and read without the ledger.

The newest ones are still in the wallet's own row (`engine/rules/usage.py`): every reader here adds them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import date, datetime

from sqlalchemy import select
from sqlmodel import Session

from engine.rules.ledger import DayUse, Page
from engine.rules.usage import added_up
from engine.store.bulk import Row, add_rows
from engine.store.pens import AnySession
from engine.store.tables import Base
from engine.store.values import uses_of

KEYS = ("account_id", "day", "provider_id")
SUMS = ("credits_spent", "call_count")
_TABLE = Base.metadata.tables["usage_daily"]
_WALLETS = Base.metadata.tables["wallets"]


def save_usage(session: AnySession, pages: Iterable[Page]) -> None:
    """Add what a batch spent to its days, and take off what it reversed; mostly the wallet carries all of it."""
    rows: list[Row] = []
    for page in pages:
        for use in page.past_uses:
            key = (page.wallet.account_id, use.day, use.provider_id)
            rows.append((*key, use.credits_spent, use.call_count, use.provider_name))
    add_rows(session, "usage_daily", KEYS, SUMS, "provider_name", rows)


def usage_between(session: Session, account_id: str, first: date, last: date) -> list[DayUse]:
    """What was spent from the first day to the last, both included, by day and provider; none that came to nothing."""
    uses = all_usage(session, account_id, first, last)
    return [use for use in uses if use.credits_spent or use.call_count]


def all_usage(session: Session, account_id: str, first: date = date.min, last: date = date.max) -> list[DayUse]:
    """Every day and provider of an account from the first day to the last, those that came to nothing too."""
    c, wallets = _TABLE.c, _WALLETS.c
    rows = session.execute(
        select(c.day, c.provider_id, c.provider_name, c.credits_spent, c.call_count).where(
            c.account_id == account_id, c.day >= first, c.day <= last
        )
    )
    carried = session.execute(select(wallets.uses).where(wallets.account_id == account_id)).scalar_one_or_none()
    newest = [use for use in uses_of(carried) if first <= use.day <= last]
    return added_up([*(DayUse(*row) for row in rows), *newest])


def spent_by_day(session: Session, account_id: str, first: date, last: date) -> dict[date, int]:
    """Credits spent on each day on which any were, less what was reversed of them."""
    days: dict[date, int] = {}
    for use in all_usage(session, account_id, first, last):
        days[use.day] = days.get(use.day, 0) + use.credits_spent
    return {day: credits for day, credits in days.items() if credits}


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
