"""What the tests of a lane's memory share."""

import pytest

from engine.rules.commands import Command
from engine.rules.ledger import Page
from engine.store import books


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many commands each batch had that was read."""
    counts: list[int] = []
    load = books.load

    def counted(session: books.AnySession, commands: list[Command], now: object) -> dict[str, Page]:
        counts.append(len(commands))
        return load(session, commands, now)  # type: ignore[arg-type]

    monkeypatch.setattr(books, "load", counted)
    return counts
