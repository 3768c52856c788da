"""The two doors to a database when things go wrong: conflicts, frozen and killed servers, a second process."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from engine import book
from engine.clock import new_id
from engine.group_commit import in_threads
from engine.rules.commands import Posted
from engine.rules.decisions import Terms
from engine.rules.errors import NotFound, Unavailable
from engine.store.database import Database, open_database, reading, transact, writing
from engine.store.file_locks import DatabaseLocked
from tests.engine.backends import Stored
from tests.engine.invariants import check
from tests.engine.support import CHAIN_KEY, DAY_0, create_accounts, debit, gift, wallets_locked

TERMS = Terms(new_id, CHAIN_KEY)
ADD_ONE = text("UPDATE wallets SET spent_credits = spent_credits + 1 WHERE account_id = :account")
SPENT = text("SELECT spent_credits FROM wallets WHERE account_id = :account")


def add_one(session: Session, account_id: str) -> None:
    session.connection().execute(ADD_ONE, {"account": account_id})


def spent(db: Database, account_id: str) -> int:
    with reading(db) as session:
        return int(session.connection().execute(SPENT, {"account": account_id}).scalar_one())


@pytest.fixture
def local_postgresql(postgresql: Database) -> Database:
    """A server of this machine, whose processes a test may stop."""
    if "PURSER_TEST_DATABASE_URL" in os.environ:
        pytest.skip("the processes of a server that was named are not ours to stop")
    return postgresql


def backend_pid(session: Session) -> int:
    return int(session.connection().execute(text("SELECT pg_backend_pid()")).scalar_one())


@contextmanager
def opened(url: str, deadline_seconds: float) -> Iterator[Database]:
    db = open_database(url, deadline_seconds=deadline_seconds)
    try:
        yield db
    finally:
        db.close()


def test_a_transaction_that_meets_a_deadlock_is_run_again(postgresql: Database) -> None:
    create_accounts(postgresql, "acc_1", "acc_2")
    both_hold_one = threading.Barrier(2)
    attempts: list[str] = []

    def work(session: Session, first: str, second: str) -> None:
        attempts.append(first)
        session.connection().execute(text("SET LOCAL deadlock_timeout = '50ms'"))
        add_one(session, first)
        if attempts.count(first) == 1:
            both_hold_one.wait(timeout=10)
        add_one(session, second)

    orders = [("acc_1", "acc_2"), ("acc_2", "acc_1")]
    threads = [
        threading.Thread(target=transact, args=(postgresql, lambda session, order=order: work(session, *order)))
        for order in orders
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
    assert len(attempts) == 3, "one of the two was chosen as the victim and ran again"
    assert [spent(postgresql, "acc_1"), spent(postgresql, "acc_2")] == [2, 2]


def test_a_transaction_that_cannot_be_serialized_is_run_again(postgresql: Database) -> None:
    create_accounts(postgresql, "acc_1")
    attempts: list[int] = []

    def work(session: Session) -> None:
        session.connection().execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        attempts.append(int(session.connection().execute(SPENT, {"account": "acc_1"}).scalar_one()))
        if len(attempts) == 1:
            transact(postgresql, lambda other: add_one(other, "acc_1"))
        add_one(session, "acc_1")

    transact(postgresql, work)
    assert attempts == [0, 1], "the second run sees what the first one met"
    assert spent(postgresql, "acc_1") == 2


def test_a_writer_waits_for_another_and_goes_on(kind: str, db_url: str) -> None:
    with opened(db_url, 10) as db:
        create_accounts(db, "acc_1")
        is_held, may_end = threading.Event(), threading.Event()

        def hold() -> None:
            with wallets_locked(kind, db_url):
                is_held.set()
                may_end.wait(timeout=10)

        holder = threading.Thread(target=hold)
        holder.start()
        assert is_held.wait(timeout=10)
        threading.Timer(0.2, may_end.set).start()
        transact(db, lambda session: add_one(session, "acc_1"))
        assert may_end.is_set(), "it could not write before"
        holder.join()
        assert spent(db, "acc_1") == 1


def test_a_writer_that_waits_too_long_is_told_so(kind: str, db_url: str) -> None:
    with opened(db_url, 0.5) as db:
        create_accounts(db, "acc_1")
        with wallets_locked(kind, db_url):
            started = monotonic()
            with pytest.raises(Unavailable):
                transact(db, lambda session: add_one(session, "acc_1"))
            assert monotonic() - started < 4
        transact(db, lambda session: add_one(session, "acc_1"))
        assert spent(db, "acc_1") == 1


@pytest.mark.parametrize("problem", [NotFound("thing"), ZeroDivisionError("a bug")])
def test_refusals_and_bugs_pass_through_and_leave_nothing(db: Database, problem: Exception) -> None:
    create_accounts(db, "acc_1")
    runs: list[int] = []

    def work(session: Session) -> None:
        runs.append(1)
        add_one(session, "acc_1")
        raise problem

    with pytest.raises(type(problem)):
        transact(db, work)
    assert len(runs) == 1 and spent(db, "acc_1") == 0


def test_a_frozen_server_is_given_up_at_the_deadline(postgresql_url: str, local_postgresql: Database) -> None:
    create_accounts(local_postgresql, "acc_1")
    with opened(postgresql_url, 0.6) as db:
        frozen: list[int] = []

        def work(session: Session) -> None:
            frozen.append(backend_pid(session))
            os.kill(frozen[0], signal.SIGSTOP)
            add_one(session, "acc_1")

        started = monotonic()
        try:
            with pytest.raises(Unavailable):
                transact(db, work)
            assert 0.5 < monotonic() - started < 4
            assert len(frozen) == 1, "a request whose fate is unknown is not run again"
            transact(db, lambda session: add_one(session, "acc_1"))
        finally:
            os.kill(frozen[0], signal.SIGCONT)
        assert spent(db, "acc_1") == 1


def test_callers_of_a_group_commit_hear_of_a_frozen_server(postgresql_url: str, local_postgresql: Database) -> None:
    create_accounts(local_postgresql, "acc_1")
    with opened(postgresql_url, 0.6) as db:
        writer = in_threads(db, TERMS, lambda: DAY_0, 1)
        assert isinstance(writer.submit(gift("acc_1", 5)).result(timeout=30), Posted)
        frozen = [pid for pid in backends_of(postgresql_url) if pid != connected_pid(local_postgresql)]
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        try:
            futures = writer.submit_all([debit("acc_1", 1, key=f"k{n}") for n in range(8)])
            assert all(isinstance(future.exception(timeout=30), Unavailable) for future in futures)
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGCONT)
        again = [writer.submit(debit("acc_1", 1, key=f"k{n}")).result(timeout=30) for n in range(5)]
        assert all(isinstance(outcome, Posted) for outcome in again), "the key tells whether it was stored"
        writer.close()
    books = Stored(local_postgresql).books("acc_1")
    check(books)
    assert books.wallet.available_credits == 0 and len(books.rows) == 6


def backends_of(url: str) -> list[int]:
    """The server processes of every client that is connected now, but for this question's own."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() "
            "AND datname = current_database()"
        )
        return [int(row[0]) for row in found]


def connected_pid(db: Database) -> int:
    with reading(db) as session:
        return backend_pid(session)


def test_a_killed_connection_answers_unavailable_and_the_next_call_works(
    postgresql_url: str, postgresql: Database
) -> None:
    create_accounts(postgresql, "acc_1")
    with opened(postgresql_url, 5) as db:
        runs: list[int] = []

        def work(session: Session) -> None:
            runs.append(backend_pid(session))
            with psycopg.connect(postgresql_url, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s)", (runs[0],))
            sleep(0.05)
            add_one(session, "acc_1")

        with pytest.raises(Unavailable):
            transact(db, work)
        assert len(runs) == 1
        transact(db, lambda session: add_one(session, "acc_1"))
        assert spent(db, "acc_1") == 1


def test_after_a_server_restart_the_pool_mends_itself(postgresql_url: str, postgresql: Database) -> None:
    create_accounts(postgresql, "acc_1")
    with opened(postgresql_url, 5) as db:
        ready = threading.Barrier(3)

        def work(session: Session) -> None:
            backend_pid(session)
            ready.wait(timeout=10)

        threads = [threading.Thread(target=transact, args=(db, work)) for _ in range(2)]
        for thread in threads:
            thread.start()
        pids = set(backends_of(postgresql_url))
        ready.wait(timeout=10)
        for thread in threads:
            thread.join()
        with psycopg.connect(postgresql_url, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", (sorted(pids),))
        sleep(0.1)
        failures = 0
        for _ in range(4):
            try:
                transact(db, lambda session: add_one(session, "acc_1"))
            except Unavailable:
                failures += 1
        assert failures <= 1, "one call notices, the others get fresh connections"
        assert spent(db, "acc_1") == 4 - failures
    forget_connections(postgresql)


def forget_connections(db: Database) -> None:
    """After every backend was ended: what other tests share starts with fresh connections."""
    for engine in (db.writer, db.reader, db.letters):
        engine.dispose()


def test_after_a_server_restart_readers_and_lanes_are_refused_at_most_once_each(
    postgresql_url: str, postgresql: Database
) -> None:
    create_accounts(postgresql, "acc_1", "acc_2", "acc_3")
    accounts = ["acc_1", "acc_2", "acc_3"]
    with opened(postgresql_url, 5) as db:
        group = in_threads(db, TERMS, lambda: DAY_0)
        assert len([group.submit(gift(account, 10)).result(10) for account in accounts]) == 3
        with reading(db) as one, reading(db) as other:
            backend_pid(one), backend_pid(other)
        pids = backends_of(postgresql_url)
        with psycopg.connect(postgresql_url, autocommit=True) as operator:
            operator.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", (pids,))
        sleep(0.1)
        refused = {"reader": 0, "lane": 0}
        for turn in range(4):
            for account in accounts:
                try:
                    group.submit(gift(account, 1, key=f"{account}-{turn}")).result(10)
                except Unavailable:
                    refused["lane"] += 1
            try:
                with reading(db) as session:
                    backend_pid(session)
            except Unavailable:
                refused["reader"] += 1
        group.close()
        assert refused["reader"] <= 1 and refused["lane"] <= 2
    forget_connections(postgresql)


OPEN_AND_SAY = """
import sys
from engine.store.database import open_database
from engine.store.file_locks import DatabaseLocked
try:
    open_database(sys.argv[1]).close()
except DatabaseLocked:
    sys.exit(7)
"""


def opens_in_another_process(url: str) -> bool:
    ended = subprocess.run([sys.executable, "-c", OPEN_AND_SAY, url], check=False, timeout=60)
    assert ended.returncode in (0, 7)
    return ended.returncode == 0


def test_a_second_process_on_the_sqlite_file_is_refused(sqlite_url: str) -> None:
    db = open_database(sqlite_url)
    try:
        assert not opens_in_another_process(sqlite_url)
        with pytest.raises(DatabaseLocked):
            open_database(sqlite_url)
    finally:
        db.close()
    assert opens_in_another_process(sqlite_url), "once it is closed another may open it"


def test_a_database_in_memory_or_of_another_make_is_refused(tmp_path: Path) -> None:
    for url in ("sqlite://", "sqlite:///:memory:", "mysql+pymysql://localhost/purser"):
        with pytest.raises(ValueError):
            open_database(url)


def test_readers_never_write(db: Database) -> None:
    create_accounts(db, "acc_1")
    with reading(db) as session, pytest.raises(DBAPIError, match=r"readonly|read-only"):
        add_one(session, "acc_1")
    assert spent(db, "acc_1") == 0


def test_a_reader_does_not_see_what_is_not_committed(db: Database) -> None:
    create_accounts(db, "acc_1")
    with writing(db) as session:
        add_one(session, "acc_1")
        assert spent(db, "acc_1") == 0
    assert spent(db, "acc_1") == 1


def test_writers_of_one_wallet_take_turns(db: Database) -> None:
    create_accounts(db, "acc_1")
    transact(db, lambda session: book.post(session, [gift("acc_1", 100)], TERMS, DAY_0))

    def spend_25_times() -> None:
        for _ in range(25):
            transact(db, lambda session: book.post(session, [debit("acc_1", 1)], TERMS, DAY_0))

    threads = [threading.Thread(target=spend_25_times) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    books = Stored(db).books("acc_1")
    check(books)
    assert len(books.rows) == 101 and books.wallet.available_credits == 0


def test_sqlite_commits_survive_a_power_cut_and_only_the_writer_checkpoints(sqlite: Database) -> None:
    with sqlite.writer.connect() as writer, sqlite.reader.connect() as reader:
        assert writer.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert writer.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert writer.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
        assert reader.exec_driver_sql("PRAGMA wal_autocheckpoint").scalar() == 0
        assert reader.exec_driver_sql("PRAGMA query_only").scalar() == 1
