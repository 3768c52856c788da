"""Several statements in one message to PostgreSQL: one round trip for what would be one each.

A letter holds statements until an answer is needed. Each is prepared once a connection and then named, so the server
neither parses nor plans it again; its values are literals that libpq quotes. Statements run one after the other, each
with a snapshot of its own: what follows a lock in the same letter sees what the lock protects.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from psycopg import Connection
from psycopg.pq import Escaping

Rows = Callable[[], list[tuple[Any, ...]]]
_PLACE = re.compile("%s")


class Letter:
    """What one transaction wants to say. `prepared` outlives it: the statements its connection knows, and their names.

    Not a transaction by itself: its first statement is `BEGIN`, and an error leaves the rollback to the caller.
    """

    def __init__(self, driver: Connection[Any], prepared: dict[str, bytes]) -> None:
        self._driver = driver
        self._quote = Escaping(driver.pgconn).escape_literal
        self._prepared = prepared
        self._parts: list[bytes] = [b"BEGIN"]
        self._answers: list[_Answer | None] = [None]

    def write(self, statement: str, values: Sequence[str | None]) -> Rows:
        """Add a statement, `%s` for each value as text; its rows, when they are asked for."""
        answer = _Answer(self)
        name = self._prepared.get(statement) or self._prepare(statement)
        literals = b",".join([b"NULL" if value is None else self._literal(value) for value in values])
        self._add(b"EXECUTE %s(%s)" % (name, literals) if values else b"EXECUTE %s" % name, answer)
        return answer.fetch

    def _literal(self, value: str) -> bytes:
        if "\0" in value:
            raise ValueError("a text with a NUL cannot be stored")  # libpq would end it there
        return self._quote(value.encode())

    def commit(self) -> None:
        self._add(b"COMMIT", None)
        self.send()

    def send(self) -> None:
        """Send what has been written and take the answers. Raises the first error; nothing after it was run."""
        message = b";".join(self._parts)
        answers = self._answers
        self._parts, self._answers = [], []
        cursor = self._driver.cursor()
        cursor.execute(message, prepare=False)
        for answer in answers:
            if answer is not None and cursor.pgresult is not None and cursor.pgresult.nfields:
                answer.rows = cursor.fetchall()
            cursor.nextset()

    def _prepare(self, statement: str) -> bytes:
        """In a message of its own: a statement stays prepared when a transaction fails, and so must its name."""
        name = b"letter_%d" % len(self._prepared)
        number = iter(range(1, 1 + statement.count("%s")))
        text = _PLACE.sub(lambda _: f"${next(number)}", statement)
        self._driver.execute(b"PREPARE %s AS %s" % (name, text.encode()), prepare=False)
        self._prepared[statement] = name
        return name

    def _add(self, part: bytes, answer: "_Answer | None") -> None:
        self._parts.append(part)
        self._answers.append(answer)


class _Answer:
    """The rows of one statement: sends the letter if it has not gone."""

    def __init__(self, letter: Letter) -> None:
        self._letter = letter
        self.rows: list[tuple[Any, ...]] | None = None

    def fetch(self) -> list[tuple[Any, ...]]:
        if self.rows is None:
            self._letter.send()
        assert self.rows is not None, "a query has rows"
        return self.rows
