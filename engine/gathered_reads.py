"""Gathered reads: callers of the same moment share one snapshot and one statement, as writers share a commit.

One thread, one read under way; whoever comes meanwhile makes up the next, so an idle caller waits for nobody.
"""

import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from sqlmodel import Session

from engine.store.database import Database, reading
from engine.waiting import Waiter

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

Read = Callable[[Session, Sequence[K]], Mapping[K, V]]
"""Answers what it finds for many keys at once; a function of a module, for it names the kind of read."""

BATCH_SIZE_MAX = 512
"""A snapshot takes no more once it has so many."""
Item = tuple[Read[Any, Any], Any, Waiter[Any]]


class GatheredReads:
    """Takes keys from any thread and answers each with its value, or `None`. The thread starts with the first."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._queue: SimpleQueue[Sequence[Item] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, read: Read[K, V], key: K) -> "Future[V | None]":
        """Ask for one key from a thread that can wait."""
        future: Future[V | None] = Future()
        self.put([(read, key, future)])
        return future

    def put(self, items: Sequence[Item]) -> None:
        """Ask for keys on behalf of waiters of the caller's own."""
        if self._thread is None:
            self._start()
        self._queue.put(items)

    def close(self) -> None:
        """Answer what was asked and end the thread."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="gathered-reads", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch, is_open = self._next_batch()
            self._answer([item for item in batch if item[2].set_running_or_notify_cancel()])

    def _next_batch(self) -> tuple[list[Item], bool]:
        batch: list[Item] = []
        items = self._queue.get()
        while items is not None:
            batch += items
            if len(batch) >= BATCH_SIZE_MAX:
                return batch, True
            try:
                items = self._queue.get_nowait()
            except Empty:
                return batch, True
        return batch, False

    def _answer(self, batch: Sequence[Item]) -> None:
        """Read each kind once, all in one snapshot; an error of a read is the error of all who share it."""
        if not batch:
            return
        kinds: dict[Read[Any, Any], dict[Any, None]] = {}
        for read, key, _ in batch:
            kinds.setdefault(read, {})[key] = None
        try:
            with reading(self._db) as session:
                found = {read: read(session, tuple(keys)) for read, keys in kinds.items()}
        except Exception as error:
            for _, _, waiter in batch:
                waiter.set_exception(error)
        else:
            for read, key, waiter in batch:
                waiter.set_result(found[read].get(key))
