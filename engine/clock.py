"""The only file that reads the clock and makes ids."""

import os
import secrets
import threading
import time
from datetime import datetime, timedelta, timezone

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Clock:
    """The engine's clock: real time plus an offset that only ever grows (a demo's time travel)."""

    def __init__(self, offset: timedelta = timedelta(0)) -> None:
        self._offset = offset
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """The present instant, aware, in UTC."""
        return datetime.now(timezone.utc) + self._offset

    def advance(self, by: timedelta) -> timedelta:
        """Move the clock forward and answer the whole offset; a negative step is a bug of the caller."""
        assert by >= timedelta(0), "the clock never goes back"
        with self._lock:
            self._offset += by
            return self._offset


def real_now() -> datetime:
    """Wall time, whatever the engine's clock says: for the age of webhooks and the length of sessions."""
    return datetime.now(timezone.utc)


def new_id(prefix: str, at: datetime) -> str:
    """`prefix_` and 26 characters of Crockford base32: 48 bits of time in milliseconds, then 80 random bits."""
    number = (int(at.timestamp() * 1000) << 80) | int.from_bytes(os.urandom(10))
    return f"{prefix}_{_base32(number)}"


def new_account_id() -> str:
    """`acc_` and 130 random bits: it leads every key, so it must not follow time."""
    return f"acc_{_base32(secrets.randbits(130))}"


def _base32(number: int) -> str:
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))


def monotonic() -> float:
    """Seconds of a clock that only runs forward: for deadlines and waits, never for records."""
    return time.monotonic()


def sleep(seconds: float) -> None:
    """Wait: for back-off between tries."""
    time.sleep(seconds)
