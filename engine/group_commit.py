"""Group commit: concurrent callers share a transaction, and each gets its own outcome.

Each lane has one connection and one batch in flight; whoever comes meanwhile makes up the next batch, so an idle
caller waits for nobody. A wallet always uses the same lane. A lane is a thread (`in_threads`), or where many callers
are served a process of its own (`lane_process.py`). SQLite has one lane.
"""

import gc
import sys
import threading
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from functools import partial
from queue import Empty, SimpleQueue
from typing import Protocol

import structlog

from engine.clock import monotonic
from engine.lane_book import Answer, LaneBook
from engine.meter import Meter
from engine.rules.commands import Command, Outcome
from engine.rules.decisions import Terms
from engine.rules.errors import MonthDue, Refusal, Unavailable
from engine.store.database import Database
from engine.waiting import Listener, Waiter

SWITCH_SECONDS = 0.0005
BATCH_SIZE_MAX = 512
"""A batch takes no more once it has so many; what was queued together goes together."""
TURNING_MAX = 4
"""So many accounts' months are granted beside each other because somebody waits for them."""
CLOSING = "The server is shutting down; try again."

log = structlog.get_logger()

Item = tuple[Command, Waiter[Outcome]]


PutOff = Callable[[Sequence[Item]], None]
"""Takes commands of accounts whose month is due."""


class Lane(Protocol):
    """Carries out what it is given in order, much of it together. `meter` is told of every batch.

    With `put_off` that is given what meets a wallet whose month is due, instead of its being carried out.
    """

    meter: Meter | None
    put_off: PutOff | None

    @property
    def is_failing(self) -> bool:
        """Whether it could not be started several times on end."""

    def put(self, items: Sequence[Item], turned: str | None = None) -> None:
        """Take commands from any thread. If it can't, their waiters hear `Unavailable`, or it raises that.

        Those of the account `turned` are not put off.
        """

    def heard_by(self, listener: Listener | None) -> None:
        """Give answers in the thread of a loop that most callers wait in, or with `None` no longer."""

    def close(self) -> None:
        """Finish what was taken."""


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
        assert isinstance(exception, Exception)
        self._batch.put(self._place, exception)


class _Again:
    """The waiter of a command that is handed over a second time: it was said before that its answer is wanted."""

    __slots__ = ("set_exception", "set_result")

    def __init__(self, waiter: Waiter[Outcome]) -> None:
        self.set_result = waiter.set_result
        self.set_exception = waiter.set_exception

    def set_running_or_notify_cancel(self) -> bool:
        return True


class _Turns:
    """Has months granted that are due, and hands over again what waited for them. In threads of its own."""

    def __init__(self, turn: Callable[[str], None]) -> None:
        self._turn = turn
        self._threads = ThreadPoolExecutor(TURNING_MAX, "month")

    def take(self, lane: Lane, items: Sequence[Item]) -> None:
        waiting: dict[str, list[Item]] = {}
        for command, waiter in items:
            waiting.setdefault(command.account_id, []).append((command, _Again(waiter)))
        for account_id, mine in waiting.items():
            try:
                self._threads.submit(self._turn_and_put, lane, account_id, mine)
            except RuntimeError:
                tell(mine, [Unavailable(CLOSING)] * len(mine))

    def _turn_and_put(self, lane: Lane, account_id: str, items: Sequence[Item]) -> None:
        try:
            self._turn(account_id)
        except Exception:  # what an account has beside that month is its own all the same
            log.exception("a month that is due could not be granted", account_id=account_id)
        try:
            lane.put(items, account_id)
        except Unavailable as gone:
            tell(items, [gone] * len(items))

    def close(self) -> None:
        self._threads.shutdown()


class GroupCommit:
    """Takes commands from any thread; `close` finishes what was taken."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._lanes = lanes
        self._turns: _Turns | None = None

    def submit(self, command: Command) -> "Future[Outcome]":
        """Queue one command. The future gives its outcome once it is committed, or `Unavailable`."""
        future: Future[Outcome] = Future()
        self.put([(command, future)])
        return future

    def submit_all(self, commands: Sequence[Command]) -> "list[Future[Outcome]]":
        """Queue many commands at once, in order for each wallet; those of a lane go together."""
        futures: list[Future[Outcome]] = [Future() for _ in commands]
        self.put(list(zip(commands, futures, strict=True)))
        return futures

    def submit_batch(self, commands: Sequence[Command]) -> "Batch":
        """`submit_all` with one answer for all of them: a future for each costs as much as carrying it out."""
        batch = Batch(len(commands))
        self.put([(command, _Place(batch, n)) for n, command in enumerate(commands)])
        return batch

    def put(self, items: Sequence[Item]) -> None:
        """Queue commands for waiters of the caller's own."""
        if len(self._lanes) == 1:
            self._lanes[0].put(items)
            return
        parts: dict[Lane, list[Item]] = {}
        for item in items:
            parts.setdefault(self._lane_of(item[0]), []).append(item)
        for lane, mine in parts.items():
            lane.put(mine)

    def measure(self, meter: Meter) -> None:
        """Tell `meter` of every batch from now on."""
        for lane in self._lanes:
            lane.meter = meter

    def turn_months_by(self, turn: Callable[[str], None]) -> None:
        """From now on a command on a wallet with expired credits waits for its account's month, if that is due.

        `turn` grants it, by account id; whatever comes of that, the command is carried out then.
        """
        turns = self._turns = _Turns(turn)
        for lane in self._lanes:
            lane.put_off = partial(turns.take, lane)

    @property
    def is_failing(self) -> bool:
        """Whether some commands find nobody to carry them out, and not just for a moment."""
        return any(lane.is_failing for lane in self._lanes)

    def heard_by(self, listener: Listener | None) -> None:
        """Have a loop take the answers of lanes that are processes, until that is taken back."""
        for lane in self._lanes:
            lane.heard_by(listener)

    def close(self) -> None:
        if self._turns is not None:
            self._turns.close()
        for lane in self._lanes:
            lane.close()

    def _lane_of(self, command: Command) -> Lane:
        return self._lanes[zlib.crc32(command.account_id.encode()) % len(self._lanes)]


def lanes_for(db: Database, wanted: int | None) -> int:
    """How many lanes a database has: SQLite one, PostgreSQL two if nothing else is wanted."""
    return 1 if db.is_sqlite else (wanted or 2)


def in_threads(db: Database, terms: Terms, now: Callable[[], datetime], lanes: int | None = None) -> GroupCommit:
    """Group commit by threads of this process, for callers that are few."""
    return GroupCommit([_ThreadLane(db, terms, now, number) for number in range(lanes_for(db, lanes))])


def tell(items: Sequence[Item], answers: Sequence[Answer], put_off: PutOff | None = None) -> None:
    """Give each waiter its answer. A refusal by the rules is an outcome, all other trouble is raised."""
    late: list[Item] = []
    for item, answer in zip(items, answers, strict=True):
        if not isinstance(answer, Exception) or (isinstance(answer, Refusal) and not isinstance(answer, Unavailable)):
            item[1].set_result(answer)
        elif put_off is not None and isinstance(answer, MonthDue):
            late.append(item)
        else:
            item[1].set_exception(answer)
    if put_off is not None and late:
        put_off(late)


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


class _ThreadLane:
    """One queue, one thread, one batch in flight."""

    is_failing = False
    put_off: PutOff | None = None

    def __init__(self, db: Database, terms: Terms, now: Callable[[], datetime], number: int) -> None:
        self._book = LaneBook(db, terms, now)
        self._queue: SimpleQueue[tuple[Sequence[Item], str | None] | None] = SimpleQueue()
        self._door = threading.Lock()
        self._is_closed = False
        self.meter: Meter | None = None
        self._thread = threading.Thread(target=self._run, name=f"group-commit-{number}", daemon=True)
        self._thread.start()

    def put(self, items: Sequence[Item], turned: str | None = None) -> None:
        with self._door:
            if self._is_closed:
                raise Unavailable(CLOSING)
            for start in range(0, len(items), BATCH_SIZE_MAX):
                self._queue.put((items[start : start + BATCH_SIZE_MAX], turned))

    def heard_by(self, listener: Listener | None) -> None:
        """It is its own thread that answers."""

    def close(self) -> None:
        with self._door:
            if not self._is_closed:
                self._is_closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_open = True
        while is_open:
            batch, turned, is_open = self._next_batch()
            batch = [item for item in batch if item[1].set_running_or_notify_cancel()]
            if not batch:
                continue
            started = monotonic()
            commands = [command for command, _ in batch]
            put_off = self.put_off
            answers = self._book.carry_out(commands, None if put_off is None else turned)
            tell(batch, answers, put_off)
            if self.meter is not None:
                self.meter.batch(commands, answers, monotonic() - started, self._queue.qsize())

    def _next_batch(self) -> tuple[list[Item], set[str], bool]:
        """Wait for items and take all that came with them, and the accounts that are turned; `False` once the door is
        closed and all is taken."""
        batch: list[Item] = []
        turned: set[str] = set()
        found = self._queue.get()
        while found is not None:
            batch += found[0]
            if found[1] is not None:
                turned.add(found[1])
            if len(batch) >= BATCH_SIZE_MAX:
                return batch, turned, True
            try:
                found = self._queue.get_nowait()
            except Empty:
                return batch, turned, True
        return batch, turned, False
