"""Whoever waits for the answer of another thread."""

from collections.abc import Callable
from typing import Protocol, TypeVar

T_contra = TypeVar("T_contra", contravariant=True)


class Waiter(Protocol[T_contra]):
    """Told in the thread that answers: a `Future`, or something lighter. Must not raise."""

    def set_running_or_notify_cancel(self) -> bool:
        """Whether the answer is still wanted; asked once, before it is worked out."""

    def set_result(self, result: T_contra, /) -> None: ...

    def set_exception(self, exception: BaseException, /) -> None: ...


class Listener(Protocol):
    """An event loop that hears for others, seen from any thread."""

    def watch(self, fileno: int, call: Callable[[], None], /) -> None:
        """Call this, in the loop's thread, whenever there is something to read."""

    def unwatch(self, fileno: int, /) -> None: ...
