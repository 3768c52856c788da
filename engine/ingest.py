"""Verified webhooks kept in batches: whoever comes while one is written makes up the next, and each hears its own end.

The answer to a provider waits for the commit and for nothing else. There is no thread but while there is something to
write, so nothing needs closing.
"""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime

from sqlmodel import Session

from engine.payments import Event
from engine.rules.errors import Unavailable
from engine.store import polling
from engine.store.database import Database, transact

BATCH_SIZE_MAX = 500


@dataclass(frozen=True, slots=True)
class _Waiting:
    """One event, whose rail it is, when it came, and who waits for it."""

    provider: str
    event: Event
    at: datetime
    future: "Future[bool]" = field(default_factory=Future)


class Ingest:
    """One per process, for any thread."""

    def __init__(self) -> None:
        self._door = threading.Lock()
        self._queue: list[_Waiting] = []
        self._is_writing = False

    def keep(self, db: Database, provider: str, event: Event, at: datetime) -> "Future[bool]":
        """Keep an event; the future tells whether it is new once it is committed, or raises `Unavailable`."""
        waiting = _Waiting(provider, event, at)
        with self._door:
            self._queue.append(waiting)
            if self._is_writing:
                return waiting.future
            self._is_writing = True
        threading.Thread(target=self._write, args=(db,), name="ingest", daemon=True).start()
        return waiting.future

    def _write(self, db: Database) -> None:
        """Write all that waits, batch after batch, until nothing does."""
        while True:
            with self._door:
                batch, self._queue = self._queue[:BATCH_SIZE_MAX], self._queue[BATCH_SIZE_MAX:]
                if not batch:
                    self._is_writing = False
                    return
            self._commit(db, batch)

    def _commit(self, db: Database, batch: Sequence[_Waiting]) -> None:
        """One transaction; if the database refuses the batch, each event of it stands alone."""
        try:
            new = transact(db, lambda session: _store(session, batch))
        except Unavailable as gone:
            for waiting in batch:
                waiting.future.set_exception(gone)
        except Exception as error:
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            for waiting in batch:
                self._commit(db, [waiting])
        else:
            for waiting in batch:
                key = (waiting.provider, waiting.event.event_id)
                waiting.future.set_result(key in new)
                new.discard(key)


def _store(session: Session, batch: Sequence[_Waiting]) -> set[tuple[str, str]]:
    """Keep what is not there yet, a statement for each provider; the keys of what is new."""
    new: set[tuple[str, str]] = set()
    for provider in dict.fromkeys(waiting.provider for waiting in batch):
        mine = [waiting for waiting in batch if waiting.provider == provider]
        events = tuple(waiting.event for waiting in mine)
        stored = polling.store_new(session, provider, events, mine[0].at)
        new |= {(provider, event_id) for event_id in stored}
    return new
