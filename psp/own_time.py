"""Work that a library does with a time limit too long for us, or none: given up after our own."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from engine.clock import monotonic

T = TypeVar("T")


class TookTooLong(Exception):
    """No answer in time, or too many that are still waited for."""


class OwnTime:
    """Runs work in threads of its own, `at_once` of them at most, and waits `seconds` for each.

    What is given up goes on until the library gives up as well, and holds its place until then: a server that hangs
    costs a few sleeping threads and no caller more than its wait.
    """

    def __init__(self, seconds: float, at_once: int) -> None:
        self._seconds = seconds
        self._places = threading.BoundedSemaphore(at_once)

    def run(self, work: Callable[[], T]) -> T:
        """The work's result or its error; `TookTooLong` otherwise."""
        ends = monotonic() + self._seconds
        if not self._places.acquire(timeout=self._seconds):
            raise TookTooLong
        told: Future[T] = Future()

        def answer() -> None:
            try:
                told.set_result(work())
            except BaseException as error:
                told.set_exception(error)
            finally:
                self._places.release()

        threading.Thread(target=answer, name="own-time", daemon=True).start()
        try:
            return told.result(timeout=max(0.0, ends - monotonic()))
        except TimeoutError as error:
            raise TookTooLong from error
