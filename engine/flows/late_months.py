"""Months that were over before their credits could be granted, because nobody was told or no job ran.

What was paid for is granted all the same and expires at once, each with its ledger row: the payment shows it, and it
rolls over as if it had been granted in time. A lot can't end before it is granted, so this one ends a microsecond
after, and its row names the month's own end.
"""

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace
from sqlmodel import Session

from engine import book
from engine.rules.commands import Expire, Grant, Outcome
from engine.rules.descriptions import describe
from engine.rules.subscriptions import mark_of_end
from engine.runtime import Runtime

TICK = timedelta(microseconds=1)


def grant_late(
    session: Session, runtime: Runtime, command: Grant, plan_name: str, ends_at: datetime, at: datetime
) -> Outcome:
    """Post the grant of a month that ended at `ends_at`, as a lot that lives for the instant `at` alone.

    The wallet is locked and was last changed at `at` or before; `let_go` ends it in the same transaction.
    """
    words = f"{plan_name} (month to {ends_at.astimezone(UTC):%Y-%m-%d}, granted late)"
    late = replace(
        command,
        description=describe(runtime.catalog.descriptions.monthly_credit, plan=words),
        expires_at=at + TICK,
        metadata=mark_of_end(ends_at),
    )
    (outcome,) = book.post(session, [late], runtime.terms, at)
    return outcome


def let_go(session: Session, runtime: Runtime, account_id: str, at: datetime) -> None:
    """Let what was granted late at this instant expire."""
    book.post(session, [Expire(account_id=account_id, actor="system")], runtime.terms, at + TICK)
