"""Who may open a SQLite file and who may write it, by locks of files beside it.

The kernel opens a lock when the last process that has the file open is gone, however it went.
"""

import fcntl
from pathlib import Path
from typing import IO

from sqlalchemy.exc import TimeoutError as PoolTimeout

from engine import clock

HOLD_SECONDS = 2.0
"""A process of a Purser that was killed may still be at its last batch."""
LOOK_AGAIN_SECONDS = 0.0005


class DatabaseLocked(Exception):
    """Another Purser holds this SQLite file."""


def hold_file(path: Path) -> IO[str]:
    """Keep every other Purser from this SQLite file until what is answered is closed, or `DatabaseLocked`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock_file = path.with_name(path.name + ".lock").open("a+")
    try:
        _lock(lock_file, clock.monotonic() + HOLD_SECONDS)
    except BlockingIOError as held:
        lock_file.close()
        raise DatabaseLocked(f"{path} is in use by another Purser process") from held
    return lock_file


class Turn:
    """The right to write, which one connection of all a Purser's processes has at any moment.

    Writing is meant widely: SQLite copies its log back after a commit has let go of SQLite's own lock, and while one
    connection does that no other may write (3.40 can corrupt the file so). Who wants to write stands first in the
    door and then waits for the room: who comes out and wants in again at once stands behind who waited.
    """

    def __init__(self, database: Path, deadline_seconds: float) -> None:
        self._door = database.with_name(database.name + ".next").open("a+")
        self._room = database.with_name(database.name + ".turn").open("a+")
        self._deadline_seconds = deadline_seconds

    def take(self) -> None:
        """Wait for the turn, `PoolTimeout` after the deadline."""
        ends = clock.monotonic() + self._deadline_seconds
        try:
            _lock(self._door, ends)
            try:
                _lock(self._room, ends)
            finally:
                fcntl.flock(self._door, fcntl.LOCK_UN)
        except BlockingIOError as held:
            raise PoolTimeout("another process writes") from held

    def give_back(self) -> None:
        """Let the next one write; nothing if the turn was not taken."""
        fcntl.flock(self._room, fcntl.LOCK_UN)

    def close(self) -> None:
        self._door.close()
        self._room.close()


def _lock(file: IO[str], ends: float) -> None:
    """Lock the file, or `BlockingIOError` once it is over."""
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if clock.monotonic() > ends:
                raise
            clock.sleep(LOOK_AGAIN_SECONDS)
