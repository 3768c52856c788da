"""Waiting for the book and for reads in an event loop: one wake-up for all the answers of a batch."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from engine.gathered_reads import GatheredReads, K, Read, V
from engine.group_commit import GroupCommit
from engine.rules.commands import Command, Outcome

T = TypeVar("T")


def found_by(reads: GatheredReads, read: Read[K, V], key: K) -> "asyncio.Future[V | None]":
    """Ask for one key; the future of the running loop gives its value, `None` if there is none, or raises."""
    waiter: _Waiter[V | None] = _new_waiter()
    reads.submit_for(waiter, read, key)
    return waiter.future


def outcome_of(group: GroupCommit, command: Command) -> "asyncio.Future[Outcome]":
    """Queue a command; the future of the running loop gives its outcome once it is committed, or raises.

    Cancelled before its batch is taken, the command is never carried out.
    """
    waiter: _Waiter[Outcome] = _new_waiter()
    group.submit_for(waiter, command)
    return waiter.future


def _new_waiter() -> "_Waiter[T]":
    loop = asyncio.get_running_loop()
    inbox = _inboxes.get(loop)
    if inbox is None:
        inbox = _inboxes[loop] = _Inbox()
    return _Waiter(inbox, loop.create_future())


class _Inbox:
    """Outcomes on their way from the book's threads into one loop."""

    def __init__(self) -> None:
        self._arrived: deque[Callable[[], None]] = deque()
        self._is_called = False

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


class _Waiter(Generic[T]):
    """A future of a loop, seen from a thread that answers."""

    __slots__ = ("_error", "_inbox", "_result", "future")

    def __init__(self, inbox: _Inbox, future: "asyncio.Future[T]") -> None:
        self.future = future
        self._inbox = inbox
        self._error: BaseException | None = None

    def set_running_or_notify_cancel(self) -> bool:
        return not self.future.cancelled()

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
