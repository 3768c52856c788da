"""Statements that travel together: what they see, what they store, and what an error leaves."""

import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace
from psycopg import OperationalError
from psycopg.errors import LockNotAvailable, NotNullViolation, UniqueViolation
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGconn
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from engine import book
from engine.lane_book import LaneBook
from engine.rules.commands import Command, Outcome, Posted, Spend
from engine.rules.decisions import Terms
from engine.rules.errors import MonthDue
from engine.store import letters
from engine.store.bulk import ask_rows, insert_rows, select_rows, update_marked, update_rows
from engine.store.database import (
    Database,
    open_database,
    reading,
    transact,
    transact_by_letter,
    writing,
    writing_by_letter,
)
from engine.store.pens import Pen
from tests.engine.support import DAY_0, FakeClock, counting_terms, create_accounts, debit, gift, lots_of, rows_of

AWKWARD = (
    "",
    "NULL",
    "null",
    " spaces ",
    "{braces,commas}",
    'say "this"',
    "it's; DROP TABLE wallets; --",
    "back\\slash \\' \\x41 $1 %s %%",
    "line\nbreak\ttab\r",
    "Größe 漢字 🪙",
)


def test_what_follows_the_lock_in_a_letter_sees_what_the_lock_protects(postgresql: Database) -> None:
    create_accounts(postgresql, "acc_1")
    terms = counting_terms()
    transact(postgresql, lambda session: book.post(session, [gift("acc_1", 100)], terms, DAY_0))
    outcomes: list[object] = []

    def spend_by_letter() -> None:
        outcomes.extend(carry_out(postgresql, [debit("acc_1", 60, key="b")], terms))

    with writing(postgresql) as session:
        book.post(session, [debit("acc_1", 60, key="a"), gift("acc_1", 30)], terms, DAY_0)
        waiting = threading.Thread(target=spend_by_letter)
        waiting.start()
        wait_for_a_lock(postgresql)
    waiting.join(timeout=20)
    (outcome,) = outcomes
    assert isinstance(outcome, Posted)
    assert [(entry.credits) for entry in outcome.transactions[0].entries] == [-40, -20], "the first lot held 40 by then"


def carry_out(db: Database, commands: Sequence[Command], terms: Terms) -> list[Outcome]:
    """Post a batch as group commit does."""
    return transact_by_letter(db, lambda session: book.post(session, commands, terms, DAY_0))


def wait_for_a_lock(db: Database) -> None:
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    with db.reader.connect() as connection:
        for _ in range(2000):
            if connection.execute(waiting).scalar_one():
                return
            connection.execute(text("SELECT pg_sleep(0.005)"))
            connection.rollback()
    raise AssertionError("nobody waits for the lock")


@pytest.mark.parametrize("count", [1, len(AWKWARD)])
def test_any_text_is_kept_as_it_came(db: Database, count: int) -> None:
    ids = [f"acc_{number}" for number in range(count)]
    create_accounts(db, *ids)
    for given in (AWKWARD,) if count > 1 else [(each,) for each in AWKWARD]:
        rows = [(account_id, each) for account_id, each in zip(ids, given, strict=True)]
        with writing_by_letter(db) as session:
            update_rows(session, "accounts", ("account_id",), ("name",), rows)
        with reading(db) as session:
            by_id = select_rows(session, "accounts", ("account_id", "name"), ("account_id",), [(i,) for i in ids])
            by_name = select_rows(
                session, "accounts", ("account_id", "name"), ("name", "account_id"), [r[::-1] for r in rows]
            )
        assert sorted(by_id) == sorted(by_name) == sorted(rows)


def test_texts_and_their_absence_stand_side_by_side(db: Database) -> None:
    create_accounts(db, "acc_1", "acc_2", "acc_3")
    rows = [("acc_1", "NULL", DAY_0), ("acc_2", None, None), ("acc_3", "\\", DAY_0)]
    with writing_by_letter(db) as session:
        update_rows(session, "accounts", ("account_id",), ("name", "next_grant_at"), rows)
        found = select_rows(
            session, "accounts", ("account_id", "name", "next_grant_at"), ("account_id",), [(r[0],) for r in rows]
        )
    assert sorted(found) == rows


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_in_a_letter_leaves_nothing_and_the_next_one_goes(db: Database, count: int) -> None:
    create_accounts(db, "acc_1", "acc_2", "acc_3")
    rows = [(f"acc_{number}", "en", "{}", DAY_0, DAY_0) for number in range(8, 8 + count)]
    columns = ("account_id", "locale", "profile", "anchor_at", "created_at")

    def insert(session: Pen, locale: str | None) -> None:
        update_rows(session, "accounts", ("account_id",), ("name",), [("acc_1", "changed")])
        insert_rows(session, "accounts", columns, [(row[0], locale, *row[2:]) for row in rows])

    for _ in range(3):
        with pytest.raises(DBAPIError) as raised:
            transact_by_letter(db, lambda session: insert(session, None))
        if not db.is_sqlite:
            assert isinstance(raised.value.orig, NotNullViolation)
        assert names_in(db) == [None] * 3
    transact_by_letter(db, lambda session: insert(session, "en"))
    assert names_in(db) == ["changed", *[None] * (2 + count)]


def names_in(db: Database) -> list[str | None]:
    with reading(db) as session:
        return list(session.connection().execute(text("SELECT name FROM accounts ORDER BY account_id")).scalars())


def test_a_letter_that_nobody_finishes_is_rolled_back(db: Database) -> None:
    create_accounts(db, "acc_1")
    with pytest.raises(ZeroDivisionError), writing_by_letter(db) as session:
        update_rows(session, "accounts", ("account_id",), ("name",), [("acc_1", "changed")])
        assert select_rows(session, "accounts", ("name",), ("account_id",), [("acc_1",)]) == [("changed",)]
        raise ZeroDivisionError
    assert names_in(db) == [None]


def test_answers_may_be_taken_in_any_order(db: Database) -> None:
    create_accounts(db, "acc_1", "acc_2")
    with writing_by_letter(db) as session:
        first = ask_rows(session, "accounts", ("account_id",), ("account_id",), [("acc_1",)])
        second = ask_rows(session, "wallets", ("account_id", "seq"), ("account_id",), [("acc_2",), ("acc_1",)])
        none = ask_rows(session, "accounts", ("account_id",), ("account_id",), [("acc_9",)])
        assert none() == [] and sorted(second()) == [("acc_1", 0), ("acc_2", 0)] and first() == [("acc_1",)]


@pytest.mark.parametrize("counted", ["never", "too early"])
def test_the_plans_of_a_letter_go_through_the_index_whatever_the_tables_hold(
    postgresql: Database, postgresql_url: str, counted: str
) -> None:
    """One wallet with many lots: what a batch reads and writes is named by key, and found by it.

    There are no statistics, or those of when the tables had a row or two; then what many rows change at once may walk.
    """
    create_accounts(postgresql, *(f"acc_{number}" for number in range(20)))
    terms = counting_terms()
    if counted == "too early":
        LaneBook(postgresql, terms, lambda: DAY_0).carry_out([gift("acc_2", 5), debit("acc_2", 1)])
        with writing(postgresql) as session:
            session.connection().execute(text("ANALYZE"))
    grants = [gift("acc_1", 5) for _ in range(300)]
    spends = [Spend(account_id=f"acc_{n % 20}", actor="service", credits=1, key=f"k{n}") for n in range(40)]
    opened = open_database(postgresql_url)  # all of it through one connection
    lane = LaneBook(opened, terms, lambda: DAY_0)
    known = [debit("acc_1", 1), debit("acc_3", 1)]
    for work in (grants, spends, spends[:1], [gift("acc_3", 9)], known, known, known[:1], [known[1], gift("acc_4", 1)]):
        lane.carry_out(work)
    with opened.letters.connect() as connection:
        named = connection.execute(text("SELECT name, cardinality(parameter_types) FROM pg_prepared_statements")).all()
        plans = []
        for name, count in named:
            values = f"({', '.join(['NULL'] * count)})" if count else ""
            plan = connection.exec_driver_sql(f"EXPLAIN EXECUTE {name}{values}")
            plans.append("\n".join(plan.scalars()))
    opened.close()
    assert len(plans) > 8 and any("CTE held" in plan for plan in plans)
    assert len([plan for plan in plans if "CTE moved" in plan]) == 2, "of one wallet and of many"
    assert [plan for plan in plans if "Seq Scan" in plan or "Hash" in plan] == []
    walks = [plan for plan in plans if plan.count("Index Scan") != plan.count("Index Cond")]
    assert [plan for plan in walks if counted == "never" or not plan.startswith("Update")] == []
    assert any("ix_lots_spend_order" in plan and "Sort" not in plan for plan in plans)
    with reading(postgresql) as session:
        assert (
            sum(lot.remaining_credits for lot in lots_of(session, "acc_1"))
            == rows_of(session, "acc_1")[-1].balance_after
        )


def test_a_month_that_is_due_is_looked_up_by_the_account_among_many_that_are(
    postgresql: Database, postgresql_url: str
) -> None:
    create_accounts(postgresql, *(f"acc_{number}" for number in range(500)))
    clock, opened = FakeClock(), open_database(postgresql_url)
    lane = LaneBook(opened, counting_terms(), clock.now)
    ends = clock.now() + timedelta(days=1)
    lane.carry_out([replace(gift(f"acc_{number}", 5), expires_at=ends) for number in range(3)])
    with postgresql.writer.begin() as connection:
        connection.execute(text("UPDATE accounts SET next_grant_at = :at"), {"at": ends})
        connection.execute(text("ANALYZE accounts"))
    clock.advance(timedelta(days=1))
    for commands in ([debit("acc_0", 1)], [debit("acc_1", 1), debit("acc_2", 1)]):
        assert all(isinstance(answer, MonthDue) for answer in lane.carry_out(commands, turned=()))
    with opened.letters.connect() as connection:
        asked = (
            "SELECT name, cardinality(parameter_types) FROM pg_prepared_statements WHERE statement LIKE '%next_grant%'"
        )
        names = connection.execute(text(asked)).all()
        plans = [
            "\n".join(connection.exec_driver_sql(f"EXPLAIN EXECUTE {name}({', '.join(['NULL'] * count)})").scalars())
            for name, count in names
        ]
    opened.close()
    assert len(plans) == 2 and all("Index Scan using pk_accounts" in plan for plan in plans), plans


def test_answers_are_taken_while_the_letter_is_still_on_its_way(postgresql: Database) -> None:
    """More than a socket holds goes each way: a server that nobody listens to takes no more."""
    texts = [str(number) * 2_000_000 for number in range(8)]
    with writing_by_letter(postgresql) as pen:
        answers = [pen.run("SELECT %s::text", [each]) for each in texts]
        assert [answer()[0][0] for answer in answers] == texts


def test_a_letter_that_breaks_off_gives_back_no_connection_that_is_half_way(
    postgresql: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_accounts(postgresql, "acc_1")

    def break_off(libpq: Any, parts: Any) -> Iterator[Any]:
        libpq.enter_pipeline_mode()
        raise RuntimeError("out of something")
        yield

    with monkeypatch.context() as broken:
        broken.setattr(letters, "_dispatched", break_off)
        with pytest.raises(RuntimeError), writing_by_letter(postgresql) as pen:
            select_rows(pen, "accounts", ("account_id",), ("account_id",), [("acc_1",)])
    for _ in range(3):
        with writing_by_letter(postgresql) as pen:
            assert select_rows(pen, "wallets", ("seq",), ("account_id",), [("acc_1",)]) == [(0,)]


def test_marked_rows_are_locked_in_the_order_of_their_keys_however_they_come(postgresql: Database) -> None:
    """By the database's own order, in which all others lock: it may not be the one that we sort by."""
    create_accounts(postgresql, "acc_1", "acc_2")
    with postgresql.writer.connect() as connection:
        mark = connection.execute(text("SELECT DISTINCT xmin::text FROM wallets")).scalar_one()
    own: list[str] = []

    def write() -> None:
        with writing_by_letter(postgresql) as pen:
            rows = [("acc_2", 7), ("acc_1", 7)]
            asked = update_marked(
                pen, "wallets", "account_id", ("spent_credits",), rows, dict.fromkeys(dict(rows), mark)
            )
        own.append(asked())

    with postgresql.writer.begin() as connection:
        connection.execute(text("SELECT * FROM wallets WHERE account_id = 'acc_1' FOR UPDATE"))
        waiting = threading.Thread(target=write)
        waiting.start()
        wait_for_a_lock(postgresql)
        connection.execute(text("SELECT * FROM wallets WHERE account_id = 'acc_2' FOR UPDATE NOWAIT"))
    waiting.join(20)
    with postgresql.writer.connect() as connection:
        written = connection.execute(text("SELECT spent_credits, xmin::text FROM wallets")).all()
    assert [tuple(row) for row in written] == [(7, own[0])] * 2


@pytest.fixture
def late_constraint(postgresql: Database) -> Iterator[None]:
    """Of the accounts' `next_grant_at`: that no two have the same is looked at no sooner than at the commit."""
    made = "ALTER TABLE accounts ADD CONSTRAINT once UNIQUE (next_grant_at) DEFERRABLE INITIALLY DEFERRED"
    with postgresql.writer.begin() as connection:
        connection.execute(text(made))
    yield
    with postgresql.writer.begin() as connection:
        connection.execute(text("ALTER TABLE accounts DROP CONSTRAINT once"))


@pytest.mark.usefixtures("late_constraint")
@pytest.mark.parametrize("asks", [False, True], ids=["in one", "in two"])
def test_what_cannot_be_committed_is_an_error_and_leaves_nothing(postgresql: Database, asks: bool) -> None:
    create_accounts(postgresql, "acc_1")

    def insert(pen: Pen, *names: str) -> None:
        rows = [(name, "en", "{}", DAY_0, DAY_0, DAY_0) for name in names]
        columns = ("account_id", "locale", "profile", "anchor_at", "created_at", "next_grant_at")
        insert_rows(pen, "accounts", columns, rows)
        if asks:
            assert len(select_rows(pen, "accounts", ("account_id",), ("account_id",), [(rows[0][0],)])) == 1

    for _ in range(2):
        with pytest.raises(DBAPIError) as raised, writing_by_letter(postgresql) as pen:
            insert(pen, "acc_2", "acc_3")
        assert isinstance(raised.value.orig, UniqueViolation)
        assert len(names_in(postgresql)) == 1
    with writing_by_letter(postgresql) as pen:
        insert(pen, "acc_2")
    assert len(names_in(postgresql)) == 2


def test_a_transaction_of_one_letter_holds_its_locks_to_the_end(postgresql: Database) -> None:
    """Though nothing begins it in words: what follows the lock waits with it, and all is stored or nothing."""
    create_accounts(postgresql, "acc_1", "acc_2")
    done: list[str | None] = []

    def rename() -> None:
        with writing_by_letter(postgresql) as pen:
            update_rows(pen, "accounts", ("account_id",), ("name",), [("acc_1", "first")])
            update_rows(pen, "accounts", ("account_id",), ("name",), [("acc_2", "second")])
        done.append("second")

    with postgresql.writer.begin() as connection:
        connection.execute(text("SELECT * FROM accounts WHERE account_id = 'acc_2' FOR UPDATE"))
        waiting = threading.Thread(target=rename)
        waiting.start()
        wait_for_a_lock(postgresql)
        with postgresql.writer.connect() as other, pytest.raises(DBAPIError) as raised:
            other.execute(text("SELECT * FROM accounts WHERE account_id = 'acc_1' FOR UPDATE NOWAIT"))
        assert isinstance(raised.value.orig, LockNotAvailable)
        assert done == [] and names_in(postgresql) == [None, None]
    waiting.join(20)
    assert done == ["second"] and names_in(postgresql) == ["first", "second"]


@pytest.mark.parametrize("last", [ExecStatus.COMMAND_OK, None], ids=["after an answer", "before any"])
def test_a_connection_that_ends_without_a_word_is_no_success(last: ExecStatus | None) -> None:
    """As many results as there were, then nothing more: whether it was committed nobody knows."""
    given = [SimpleNamespace(status=last)] if last is not None else []
    libpq = SimpleNamespace(
        status=ConnStatus.BAD,
        get_result=lambda: given.pop() if given else None,
        **{name: lambda *_: 0 for name in ("enter_pipeline_mode", "pipeline_sync", "flush", "is_busy")},
    )
    with pytest.raises(OperationalError, match="connection was lost"):
        list(letters._answered(cast(PGconn, libpq)))
