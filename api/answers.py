"""Waiting for the book and for reads in an event loop: one wake-up for all the answers of a batch, one timer for all.

A timer of its own for each request costs as much as finding its account.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Generic, Protocol, TypeVar
from weakref import ReferenceType, WeakKeyDictionary

from engine.gathered_reads import GatheredReads, K, Read, V
from engine.group_commit import GroupCommit
from engine.rules.commands import Command, Outcome

T = TypeVar("T")


HANDED_OVER_MAX = 32
"""So many are handed over before the turn ends: whoever takes them works beside the rest of it."""


class _Door(Protocol):
    """Whom a loop asks: group commit, or gathered reads."""

    def put(self, items: Any, /) -> None: ...  # noqa: ANN401 - each its own, the waiter last


def found_by(reads: GatheredReads, read: Read[K, V], key: K, within: float | None = None) -> "asyncio.Future[V | None]":
    """Ask for one key; the future of the running loop gives its value, `None` if there is none, or raises.

    `TimeoutError` after so many seconds.
    """
    inbox, waiter = _new_waiter(within)
    inbox.ask(reads, read, key, waiter)
    return waiter.future


def outcome_of(group: GroupCommit, command: Command, within: float | None = None) -> "asyncio.Future[Outcome]":
    """Queue a command; the future of the running loop gives its outcome once it is committed, or raises.

    `TimeoutError` after so many seconds. Cancelled before it is handed over, the command is never carried out; later
    its key tells.
    """
    inbox, waiter = _new_waiter(within)
    inbox.ask(group, command, waiter)
    return waiter.future


def _new_waiter(within: float | None) -> "tuple[_Inbox, _Waiter[Any]]":
    loop = asyncio.get_running_loop()
    inbox = _inboxes.get(loop)
    if inbox is None:
        inbox = _inboxes[loop] = _Inbox()
    waiter: _Waiter[Any] = _Waiter(inbox, loop.create_future())
    if within is not None:
        inbox.expect(loop, waiter.future, within)
    return inbox, waiter


class _Inbox:
    """Commands and look-ups of one loop on their way, and outcomes on theirs back.

    What is asked in one turn of the loop is handed over together: whoever woke for the first would take less at once,
    and a thread would fight with the rest of the turn for the interpreter.
    """

    def __init__(self) -> None:
        self._asked: dict[_Door, list[tuple[Any, ...]]] = {}
        self._arrived: deque[Callable[[], None]] = deque()
        self._is_called = False
        self._expected: deque[tuple[float, ReferenceType[asyncio.Future[Any]]]] = deque()
        self._is_timed = False

    def expect(self, loop: asyncio.AbstractEventLoop, future: "asyncio.Future[Any]", within: float) -> None:
        """Give the future up after so many seconds. All of a server wait equally long, so who came first ends first."""
        expected = self._expected
        expected.append((loop.time() + within, ReferenceType(future)))
        while _is_over(expected[0][1]):
            expected.popleft()
            if not expected:
                return
        if not self._is_timed:
            self._is_timed = True
            loop.call_at(expected[0][0], self._give_up, loop)

    def _give_up(self, loop: asyncio.AbstractEventLoop) -> None:
        now, expected = loop.time(), self._expected
        while expected and (expected[0][0] <= now or _is_over(expected[0][1])):
            future = expected.popleft()[1]()
            if future is not None and not future.done():
                future.set_exception(TimeoutError())
        self._is_timed = bool(expected)
        if expected:
            loop.call_at(expected[0][0], self._give_up, loop)

    def ask(self, door: "_Door", *item: Any) -> None:  # noqa: ANN401 - what the door takes, the waiter last
        if not self._asked:
            asyncio.get_running_loop().call_soon(self._hand_over)
        items = self._asked.setdefault(door, [])
        items.append(item)
        if len(items) >= HANDED_OVER_MAX:
            del self._asked[door]
            self._put(door, items)

    def _hand_over(self) -> None:
        asked, self._asked = self._asked, {}
        for door, items in asked.items():
            self._put(door, items)

    @staticmethod
    def _put(door: "_Door", items: list[tuple[Any, ...]]) -> None:
        try:
            door.put(items)
        except Exception as error:
            for item in items:
                item[-1].set_exception(error)

    def put(self, loop: asyncio.AbstractEventLoop, give: Callable[[], None]) -> None:
        self._arrived.append(give)
        if not self._is_called:
            self._is_called = True
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        # Lowered before the first look: what arrives after the last look calls again.
        self._is_called = False
        while self._arrived:
            self._arrived.popleft()()


def _is_over(expected: "ReferenceType[asyncio.Future[Any]]") -> bool:
    future = expected()
    return future is None or future.done()


@contextmanager
def heard_here(group: GroupCommit) -> Iterator[None]:
    """Have the running loop take the book's answers itself until the block ends."""
    group.heard_by(_Ears(asyncio.get_running_loop()))
    try:
        yield
    finally:
        group.heard_by(None)


class _Ears:
    """The loop as a `Listener`. Only its own thread unwatches, or one that outlives it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def watch(self, fileno: int, call: Callable[[], None], /) -> None:
        self._loop.call_soon_threadsafe(self._loop.add_reader, fileno, call)

    def unwatch(self, fileno: int, /) -> None:
        self._loop.remove_reader(fileno)


class _Waiter(Generic[T]):
    """A future of a loop, seen from a thread that answers."""

    __slots__ = ("_error", "_inbox", "_result", "future")

    def __init__(self, inbox: _Inbox, future: "asyncio.Future[T]") -> None:
        self.future = future
        self._inbox = inbox
        self._error: BaseException | None = None

    def set_running_or_notify_cancel(self) -> bool:
        return not self.future.done()

    def set_result(self, result: T, /) -> None:
        self._result = result
        self._inbox.put(self.future.get_loop(), self._give)

    def set_exception(self, exception: BaseException, /) -> None:
        self._error = exception
        self._inbox.put(self.future.get_loop(), self._give)

    def _give(self) -> None:
        if self.future.done():
            return
        if self._error is not None:
            self.future.set_exception(self._error)
        else:
            self.future.set_result(self._result)


_inboxes: "WeakKeyDictionary[asyncio.AbstractEventLoop, _Inbox]" = WeakKeyDictionary()
"""One for each loop that waits."""
