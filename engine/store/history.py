"""Reads of wallets and of the ledger by page.

`created_at` grows with `seq` and has no index, so an instant is found by bisection. Without a filter by type a page
costs what its rows cost, however long the ledger is.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, select
from sqlmodel import Session, col

from engine.rules.ledger import Transaction, Wallet
from engine.store import books
from engine.store.bulk import select_rows
from engine.store.tables import Base, TransactionRow, WalletRow

COUNTED_MAX = 10_000
"""Totals of filtered lists are exact up to here."""

Span = tuple[datetime | None, datetime | None]
"""`[start, end)`; `None` where it has no start or no end."""

_ROWS = Base.metadata.tables["transactions"].c


@dataclass(frozen=True, slots=True)
class StatementQuery:
    """Which rows of a ledger: of one type, in `[start, end)`, and only those before `before_seq`."""

    type: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    before_seq: int | None = None
    page: int = 1
    limit: int = 20


@dataclass(frozen=True, slots=True)
class Statement:
    """Rows, newest first; `has_more` says that older ones match too. `total` counts all that match the filters."""

    rows: tuple[Transaction, ...]
    total: int
    has_more: bool


def find_wallet(session: Session, account_id: str) -> Wallet | None:
    """The wallet row as it stands, without a lock."""
    found = select_rows(session, "wallets", books.WALLET, ("account_id",), [(account_id,)])
    return books.wallet_of(found[0]) if found else None


def wallets_to_expire(session: Session, now: datetime, limit: int) -> list[str]:
    """Accounts whose wallets have a lot or a hold past its end, longest due first, at most `limit` of either kind."""
    due: dict[str, None] = {}
    for ending in (col(WalletRow.next_expiry_at), col(WalletRow.next_hold_expiry_at)):
        found = select(col(WalletRow.account_id)).where(ending <= now).order_by(ending, col(WalletRow.account_id))
        due.update(dict.fromkeys(session.execute(found.limit(limit)).scalars()))
    return list(due)


def statement(session: Session, wallet: Wallet, query: StatementQuery) -> Statement:
    """A page of the ledger, newest first."""
    lowest, highest = seqs_in(session, wallet, (query.start, query.end))
    top = highest if query.before_seq is None else min(highest, query.before_seq - 1)
    skipped = (query.page - 1) * query.limit
    matches: list[ColumnElement[bool]] = [_ROWS.account_id == wallet.account_id, _ROWS.seq >= lowest]
    if query.type is None:
        total = max(0, highest - lowest + 1)
        top -= skipped
        skipped = 0
    else:
        matches.append(_ROWS.type == query.type)
        counted = select(_ROWS.seq).where(*matches, _ROWS.seq <= highest).limit(COUNTED_MAX).subquery()
        total = session.execute(select(func.count()).select_from(counted)).scalar_one()
    rows = session.execute(
        select(*(_ROWS[name] for name in books.TRANSACTION))
        .where(*matches, _ROWS.seq <= top)
        .order_by(_ROWS.seq.desc())
        .offset(skipped)
        .limit(query.limit + 1)
    ).all()
    shown = tuple(books.transaction_of(tuple(row)) for row in rows[: query.limit])
    return Statement(shown, total, has_more=len(rows) > query.limit)


def seqs_in(session: Session, wallet: Wallet, span: Span) -> tuple[int, int]:
    """The first and the last row of a span; the last is one below the first where there is none."""
    start, end = span
    first = first_seq(session, wallet, start) if start is not None else 1
    last = first_seq(session, wallet, end) - 1 if end is not None else wallet.seq
    return first, last


def rows_after(
    session: Session, account_id: str, after_seq: int, last_seq: int, kind: str | None, limit: int
) -> list[Transaction]:
    """The next rows of a ledger, of one type or of all, oldest first: how all of them are read in pieces."""
    found = select(*(_ROWS[name] for name in books.TRANSACTION)).where(
        _ROWS.account_id == account_id, _ROWS.seq > after_seq, _ROWS.seq <= last_seq
    )
    if kind is not None:
        found = found.where(_ROWS.type == kind)
    return [books.transaction_of(tuple(row)) for row in session.execute(found.order_by(_ROWS.seq).limit(limit))]


def descriptions(session: Session, account_id: str, seqs: Collection[int]) -> dict[int, str]:
    """What some rows of a ledger say, by their places in it."""
    if not seqs:
        return {}
    found = select(_ROWS.seq, _ROWS.description).where(_ROWS.account_id == account_id, _ROWS.seq.in_(seqs))
    return {row.seq: row.description for row in session.execute(found)}


def first_seq(session: Session, wallet: Wallet, at: datetime, *, is_after: bool = False) -> int:
    """The first row at or after an instant (or only after it), one past the last row if there is none."""
    low, high = 1, wallet.seq + 1
    while low < high:
        middle = (low + high) // 2
        stamp = session.execute(
            select(col(TransactionRow.created_at)).where(_ROWS.account_id == wallet.account_id, _ROWS.seq == middle)
        ).scalar_one()
        if stamp > at or (stamp == at and not is_after):
            high = middle
        else:
            low = middle + 1
    return low
