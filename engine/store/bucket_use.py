"""What was spent each day from each bucket, read from the newest rows of the ledger as far as they are few."""

from datetime import date, datetime, time, timezone

import msgspec
from sqlalchemy import select
from sqlmodel import Session

from engine.rules.ledger import Entry, Wallet
from engine.store.history import first_seq
from engine.store.tables import Base

ROWS_MAX = 5_000
"""Debits and reversals that are read at most, so that a chart costs the same however much is spent."""

DayBuckets = dict[date, dict[str, int]]
_entries = msgspec.json.Decoder(tuple[Entry, ...])


def spent_by_bucket(session: Session, wallet: Wallet, first: date, rows_max: int = ROWS_MAX) -> DayBuckets | None:
    """Credits spent on each day since `first`, by bucket, less what was reversed of them; `None` if the rows of that
    time are too many. A reversal counts on the day of its debit, as in the daily totals."""
    c = Base.metadata.tables["transactions"].c
    since = first_seq(session, wallet, datetime.combine(first, time(), timezone.utc))
    rows = session.execute(
        select(c.transaction_id, c.type, c.reverses_id, c.entries, c.created_at)
        .where(c.account_id == wallet.account_id, c.seq >= since, c.type.in_(("debit", "debit_reversal")))
        .order_by(c.seq)
        .limit(rows_max + 1)
    ).all()
    if len(rows) > rows_max:
        return None
    debited_on: dict[str, date] = {}
    found: DayBuckets = {}
    for row in rows:
        if row.type == "debit":
            debited_on[row.transaction_id] = row.created_at.astimezone(timezone.utc).date()
        day = debited_on.get(row.transaction_id if row.type == "debit" else row.reverses_id)
        if day is None:
            continue  # it reverses a debit from before
        buckets = found.setdefault(day, {})
        for entry in _entries.decode(row.entries):
            buckets[entry.bucket] = buckets.get(entry.bucket, 0) - entry.credits
    return found
