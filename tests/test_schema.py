"""The schema: every table may be sharded by account, counts are 64-bit, instants are aware, and the migrations build
exactly what the code declares."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    DateTime,
    Float,
    ForeignKeyConstraint,
    Integer,
    Numeric,
    Table,
    TypeDecorator,
    UniqueConstraint,
    create_engine,
    inspect,
    text,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError
from sqlmodel.sql.sqltypes import UTCDateTime

from engine.store.database import Database, open_database, writing
from engine.store.migrations import is_current, upgrade
from engine.store.tables import GLOBAL_TABLES, Base
from tests.engine.support import create_accounts

TABLES = Base.metadata.sorted_tables
SCOPES = {"replies": "scope"}
"""Tables that lead with something else: a reply's scope is an account, or what stands for one that is yet to be."""
WIDE = ("credits", "minor", "seq", "version", "offset_seconds", "_after")


def leader(table: Table) -> str:
    return SCOPES.get(table.name, "account_id")


def named(tables: list[Table]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("table", tables, ids=[table.name for table in tables])


@named([table for table in TABLES if table.name not in GLOBAL_TABLES])
def test_every_key_of_an_accounts_table_starts_with_the_account(table: Table) -> None:
    keys = [list(table.primary_key.columns)]
    for constraint in table.constraints:
        if isinstance(constraint, (UniqueConstraint, ForeignKeyConstraint)):
            keys.append(list(constraint.columns))
    keys += [list(index.columns) for index in table.indexes if index.unique]
    for key in keys:
        assert key[0].name == leader(table), f"{table.name}: a key of {[column.name for column in key]}"


@named([table for table in TABLES if table.foreign_key_constraints])
def test_a_foreign_key_stays_within_the_account(table: Table) -> None:
    for constraint in table.foreign_key_constraints:
        assert constraint.elements[0].column.name == "account_id"
        assert table.name not in GLOBAL_TABLES, "a global table leans on no account's rows"


def test_the_list_of_global_tables_names_tables_that_exist_and_need_it() -> None:
    assert {table.name for table in TABLES} >= GLOBAL_TABLES
    for table in TABLES:
        if table.name in GLOBAL_TABLES:
            first = next(iter(table.primary_key.columns))
            assert first.name != "account_id", f"{table.name} leads with the account: it is not global"


@named(TABLES)
def test_counts_are_wide_integers_and_nothing_is_a_float(table: Table) -> None:
    for column in table.columns:
        kind = plain(column)
        assert not isinstance(kind, (Float, Numeric)) or isinstance(kind, Integer), f"{column} is not exact"
        if isinstance(kind, Integer) and column.name.endswith(WIDE):
            assert isinstance(kind, BigInteger), f"{column} is 32-bit on PostgreSQL"


@named(TABLES)
def test_every_instant_is_aware(table: Table) -> None:
    for column in table.columns:
        if isinstance(plain(column), DateTime):
            assert isinstance(column.type, UTCDateTime), f"{column} loses its time zone"
            assert column.name.endswith("_at"), f"{column}: an instant is named …_at"


@named(TABLES)
def test_nothing_is_numbered_by_the_database(table: Table) -> None:
    for column in table.columns:
        assert column.identity is None and column.server_default is None, f"{column} is made by the database"
        assert not (column.primary_key and column.autoincrement is True), f"{column} is a sequence"


def plain(column: Column[Any]) -> object:
    kind = column.type
    return kind.impl_instance if isinstance(kind, TypeDecorator) else kind


def test_the_migrations_leave_nothing_for_the_metadata_to_add(db: Database) -> None:
    assert is_current(db)
    with db.writer.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def test_the_migrations_build_what_the_metadata_would(db: Database, db_url: str, tmp_path: Path) -> None:
    with db.writer.connect() as connection:
        migrated = shape(connection)
    with declared(db_url, tmp_path) as connection:
        wanted = shape(connection)
    for name in wanted:
        assert migrated[name] == wanted[name], name
    assert set(migrated) == {table.name for table in TABLES}


def test_migrating_again_changes_nothing(db: Database) -> None:
    create_accounts(db, "acc_1")
    upgrade(db)
    with db.reader.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM wallets")).scalar_one() == 1


def test_an_empty_database_is_not_current(tmp_path: Path) -> None:
    db = open_database(f"sqlite:///{tmp_path / 'new.sqlite3'}")
    assert not is_current(db)
    upgrade(db)
    assert is_current(db)
    db.close()


@contextmanager
def declared(url: str, folder: Path) -> Iterator[Connection]:
    """A database of the same kind, made from the metadata without the migrations."""
    if url.startswith("sqlite"):
        engine = create_engine(f"sqlite:///{folder / 'declared.sqlite3'}")
        with engine.begin() as connection:
            Base.metadata.create_all(connection)
            yield connection
    else:
        engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
        with engine.connect() as connection:
            connection.execute(text("CREATE SCHEMA declared"))
            connection.execute(text("SET LOCAL search_path = declared"))
            Base.metadata.create_all(connection)
            yield connection
            connection.rollback()
    engine.dispose()


def shape(connection: Connection) -> dict[str, object]:
    """Every table as the database describes it: columns, keys, checks and indexes, conditions included."""
    seen = inspect(connection)
    described: dict[str, object] = {}
    for name in seen.get_table_names():
        if name == "alembic_version":
            continue
        described[name] = {
            "columns": {c["name"]: (str(c["type"]), c["nullable"], c["default"]) for c in seen.get_columns(name)},
            "primary": seen.get_pk_constraint(name)["constrained_columns"],
            "unique": sorted((str(u["name"]), u["column_names"]) for u in seen.get_unique_constraints(name)),
            "foreign": sorted(
                (f["constrained_columns"], f["referred_table"], f["referred_columns"])
                for f in seen.get_foreign_keys(name)
            ),
            "checks": sorted((str(c["name"]), c["sqltext"]) for c in seen.get_check_constraints(name)),
            "indexes": sorted(
                (str(i["name"]), i["column_names"], bool(i["unique"]), conditions(i.get("dialect_options", {})))
                for i in seen.get_indexes(name)
            ),
        }
    return described


def conditions(options: Mapping[str, object]) -> dict[str, str]:
    """An index's options of its database, the condition of a partial one among them, as text."""
    return {name: str(value) for name, value in options.items()}


BROKEN = {
    "a lot holds less than nothing": "UPDATE lots SET remaining_credits = -1, is_open = false",
    "a lot holds more than was granted": "UPDATE lots SET remaining_credits = 6",
    "a lot that holds something is not open": "UPDATE lots SET is_open = false",
    "a bucket nobody knows": "UPDATE lots SET bucket = 'gold'",
    "a wallet that is negative": "UPDATE wallets SET available_monthly = -1",
    "a debt that is negative": "UPDATE wallets SET debt_credits = -1",
    "a status nobody knows": "UPDATE wallets SET status = 'frozen'",
    "a lot without an account": "UPDATE lots SET account_id = 'acc_2'",
}


@pytest.mark.parametrize("statement", BROKEN.values(), ids=BROKEN.keys())
def test_the_database_itself_refuses(db: Database, statement: str) -> None:
    create_accounts(db, "acc_1")
    insert = (
        "INSERT INTO lots (account_id, lot_id, granted_seq, bucket, bucket_order, source, expires_at, granted_credits, "
        "remaining_credits, is_open, held_credits, taken_credits, owed_credits, expired_credits, cost_minor, "
        "granted_at) SELECT account_id, 'lot_1', 1, 'monthly', 1, 'promo', created_at, 5, 5, true, 0, 0, 0, 0, 0, "
        "created_at FROM accounts"
    )
    with pytest.raises(IntegrityError), writing(db) as session:
        session.connection().execute(text(insert))
        session.connection().execute(text(statement))
