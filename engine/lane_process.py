"""A lane of group commit in a process of its own: what a batch costs is not taken from whoever serves its callers.

A process that answers requests has one interpreter lock, and a lane beside its event loop takes turns with it. So a
server starts a process for each lane and talks to it over a pair of sockets (`lane_wire.py`). The lane ends when its
server is gone. If it dies itself, the callers that wait hear `Unavailable` (the same key tells what became of their
commands), and it is started again. One that hangs is ended.
"""

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

import structlog

from engine.clock import Clock, monotonic, new_id, sleep
from engine.group_commit import BATCH_SIZE_MAX, CLOSING, GroupCommit, Item, PutOff, lanes_for, tell, tune_interpreter
from engine.lane_book import LaneBook
from engine.lane_wire import (
    Answered,
    Asked,
    Frames,
    Line,
    Order,
    Run,
    answered_frame,
    asked_frame,
    commands_of,
    order_frame,
    packed,
    read_answered,
    read_asked,
    read_order,
)
from engine.meter import Meter
from engine.rules.commands import Command
from engine.rules.decisions import Terms
from engine.rules.errors import Unavailable
from engine.store.database import Database, open_beside
from engine.waiting import Listener

RESTART_SECONDS = 0.5
"""The pause before a lane that died is started again, so that one that can't start does not keep a core busy."""
SILENT_MAX = 4
"""So many deadlines in a row somebody may wait without any answer: a batch that finds no database takes two at most."""
FAILURES_MAX = 3
"""A lane that ended so often without a word in between is not likely to start the next time."""
WAITING_MAX = 32 * BATCH_SIZE_MAX
"""So many may wait for a lane: while it is stuck, more would only be carried out when nobody waits for them."""

log = structlog.get_logger()


def in_processes(db: Database, terms: Terms, clock: Clock, lanes: int | None = None) -> GroupCommit:
    """Group commit by processes of their own, for a server."""
    return GroupCommit([ProcessLane(db, terms, clock, number) for number in range(lanes_for(db, lanes))])


class ProcessLane:
    """The server's side of a lane: who waits for what.

    A thread hears the answers. While a loop hears them in its stead, which spares each batch two changes of threads,
    that thread only waits for the lane's end or the loop's.
    """

    def __init__(self, db: Database, terms: Terms, clock: Clock, number: int) -> None:
        self._db = db
        self._terms = terms
        self._clock = clock
        self._door = threading.Lock()
        self._ears = threading.Lock()
        self._waiting: dict[int, Item] = {}
        self._next = 0
        self._is_closed = False
        self._listener: Listener | None = None
        self._is_my_turn = threading.Event()
        self._is_my_turn.set()
        self._failures = 0
        self.meter: Meter | None = None
        self.put_off: PutOff | None = None
        self._open(*self._start())
        self._reader = threading.Thread(target=self._run, name=f"lane-{number}", daemon=True)
        self._reader.start()

    @property
    def process_id(self) -> int:
        return int(self._process.pid)

    @property
    def is_failing(self) -> bool:
        return self._failures >= FAILURES_MAX

    def put(self, items: Sequence[Item], turned: str | None = None) -> None:
        """Send commands; those whose callers have given up already are not sent.

        Those that can't be sent hear so themselves: what was put together may be on its way in part, or by other lanes.
        """
        if self._is_closed:
            raise Unavailable(CLOSING)
        wanted = [item for item in items if item[1].set_running_or_notify_cancel()]
        for start in range(0, len(wanted), BATCH_SIZE_MAX):
            self._send(wanted[start : start + BATCH_SIZE_MAX], turned)

    def heard_by(self, listener: Listener | None) -> None:
        with self._door:
            before, self._listener = self._listener, listener
            if before is not None and not self._is_my_turn.is_set():
                before.unwatch(self._socket.fileno())
            self._lend_ears()

    def close(self) -> None:
        with self._door:
            self._is_closed = True
            line = self._line
        if line is not None:
            line.end(self._db.deadline_seconds)
        self._reader.join(2 * self._db.deadline_seconds)
        self._process.kill()
        self._reader.join()

    def _send(self, items: Sequence[Item], turned: str | None) -> None:
        """Send commands together; one that is no text a database could keep fails alone."""
        try:
            runs = packed([command for command, _ in items])
        except (UnicodeEncodeError, OverflowError) as error:
            middle = len(items) // 2
            if middle == 0:
                tell(items, [error])
                return
            self._send(items[:middle], turned)
            self._send(items[middle:], turned)
            return
        try:
            self._send_packed(items, runs, turned)
        except Unavailable as gone:
            tell(items, [gone] * len(items))

    def _send_packed(self, items: Sequence[Item], runs: list[Run], turned: str | None) -> None:
        turns = None if self.put_off is None else [] if turned is None else [turned]
        with self._door:
            if self._is_closed:
                raise Unavailable(CLOSING)
            if self._line is None:
                raise Unavailable("The book is being opened again; try again.")
            if len(self._waiting) + len(items) > WAITING_MAX:
                raise Unavailable("The book is busy; try again.")
            first, self._next = self._next, self._next + len(items)
            self._waiting.update(enumerate(items, first))
            self._line.send(asked_frame(first, runs, self._clock.offset, self._terms.wanted.events, turns))

    def _start(self) -> "tuple[subprocess.Popen[bytes], socket.socket]":
        ours, theirs = socket.socketpair()
        lock = self._db.lock_file
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", "from engine.lane_process import main; main()"],
                stdin=theirs.fileno(),
                pass_fds=() if lock is None else (lock.fileno(),),
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        return process, ours

    def _open(self, process: "subprocess.Popen[bytes]", ours: socket.socket) -> None:
        self._process, self._socket, self._frames = process, ours, Frames(ours)
        self._silent, self._has_spoken = 0, False
        self._line: Line | None = Line(ours)
        terms = self._terms
        order = Order(self._db.url, self._db.deadline_seconds, terms.chain_key, terms.descriptions, terms.holds)
        self._line.send(order_frame(order))

    def _lend_ears(self) -> None:
        """Let the listener hear the lane, if there is one and something to hear. Called with the door held."""
        if self._listener is None or self._line is None:
            self._is_my_turn.set()
        else:
            self._is_my_turn.clear()
            self._listener.watch(self._socket.fileno(), self._heard_in_loop)

    def _run(self) -> None:
        """Hear the lane until it is closed, and start it again whenever it ends before."""
        patience = self._db.deadline_seconds
        while True:
            readable = select.poll()
            readable.register(self._socket, select.POLLIN)
            is_there = True
            while is_there:
                if readable.poll(patience * 1_000) and self._is_my_turn.wait(patience):
                    is_there = self._hear()
                else:
                    self._end_if_silent()
            self._bury()
            if not self._revive():
                return

    def _end_if_silent(self) -> None:
        """Called once a deadline, or later: end a lane that hangs.

        Time in which this server itself was stopped is not counted, nor what a lane needs to open the database.
        """
        self._silent = self._silent + 1 if self._waiting and self._has_spoken else 0
        if self._silent > SILENT_MAX:
            self._silent = 0
            _note("a lane hangs", pid=self._process.pid, commands_waiting=len(self._waiting))
            self._process.kill()

    def _revive(self) -> bool:
        """Start the lane again; `False` once it is closed."""
        while not self._is_closed:
            sleep(RESTART_SECONDS)
            try:
                started = self._start()
            except OSError:
                _note("a lane could not be started", exc_info=True)
                self._has_ended()
                continue
            with self._door:
                self._open(*started)
                self._lend_ears()
            if self._is_closed:  # after `close` looked for a line to end
                self._line.end(self._db.deadline_seconds)
            return True
        return False

    def _heard_in_loop(self) -> None:
        if self._hear():
            return
        with self._door:
            if self._listener is not None:
                self._listener.unwatch(self._socket.fileno())
            self._is_my_turn.set()

    def _hear(self) -> bool:
        """Give the answers that are there; whether more may come."""
        try:
            with self._ears:
                for frame in self._frames.arrived():
                    self._answer(read_answered(frame))
                return not self._frames.is_over
        except Exception:
            self._process.kill()
            _note("a lane said what is no answer", exc_info=True)
            return False

    def _answer(self, answered: Answered) -> None:
        """Give each its answer; nobody's is a lane's first word."""
        self._silent = self._failures = 0
        self._has_spoken = True
        answers = [told.answer() for told in answered.told]  # before anybody is forgotten: it may be no answer
        items = [self._waiting.pop(told.number) for told in answered.told]
        tell(items, answers, self.put_off)
        if items and self.meter is not None:
            self.meter.batch([command for command, _ in items], answers, answered.seconds, len(self._waiting))

    def _bury(self) -> None:
        """Tell who still waits for a lane that has ended. A loop that hears it lets go of the socket first."""
        with self._door:
            self._line = None
        self._is_my_turn.wait()
        exit_code = self._process.wait()
        with self._door:
            self._socket.close()
            lost, self._waiting = list(self._waiting.values()), {}
            is_closed = self._is_closed
        gone = Unavailable("The book's process ended; the same key tells what became of this request.")
        tell(lost, [gone] * len(lost))
        if not is_closed:
            self._has_ended()
            _note("a lane ended", pid=self._process.pid, exit_code=exit_code, commands_lost=len(lost))

    def _has_ended(self) -> None:
        self._failures += 1
        if self.meter is not None:
            self.meter.lane_ended()


def _note(event: str, **facts: object) -> None:
    """Log; a log that nobody takes any more must not keep a lane from being started again."""
    with suppress(OSError):
        log.error(event, **facts)


def main() -> None:
    """The lane itself: what has come while a batch was under way makes up the next one. Ends when the server is gone.

    Signals that end a whole group of processes are the server's to answer: it has requests to finish.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=sys.stdin.fileno()) as line:
        frames = Frames(line)
        with suppress(EOFError, ConnectionError):  # the server is gone, and who waited for answers with it
            _serve(line, frames, read_order(frames.next()))


def _serve(line: socket.socket, frames: Frames, order: Order) -> NoReturn:
    clock = Clock()
    terms = Terms(new_id, order.chain_key, order.descriptions, order.holds)
    db = open_beside(order.url, order.deadline_seconds)
    book = LaneBook(db, terms, clock.now)
    tune_interpreter()
    line.sendall(answered_frame(0, [], []))
    ahead: _Batch | None = None
    trouble: Exception | None = None

    def take(first: bytes) -> _Batch:
        asked = _taken(first, frames)
        clock.advance(asked[-1].clock_offset - clock.offset)
        terms.wanted.events = frozenset(asked[-1].events)
        return _Batch(asked)

    def coming() -> Sequence[Command]:
        nonlocal ahead, trouble
        try:
            first = next(frames.arrived(), None)
            ahead = None if first is None else take(first)
        except Exception as error:  # once the batch under way has its answer
            trouble = error
        return [] if ahead is None else ahead.commands

    try:
        while True:
            batch, ahead = ahead or take(frames.next()), None
            answers = book.carry_out(batch.commands, batch.turned, coming)
            told = [*zip(batch.numbers, answers, strict=True), *batch.wrong]
            line.sendall(answered_frame(monotonic() - batch.started, [n for n, _ in told], [each for _, each in told]))
            if trouble is not None:
                raise trouble
    finally:
        db.close()


class _Batch:
    """What is carried out together. `wrong` are those that are no commands, and what is wrong with them."""

    def __init__(self, asked: Sequence[Asked]) -> None:
        self.started = monotonic()
        self.turned = _turned(asked)
        self.numbers: list[int] = []
        self.commands: list[Command] = []
        self.wrong: list[tuple[int, Exception]] = []
        for number, command in (each for some in asked for each in commands_of(some)):
            if isinstance(command, Exception):
                self.wrong.append((number, command))
            else:
                self.numbers.append(number)
                self.commands.append(command)


def _turned(batch: Sequence[Asked]) -> set[str] | None:
    """The accounts that are not to be put off; `None` if nobody is."""
    known = [asked.turned for asked in batch if asked.turned is not None]
    return {account_id for turned in known for account_id in turned} if known else None


def _taken(first: bytes, frames: Frames) -> list[Asked]:
    """What is asked in a frame, and in all that came with it."""
    batch = [read_asked(first)]
    count = batch[0].size
    for frame in frames.arrived():
        batch.append(read_asked(frame))
        count += batch[-1].size
        if count >= BATCH_SIZE_MAX:
            break
    return batch
