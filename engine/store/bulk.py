"""Reading and writing many rows in one statement, by table and column name, the same on both databases.

Rows go to the driver itself, not through SQLAlchemy's result machinery; its exceptions come back as SQLAlchemy's.
Values are Python's own; on SQLite instants and dates are kept as the text that SQLAlchemy's types write and read
there. `ask_…` says what is wanted and `Rows` waits for the answer: where statements travel by letter
(`engine/store/letters.py`), several then share a round trip.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, timezone
from functools import cache, lru_cache, partial
from typing import Any

import msgspec

from engine.store import statements
from engine.store.pens import AnySession, Pen, pen_of
from engine.store.statements import Kind

Row = tuple[Any, ...]
Rows = Callable[[], list[Row]]
"""The answer to a statement; called once."""
AskMark = Callable[[], str]
"""PostgreSQL's name of the transaction under way, once it has answered."""
_rows = msgspec.json.Decoder(list[list[Any]])


def insert_rows(session: AnySession, table: str, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
    """Insert all rows or none; a violated constraint raises."""
    if not rows:
        return
    pen = pen_of(session)
    kinds = statements.kinds_of(table, columns)
    if pen.is_sqlite:
        pen.run_rows(partial(statements.insert_on_sqlite, table, columns), _to_sqlite(kinds, rows))
    elif len(rows) == 1:
        pen.run(statements.insert_row(table, columns), _texts(kinds, rows[0]))
    else:
        pen.run(statements.insert_on_postgresql(table, columns), _arrays(kinds, rows))


def insert_new_rows(
    session: AnySession, table: str, columns: tuple[str, ...], keys: tuple[str, ...], rows: Sequence[Row]
) -> set[Row]:
    """Insert those rows whose key is not there yet; the keys of the new ones. Each key stands once in `rows`."""
    if not rows:
        return set()
    pen = pen_of(session)
    kinds = statements.kinds_of(table, columns)
    if not pen.is_sqlite:
        statement = statements.insert_new_on_postgresql(table, columns, keys)
        return set(pen.run(statement, _arrays(kinds, rows))())
    statement = statements.insert_new_on_sqlite(table, columns, keys)
    places = [columns.index(key) for key in keys]
    pairs = zip(rows, _to_sqlite(kinds, rows), strict=True)
    return {tuple(row[n] for n in places) for row, bound in pairs if pen.run(statement, bound)()}


def update_rows(
    session: AnySession, table: str, keys: tuple[str, ...], columns: tuple[str, ...], rows: Sequence[Row]
) -> None:
    """Set `columns` on the row each key names; a row is its key values, then its new values."""
    if not rows:
        return
    pen = pen_of(session)
    kinds = statements.kinds_of(table, keys + columns)
    width = len(keys)
    if pen.is_sqlite:
        pen.run_rows(partial(statements.update_on_sqlite, table, keys, columns), _to_sqlite(kinds, rows))
    elif len(rows) == 1:
        texts = _texts(kinds, rows[0])
        pen.run(statements.update_row(table, keys, columns), texts[width:] + texts[:width])
    else:
        pen.run(statements.update_on_postgresql(table, keys, columns), _arrays(kinds, rows))


def add_rows(
    session: AnySession, table: str, keys: tuple[str, ...], sums: tuple[str, ...], latest: str, rows: Sequence[Row]
) -> None:
    """Add to the sums of the rows that the keys name, making those that are not there; each key stands once.

    A row is its key, what is added to each sum, and the value of the column `latest` (null leaves it as it is).
    What takes away can only take from a row that is there, so it never makes one: a CHECK would refuse it.
    """
    columns = (*keys, *sums, latest)
    width, end = len(keys), len(keys) + len(sums)
    gains = [row for row in rows if min(row[width:end]) >= 0]
    losses = [row for row in rows if min(row[width:end]) < 0]
    pen = pen_of(session) if rows else None
    for found, on_sqlite, on_postgresql in (
        (gains, statements.upsert_on_sqlite, statements.upsert_on_postgresql),
        (losses, statements.add_on_sqlite, statements.add_on_postgresql),
    ):
        if not found:
            continue
        assert pen is not None
        kinds = statements.kinds_of(table, columns)
        if pen.is_sqlite:
            pen.run_rows(partial(on_sqlite, table, keys, sums, latest), _to_sqlite(kinds, found))
        else:
            pen.run(on_postgresql(table, keys, sums, latest), _arrays(kinds, found))


def update_marked(
    session: AnySession, table: str, key: str, columns: tuple[str, ...], rows: Sequence[Row], marks: Mapping[str, str]
) -> AskMark:
    """PostgreSQL: `update_rows` of rows that are not locked, which locks them in the order in which `ask_rows` does;
    this transaction's mark.

    `marks` has, by key, the transaction that wrote each of them last: if another one has, whatever is sent with this
    fails.
    """
    pen = pen_of(session)
    kinds: tuple[Kind, ...] = (*statements.kinds_of(table, (key, *columns)), "xid")
    marked = [(*row, marks[row[0]]) for row in rows]
    if len(rows) == 1:
        first, *values, mark = _texts(kinds, marked[0])
        asked = pen.run(statements.update_marked_row(table, key, columns), [*values, first, mark])
    else:
        asked = pen.run(statements.update_marked(table, key, columns), [*_arrays(kinds, marked), str(len(rows))])
    return lambda: str(asked()[0][1])


def lock_marked(pen: Pen, table: str, key: str, marks: Mapping[str, str], others: Collection[str]) -> AskMark:
    """PostgreSQL: lock rows in the same order, those with marks as `update_marked` does. Of the `others` nothing is
    asked.
    """
    told = msgspec.json.encode(marks).decode()
    rows = pen.run(statements.lock_marked(table, key), [told, _array("text", [*marks, *others]), str(len(marks))])
    return lambda: str(rows()[0][1])


def ask_mark(pen: Pen) -> AskMark:
    """PostgreSQL: this transaction's mark, where none of its rows need be as it was remembered."""
    rows = pen.run(f"SELECT {statements.MARK}", ())
    return lambda: str(rows()[0][0])


def select_rows(
    session: AnySession,
    table: str,
    columns: tuple[str, ...],
    keys: tuple[str, ...],
    wanted: Sequence[Row],
    *,
    lock: bool = False,
    where: str = "",
) -> list[Row]:
    """What `ask_rows` asks for, at once."""
    return ask_rows(session, table, columns, keys, wanted, lock=lock, where=where)()


def ask_rows(
    session: AnySession,
    table: str,
    columns: tuple[str, ...],
    keys: tuple[str, ...],
    wanted: Sequence[Row],
    *,
    lock: bool = False,
    where: str = "",
) -> Rows:
    """Rows whose key columns equal one of `wanted`, in no order; `lock` holds them to the end (PostgreSQL), in theirs.

    `where` is a fixed condition of our own, never built from input.
    """
    if not wanted:
        return list
    pen = pen_of(session)
    kinds = statements.kinds_of(table, keys)
    distinct = sorted(set(wanted)) if len(wanted) > 1 else wanted
    if pen.is_sqlite:
        read = statements.kinds_of(table, columns)
        if len(distinct) == 1:
            statement = statements.select_row(table, columns, keys, where, False, "?")
            return _ask(pen, statement, _to_sqlite(kinds, distinct)[0], read)
        return _ask_told(pen, statements.select_on_sqlite(table, columns, keys, where), _json(kinds, distinct), read)
    if len(distinct) == 1:
        return _ask(pen, statements.select_row(table, columns, keys, where, lock, "%s"), _texts(kinds, distinct[0]))
    return _ask(pen, statements.select_on_postgresql(table, columns, keys, where, lock), _arrays(kinds, distinct))


def select_first(
    session: AnySession,
    table: str,
    columns: tuple[str, ...],
    owners: Sequence[str],
    *,
    where: str,
    bounds: Sequence[Row],
    order: str,
    limit: int,
) -> list[Row]:
    """What `ask_first` asks for, at once."""
    return ask_first(session, table, columns, owners, where=where, bounds=bounds, order=order, limit=limit)()


def ask_first(
    session: AnySession,
    table: str,
    columns: tuple[str, ...],
    owners: Sequence[str],
    *,
    where: str,
    bounds: Sequence[Row],
    order: str,
    limit: int,
) -> Rows:
    """For each account, at most `limit` rows in `order`: what an index can give without reading the rest.

    `where` is our own condition, with `{0}`, `{1}` … for the values in the account's `bounds`. Owners come in no
    order, and on SQLite an owner's rows neither.
    """
    if not owners:
        return list
    pen = pen_of(session)
    bound_kinds = tuple(map(_kind_of, bounds[0]))
    wanted = [(owner, *bound) for owner, bound in zip(owners, bounds, strict=True)]
    if pen.is_sqlite:
        read = statements.kinds_of(table, columns)
        if len(wanted) == 1:
            statement = statements.first_of_one(table, columns, len(bound_kinds), where, order, limit, "?")
            return _ask(pen, statement, _to_sqlite(("text", *bound_kinds), wanted)[0], read)
        statement = statements.first_on_sqlite(table, columns, len(bound_kinds), where, order, limit)
        return _ask_told(pen, statement, _json(("text", *bound_kinds), wanted), read)
    if len(wanted) == 1:
        statement = statements.first_of_one(table, columns, len(bound_kinds), where, order, limit, "%s")
        return _ask(pen, statement, _texts(("text", *bound_kinds), wanted[0]))
    statement = statements.first_on_postgresql(table, columns, bound_kinds, where, order, limit)
    return _ask(pen, statement, _arrays(("text", *bound_kinds), wanted))


def select_window(
    session: AnySession, table: str, columns: tuple[str, ...], keys: tuple[str, ...], after: Row, limit: int
) -> list[Row]:
    """The next `limit` rows in key order after a key: how a whole table is read in pieces."""
    pen = pen_of(session)
    is_sqlite = pen.is_sqlite
    places = ", ".join(("?" if is_sqlite else "%s") for _ in keys)
    names = ", ".join(keys)
    statement = (
        f"SELECT {', '.join(columns)} FROM {table} WHERE ({names}) > ({places}) "  # noqa: S608
        f"ORDER BY {names} LIMIT {limit}"
    )
    if not is_sqlite:
        return _ask(pen, statement, _texts(statements.kinds_of(table, keys), after))()
    bound = _to_sqlite(statements.kinds_of(table, keys), [after])[0]
    return _ask(pen, statement, bound, statements.kinds_of(table, columns))()


def _ask(pen: Pen, statement: str, values: Sequence[Any], sqlite_kinds: tuple[Kind, ...] | None = None) -> Rows:
    """Ask for rows; with `sqlite_kinds`, the columns' kinds, SQLite's texts and numbers become values again."""
    fetch = pen.run(statement, values)

    def rows() -> list[Row]:
        try:
            found = fetch()
        except pen.errors as error:
            raise pen.explained(error, statement) from error
        return found if sqlite_kinds is None else _from_sqlite(sqlite_kinds, found)

    return rows


def _ask_told(pen: Pen, statement: str, values: Sequence[Any], kinds: tuple[Kind, ...]) -> Rows:
    """Ask SQLite for rows that it tells as one JSON text."""
    told = _ask(pen, statement, values)
    hexes = tuple((place, bytes.fromhex) for place, kind in enumerate(kinds) if kind == "bytea")
    return lambda: _turned(_readers(kinds) + hexes, _rows.decode(told()[0][0]))


def _kind_of(value: object) -> Kind:
    return "timestamptz" if isinstance(value, datetime) else "bigint" if isinstance(value, int) else "text"


def _arrays(kinds: tuple[Kind, ...], rows: Sequence[Row]) -> list[str]:
    """One PostgreSQL array literal a column. The driver's own lists cost more than the statement itself."""
    return [_array(kind, column) for kind, column in zip(kinds, zip(*rows, strict=True), strict=True)]


def _array(kind: Kind, values: Sequence[Any]) -> str:
    nulls = values.count(None)
    if nulls == len(values):
        return "{" + ",".join(["NULL"] * nulls) + "}"
    write = _WRITERS[kind]
    if nulls:
        return "{" + ",".join(["NULL" if value is None else write(value) for value in values]) + "}"
    if kind == "text":
        plain = '","'.join(values)
        if "\\" not in plain and plain.count('"') == 2 * len(values) - 2:
            return '{"' + plain + '"}'
    return "{" + ",".join(map(write, values)) + "}"


def _texts(kinds: tuple[Kind, ...], row: Row) -> list[str | None]:
    """The values of one row as PostgreSQL reads them."""
    return [
        None if value is None else f"\\x{value.hex()}" if kind == "bytea" else str(value)
        for kind, value in zip(kinds, row, strict=True)
    ]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@lru_cache(4096)
def _quoted_time(value: date) -> str:
    return f'"{value}"'


def _quoted_bytes(value: bytes) -> str:
    return f'"\\\\x{value.hex()}"'


_WRITERS: dict[Kind, Callable[[Any], str]] = {
    "bigint": str,
    "integer": str,
    "boolean": str,
    "timestamptz": _quoted_time,
    "date": _quoted_time,
    "bytea": _quoted_bytes,
    "text": _quoted,
    "xid": str,
}


def _json(kinds: tuple[Kind, ...], rows: Sequence[Row]) -> tuple[str]:
    """Keys as the one parameter of a statement that reads them with `json_each`."""
    bound = _to_sqlite(kinds, rows)
    return (msgspec.json.encode(bound if len(kinds) > 1 else [value for (value,) in bound]).decode(),)


def _to_sqlite(kinds: tuple[Kind, ...], rows: Sequence[Row]) -> Sequence[Row]:
    places = _time_places(kinds)
    if not places:
        return rows
    turned = []
    for row in rows:
        values = list(row)
        for place in places:
            if values[place] is not None:
                values[place] = _text_of(values[place])
        turned.append(tuple(values))
    return turned


@cache
def _time_places(kinds: tuple[Kind, ...]) -> tuple[int, ...]:
    return tuple(place for place, kind in enumerate(kinds) if kind in ("timestamptz", "date"))


@lru_cache(4096)
def _text_of(value: date) -> str:
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).isoformat(" ", "microseconds")[:26]
    return value.isoformat()


@cache
def _readers(kinds: tuple[Kind, ...]) -> tuple[tuple[int, Callable[[Any], Any]], ...]:
    """Positions whose SQLite text or number must become an instant, a date or a bool again."""
    readers: dict[str, Callable[[Any], Any]] = {"timestamptz": _instant, "date": date.fromisoformat, "boolean": bool}
    return tuple((place, readers[kind]) for place, kind in enumerate(kinds) if kind in readers)


@lru_cache(4096)
def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def _from_sqlite(kinds: tuple[Kind, ...], rows: Sequence[Row]) -> list[Row]:
    return _turned(_readers(kinds), rows)


def _turned(readers: Sequence[tuple[int, Callable[[Any], Any]]], rows: Iterable[Sequence[Any]]) -> list[Row]:
    turned = []
    for row in rows:
        values = list(row)
        for place, read in readers:
            if values[place] is not None:
                values[place] = read(values[place])
        turned.append(tuple(values))
    return turned
