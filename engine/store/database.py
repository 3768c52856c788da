"""Opening a database and working in it: SQLite or PostgreSQL. The only file that knows which.

`writing` is a transaction that commits at the end of its block, `reading` one that never writes. `transact` runs a
whole function again after a serialization failure, a deadlock or a busy database, with jitter, until the deadline;
a database that does not answer by then is given up (`Unavailable`) and its connection cut, so nobody hangs on it.

SQLite has one writer connection a process, which writes and checkpoints only in its turn (`file_locks.py`); a lock file
keeps a second Purser out, and every other connection is `query_only`.
"""

import os
import random
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TypeVar

from sqlalchemy import Engine, PoolProxiedConnection, QueuePool, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry
from sqlmodel import Session

from engine import clock
from engine.rules.errors import Unavailable
from engine.store.file_locks import Turn, hold_file
from engine.store.letters import Meanwhile
from engine.store.pens import Pen, has_left, pen_of

T = TypeVar("T")

DEADLINE_SECONDS = 10.0
RETRY_STATES = frozenset({"40001", "40P01"})
"""PostgreSQL: serialization failure, deadlock detected."""
LOCK_NOT_AVAILABLE = "55P03"
"""PostgreSQL: a lock was waited for until the deadline."""
CHECKPOINT_PAGES = 32_000
"""SQLite: the WAL grows to about 128 MB before its pages are copied: a page many batches change is copied once."""
LETTER_PLANS = (
    "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off "
    "-c enable_bitmapscan=off -c enable_sort=off -c jit=off"
)
"""PostgreSQL: a batch's statements name their rows by key. Planned once, always through the index: a plan made while
a table was small, or for one odd batch, would read the whole ledger."""
UNIQUE_VIOLATION = "23505"
UNIQUE_TRIES = 3
"""Two transactions claimed one thing at once: run again, the loser finds the winner's row. A second thing may be
claimed meanwhile, and a third; what is still there then is no race."""


@dataclass
class Database:
    """Doors to one database: `writer` for transactions that change it, `reader` for those that never do.

    `letters` is the writer for batches whose statements travel together; on SQLite it is the same.
    """

    writer: Engine
    reader: Engine
    letters: Engine
    is_sqlite: bool
    deadline_seconds: float = DEADLINE_SECONDS
    watchdog: "Watchdog | None" = None
    turn: Turn | None = field(default=None, repr=False)
    lock_file: IO[str] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Where it is, password included: for another process of ours."""
        return self.reader.url.set(drivername=self.reader.url.get_backend_name()).render_as_string(hide_password=False)

    def close(self) -> None:
        """Return every connection; on SQLite the writer closes last, so that it alone checkpoints."""
        self.reader.dispose()
        self.letters.dispose()
        self.writer.dispose()
        if self.turn is not None:
            self.turn.close()
        if self.lock_file is not None:
            self.lock_file.close()


def open_database(url: str, *, deadline_seconds: float = DEADLINE_SECONDS, pool_size: int = 12) -> Database:
    """Open `sqlite:///FILE` or `postgresql://…`; nothing is created but the SQLite file and its locks."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise ValueError("SQLite needs a file: a database in memory would lose credits")
        lock_file = hold_file(Path(parsed.database))
        return _open_sqlite(Path(parsed.database), deadline_seconds, lock_file)
    if parsed.get_backend_name() != "postgresql":
        raise ValueError(f"{parsed.get_backend_name()} is not a database Purser knows")
    return _open_postgresql(url, deadline_seconds, pool_size)


def open_beside(url: str, deadline_seconds: float) -> Database:
    """Open a database for a process that was started by the one that has it open, and was given its lock file."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return _open_postgresql(url, deadline_seconds, 1)
    assert parsed.database, "it is open already"
    return _open_sqlite(Path(parsed.database), deadline_seconds, None)


def _open_sqlite(path: Path, deadline_seconds: float, lock_file: IO[str] | None) -> Database:
    turn = Turn(path, deadline_seconds)
    url = URL.create("sqlite", database=str(path))  # as text, a name with a percent sign would be another file's
    options = {"check_same_thread": False, "isolation_level": None, "timeout": deadline_seconds}
    writer = create_engine(
        url,
        connect_args=options,
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=deadline_seconds,
    )
    reader = create_engine(url, connect_args=options, poolclass=QueuePool, pool_size=4, max_overflow=12)
    event.listen(writer, "connect", _on_sqlite_writer)
    event.listen(reader, "connect", _on_sqlite_reader)
    event.listen(writer, "checkout", lambda *_: turn.take())
    event.listen(writer, "checkin", lambda *_: turn.give_back())
    event.listen(writer, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    event.listen(reader, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return Database(writer, reader, writer, True, deadline_seconds, None, turn, lock_file)


def _on_sqlite_writer(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "temp_store = MEMORY",
        "cache_size = -65536",
        f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    mode = cursor.execute("PRAGMA journal_mode").fetchone()
    level = cursor.execute("PRAGMA synchronous").fetchone()
    assert mode == ("wal",) and level == (2,), "an acknowledged commit must survive a power cut"
    cursor.close()


def _on_sqlite_reader(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA query_only = ON")
    cursor.execute("PRAGMA wal_autocheckpoint = 0")
    cursor.close()


def _open_postgresql(url: str, deadline_seconds: float, pool_size: int) -> Database:
    milliseconds = int(deadline_seconds * 1000)
    settings = (
        f"-c timezone=UTC -c standard_conforming_strings=on -c lock_timeout={milliseconds} "
        "-c idle_in_transaction_session_timeout=60000"
    )
    parsed = make_url(url).set(drivername="postgresql+psycopg")
    connecting = {"client_encoding": "utf8", "connect_timeout": max(2, int(deadline_seconds))}
    pool = {"pool_size": pool_size, "max_overflow": 0, "pool_timeout": deadline_seconds, "pool_pre_ping": False}
    writer = create_engine(parsed, connect_args={**connecting, "options": settings}, **pool)
    # A letter is a transaction by itself, and has its own prepared statements: psycopg drops all there are on a
    # rollback as soon as it has one itself.
    by_letter = {**connecting, "options": f"{settings} {LETTER_PLANS}", "prepare_threshold": None}
    letters = create_engine(
        parsed, connect_args=by_letter, isolation_level="AUTOCOMMIT", pool_use_lifo=True, **pool
    )  # the connection used last is the one that knows most
    for engine in (writer, letters):
        event.listen(engine, "handle_error", _note_goodbye)
    reader = writer.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return Database(writer, reader, letters, False, deadline_seconds, Watchdog())


@contextmanager
def writing(db: Database) -> Iterator[Session]:
    """One transaction: commits when the block ends, rolls back when it raises."""
    with Session(db.writer, expire_on_commit=False) as session, _watched(db, pen_of(session)):
        yield session
        session.commit()


@contextmanager
def writing_by_letter(db: Database, meanwhile: Meanwhile | None = None) -> Iterator[Pen]:
    """`writing` for statements of `engine/store/bulk.py` alone: on PostgreSQL they travel together (`letters.py`).

    What a statement of the block changes or raises is known when an answer is fetched, or at the commit; `meanwhile` is
    called while PostgreSQL commits. A block that raises leaves its connection to the pool, which rolls it back.
    """
    lent = _lent(db.letters)
    try:
        pen = Pen(db.letters, lent, lent.invalidate)
        with _watched(db, pen):
            pen.begin(lent.info)
            yield pen
            pen.commit(meanwhile)
    finally:
        lent.close()


def _lent(engine: Engine) -> PoolProxiedConnection:
    """A connection of the pool, without a transaction of SQLAlchemy's around it."""
    driver = engine.dialect.loaded_dbapi
    try:
        return engine.raw_connection()
    except driver.Error as error:
        raise DBAPIError.instance(
            "connect", None, error, driver.Error, connection_invalidated=True, dialect=engine.dialect
        ) from error


@contextmanager
def reading(db: Database) -> Iterator[Session]:
    """One snapshot, however many statements; nothing is written. `Unavailable` if the database is gone."""
    try:
        with Session(db.reader, expire_on_commit=False) as session, _watched(db, pen_of(session)):
            yield session
            session.expunge_all()  # rows read stay readable after the rollback
            session.rollback()
    except (PoolTimeout, DBAPIError) as error:
        if isinstance(error, DBAPIError) and not is_gone(error):
            raise
        raise Unavailable("The database does not answer; try again.") from error


def open_reader(url: str) -> Database:
    """Open a database for reading only, beside the process that has it open for writing: it takes no lock file."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return _open_postgresql(url, DEADLINE_SECONDS, 1)
    reader = create_engine(parsed, connect_args={"check_same_thread": False, "isolation_level": None})
    event.listen(reader, "connect", _on_sqlite_reader)
    event.listen(reader, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return Database(reader, reader, reader, True)


@contextmanager
def snapshot(db: Database, name: str | None = None) -> Iterator[Session]:
    """One consistent view for as long as the block takes, for audits and exports: no deadline, nothing is written.

    With a `name` it is the view of another process (`shared_snapshot`), as long as that one's block lasts.
    """
    with Session(db.reader, expire_on_commit=False) as session:
        if name is not None:
            assert re.fullmatch(r"[0-9A-Fa-f-]+", name), "a name that PostgreSQL gave"
            session.connection().exec_driver_sql(f"SET TRANSACTION SNAPSHOT '{name}'")
        yield session
        session.expunge_all()
        session.rollback()


def shared_snapshot(db: Database, session: Session) -> str | None:
    """A name under which other processes see what this `snapshot` sees; SQLite has none."""
    if db.is_sqlite:
        return None
    return str(session.connection().exec_driver_sql("SELECT pg_export_snapshot()").scalar_one())


def transact(db: Database, work: Callable[[Session], T]) -> T:
    """Run `work` in a transaction and commit, again from the start while the database asks for it.

    Raises `Unavailable` after the deadline or when the connection is lost: then nothing was stored, or the
    request's idempotency key tells. Refusals and bugs pass through, rolled back.
    """

    def attempt() -> T:
        with writing(db) as session:
            return work(session)

    return _again(db, attempt)


def transact_by_letter(db: Database, work: Callable[[Pen], T]) -> T:
    """`transact` for statements of `engine/store/bulk.py` alone."""

    def attempt() -> T:
        with writing_by_letter(db) as pen:
            return work(pen)

    return _again(db, attempt)


def _again(db: Database, attempt: Callable[[], T]) -> T:
    ends = clock.monotonic() + db.deadline_seconds
    tries = 0
    while True:
        try:
            return attempt()
        except (PoolTimeout, DBAPIError) as error:
            unavailable = as_unavailable(error)
            if unavailable is not None:
                raise unavailable from error
            assert isinstance(error, DBAPIError)
            lost_a_race = _sqlstate(error) == UNIQUE_VIOLATION and tries < UNIQUE_TRIES
            if not (is_retryable(error) or lost_a_race):
                raise
            if clock.monotonic() > ends:
                raise busy() from error
            tries += 1
            clock.sleep(min(0.25, 0.002 * 2**tries) * (0.5 + random.random()))


def as_unavailable(error: Exception) -> Unavailable | None:
    """What to tell of an error, if it is that the database is away, or was busy for as long as anybody waits."""
    if isinstance(error, DBAPIError) and is_gone(error):
        return Unavailable("The database does not answer; try again.")
    if isinstance(error, PoolTimeout) or _sqlstate(error) == LOCK_NOT_AVAILABLE:
        return busy()
    return None


def busy() -> Unavailable:
    return Unavailable("The database is busy; try again.")


def _sqlstate(error: Exception) -> str | None:
    return getattr(error.orig, "sqlstate", None) if isinstance(error, DBAPIError) else None


def _note_goodbye(context: ExceptionContext) -> None:
    """One goodbye is every idle connection's: the whole pool is made anew, so a restart is met once, not once each."""
    if has_left(context.original_exception):
        context.is_disconnect = True


def is_retryable(error: DBAPIError) -> bool:
    """Whether the same transaction, run again, may well succeed."""
    state = _sqlstate(error)
    if state is not None:
        return state in RETRY_STATES
    return isinstance(error, OperationalError) and "database is locked" in str(error.orig)


def is_gone(error: DBAPIError) -> bool:
    """Whether the connection, not the statement, failed."""
    if error.connection_invalidated or isinstance(error, InterfaceError):
        return True
    if _sqlstate(error) is not None:
        return has_left(error.orig)
    message = str(error.orig)
    return isinstance(error, OperationalError) and ("connection" in message or "server" in message)


@contextmanager
def _watched(db: Database, pen: Pen) -> Iterator[None]:
    """Cut the connection when the block outlives the deadline: no time-out of the driver sees a frozen server."""
    if db.watchdog is None:
        yield
        return
    token = db.watchdog.watch(pen.driver.fileno(), clock.monotonic() + db.deadline_seconds)
    try:
        yield
    finally:
        db.watchdog.forget(token)


class Watchdog:
    """One thread that shuts down sockets whose deadline has passed, which wakes whoever waits on them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[int, tuple[int, float]] = {}
        self._next = 0
        self._thread: threading.Thread | None = None

    def watch(self, fd: int, deadline: float) -> int:
        with self._lock:
            self._next += 1
            self._watched[self._next] = (fd, deadline)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="database-watchdog", daemon=True)
                self._thread.start()
            return self._next

    def forget(self, token: int) -> None:
        with self._lock:
            self._watched.pop(token, None)

    def _run(self) -> None:
        while True:
            clock.sleep(0.25)
            now = clock.monotonic()
            with self._lock:
                late = [token for token, (_, deadline) in self._watched.items() if deadline < now]
                for token in late:
                    fd, _ = self._watched.pop(token)
                    with suppress(OSError), socket.socket(fileno=os.dup(fd)) as cut:
                        cut.shutdown(socket.SHUT_RDWR)
