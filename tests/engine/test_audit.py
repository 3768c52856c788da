"""The audit: clean books are clean, and a change to any column of any row is found and named."""

import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest
from sqlalchemy import CheckConstraint, text, update

from engine import audit as auditing
from engine.audit import Report, audit
from engine.book import post
from engine.rules.commands import Command, Posted, Reverse, SetStatus, Spend
from engine.rules.ledger import Transaction
from engine.store import books
from engine.store.database import Database, reading, transact, writing
from engine.store.tables import Base
from tests.engine.support import CHAIN_KEY, DAY_0, counting_terms, create_accounts, debit, gift, rows_of

TERMS = counting_terms()
ROW = 5
"""Which row of `acc_2` is tampered with: a debit with everything on it."""


def carry_out(db: Database, *commands: Command, now: datetime = DAY_0) -> list[Transaction]:
    outcomes = transact(db, lambda session: post(session, commands, TERMS, now))
    return [row for outcome in outcomes if isinstance(outcome, Posted) for row in outcome.transactions]


def full_spend(credits: int) -> Spend:
    return Spend(
        account_id="acc_2",
        actor="service",
        credits=credits,
        description="A call",
        provider_id="gpt",
        provider_name="GPT",
        capability_id="chat",
        outcome="success",
        call_id="call-1",
        metadata='{"a":1}',
        key="key-1",
    )


def undo(row: Transaction, credits: int | None = None) -> Reverse:
    return Reverse(
        account_id=row.account_id, actor="service", transaction_id=row.transaction_id, credits=credits, description=""
    )


@pytest.fixture
def kept(db: Database) -> Database:
    """Three wallets; `acc_2` has six rows, with two lots, an expiry and a reversal in parts."""
    create_accounts(db, "acc_1", "acc_2", "acc_3", "acc_empty")
    carry_out(db, gift("acc_1", 100), gift("acc_3", 100), debit("acc_1", 1), debit("acc_3", 2))
    carry_out(db, gift("acc_2", 1_000), gift("acc_2", 50, "limited_time", until=DAY_0 + timedelta(days=1)))
    first = carry_out(db, debit("acc_2", 20))[0]
    carry_out(db, undo(first, 5), now=DAY_0 + timedelta(hours=1))
    carry_out(db, debit("acc_1", 2), now=DAY_0 + timedelta(days=1))
    carry_out(db, full_spend(40), now=DAY_0 + timedelta(hours=2))
    carry_out(db, undo(first, 5), now=DAY_0 + timedelta(days=2))
    carry_out(db, debit("acc_2", 3), now=DAY_0 + timedelta(days=3))
    return db


def findings(db: Database) -> list[tuple[str, str]]:
    return [(finding.where, finding.what) for finding in audit(db, [CHAIN_KEY]).findings]


def test_clean_books_are_clean_and_counted(kept: Database) -> None:
    report = audit(kept, [b"a newer key of thirty-two bytes.", CHAIN_KEY])
    assert report.findings == []
    with reading(kept) as session:
        counted = sum(len(rows_of(session, account_id)) for account_id in ("acc_1", "acc_2", "acc_3"))
    assert (report.wallets, report.rows) == (4, counted)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_where_the_ledger_is_cut_into_chunks_does_not_matter(
    kept: Database, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditing, "CHUNK", size)
    assert findings(kept) == []
    with reading(kept) as session:
        debit_id = rows_of(session, "acc_2")[2].transaction_id
        last = rows_of(session, "acc_2")[-1].seq
    _set(kept, "transactions", {"account_id": "acc_2", "seq": last}, "reverses_id", debit_id)
    assert findings(kept)[0][0] == f"acc_2/{last}"


OTHER: dict[str, object] = {
    "account_id": "acc_1",
    "seq": 500,
    "created_at": DAY_0 + timedelta(hours=2, microseconds=1),
    "hash": b"\x00" * 32,
    "entries": '[["lot_000004","limited_time",-40] ]',
}
"""What a column is changed to, where neither one more letter nor one more credit is a change of it."""


@pytest.mark.parametrize("column", books.TRANSACTION)
def test_a_change_to_any_column_of_a_row_is_found_and_the_row_is_named(kept: Database, column: str) -> None:
    with reading(kept) as session:
        row = books.transaction_row(rows_of(session, "acc_2")[ROW - 1])
    before = row[books.TRANSACTION.index(column)]
    changed: object
    if column in OTHER:
        changed = OTHER[column]
    elif isinstance(before, int):
        changed = before + 1
    else:
        changed = "x" if before is None else f"{before}x"
    assert changed != before
    where: dict[str, object] = {"account_id": "acc_2", "seq": ROW}
    if column == "account_id":
        where["seq"] = ROW
    _set(kept, "transactions", where, column, changed)
    found = findings(kept)
    assert found, column
    if column == "account_id":
        assert {"acc_1/5", "acc_2/6"} <= {place for place, _ in found}
    elif column == "seq":
        assert found[0] == ("acc_2/6", "row 5 is missing")
    else:
        assert found[0][0] == f"acc_2/{ROW}", found


@pytest.mark.parametrize("seq", range(1, 8))
def test_a_changed_byte_in_any_row_is_found_in_that_very_row(kept: Database, seq: int) -> None:
    with reading(kept) as session:
        actor = rows_of(session, "acc_2")[seq - 1].actor
    _set(kept, "transactions", {"account_id": "acc_2", "seq": seq}, "actor", f"{actor[:-1]}{chr(ord(actor[-1]) ^ 1)}")
    assert findings(kept) == [(f"acc_2/{seq}", "its hash does not fit its text and the row before it")]


KEPT: list[tuple[str, str, Callable[[object], object]]] = [
    ("lots", "remaining_credits", lambda v: int(str(v)) - 1),
    ("lots", "granted_credits", lambda v: int(str(v)) + 1),
    ("lots", "granted_seq", lambda v: int(str(v)) + 77),
    ("lots", "bucket", lambda v: "monthly"),
    ("lots", "source", lambda v: "survey"),
    ("lots", "purchase_id", lambda v: "pay_1"),
    ("lots", "held_credits", lambda v: 1),
    ("lots", "granted_at", lambda v: DAY_0 + timedelta(seconds=1)),
    ("wallets", "seq", lambda v: int(str(v)) + 1),
    ("wallets", "head", lambda v: b"\x01" * 32),
    ("wallets", "debt_credits", lambda v: 1),
    ("wallets", "available_recharge", lambda v: int(str(v)) + 1),
    ("wallets", "available_monthly", lambda v: 1),
    ("wallets", "held_limited_time", lambda v: 1),
    ("wallets", "used_credits", lambda v: int(str(v)) + 1),
    ("wallets", "used_on", lambda v: DAY_0.date()),
    ("wallets", "uses", lambda v: str(v).replace(",2,1]", ",3,1]")),
    ("wallets", "uses", lambda v: None),
    ("usage_daily", "credits_spent", lambda v: int(str(v)) + 1),
    ("usage_daily", "call_count", lambda v: int(str(v)) + 1),
    ("usage_daily", "provider_id", lambda v: "other"),
    ("usage_daily", "day", lambda v: DAY_0.date() - timedelta(days=1)),
]


@pytest.mark.parametrize(("table", "column", "change"), KEPT, ids=[f"{table}-{column}" for table, column, _ in KEPT])
def test_a_change_to_what_is_kept_beside_the_rows_is_found(
    kept: Database, table: str, column: str, change: Callable[[object], object]
) -> None:
    c = Base.metadata.tables[table].c
    with reading(kept) as session:
        before = session.execute(text(f"SELECT {column} FROM {table} WHERE account_id = 'acc_1'")).scalar_one()
    with writing(kept) as session:
        session.execute(
            update(Base.metadata.tables[table]).where(c.account_id == "acc_1").values({column: change(before)})
        )
    assert findings(kept), f"{table}.{column}"


def test_a_cut_off_end_and_a_lost_row_in_the_middle_are_found(kept: Database) -> None:
    with writing(kept) as session:
        session.execute(text("DELETE FROM transactions WHERE account_id = 'acc_3' AND seq = 2"))
        session.execute(text("DELETE FROM transactions WHERE account_id = 'acc_2' AND seq = 3"))
    found = findings(kept)
    assert ("acc_2/4", "row 3 is missing") in found
    assert ("acc_3/1", "the wallet's seq is 2, the last row's 1") in found


def test_a_wallet_without_the_rows_it_counts_is_found(kept: Database) -> None:
    with writing(kept) as session:
        session.execute(text("DELETE FROM transactions WHERE account_id = 'acc_1'"))
    assert findings(kept) == [
        ("acc_1", "the wallet counts 3 rows and has none"),
        ("acc_1", "it has lots and no rows"),
        ("acc_1", "it has usage and no rows"),
    ]


@pytest.mark.parametrize(
    ("column", "changed"),
    [("entries", "[["), ("entries", "{}"), ("created_at", "never"), ("actor", b"\xff"), ("amount_credits", "much")],
)
def test_a_row_that_cannot_be_read_is_named_and_the_others_are_still_audited(
    kept: Database, column: str, changed: object
) -> None:
    if not kept.is_sqlite and column != "entries":
        pytest.skip("PostgreSQL keeps the types of its columns")
    with writing(kept) as session:
        place = "CAST(:v AS TEXT)" if isinstance(changed, bytes) else ":v"
        session.execute(
            text(f"UPDATE transactions SET {column} = {place} WHERE account_id = 'acc_2' AND seq = 5"), {"v": changed}
        )
        session.execute(text("UPDATE transactions SET actor = 'x' WHERE account_id = 'acc_3' AND seq = 2"))
    assert findings(kept) == [
        ("acc_2/5", "it can't be read"),
        ("acc_3/2", "its hash does not fit its text and the row before it"),
    ]


def test_a_wallet_with_many_rows_takes_no_more_memory_than_its_sums(sqlite: Database) -> None:
    create_accounts(sqlite, "acc_hot")
    carry_out(sqlite, gift("acc_hot", 10**9))
    for _ in range(20):
        carry_out(sqlite, *[debit("acc_hot", 1)] * 1_000)

    def peak_of(chunk: int) -> tuple[int, Report]:
        auditing.CHUNK, before = chunk, auditing.CHUNK
        tracemalloc.start()
        try:
            report = audit(sqlite, [CHAIN_KEY])
            return tracemalloc.get_traced_memory()[1], report
        finally:
            tracemalloc.stop()
            auditing.CHUNK = before

    peak, report = peak_of(500)
    assert report.is_clean and report.rows == 20_001
    assert peak < 5_000_000, "20,000 rows at once take several times as much"


LOTS: list[tuple[str, str]] = [
    ("UPDATE lots SET bucket_order = -2 WHERE bucket = 'monthly'", "stands in the order of another bucket"),
    ("UPDATE lots SET bucket_order = -1 WHERE bucket = 'recharge'", "stands in the order of another bucket"),
    ("UPDATE lots SET bucket_order = 1 WHERE bucket = 'limited_time'", "stands in the order of another bucket"),
    ("UPDATE lots SET bucket_order = 7 WHERE bucket = 'limited_time'", "stands in the order of another bucket"),
    ("UPDATE lots SET is_open = false WHERE remaining_credits > 0", "is kept as empty"),
    ("UPDATE lots SET is_open = true WHERE remaining_credits = 0", "is kept as open and has 0 left"),
]
"""What no statement of ours can write, and a changed byte can."""


@pytest.mark.parametrize(("statement", "what"), LOTS, ids=[str(n) for n in range(len(LOTS))])
def test_a_lot_at_another_place_in_the_spend_order_is_found(kept: Database, statement: str, what: str) -> None:
    carry_out(kept, gift("acc_2", 10, "monthly", until=DAY_0 + timedelta(days=30)), now=DAY_0 + timedelta(days=3))
    assert findings(kept) == []
    with unchecked(kept, "lots", "open_while_remaining"):
        with writing(kept) as session:
            assert session.connection().execute(text(statement)).rowcount > 0
        found = findings(kept)
        with writing(kept) as session:
            session.execute(text("UPDATE lots SET is_open = (remaining_credits > 0)"))
    assert "lot_" in found[0][1] and what in found[0][1], found


STATUSES = [
    ("acc_1", "closed", "the wallet is closed and has credits"),
    ("acc_1", "open", "the wallet's status is none that there is"),
    ("acc_empty", "open", "the wallet's status is none that there is"),
]


@pytest.mark.parametrize(("account_id", "status", "what"), STATUSES, ids=["closed", "unknown", "unknown-empty"])
def test_a_status_that_a_wallet_cannot_have_is_found(kept: Database, account_id: str, status: str, what: str) -> None:
    with unchecked(kept, "wallets", "status_kind"):
        _set(kept, "wallets", {"account_id": account_id}, "status", status)
        assert findings(kept) == [(account_id, what)]
        _set(kept, "wallets", {"account_id": account_id}, "status", "active")


def test_an_empty_wallet_may_be_closed(kept: Database) -> None:
    carry_out(kept, SetStatus(account_id="acc_1", actor="admin:root", status="closed"), now=DAY_0 + timedelta(days=1))
    assert findings(kept) == []


@contextmanager
def unchecked(db: Database, table: str, constraint: str) -> Iterator[None]:
    """Without what the database itself refuses, as a byte that changed on a disk is."""
    name = f"ck_{table}_{constraint}"
    checks = [each for each in Base.metadata.tables[table].constraints if isinstance(each, CheckConstraint)]
    (rule,) = (each.sqltext for each in checks if str(each.name).endswith(constraint))
    if db.is_sqlite:
        _ignore_checks(db, "ON")
    else:
        with writing(db) as session:
            session.execute(text(f"ALTER TABLE {table} DROP CONSTRAINT {name}"))
    try:
        yield
    finally:
        if db.is_sqlite:
            _ignore_checks(db, "OFF")
        else:
            with writing(db) as session:
                session.execute(text(f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({rule})"))


def _ignore_checks(db: Database, word: str) -> None:
    """On the one connection that writes."""
    with writing(db) as session:
        session.execute(text(f"PRAGMA ignore_check_constraints = {word}"))


def _set(db: Database, table: str, key: dict[str, object], column: str, value: object) -> None:
    found = Base.metadata.tables[table]
    with writing(db) as session:
        statement = update(found).where(*(found.c[name] == each for name, each in key.items()))
        assert session.connection().execute(statement.values({column: value})).rowcount == 1
