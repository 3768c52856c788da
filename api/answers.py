"""Waiting for the book in an event loop: one wake-up for all the outcomes of a batch."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from weakref import WeakKeyDictionary

from engine.group_commit import GroupCommit
from engine.rules.commands import Command, Outcome


def outcome_of(group: GroupCommit, command: Command) -> "asyncio.Future[Outcome]":
    """Queue a command; the future of the running loop gives its outcome once it is committed, or raises.

    Cancelled before its batch is taken, the command is never carried out.
    """
    loop = asyncio.get_running_loop()
    inbox = _inboxes.get(loop)
    if inbox is None:
        inbox = _inboxes[loop] = _Inbox()
    future: asyncio.Future[Outcome] = loop.create_future()
    group.submit_for(_Waiter(inbox, future), command)
    return future


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


class _Waiter:
    """A future of a loop, seen from a thread of the book."""

    __slots__ = ("_error", "_future", "_inbox", "_outcome")

    def __init__(self, inbox: _Inbox, future: "asyncio.Future[Outcome]") -> None:
        self._inbox = inbox
        self._future = future
        self._outcome: Outcome | None = None
        self._error: BaseException | None = None

    def set_running_or_notify_cancel(self) -> bool:
        return not self._future.cancelled()

    def set_result(self, result: Outcome, /) -> None:
        self._outcome = result
        self._inbox.put(self._future.get_loop(), self._give)

    def set_exception(self, exception: BaseException, /) -> None:
        self._error = exception
        self._inbox.put(self._future.get_loop(), self._give)

    def _give(self) -> None:
        if self._future.done():
            return
        if self._error is not None:
            self._future.set_exception(self._error)
        elif self._outcome is not None:
            self._future.set_result(self._outcome)


_inboxes: "WeakKeyDictionary[asyncio.AbstractEventLoop, _Inbox]" = WeakKeyDictionary()
"""One for each loop that waits for the book."""
