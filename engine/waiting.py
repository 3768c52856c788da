"""Whoever waits for the answer of another thread."""

from typing import Protocol, TypeVar

T_contra = TypeVar("T_contra", contravariant=True)


class Waiter(Protocol[T_contra]):
    """Told in the thread that answers: a `Future`, or something lighter. Must not raise."""

    def set_running_or_notify_cancel(self) -> bool:
        """Whether the answer is still wanted; asked once, before it is worked out."""

    def set_result(self, result: T_contra, /) -> None: ...

    def set_exception(self, exception: BaseException, /) -> None: ...
