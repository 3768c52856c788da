"""Group commit: concurrent callers share a transaction, and each gets its own outcome.

Each lane is one thread with one connection and one batch in flight; whoever comes meanwhile makes up the next batch,
so an idle caller waits for nobody. A wallet always uses the same lane. If the database refuses a batch, it is split
in halves until the poisoned command stands alone: it fails, its neighbours do not. SQLite has one lane.
"""

import threading
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import datetime

from engine import book
from engine.rules.commands import Command, Outcome
from engine.rules.decisions import Terms
from engine.rules.errors import Unavailable
from engine.store.database import Database, transact, writing_pipelined

BATCH_SIZE_MAX = 512
Item = tuple[Command, "Future[Outcome]"]


class GroupCommit:
    """Takes commands from any thread; `close` finishes what was taken."""

    def __init__(self, db: Database, terms: Terms, now: Callable[[], datetime], lanes: int | None = None) -> None:
        count = 1 if db.is_sqlite else (lanes or 2)
        self._lanes = [_Lane(db, terms, now, number) for number in range(count)]

    def submit(self, command: Command) -> "Future[Outcome]":
        """Queue one command. The future gives its outcome once it is committed, or `Unavailable`."""
        lane = self._lanes[zlib.crc32(command.account_id.encode()) % len(self._lanes)]
        return lane.put([command])[0]

    def submit_all(self, commands: Sequence[Command]) -> "list[Future[Outcome]]":
        """Queue many commands at once, in order for each wallet."""
        futures: list[Future[Outcome] | None] = [None] * len(commands)
        for number, lane in enumerate(self._lanes):
            places = [
                place
                for place, command in enumerate(commands)
                if zlib.crc32(command.account_id.encode()) % len(self._lanes) == number
            ]
            for place, future in zip(places, lane.put([commands[p] for p in places]), strict=True):
                futures[place] = future
        return [future for future in futures if future is not None]

    def close(self) -> None:
        for lane in self._lanes:
            lane.close()


class _Lane:
    """One queue, one thread, one batch in flight."""

    def __init__(self, db: Database, terms: Terms, now: Callable[[], datetime], number: int) -> None:
        self._db = db
        self._terms = terms
        self._now = now
        self._queue: deque[Item] = deque()
        self._wake = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name=f"group-commit-{number}", daemon=True)
        self._thread.start()

    def put(self, commands: Sequence[Command]) -> "list[Future[Outcome]]":
        items: list[Item] = [(command, Future()) for command in commands]
        with self._wake:
            if self._is_closed:
                raise Unavailable("The server is shutting down; try again.")
            self._queue.extend(items)
            self._wake.notify()
        return [future for _, future in items]

    def close(self) -> None:
        with self._wake:
            self._is_closed = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._queue and not self._is_closed:
                    self._wake.wait()
                if not self._queue:
                    return
                taken = [self._queue.popleft() for _ in range(min(len(self._queue), BATCH_SIZE_MAX))]
            self._commit([item for item in taken if item[1].set_running_or_notify_cancel()])

    def _commit(self, batch: Sequence[Item]) -> None:
        """Post and commit a batch; callers hear only after the commit."""
        if not batch:
            return
        commands = [command for command, _ in batch]
        try:
            outcomes = transact(
                self._db, lambda session: book.post(session, commands, self._terms, self._now()), writing_pipelined
            )
        except Unavailable as gone:
            for _, future in batch:
                future.set_exception(gone)
        except Exception as error:
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            middle = len(batch) // 2
            self._commit(batch[:middle])
            self._commit(batch[middle:])
        else:
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                future.set_result(outcome)
