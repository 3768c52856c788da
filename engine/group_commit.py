"""Group commit: concurrent callers share a transaction, and each gets its own outcome.

Each lane is one thread with one connection and one batch in flight; whoever comes meanwhile makes up the next batch,
so an idle caller waits for nobody. A wallet always uses the same lane. If the database refuses a batch, it is split
in halves until the poisoned command stands alone: it fails, its neighbours do not. SQLite has one lane.
"""

import gc
import sys
import threading
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import datetime
from queue import Empty, SimpleQueue

from engine import book
from engine.clock import monotonic
from engine.meter import Meter
from engine.rules.commands import Command, Outcome
from engine.rules.decisions import Terms
from engine.rules.errors import Unavailable
from engine.store.database import Database, transact_by_letter
from engine.waiting import Waiter

SWITCH_SECONDS = 0.0005
BATCH_SIZE_MAX = 512
"""A batch takes no more once it has so many; what was queued together goes together."""


Item = tuple[Command, Waiter[Outcome]]
Answer = Outcome | BaseException
"""What became of one command of many: its outcome, or why the database could not do it."""


class Batch(Future[list[Answer | None]]):
    """Many commands on their way: the future of all their answers, in order."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.answers: list[Answer | None] = [None] * size
        """Those that are known by now; `None` for what is still on its way."""
        self._left = size
        self._lock = threading.Lock()
        if size == 0:
            self.set_result([])

    def put(self, place: int, answer: Answer) -> None:
        self.answers[place] = answer
        with self._lock:
            self._left -= 1
            is_whole = self._left == 0
        if is_whole and self.set_running_or_notify_cancel():
            self.set_result(self.answers)


class _Place:
    """The waiter of one command of a batch."""

    __slots__ = ("_batch", "_place")

    def __init__(self, batch: Batch, place: int) -> None:
        self._batch = batch
        self._place = place

    def set_running_or_notify_cancel(self) -> bool:
        return not self._batch.cancelled()

    def set_result(self, result: Outcome, /) -> None:
        self._batch.put(self._place, result)

    def set_exception(self, exception: BaseException, /) -> None:
        self._batch.put(self._place, exception)


class GroupCommit:
    """Takes commands from any thread; `close` finishes what was taken."""

    def __init__(self, db: Database, terms: Terms, now: Callable[[], datetime], lanes: int | None = None) -> None:
        count = 1 if db.is_sqlite else (lanes or 2)
        self._lanes = [_Lane(db, terms, now, number) for number in range(count)]

    def submit(self, command: Command) -> "Future[Outcome]":
        """Queue one command. The future gives its outcome once it is committed, or `Unavailable`."""
        future: Future[Outcome] = Future()
        self.submit_for(future, command)
        return future

    def submit_all(self, commands: Sequence[Command]) -> "list[Future[Outcome]]":
        """Queue many commands at once, in order for each wallet; those of a lane go together."""
        futures: list[Future[Outcome]] = [Future() for _ in commands]
        self._put(commands, futures)
        return futures

    def submit_batch(self, commands: Sequence[Command]) -> "Batch":
        """`submit_all` with one answer for all of them: a future for each costs as much as carrying it out."""
        batch = Batch(len(commands))
        self._put(commands, [_Place(batch, n) for n in range(len(commands))])
        return batch

    def submit_for(self, waiter: Waiter[Outcome], command: Command) -> None:
        """Queue one command for a waiter of the caller's own."""
        self._lane_of(command).put([(command, waiter)])

    def measure(self, meter: Meter) -> None:
        """Tell `meter` of every batch from now on."""
        for lane in self._lanes:
            lane.meter = meter

    def close(self) -> None:
        for lane in self._lanes:
            lane.close()

    def _put(self, commands: Sequence[Command], waiters: Sequence[Waiter[Outcome]]) -> None:
        items: dict[_Lane, list[Item]] = {}
        for command, waiter in zip(commands, waiters, strict=True):
            items.setdefault(self._lane_of(command), []).append((command, waiter))
        for lane, mine in items.items():
            for start in range(0, len(mine), BATCH_SIZE_MAX):
                lane.put(mine[start : start + BATCH_SIZE_MAX])

    def _lane_of(self, command: Command) -> "_Lane":
        return self._lanes[zlib.crc32(command.account_id.encode()) % len(self._lanes)]


def tune_interpreter() -> None:
    """Set the interpreter up for a server: call once, when everything is loaded.

    A batch makes thousands of values that reference counting frees; the collector at its defaults walks them, and
    all that was ever imported, for a fifth of the write path's time. Cycles still go, some 50,000 values later.
    A lane that has its answer from the database waits for the interpreter's lock as long as another thread may keep
    it: by default 5 ms, longer than the whole batch takes.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    sys.setswitchinterval(SWITCH_SECONDS)


class _Lane:
    """One queue, one thread, one batch in flight."""

    def __init__(self, db: Database, terms: Terms, now: Callable[[], datetime], number: int) -> None:
        self._db = db
        self._terms = terms
        self._now = now
        self._queue: SimpleQueue[list[Item] | None] = SimpleQueue()
        self._door = threading.Lock()
        self._is_closed = False
        self.meter: Meter | None = None
        self._thread = threading.Thread(target=self._run, name=f"group-commit-{number}", daemon=True)
        self._thread.start()

    def put(self, items: list[Item]) -> None:
        with self._door:
            if self._is_closed:
                raise Unavailable("The server is shutting down; try again.")
            self._queue.put(items)

    def close(self) -> None:
        with self._door:
            if not self._is_closed:
                self._is_closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch, is_open = self._next_batch()
            self._commit([item for item in batch if item[1].set_running_or_notify_cancel()])

    def _next_batch(self) -> tuple[list[Item], bool]:
        """Wait for items and take all that came with them; `False` once the door is closed and all is taken."""
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

    def _commit(self, batch: Sequence[Item]) -> None:
        """Post and commit a batch; callers hear only after the commit."""
        if not batch:
            return
        commands = [command for command, _ in batch]
        started = 0.0 if self.meter is None else monotonic()
        try:
            outcomes = transact_by_letter(self._db, lambda pen: book.post(pen, commands, self._terms, self._now()))
        except Unavailable as gone:
            for _, waiter in batch:
                waiter.set_exception(gone)
        except Exception as error:
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            middle = len(batch) // 2
            self._commit(batch[:middle])
            self._commit(batch[middle:])
        else:
            for (_, waiter), outcome in zip(batch, outcomes, strict=True):
                waiter.set_result(outcome)
            if self.meter is not None:
                self.meter.batch(commands, outcomes, monotonic() - started, self._queue.qsize())
