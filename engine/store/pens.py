"""A transaction's pen: statements go to the driver itself, past SQLAlchemy's sessions and results.

The bulk statements are written with it, on every path. Group commit has nothing else: a session costs a single spend
more than the statements themselves. What the driver raises comes back as SQLAlchemy's exceptions.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from sqlalchemy import Engine, PoolProxiedConnection
from sqlalchemy.engine.interfaces import DBAPIModule
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from engine.store.letters import Known, Letter, Meanwhile, Rows

DriverError = DBAPIModule.Error

ROWS_AT_ONCE = (1, 2, 4, 8, 16, 32, 64, 128)
"""SQLite: a few sizes, so that the same few statements stay prepared; the widest row has some 30 values."""


class Pen:
    """One transaction on one connection. With a `letter`, statements wait in it until an answer is needed."""

    __slots__ = ("_engine", "_invalidate", "_letter", "driver", "errors", "is_sqlite")

    def __init__(
        self, engine: Engine, lent: PoolProxiedConnection, invalidate: Callable[[BaseException], None]
    ) -> None:
        self.driver: Any = lent.driver_connection
        self.errors: type[DriverError] = engine.dialect.loaded_dbapi.Error
        self.is_sqlite = engine.dialect.name == "sqlite"
        self._engine = engine
        self._invalidate = invalidate
        self._letter: Letter | None = None

    def begin(self, info: dict[str, Any]) -> None:
        """Take the write lock of SQLite, or begin a letter; `info` is kept as long as the connection."""
        if self.is_sqlite:
            self.run("BEGIN IMMEDIATE", ())
        else:
            known = info.get("known") or info.setdefault("known", Known(self.driver))
            self._letter = Letter(self.driver, known)

    def commit(self, meanwhile: Meanwhile | None = None) -> None:
        """Commit; `meanwhile` is called once the last letter is sent, before its answer is waited for."""
        try:
            if self._letter is None:
                self.driver.commit()
            else:
                self._letter.commit(meanwhile)
        except self.errors as error:
            raise self.explained(error, "COMMIT") from error

    def run(self, statement: str, values: Sequence[Any]) -> Rows:
        """Run one statement, or write it to the letter; its rows, if it has any, when they are asked for."""
        try:
            if self._letter is not None:
                return self._letter.write(statement, values)
            cursor = self.driver.cursor()
            cursor.execute(statement, values)
            rows: Rows = cursor.fetchall
            return rows
        except self.errors as error:
            raise self.explained(error, statement) from error

    def run_rows(self, statement_of: Callable[[int], str], rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement over rows, many at a time (SQLite); `statement_of` writes it for so many, or fewer: rows
        whose key is null are none.

        Each run lets go of the interpreter and must win it back from whoever took it meanwhile.
        """
        assert all(row[0] is not None for row in rows), "a row without a key would be no row"
        most = ROWS_AT_ONCE[-1]
        for start in range(0, len(rows), most):
            values = list(chain.from_iterable(rows[start : start + most]))
            size = next(size for size in ROWS_AT_ONCE if size * len(rows[0]) >= len(values))
            self.run(statement_of(size), values + [None] * (size * len(rows[0]) - len(values)))

    def explained(self, error: DriverError, statement: str) -> DBAPIError:
        """What the driver raised as SQLAlchemy would; a connection that is lost is dropped, its idle like with it."""
        dialect = self._engine.dialect
        is_lost = dialect.is_disconnect(error, self.driver, None) or has_left(error)
        if is_lost:
            self._invalidate(error)
            self._engine.dispose()
        told = DBAPIError.instance(statement, None, error, self.errors, connection_invalidated=is_lost, dialect=dialect)
        assert isinstance(told, DBAPIError), "it is an error of the driver"
        return told


AnySession = Session | Pen
"""What the bulk statements take: a session, or the pen of a transaction that has none."""


def pen_of(session: AnySession) -> Pen:
    """The pen of a session's connection.

    On SQLite an error ends the transaction (`OR ROLLBACK`), as it does on PostgreSQL: nothing may be written after it.
    """
    if isinstance(session, Pen):
        return session
    connection = session.connection()
    pen = Pen(connection.engine, connection.connection, connection.invalidate)
    assert not pen.is_sqlite or pen.driver.in_transaction, "an error has ended this transaction"
    return pen


def has_left(error: BaseException | None) -> bool:
    """Whether PostgreSQL said goodbye: it is shutting down, was restarted, or ended this connection."""
    return str(getattr(error, "sqlstate", None) or "").startswith(("08", "57P"))
