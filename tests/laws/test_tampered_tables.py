"""Every column that is kept beside the ledger's rows: changed in any row, the audit finds it."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta

import pytest
from sqlalchemy import Boolean, LargeBinary, Table, delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from engine.audit import audit
from engine.rules.commands import Capture, Extend, Hold, Posted, Reverse, Void
from engine.rules.lots import NEVER
from engine.runtime import Secrets
from engine.store.database import Database, writing
from engine.store.tables import Base
from tests.engine.support import FakeClock, debit, gift
from tests.flows.world import ACCOUNT, World, open_world

KEYS = Secrets(("the operator's secret key for tests",)).all_for("ledger chain")
SETTINGS = {
    "wallets.status": "an administrator's act, in the audit log",
    "wallets.daily_limit_credits": "the customer's choice",
    "wallets.per_call_limit_credits": "the customer's choice",
    "wallets.low_balance_credits": "the customer's choice",
    "wallets.limit_alerted_on": "whether the customer was told today",
    "wallets.recharge_at_credits": "when to look at the customer's auto-recharge again",
    "lots.warn_at": "when the customer is told next that it expires",
}
"""Columns that say what somebody wants, not what the rows made."""

AHEAD = {"wallets.next_expiry_at", "wallets.next_hold_expiry_at"}
"""Instants to look again at: too early does no harm, too late is found."""


def hold_of(world: World, credits: int) -> str:
    posted = world.posted(
        Hold(account_id=ACCOUNT, actor="service:x", credits=credits, ttl_seconds=3_600, key=f"{credits}")
    )
    reference = posted.transactions[0].reference_id
    assert reference is not None
    return reference


@pytest.fixture
def world(db: Database, clock: FakeClock) -> Iterator[World]:
    """A wallet with everything: gifts, two purchases, refunds, spends of providers, holds of every end, an expiry."""
    opened = open_world(db, clock)
    world = opened
    now = clock.now()
    world.posted(gift(ACCOUNT, 300, "limited_time", until=now + timedelta(hours=30), key="promo-1"))
    world.posted(gift(ACCOUNT, 50, "limited_time", until=now + timedelta(hours=300), key="promo-2"))
    world.posted(gift(ACCOUNT, 70, "monthly", until=now + timedelta(hours=5), key="month-1"))
    bought = world.buy(20_000)
    world.deliver(world.pay(bought))
    named = debit(ACCOUNT, 120, key="s1", description="A call")
    spent = world.posted(named).transactions[0]
    world.posted(
        Reverse(account_id=ACCOUNT, actor="s", transaction_id=spent.transaction_id, credits=20, description="")
    )
    kinds = {name: hold_of(world, 40 + place) for place, name in enumerate(("captured", "voided", "expired", "open"))}
    world.posted(Extend(account_id=ACCOUNT, actor="s", hold_id=kinds["open"], credits=5, ttl_seconds=200_000, key="e"))
    world.posted(Capture(account_id=ACCOUNT, actor="s", hold_id=kinds["captured"], credits=30, key="c"))
    world.posted(Void(account_id=ACCOUNT, actor="s", hold_id=kinds["voided"], key="v"))
    clock.advance(timedelta(hours=40))
    world.deliver(world.refund_elsewhere(bought, "re_1", 5_000))
    world.posted(debit(ACCOUNT, 7))
    yield world
    world.close()


def columns(*tables: str) -> list[str]:
    metadata = Base.metadata.tables
    return [f"{table}.{column.name}" for table in tables for column in metadata[table].columns]


def other(value: object, column: object) -> object:
    """Another value of the column's kind."""
    match value:
        case None:
            kind = str(getattr(column, "type", ""))
            if kind.startswith(("DATETIME", "TIMESTAMP")):
                return datetime.fromisoformat("2026-11-05T00:00:00+00:00")
            if kind == "DATE":
                return date.fromisoformat("2026-11-05")
            return 1 if "INT" in kind else "x"
        case bool():
            return not value
        case int():
            return value + 1 if value < 10**6 else value - 1
        case bytes():
            return bytes([value[0] ^ 1]) + value[1:]
        case datetime():
            return value - timedelta(microseconds=1) if value.year == 9999 else value + timedelta(microseconds=1)
        case date():
            return value + timedelta(days=1)
        case str():
            return value + "x"
    raise TypeError(value)


def rows_of(session: Session, table: Table) -> list[dict[str, object]]:
    return [dict(row._mapping) for row in session.connection().execute(select(table))]


def change(db: Database, table: Table, row: dict[str, object], column: str, value: object) -> bool:
    """Whether the database took it: many a change meets a CHECK or a key first."""
    key = [table.c[each.name] == row[each.name] for each in table.primary_key.columns]
    try:
        with writing(db) as session:
            session.connection().execute(update(table).where(*key).values({column: value}))
    except IntegrityError:
        return False
    return True


KINDS_OF = {
    "lots.bucket": ["monthly", "recharge", "limited_time"],
    "holds.status": ["open", "captured", "voided", "expired"],
}


@pytest.mark.parametrize("name", columns("lots", "holds", "wallets", "usage_daily"))
def test_a_change_to_any_column_of_any_row_is_found(world: World, name: str) -> None:
    assert audit(world.db, KEYS).findings == []
    table, column = Base.metadata.tables[name.partition(".")[0]], name.partition(".")[2]
    with writing(world.db) as session:
        rows = rows_of(session, table)
    assert rows
    taken = 0
    for row in rows:
        before = row[column]
        changes = [each for each in KINDS_OF.get(name, [other(before, table.c[column])]) if each != before]
        if isinstance(before, int) and not isinstance(before, bool):
            changes.append(before - 1)
        if name in AHEAD:
            changes = [each for each in (NEVER,) if each != before]
        for value in changes:
            if not change(world.db, table, row, column, value):
                continue
            taken += 1
            is_clean = audit(world.db, KEYS).is_clean
            moved = {**row, column: value}
            assert change(world.db, table, moved, column, before)
            is_setting = name in SETTINGS
            assert is_clean == is_setting, f"{name}: {before!r} to {value!r}"
    is_checked = isinstance(table.c[column].type, (Boolean, LargeBinary)) or column in ("account_id", "bucket_order")
    assert taken > 0 or is_checked or name in SETTINGS, f"the database itself refused every change of {name}"
    assert audit(world.db, KEYS).findings == []


@pytest.mark.parametrize("count", [1, 2, 5])
def test_rows_cut_from_the_end_are_found(world: World, count: int) -> None:
    table = Base.metadata.tables["transactions"]
    with writing(world.db) as session:
        rows = rows_of(session, table)
        last = max(int(str(row["seq"])) for row in rows)
        session.connection().execute(delete(table).where(table.c.seq > last - count))
    assert f"{ACCOUNT}/{last - count}" in {finding.where for finding in audit(world.db, KEYS).findings}


@pytest.mark.parametrize("table", ["lots", "holds", "usage_daily", "purchases"])
def test_a_row_lost_from_what_is_kept_beside_is_found(world: World, table: str) -> None:
    found = Base.metadata.tables[table]
    with writing(world.db) as session:
        row = rows_of(session, found)[0]
        if table == "purchases":
            for child in ("documents", "purchase_facts", "reversals"):
                if child in Base.metadata.tables:
                    session.connection().execute(delete(Base.metadata.tables[child]))
        where = [found.c[each.name] == row[each.name] for each in found.primary_key.columns]
        session.connection().execute(delete(found).where(*where))
    assert not audit(world.db, KEYS).is_clean


def test_a_coupon_counted_otherwise_than_granted_is_found(world: World) -> None:
    table = Base.metadata.tables["coupon_uses"]
    with writing(world.db) as session:
        session.connection().execute(table.insert().values(coupon="launch50", used=1))
    assert [finding.where for finding in audit(world.db, KEYS).findings] == ["launch50"]


def test_a_purchases_coupon_that_was_changed_is_found(world: World) -> None:
    purchase = world.buy(1_000, coupon="TOPUP20")
    world.deliver(world.pay(purchase))
    assert audit(world.db, KEYS).is_clean
    table = Base.metadata.tables["purchase_coupons"]
    for change in ({"is_counted": False}, {"credits": 1}, {"coupon": "other"}):
        with writing(world.db) as session:
            (kept,) = session.connection().execute(select(table)).mappings()
            session.connection().execute(update(table).values(**change))
        assert not audit(world.db, KEYS).is_clean, change
        with writing(world.db) as session:
            session.connection().execute(update(table).values(**kept))
    with writing(world.db) as session:
        session.connection().execute(delete(table))
    assert not audit(world.db, KEYS).is_clean


def test_a_posted_command_is_what_these_tests_say(world: World) -> None:
    assert isinstance(world.posted(debit(ACCOUNT, 1)), Posted)
