"""The only file that reads the clock and makes ids."""

import os
import threading
import time
from datetime import datetime, timedelta, timezone
from functools import lru_cache

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LOW_BITS = (_CROCKFORD * 8).encode()
"""For each value of a byte, the character of its lowest five bits."""
_random_parts: list[str] = []
os.register_at_fork(after_in_child=_random_parts.clear)


class Clock:
    """The engine's clock: real time plus an offset that only ever grows (a demo's time travel)."""

    def __init__(self, offset: timedelta = timedelta(0)) -> None:
        self._offset = offset
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """The present instant, aware, in UTC."""
        return datetime.now(timezone.utc) + self._offset

    @property
    def offset(self) -> timedelta:
        """How far ahead of real time it is."""
        return self._offset

    def advance(self, by: timedelta) -> timedelta:
        """Move the clock forward and answer the whole offset; a negative step is a bug of the caller."""
        assert by >= timedelta(0), "the clock never goes back"
        with self._lock:
            self._offset += by
            return self._offset


class StoppedClock(Clock):
    """A clock that stands, for steps that are to happen in one instant."""

    def __init__(self, at: datetime) -> None:
        super().__init__()
        self._at = at

    def now(self) -> datetime:
        return self._at


def real_now() -> datetime:
    """Wall time, whatever the engine's clock says: for the age of webhooks and the length of sessions."""
    return datetime.now(timezone.utc)


def new_id(prefix: str, at: datetime) -> str:
    """`prefix_` and 26 characters of Crockford base32: 48 bits of time in milliseconds, then 80 random bits."""
    return f"{prefix}_{_time_part(at)}{_random_part()}"


def new_account_id() -> str:
    """`acc_` and 130 random bits: it leads every key, so it must not follow time."""
    return f"acc_{_random_text(26)}"


@lru_cache(64)
def _time_part(at: datetime) -> str:
    milliseconds = int(at.timestamp() * 1000)
    return "".join(_CROCKFORD[(milliseconds >> shift) & 31] for shift in range(45, -1, -5))


def _random_part() -> str:
    """16 characters of 5 random bits each, from the operating system: asked for many at once, each given out once."""
    try:
        return _random_parts.pop()
    except IndexError:
        texts = _random_text(16 * 256)
        parts = [texts[n : n + 16] for n in range(0, len(texts), 16)]
        _random_parts.extend(parts[1:])
        return parts[0]


def _random_text(length: int) -> str:
    return os.urandom(length).translate(_LOW_BITS).decode()


def monotonic() -> float:
    """Seconds of a clock that only runs forward: for deadlines and waits, never for records."""
    return time.monotonic()


def sleep(seconds: float) -> None:
    """Wait: for back-off between tries."""
    time.sleep(seconds)
