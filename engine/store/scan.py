"""Reading the whole ledger in order, in windows and by ranges of accounts: what the audit walks over.

Rows come as the driver gives them, in the order of `TRANSACTION`, entries still as the text that is stored; only
SQLite's instants become instants, and only if they are written exactly as we write them.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
from functools import lru_cache
from typing import TypeVar

from msgspec import structs
from sqlalchemy import text
from sqlmodel import Session

from engine.rules.holds import Hold
from engine.rules.ledger import DayUse, Wallet
from engine.rules.lots import BUCKETS, Lot, spend_order
from engine.rules.usage import added_up
from engine.store import books
from engine.store.bulk import Row, select_rows
from engine.store.front_lots import present
from engine.store.holds import HOLD, hold_of
from engine.store.key_uses import USE as KEY_USE
from engine.store.pens import pen_of
from engine.store.values import FRONT, USED_ON, front_value, uses_values

T = TypeVar("T")
CREATED = books.TRANSACTION.index("created_at")
KEY = ("account_id", "seq")
USE = ("day", "provider_id", "provider_name", "credits_spent", "call_count")
_START: Row = ("", -(2**62))


@dataclass(frozen=True, slots=True)
class Span:
    """Accounts from `first` (included) to `end` (not included, `None`: to the last), in the database's own order."""

    first: str = ""
    end: str | None = None

    @property
    def start(self) -> Row:
        return (self.first, _START[1])


@dataclass(frozen=True, slots=True)
class Beside:
    """What is kept of one account beside its rows; `holds` are the open ones, each with the sum its row keeps."""

    wallet: Wallet | None
    lots: tuple[Lot, ...]
    uses: tuple[DayUse, ...]
    key_uses: dict[tuple[str, date], int]
    holds: tuple[tuple[Hold, int], ...]


def spans(session: Session, pieces: int) -> list[Span]:
    """The accounts cut into so many spans with about as many ledger rows each."""
    wallets = session.execute(text("SELECT account_id, seq FROM wallets ORDER BY account_id")).all()
    total = sum(seq for _, seq in wallets)
    cuts: list[str] = []
    passed = 0
    for account_id, seq in wallets:
        if len(cuts) < pieces - 1 and passed >= total * (len(cuts) + 1) // pieces and passed > 0:
            cuts.append(account_id)
        passed += seq
    firsts = ["", *cuts]
    return [Span(first, end) for first, end in zip(firsts, [*cuts, None], strict=True)]


def ledger_window(session: Session, span: Span, after: Row, limit: int) -> list[Row]:
    """The next rows of a span after a key."""
    rows = _window(session, books.TRANSACTION, span, after, limit)
    return rows if not _is_sqlite(session) else [_with_instant(row) for row in rows]


def key_window(session: Session, span: Span, after: Row, limit: int) -> list[Row]:
    """The keys alone of the next rows: what can be read of a row that can't."""
    return _window(session, KEY, span, after, limit)


def _window(session: Session, columns: Sequence[str], span: Span, after: Row, limit: int) -> list[Row]:
    pen = pen_of(session)
    place = "?" if pen.is_sqlite else "%s"
    until = "" if span.end is None else f"AND account_id < {place} "
    statement = (
        f"SELECT {', '.join(columns)} FROM transactions WHERE (account_id, seq) > ({place}, {place}) {until}"  # noqa: S608
        f"ORDER BY account_id, seq LIMIT {limit}"
    )
    values = (*after, *(() if span.end is None else (span.end,)))
    cursor = pen.driver.cursor() if pen.is_sqlite else pen.driver.cursor(binary=True)
    try:
        cursor.execute(statement, values)
        return list(cursor.fetchall())
    except pen.errors as error:
        raise pen.explained(error, statement) from error
    finally:
        cursor.close()


def _is_sqlite(session: Session) -> bool:
    return session.connection().dialect.name == "sqlite"


def _with_instant(row: Row) -> Row:
    return (*row[:CREATED], _instant(row[CREATED]), *row[CREATED + 1 :])


@lru_cache(4096)
def _instant(stored: object) -> object:
    """The instant, or what is stored where that is not how we write one."""
    try:
        read = datetime.fromisoformat(stored) if isinstance(stored, str) else None
    except ValueError:
        return stored
    if read is None or read.isoformat(" ", "microseconds") != stored:
        return stored
    return read.replace(tzinfo=timezone.utc)


def rows_by_id(session: Session, wanted: Iterable[Row]) -> list[Row]:
    """Ledger rows that stand where accounts' transaction ids say."""
    return books.ask_by_id(session, wanted)()


def reversals_of(session: Session, wanted: Iterable[Row]) -> list[Row]:
    """(account, debit's id, seq, credits) of every row that reverses one of these debits."""
    columns = ("account_id", "reverses_id", "seq", "amount_credits")
    return select_rows(session, "transactions", columns, columns[:2], list(wanted))


def holds_by_id(session: Session, wanted: Iterable[Row]) -> dict[Row, Hold]:
    """Holds by account and id, but those whose sum is not that of their parts."""
    rows = select_rows(session, "holds", (*HOLD, "held_credits"), ("account_id", "hold_id"), list(wanted))
    found = {(row[0], row[1]): (hold_of(row[:-1]), row[-1]) for row in rows}
    return {key: hold for key, (hold, credits) in found.items() if hold.credits == credits}


def beside(session: Session, account_ids: Sequence[str]) -> dict[str, Beside]:
    """What is kept beside the rows of each of these accounts."""
    keys: list[Row] = [(account_id,) for account_id in account_ids]
    lots = _grouped(select_rows(session, "lots", (*books.LOT, "bucket_order", "is_open"), KEY[:1], keys), _lot)
    uses = _grouped(
        select_rows(session, "usage_daily", ("account_id", *USE), KEY[:1], keys), lambda row: DayUse(*row[1:])
    )
    key_uses: dict[str, dict[tuple[str, date], int]] = defaultdict(dict)
    for account_id, api_key_id, day, credits in select_rows(session, "key_usage_daily", KEY_USE, KEY[:1], keys):
        key_uses[account_id][api_key_id, day] = credits
    open_keys: list[Row] = [(account_id, "open") for account_id in account_ids]
    found = select_rows(session, "holds", (*HOLD, "held_credits"), ("account_id", "status"), open_keys)
    holds = _grouped(found, lambda row: (hold_of(row[:-1]), row[-1]))
    wallets = {row[0]: _wallet(row) for row in select_rows(session, "wallets", books.WALLET, KEY[:1], keys)}
    for account_id, wallet in wallets.items():
        uses[account_id] += wallet.uses
        lots[account_id] = _with_front(wallet, lots[account_id])
    return {
        each: Beside(
            wallets.get(each), tuple(lots[each]), tuple(added_up(uses[each])), key_uses[each], tuple(holds[each])
        )
        for each in account_ids
    }


def _grouped(rows: Iterable[Row], read: Callable[[Row], T]) -> dict[str, list[T]]:
    groups: dict[str, list[T]] = defaultdict(list)
    for row in rows:
        groups[row[0]].append(read(row))
    return groups


def _wallet(row: Row) -> Wallet:
    wallet = books.wallet_of(row)
    days: set[object] = {use.day for use in wallet.uses} or {None}
    if days != {row[USED_ON]} or uses_values(wallet.uses) != row[USED_ON + 1 : FRONT]:
        raise ValueError(f"the uses of {row[0]} are not of the day, or not the sum, that its wallet says")
    if front_value(wallet.front) != row[FRONT]:
        raise ValueError(f"the lot that the wallet of {row[0]} carries is not written as we write it")
    return wallet


def _with_front(wallet: Wallet, lots: list[Lot]) -> list[Lot]:
    """The lots as they are; what the wallet carries must be its first, and its row as it was written."""
    front = wallet.front
    if front is None:
        return lots
    first = min((lot for lot in lots if lot.remaining_credits > 0), key=spend_order, default=None)
    if first != structs.replace(front.lot, remaining_credits=front.row_credits) or front.lot.remaining_credits <= 0:
        raise ValueError(f"the wallet carries {front.lot.lot_id} as something else than its first lot")
    return [present(lot, front) for lot in lots]


def _lot(row: Row) -> Lot:
    """A lot as its own row says. It is open where that row has something left, also of what the wallet carries."""
    lot, (order, is_open) = books.lot_of(row[:-2]), row[-2:]
    if BUCKETS.index(lot.bucket) != order:
        raise ValueError(f"{lot.lot_id} stands in the order of another bucket")
    if is_open != (lot.remaining_credits > 0):
        raise ValueError(
            f"{lot.lot_id} is kept as {'open' if is_open else 'empty'} and has {lot.remaining_credits} left"
        )
    return lot


WITHOUT_ROWS = {
    "lots": "SELECT a.account_id FROM accounts a WHERE EXISTS (SELECT 1 FROM lots x WHERE x.account_id = a.account_id)",
    "usage": "SELECT a.account_id FROM accounts a "
    "WHERE EXISTS (SELECT 1 FROM usage_daily x WHERE x.account_id = a.account_id)",
    "keys' usage": "SELECT a.account_id FROM accounts a "
    "WHERE EXISTS (SELECT 1 FROM key_usage_daily x WHERE x.account_id = a.account_id)",
    "holds": "SELECT a.account_id FROM accounts a WHERE EXISTS "
    "(SELECT 1 FROM holds x WHERE x.account_id = a.account_id)",
}
_NO_ROWS = "NOT EXISTS (SELECT 1 FROM transactions t WHERE t.account_id = a.account_id)"


def accounts_without_rows(session: Session) -> Iterator[tuple[str, str]]:
    """(account, what is wrong): no ledger row, and yet something that only rows can make."""
    for account_id, seq in session.execute(
        text(f"SELECT account_id, seq FROM wallets a WHERE seq > 0 AND {_NO_ROWS} ORDER BY account_id")  # noqa: S608
    ).all():
        yield account_id, f"the wallet counts {seq} rows and has none"
    sums = " + ".join(["debt_credits", *(f"available_{b} + held_{b}" for b in BUCKETS)])
    for (account_id,) in session.execute(
        text(
            f"SELECT account_id FROM wallets a WHERE seq = 0 "  # noqa: S608
            f"AND ({sums} <> 0 OR spent_credits <> 0 OR uses IS NOT NULL) "
            "ORDER BY account_id"
        )
    ).all():
        yield account_id, "the wallet has credits and no rows"
    for what, statement in WITHOUT_ROWS.items():
        for (account_id,) in session.execute(text(f"{statement} AND {_NO_ROWS} ORDER BY a.account_id")).all():
            yield account_id, f"it has {what} and no rows"


def count_wallets(session: Session) -> int:
    return int(session.execute(text("SELECT count(*) FROM wallets")).scalar_one())


def count_rows(session: Session) -> int:
    """About how many ledger rows there are: what the wallets count."""
    return int(session.execute(text("SELECT coalesce(sum(seq), 0) FROM wallets")).scalar_one())
