"""What a process and the lane it started say to each other: commands there, answers back, msgpack in frames.

A frame is its length in four bytes and so many bytes. A refusal goes as its code and facts and is made again of them;
what only the lane's process knows of (a database's complaint) goes as text.
"""

import select
import socket
import struct
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import groupby
from typing import get_args

import msgspec

from engine.lane_book import Answer
from engine.rules.commands import Command, Planned, Posted
from engine.rules.descriptions import Descriptions
from engine.rules.errors import Fact, MonthDue, Refusal
from engine.rules.holds import HoldRules

RECEIVED_MAX = 1 << 20
_LENGTH = struct.Struct("<I")
_MICROSECOND = timedelta(microseconds=1)


class CommandFailed(Exception):
    """The database could not carry out this command; the text says why."""


class Order(msgspec.Struct, frozen=True):
    """What a lane is told first: its database, and what it decides by."""

    url: str
    deadline_seconds: float
    chain_key: bytes
    descriptions: Descriptions
    holds: HoldRules


class Run(msgspec.Struct, array_like=True):
    """So many commands of one kind that came one after the other."""

    count: int
    kind: str
    commands: msgspec.Raw


class Asked(msgspec.Struct, array_like=True):
    """Commands with the number of the first, the clock's offset (µs), and the events that somebody listens to.

    `turned`: accounts that are not to be put off because their month is due; `None` says so of all.
    """

    first: int
    offset: int
    events: list[str]
    runs: list[Run]
    turned: list[str] | None

    @property
    def size(self) -> int:
        return sum(run.count for run in self.runs)

    @property
    def clock_offset(self) -> timedelta:
        return self.offset * _MICROSECOND


class Refused(msgspec.Struct, array_like=True):
    """A refusal; without a code, any other error."""

    code: str | None
    detail: str
    facts: dict[str, Fact]


class Told(msgspec.Struct, array_like=True):
    """The answer of one command: one of the three, or none of them where its account's month is due."""

    number: int
    posted: Posted | None = None
    planned: Planned | None = None
    refused: Refused | None = None

    def answer(self) -> Answer:
        if self.refused is not None:
            return _error_of(self.refused)
        return self.posted or self.planned or MonthDue()


class Answered(msgspec.Struct, array_like=True):
    """A batch: how long it took, from taken to committed, and what became of each command."""

    seconds: float
    told: list[Told]


_encode = msgspec.msgpack.Encoder().encode
_order = msgspec.msgpack.Decoder(Order)
_asked = msgspec.msgpack.Decoder(Asked)
_answered = msgspec.msgpack.Decoder(Answered)
_raws = msgspec.msgpack.Decoder(list[msgspec.Raw])
_kinds: dict[str, msgspec.msgpack.Decoder[list[Command]]] = {
    kind.__name__: msgspec.msgpack.Decoder(list.__class_getitem__(kind)) for kind in get_args(Command)
}


def _all_refusals(kind: type[Refusal]) -> Iterator[type[Refusal]]:
    for each in kind.__subclasses__():
        yield each
        yield from _all_refusals(each)


_refusals = {kind.code: kind for kind in _all_refusals(Refusal)}


def order_frame(order: Order) -> bytes:
    return _framed(_encode(order))


def read_order(frame: bytes) -> Order:
    return _order.decode(frame)


def packed(commands: Sequence[Command]) -> list[Run]:
    """Commands in order; `UnicodeEncodeError` or `OverflowError` for what no database could keep."""
    runs = []
    for kind, group in groupby(commands, type):
        same = list(group)
        runs.append(Run(len(same), kind.__name__, msgspec.Raw(_encode(same))))
    return runs


def asked_frame(
    first: int, runs: list[Run], offset: timedelta, events: frozenset[str], turned: list[str] | None = None
) -> bytes:
    return _framed(_encode(Asked(first, offset // _MICROSECOND, list(events), runs, turned)))


def commands_of(asked: Asked) -> Iterator[tuple[int, Command | msgspec.ValidationError]]:
    """The commands with their numbers; of one whose values are not of its fields' types, what is wrong."""
    first = asked.first
    for run in asked.runs:
        yield from enumerate(_read_run(run), first)
        first += run.count


def _read_run(run: Run) -> Sequence[Command | msgspec.ValidationError]:
    try:
        return _kinds[run.kind].decode(run.commands)
    except msgspec.ValidationError as error:
        if run.count == 1:
            return [error]
    return [each for one in _raws.decode(run.commands) for each in _read_run(Run(1, run.kind, _list_of(one)))]


def _list_of(one: msgspec.Raw) -> msgspec.Raw:
    return msgspec.Raw(_encode([one]))


def answered_frame(seconds: float, numbers: Sequence[int], answers: Sequence[Answer]) -> bytes:
    return _framed(_encode((seconds, [_told(number, each) for number, each in zip(numbers, answers, strict=True)])))


def _told(number: int, answer: Answer) -> Told:
    match answer:
        case Posted():
            return Told(number, answer)
        case Planned():
            return Told(number, None, answer)
        case Refusal():
            return Told(number, None, None, Refused(answer.code, answer.detail, answer.facts))
        case MonthDue():
            return Told(number)
        case _:
            text = "".join(traceback.format_exception(answer))
            return Told(number, None, None, Refused(None, text, {}))


def _error_of(refused: Refused) -> Exception:
    """The refusal, without asking its class for the values that its words were made of."""
    if refused.code is None:
        return CommandFailed(refused.detail)
    kind = _refusals[refused.code]
    made = kind.__new__(kind)
    Refusal.__init__(made, refused.detail, **refused.facts)
    return made


def read_asked(frame: bytes) -> Asked:
    return _asked.decode(frame)


def read_answered(frame: bytes) -> Answered:
    return _answered.decode(frame)


def _framed(body: bytes) -> bytes:
    return _LENGTH.pack(len(body)) + body


class Line:
    """The way to the other side. Who sends never waits: what the other side does not take yet, a thread brings."""

    def __init__(self, target: socket.socket) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._unsent = bytearray()
        self._pusher: threading.Thread | None = None

    def send(self, frame: bytes) -> None:
        """Nothing is raised when the other side is gone: who reads from it notices."""
        with self._lock:
            self._unsent += frame
            if self._pusher is None and not self._is_taken():
                self._pusher = threading.Thread(target=self._push, name="lane-push", daemon=True)
                self._pusher.start()

    def end(self, patience_seconds: float) -> None:
        """Say that nothing more comes, once all was sent or nobody takes it."""
        with self._lock:
            pusher = self._pusher
        if pusher is not None:
            pusher.join(patience_seconds)
        with suppress(OSError):
            self._target.shutdown(socket.SHUT_WR)

    def _push(self) -> None:
        writable = select.poll()
        writable.register(self._target, select.POLLOUT)
        while True:
            writable.poll()
            with self._lock:
                if self._is_taken():
                    self._pusher = None
                    return

    def _is_taken(self) -> bool:
        """Send what fits by now, whether the socket would wait or not; whether nothing is left. The lock is held."""
        try:
            del self._unsent[: self._target.send(self._unsent, socket.MSG_DONTWAIT)]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent.clear()
        return not self._unsent


class Frames:
    """The frames that arrive at a socket. `is_over` once the other side is gone and all it said was given."""

    def __init__(self, source: socket.socket) -> None:
        self._source = source
        self._bytes = bytearray()
        self.is_over = False

    def next(self) -> bytes:
        """Wait for a frame; `EOFError` if none comes any more."""
        while (frame := self._whole()) is None:
            self._receive(0)
            if self.is_over:
                raise EOFError
        return frame

    def arrived(self) -> Iterator[bytes]:
        """The frames that are there already."""
        while not self.is_over:
            frame = self._whole()
            if frame is not None:
                yield frame
                continue
            try:
                self._receive(socket.MSG_DONTWAIT)
            except BlockingIOError:
                return

    def _whole(self) -> bytes | None:
        if len(self._bytes) < _LENGTH.size:
            return None
        end = _LENGTH.size + _LENGTH.unpack_from(self._bytes)[0]
        if len(self._bytes) < end:
            return None
        frame = bytes(memoryview(self._bytes)[_LENGTH.size : end])
        del self._bytes[:end]
        return frame

    def _receive(self, flags: int) -> None:
        try:
            arrived = self._source.recv(RECEIVED_MAX, flags)
        except ConnectionError:
            arrived = b""
        self._bytes += arrived
        self.is_over = not arrived
