"""Several statements in one message to PostgreSQL: one round trip for what would be one each.

A letter holds statements until an answer is needed, and sends them through libpq's pipeline. Each is prepared once a
connection and then named, so the server neither parses nor plans it again; its values go as text beside it. Statements
run one after the other, each with a snapshot of its own: what follows a lock in the same letter sees what it protects.

What is sent at once is one transaction (PostgreSQL's manual, "Pipelining"), so only one that needs an answer before its
end is begun and committed in words.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from psycopg import Connection, OperationalError
from psycopg.abc import PQGen
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.waiting import Ready, Wait

Rows = Callable[[], list[tuple[Any, ...]]]
Meanwhile = Callable[[], None]
_PLACE = re.compile("%s")


class Known:
    """What a connection knows for as long as it lives: the statements prepared on it, and how to read its values."""

    def __init__(self, driver: Connection[Any]) -> None:
        self.names: dict[str, bytes] = {}
        self.reader = Transformer(driver)


class Letter:
    """What one transaction wants to say. `known` outlives it. An error leaves the rollback to the caller."""

    def __init__(self, driver: Connection[Any], known: Known) -> None:
        self._driver = driver
        self._known = known
        self._parts: list[_Part] = []
        self._has_begun = False

    def write(self, statement: str, values: Sequence[str | None]) -> Rows:
        """Add a statement, `%s` for each value as text; its rows, when they are asked for."""
        texts = [None if value is None else value.encode() for value in values]
        if b"\0" in b"".join(filter(None, texts)):
            raise ValueError("a text with a NUL cannot be stored")  # libpq would end it there
        name = self._known.names.get(statement) or self._prepare(statement)
        part = _Part(self, name, texts)
        self._parts.append(part)
        return part.fetch

    def commit(self, meanwhile: Meanwhile | None = None) -> None:
        """Send the rest and commit; `meanwhile` is called while the answers are on their way."""
        if self._has_begun:
            self._parts.append(_Part(self, b"COMMIT"))
        if self._parts:
            self._send(meanwhile)

    def ask(self) -> None:
        """Send what has been written and take the answers; the transaction goes on."""
        if not self._has_begun:
            self._parts.insert(0, _Part(self, b"BEGIN"))
            self._has_begun = True
        self._send()

    def _send(self, meanwhile: Meanwhile | None = None) -> None:
        """Raises the first error; nothing after it was run."""
        parts, self._parts = self._parts, []
        try:
            self._driver.wait(_dispatched(self._driver.pgconn, parts))
            if meanwhile is not None:
                meanwhile()
            results = self._driver.wait(_answered(self._driver.pgconn))
        except BaseException:
            self._driver.close()  # half a letter may be on its way: nobody can go on from there
            raise
        for result in results:  # one more than there are parts, if they could not be committed
            if result.status == ExecStatus.FATAL_ERROR:
                raise error_from_result(result)
        for part, result in zip(parts, results, strict=True):
            if result.status == ExecStatus.TUPLES_OK:
                part.rows = self._read(result)

    def _read(self, result: PGresult) -> list[tuple[Any, ...]]:
        reader = self._known.reader
        reader.set_pgresult(result)
        return reader.load_rows(0, result.ntuples, tuple)

    def _prepare(self, statement: str) -> bytes:
        """In a message of its own: a statement stays prepared when a transaction fails, and so must its name."""
        name = b"letter_%d" % len(self._known.names)
        number = iter(range(1, 1 + statement.count("%s")))
        text = _PLACE.sub(lambda _: f"${next(number)}", statement)
        self._driver.execute(b"PREPARE %s AS %s" % (name, text.encode()), prepare=False)
        self._known.names[statement] = name
        return name


class _Part:
    """One statement of a letter, and its rows once the letter was sent. Without values it is not a prepared one."""

    __slots__ = ("_letter", "name", "rows", "values")

    def __init__(self, letter: Letter, name: bytes, values: list[bytes | None] | None = None) -> None:
        self._letter = letter
        self.name = name
        self.values = values
        self.rows: list[tuple[Any, ...]] | None = None

    def fetch(self) -> list[tuple[Any, ...]]:
        if self.rows is None:
            self._letter.ask()
        assert self.rows is not None, "a query has rows"
        return self.rows


def _dispatched(libpq: PGconn, parts: Sequence[_Part]) -> PQGen[None]:
    """Send the parts."""
    libpq.enter_pipeline_mode()
    for part in parts:
        if part.values is None:
            libpq.send_query_params(part.name, None)
        else:
            libpq.send_query_prepared(part.name, part.values)
    libpq.pipeline_sync()
    while libpq.flush():
        ready = yield Wait.RW
        if ready & Ready.R:
            libpq.consume_input()


def _answered(libpq: PGconn) -> PQGen[list[PGresult]]:
    """Take a result for each part, up to the letter's end or the connection's."""
    results: list[PGresult] = []
    while True:
        while libpq.is_busy():
            yield Wait.R
            libpq.consume_input()
        result = libpq.get_result()
        if result is not None and result.status == ExecStatus.PIPELINE_SYNC:
            libpq.exit_pipeline_mode()
            return results
        if result is not None:
            results.append(result)
        if libpq.status == ConnStatus.BAD:
            if results and results[-1].status == ExecStatus.FATAL_ERROR:
                return results  # which says why
            raise OperationalError("the connection was lost")
