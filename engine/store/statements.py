"""The SQL text of `engine/store/bulk.py`: one statement for many rows, for SQLite and for PostgreSQL.

PostgreSQL takes one array a column (`unnest`); SQLite takes a few rows' values side by side, and to read, the keys as
one JSON array (`json_each`). A single row's values go as they are: arrays of one cost more than the work. Tables and
columns are our own names, so the text is built once and kept. PostgreSQL's places are `%s`.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import Literal

from sqlalchemy import BigInteger, Boolean, Date, DateTime, Integer, LargeBinary, TypeDecorator

from engine.store.tables import Base

Kind = Literal["bigint", "integer", "boolean", "timestamptz", "date", "bytea", "text", "xid"]
Names = tuple[str, ...]
MARK = "pg_current_xact_id()::xid::text"
"""PostgreSQL: what a row that this transaction writes has for its `xmin`."""
_PLACES = re.compile(r"\{(\d+)\}")
_WANTED = "(SELECT value AS wanted FROM json_each(?)) AS w"
"""SQLite: one row for each key in a JSON array, an array itself if it has several columns. CROSS JOIN keeps it the
outer loop."""


@cache
def kinds_of(table: str, columns: Names) -> tuple[Kind, ...]:
    """The PostgreSQL type of each column."""
    of = Base.metadata.tables[table].c
    return tuple(_kind(of[column].type) for column in columns)


def _kind(type_: object) -> Kind:
    if isinstance(type_, TypeDecorator):
        type_ = type_.impl_instance
    known: tuple[tuple[type, Kind], ...] = (
        (BigInteger, "bigint"),
        (Integer, "integer"),
        (Boolean, "boolean"),
        (DateTime, "timestamptz"),
        (Date, "date"),
        (LargeBinary, "bytea"),
    )
    return next((kind for of, kind in known if isinstance(type_, of)), "text")


def _arrays(kinds: Sequence[Kind]) -> str:
    return "unnest(" + ", ".join(f"%s::{kind}[]" for kind in kinds) + ")"


def _values(columns: int, rows: int, place: str) -> str:
    row = f"({', '.join([place] * columns)})"
    return f"VALUES {', '.join([row] * rows)}"


@cache
def insert_row(table: str, columns: Names) -> str:
    """One row, on PostgreSQL."""
    return f"INSERT INTO {table} ({', '.join(columns)}) {_values(len(columns), 1, '%s')}"


@cache
def insert_on_sqlite(table: str, columns: Names, rows: int) -> str:
    """At most so many rows: one whose first value is null is none."""
    values = _values(len(columns), rows, "?")
    source = values if rows == 1 else f"SELECT * FROM ({values}) WHERE column1 IS NOT NULL"  # noqa: S608
    return f"INSERT OR ROLLBACK INTO {table} ({', '.join(columns)}) {source}"


@cache
def insert_on_postgresql(table: str, columns: Names) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT * FROM {_arrays(kinds_of(table, columns))}"  # noqa: S608


def _if_new(inserted: str, keys: Names) -> str:
    """Rows whose key is there already are left alone; the keys of the others come back."""
    return f"{inserted} ON CONFLICT ({', '.join(keys)}) DO NOTHING RETURNING {', '.join(keys)}"


@cache
def insert_new_on_postgresql(table: str, columns: Names, keys: Names) -> str:
    return _if_new(insert_on_postgresql(table, columns), keys)


@cache
def insert_new_on_sqlite(table: str, columns: Names, keys: Names) -> str:
    """One row."""
    return _if_new(insert_on_sqlite(table, columns, 1), keys)


@cache
def update_row(table: str, keys: Names, columns: Names) -> str:
    """One row, on PostgreSQL. Its values: the new ones, then the key."""
    settings = ", ".join(f"{column} = %s" for column in columns)
    match = " AND ".join(f"{key} = %s" for key in keys)
    return f"UPDATE {table} SET {settings} WHERE {match}"  # noqa: S608


@cache
def update_on_sqlite(table: str, keys: Names, columns: Names, rows: int) -> str:
    """A row's values: the key, then the new ones."""
    first = len(keys) + 1
    return _set_on_sqlite(table, keys, [f"{column} = {{{first + n}}}" for n, column in enumerate(columns)], rows)


def _set_on_sqlite(table: str, keys: Names, settings: Sequence[str], rows: int) -> str:
    """The settings name a row's values `{1}`, `{2}` …, which begin with its key."""
    count = max(int(place) for setting in settings for place in _PLACES.findall(setting))
    row = [f"?{n}" if rows == 1 else f"v.column{n}" for n in range(count + 1)]
    source = "" if rows == 1 else f"FROM ({_values(count, rows, '?')}) AS v "
    match = " AND ".join(f"t.{key} = {row[n]}" for n, key in enumerate(keys, 1))
    return f"UPDATE OR ROLLBACK {table} AS t SET {', '.join(settings).format(*row)} {source}WHERE {match}"  # noqa: S608


@cache
def update_on_postgresql(table: str, keys: Names, columns: Names) -> str:
    source = f"{_arrays(kinds_of(table, keys + columns))} AS v({', '.join(keys + columns)})"
    settings = ", ".join(f"{column} = v.{column}" for column in columns)
    match = " AND ".join(f"t.{key} = v.{key}" for key in keys)
    return f"UPDATE {table} t SET {settings} FROM {source} WHERE {match}"  # noqa: S608


@cache
def update_marked_row(table: str, key: str, columns: Names) -> str:
    """`update_row` of a row that a certain transaction wrote last; PostgreSQL only. Its values: the new ones, the key,
    the mark.
    """
    return _all_marked(f"{update_row(table, (key,), columns)} AND xmin = %s::xid", "1")


@cache
def update_marked(table: str, key: str, columns: Names) -> str:
    """The same for many, with their count at the end. They are locked in the order of `select_on_postgresql`, which is
    the database's own: hosts choose ids, and not every collation orders them as we do.
    """
    told = f"{_arrays((*kinds_of(table, (key, *columns)), 'xid'))} AS told({', '.join((key, *columns))}, mark)"
    settings = ", ".join(f"{column} = v.{column}" for column in columns)
    match = f"t.{key} = v.{key} AND t.xmin = v.mark"
    update = f"UPDATE {table} t SET {settings} FROM (SELECT * FROM {told} ORDER BY told.{key}) v WHERE {match}"  # noqa: S608
    return _all_marked(update, "%s::bigint")


def _all_marked(update: str, count: str) -> str:
    """An update of so many rows, or a division by zero: it fails everything that was sent with it. The second column is
    this transaction's own mark.
    """
    told = f"SELECT 1 / (count(*) = {count})::integer, {MARK} FROM moved"  # noqa: S608
    return f"WITH moved AS ({update} RETURNING 1) {told}"


@cache
def lock_marked(table: str, key: str) -> str:
    """Lock the rows of so many keys, in the order of `select_on_postgresql`; PostgreSQL only.

    Marks, a JSON object by key, name the transactions that wrote some of them last; the answer is as `_all_marked` has
    it. An order of what a join gives would cost a look at every row there is.
    """
    mark = f"(SELECT marks FROM told) ->> t.{key}"  # noqa: S608
    held = (
        f"SELECT {mark} AS mark FROM {table} t WHERE t.{key} = ANY(%s::text[]) "  # noqa: S608
        f"AND COALESCE(t.xmin::text = {mark}, TRUE) ORDER BY t.{key} FOR UPDATE OF t"
    )
    return (
        f"WITH told AS MATERIALIZED (SELECT %s::jsonb AS marks), held AS ({held}) "  # noqa: S608
        f"SELECT 1 / (count(mark) = %s::bigint)::integer, {MARK} FROM held"
    )


def _added(table: str, sums: Names, latest: str) -> str:
    """The settings of an upsert: what stands there plus what comes."""
    settings = [f"{column} = {table}.{column} + excluded.{column}" for column in sums]
    return ", ".join([*settings, f"{latest} = COALESCE(excluded.{latest}, {table}.{latest})"])


@cache
def upsert_on_sqlite(table: str, keys: Names, sums: Names, latest: str, rows: int) -> str:
    inserted = insert_on_sqlite(table, (*keys, *sums, latest), rows)
    return f"{inserted} ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {_added(table, sums, latest)}"


@cache
def upsert_on_postgresql(table: str, keys: Names, sums: Names, latest: str) -> str:
    return (
        f"{insert_on_postgresql(table, (*keys, *sums, latest))} "
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {_added(table, sums, latest)}"
    )


@cache
def add_on_sqlite(table: str, keys: Names, sums: Names, latest: str, rows: int) -> str:
    first = len(keys) + 1
    settings = [f"{column} = t.{column} + {{{first + n}}}" for n, column in enumerate(sums)]
    settings.append(f"{latest} = COALESCE({{{first + len(sums)}}}, t.{latest})")
    return _set_on_sqlite(table, keys, settings, rows)


@cache
def add_on_postgresql(table: str, keys: Names, sums: Names, latest: str) -> str:
    columns = (*keys, *sums, latest)
    source = f"{_arrays(kinds_of(table, columns))} AS v({', '.join(columns)})"
    settings = [f"{column} = t.{column} + v.{column}" for column in sums]
    settings.append(f"{latest} = COALESCE(v.{latest}, t.{latest})")
    match = " AND ".join(f"t.{key} = v.{key}" for key in keys)
    return f"UPDATE {table} t SET {', '.join(settings)} FROM {source} WHERE {match}"  # noqa: S608


def _told(table: str, columns: Names) -> str:
    """SQLite: all rows as one JSON text, bytes as hex.

    Its driver lets go of the interpreter at each row, and must win it back from whoever took it meanwhile.
    """
    kinds = zip(columns, kinds_of(table, columns), strict=True)
    values = ", ".join(f"hex(t.{column})" if kind == "bytea" else f"t.{column}" for column, kind in kinds)
    return f"json_group_array(json_array({values}))"


@cache
def select_on_sqlite(table: str, columns: Names, keys: Names, where: str) -> str:
    """The rows as one JSON text."""
    wanted = ["w.wanted"] if len(keys) == 1 else [f"w.wanted->>{n}" for n in range(len(keys))]
    match = [f"t.{key} = {value}" for key, value in zip(keys, wanted, strict=True)] + ([where] if where else [])
    return f"SELECT {_told(table, columns)} FROM {_WANTED} CROSS JOIN {table} t ON {' AND '.join(match)}"  # noqa: S608


@cache
def select_on_postgresql(table: str, columns: Names, keys: Names, where: str, lock: bool) -> str:
    """The rows of many keys. `OFFSET 0` keeps the look-up of each a plan of its own: as a join, a table that had few
    rows when they were counted last would be walked as a whole.
    """
    names = ", ".join(f"t.{column}" for column in columns)
    kinds = kinds_of(table, keys)
    more = f" AND {where}" if where else ""
    if len(keys) == 1:
        tail = f" ORDER BY t.{keys[0]} FOR UPDATE OF t" if lock else ""
        return f"SELECT {names} FROM {table} t WHERE t.{keys[0]} = ANY(%s::{kinds[0]}[]){more}{tail}"  # noqa: S608
    assert not lock, "no order of what a join gives is free"
    wanted = ", ".join(f"w{n}" for n in range(len(keys)))
    match = " AND ".join(f"t.{key} = w.w{n}" for n, key in enumerate(keys))
    return (
        f"SELECT x.* FROM {_arrays(kinds)} AS w({wanted}) "  # noqa: S608
        f"CROSS JOIN LATERAL (SELECT {names} FROM {table} t WHERE {match}{more} OFFSET 0) x"
    )


@cache
def select_row(table: str, columns: Names, keys: Names, where: str, lock: bool, place: str) -> str:
    """The rows of one key, on either database; `place` stands for a value."""
    match = " AND ".join([f"{key} = {place}" for key in keys] + ([where] if where else []))
    tail = " FOR UPDATE" if lock else ""
    return f"SELECT {', '.join(columns)} FROM {table} WHERE {match}{tail}"  # noqa: S608


@cache
def first_on_sqlite(table: str, columns: Names, bounds: int, where: str, order: str, limit: int) -> str:
    """The rows as one JSON text."""
    condition = where.format(*(f"w.wanted->>{n + 1}" for n in range(bounds)))
    return (
        f"SELECT {_told(table, columns)} FROM {_WANTED} CROSS JOIN {table} t ON t.rowid IN ("  # noqa: S608
        f"SELECT rowid FROM {table} WHERE account_id = w.wanted->>0 AND {condition} ORDER BY {order} LIMIT {limit})"
    )


@cache
def first_on_postgresql(
    table: str, columns: Names, bounds: tuple[Kind, ...], where: str, order: str, limit: int
) -> str:
    bound_names = [f"b{n}" for n in range(len(bounds))]
    condition = where.format(*(f"w.{name}" for name in bound_names))
    return (
        f"SELECT x.* FROM {_arrays(('text', *bounds))} AS w({', '.join(['owner', *bound_names])}) "  # noqa: S608
        f"CROSS JOIN LATERAL (SELECT {', '.join(columns)} FROM {table} WHERE account_id = w.owner AND {condition} "
        f"ORDER BY {order} LIMIT {limit}) x"
    )


@cache
def first_of_one(table: str, columns: Names, bounds: int, where: str, order: str, limit: int, place: str) -> str:
    """The same for one account, on either database."""
    condition = where.format(*[place] * bounds)
    return (
        f"SELECT {', '.join(columns)} FROM {table} WHERE account_id = {place} AND {condition} "  # noqa: S608
        f"ORDER BY {order} LIMIT {limit}"
    )
