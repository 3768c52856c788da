"""Who holds a connection of the database, and a provider that refuses to be asked by whoever does."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

from sqlalchemy import event

from engine.store.database import Database


class Connections:
    """Which threads hold a connection, counted where the pools give them out and take them back."""

    def __init__(self, db: Database) -> None:
        self.held: Counter[int] = Counter()
        self._engines = tuple({id(engine): engine for engine in (db.writer, db.reader, db.letters)}.values())
        for engine in self._engines:
            event.listen(engine, "checkout", self._out)
            event.listen(engine, "checkin", self._in)

    def close(self) -> None:
        for engine in self._engines:
            event.remove(engine, "checkout", self._out)
            event.remove(engine, "checkin", self._in)

    def _out(self, *_: object) -> None:
        self.held[threading.get_ident()] += 1

    def _in(self, *_: object) -> None:
        self.held[threading.get_ident()] -= 1


class Watched:
    """A provider whose every call is refused while its thread holds a connection."""

    def __init__(self, provider: Any, connections: Connections) -> None:
        self._provider = provider
        self._connections = connections
        self.called: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._provider, name)
        if not callable(found) or name.startswith("_"):
            return found
        return self._watching(name, found)

    def _watching(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            assert self._connections.held[threading.get_ident()] == 0, f"{name} was called inside a transaction"
            self.called[name] += 1
            return work(*args)

        return call
