"""Reading and writing many rows in one statement, by table and column name, the same on both databases.

PostgreSQL takes a batch as one array a column (`unnest`), SQLite as one prepared statement run for each row. Values
are Python's own; on SQLite instants and dates are kept as the text that SQLAlchemy's types write and read there.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, timezone
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, Boolean, Date, DateTime, Integer, LargeBinary, Table, TypeDecorator
from sqlmodel import Session

from engine.store.tables import Base

Row = tuple[Any, ...]


def insert_rows(session: Session, table: str, columns: tuple[str, ...], rows: Sequence[Row]) -> None:
    """Insert all rows or none; a violated constraint raises."""
    if not rows:
        return
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_insert_one(table, columns), [_to_sqlite(row) for row in rows])
    else:
        connection.exec_driver_sql(_insert_arrays(table, columns), _arrays(rows))


def update_rows(
    session: Session, table: str, keys: tuple[str, ...], columns: tuple[str, ...], rows: Sequence[Row]
) -> None:
    """Set `columns` on the row each key names; a row is its key values, then its new values."""
    if not rows:
        return
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        width = len(keys)
        turned = [_to_sqlite(row[width:] + row[:width]) for row in rows]
        connection.exec_driver_sql(_update_one(table, keys, columns), turned)
    else:
        connection.exec_driver_sql(_update_arrays(table, keys, columns), _arrays(rows))


def select_rows(
    session: Session,
    table: str,
    columns: tuple[str, ...],
    keys: tuple[str, ...],
    wanted: Sequence[Row],
    *,
    lock: bool = False,
    where: str = "",
) -> list[Row]:
    """Rows whose key columns equal one of `wanted`, ordered by them; `lock` holds them to the end (PostgreSQL).

    `where` is a fixed condition of our own, never built from input.
    """
    if not wanted:
        return []
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        found: list[Row] = []
        statement = _select_one(table, columns, keys, where)
        for key in sorted(set(wanted)):
            found.extend(connection.exec_driver_sql(statement, _to_sqlite(key)).fetchall())
        return _from_sqlite(table, columns, found)
    statement = _select_arrays(table, columns, keys, where, lock)
    return list(connection.exec_driver_sql(statement, _arrays(sorted(set(wanted)))).fetchall())


def select_first(
    session: Session,
    table: str,
    columns: tuple[str, ...],
    owners: Sequence[str],
    *,
    where: str,
    bounds: Sequence[Row],
    order: str,
    limit: int,
) -> list[Row]:
    """For each account, at most `limit` rows in `order`: what an index can give without reading the rest.

    `where` is our own condition, with `{0}`, `{1}` … for the values in the account's `bounds`.
    """
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        condition = where.format(*(f"?{n + 2}" for n in range(len(bounds[0])))) if bounds else where
        statement = (
            f"SELECT {', '.join(columns)} FROM {table} "  # noqa: S608 - names of our own tables
            f"WHERE account_id = ?1 AND {condition} ORDER BY {order} LIMIT {limit}"
        )
        found: list[Row] = []
        for owner, bound in zip(owners, bounds, strict=True):
            found.extend(connection.exec_driver_sql(statement, _to_sqlite((owner, *bound))).fetchall())
        return _from_sqlite(table, columns, found)
    width = len(bounds[0])
    types = ", ".join(f"%s::{_array_type_of(bounds[0][n])}" for n in range(width))
    names = ", ".join(f"b{n}" for n in range(width))
    condition = where.format(*(f"w.b{n}" for n in range(width)))
    statement = (
        f"SELECT x.* FROM unnest(%s::text[], {types}) AS w(owner, {names}) CROSS JOIN LATERAL ("  # noqa: S608
        f"SELECT {', '.join(columns)} FROM {table} WHERE account_id = w.owner AND {condition} "
        f"ORDER BY {order} LIMIT {limit}) x"
    )
    arrays = _arrays([(owner, *bound) for owner, bound in zip(owners, bounds, strict=True)])
    return list(connection.exec_driver_sql(statement, arrays).fetchall())


def _arrays(rows: Sequence[Row]) -> tuple[list[Any], ...]:
    return tuple(list(column) for column in zip(*rows, strict=True))


def _array_type_of(value: object) -> str:
    return "timestamptz[]" if isinstance(value, datetime) else "bigint[]" if isinstance(value, int) else "text[]"


def _table(name: str) -> Table:
    return Base.metadata.tables[name]


@cache
def _array_types(table: str, columns: tuple[str, ...]) -> tuple[str, ...]:
    """The PostgreSQL array type of each column."""
    return tuple(f"{_type_name(_table(table).c[column].type)}[]" for column in columns)


def _type_name(kind: object) -> str:
    if isinstance(kind, TypeDecorator):
        kind = kind.impl_instance
    for known, name in (
        (BigInteger, "bigint"),
        (Integer, "integer"),
        (Boolean, "boolean"),
        (DateTime, "timestamptz"),
        (Date, "date"),
        (LargeBinary, "bytea"),
    ):
        if isinstance(kind, known):
            return name
    return "text"


@cache
def _insert_one(table: str, columns: tuple[str, ...]) -> str:
    places = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608


@cache
def _insert_arrays(table: str, columns: tuple[str, ...]) -> str:
    places = ", ".join(f"%s::{kind}" for kind in _array_types(table, columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT * FROM unnest({places})"  # noqa: S608


@cache
def _update_one(table: str, keys: tuple[str, ...], columns: tuple[str, ...]) -> str:
    settings = ", ".join(f"{column} = ?" for column in columns)
    match = " AND ".join(f"{key} = ?" for key in keys)
    return f"UPDATE {table} SET {settings} WHERE {match}"  # noqa: S608


@cache
def _update_arrays(table: str, keys: tuple[str, ...], columns: tuple[str, ...]) -> str:
    places = ", ".join(f"%s::{kind}" for kind in _array_types(table, keys + columns))
    settings = ", ".join(f"{column} = v.{column}" for column in columns)
    match = " AND ".join(f"t.{key} = v.{key}" for key in keys)
    names = ", ".join(keys + columns)
    return f"UPDATE {table} t SET {settings} FROM unnest({places}) AS v({names}) WHERE {match}"  # noqa: S608


@cache
def _select_one(table: str, columns: tuple[str, ...], keys: tuple[str, ...], where: str) -> str:
    match = " AND ".join([f"{key} = ?" for key in keys] + ([where] if where else []))
    return f"SELECT {', '.join(columns)} FROM {table} WHERE {match}"  # noqa: S608


@cache
def _select_arrays(table: str, columns: tuple[str, ...], keys: tuple[str, ...], where: str, lock: bool) -> str:
    names = ", ".join(f"t.{column}" for column in columns)
    more = f" AND {where}" if where else ""
    types = _array_types(table, keys)
    if len(keys) == 1:
        match = f"t.{keys[0]} = ANY(%s::{types[0]})"
        source = f"{table} t"
    else:
        places = ", ".join(f"%s::{kind}" for kind in types)
        wanted = ", ".join(f"w{n}" for n in range(len(keys)))
        source = f"{table} t JOIN unnest({places}) AS w({wanted}) ON " + " AND ".join(
            f"t.{key} = w.w{n}" for n, key in enumerate(keys)
        )
        match = "TRUE"
    order = ", ".join(f"t.{key}" for key in keys)
    tail = " FOR UPDATE OF t" if lock else ""
    return f"SELECT {names} FROM {source} WHERE {match}{more} ORDER BY {order}{tail}"  # noqa: S608


def _to_sqlite(row: Iterable[Any]) -> Row:
    return tuple(_text_of(v) if isinstance(v, date) else v for v in row)


def _text_of(value: date) -> str:
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M:%S.%f")
    return value.isoformat()


@cache
def _readers(table: str, columns: tuple[str, ...]) -> tuple[tuple[int, Callable[[Any], Any]], ...]:
    """Positions whose SQLite text or number must become an instant, a date or a bool again."""
    readers: list[tuple[int, Callable[[Any], Any]]] = []
    for position, kind in enumerate(_array_types(table, columns)):
        if kind == "timestamptz[]":
            readers.append((position, lambda text: datetime.fromisoformat(text).replace(tzinfo=timezone.utc)))
        elif kind == "date[]":
            readers.append((position, date.fromisoformat))
        elif kind == "boolean[]":
            readers.append((position, bool))
    return tuple(readers)


def _from_sqlite(table: str, columns: tuple[str, ...], rows: Sequence[Row]) -> list[Row]:
    readers = _readers(table, columns)
    turned = []
    for row in rows:
        values = list(row)
        for position, read in readers:
            if values[position] is not None:
                values[position] = read(values[position])
        turned.append(tuple(values))
    return turned
