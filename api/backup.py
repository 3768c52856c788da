"""`purser backup` and `purser restore`: a copy that is whole and proved, made while the server runs."""

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from sqlalchemy.engine import URL, make_url

from api.environ import SettingsError
from engine.store.file_locks import hold_file

BESIDE = ("-wal", "-journal", "-shm")
"""What SQLite keeps beside a file and reads into whatever stands there next: another database's must not stay."""


class NoBackup(Exception):
    """Why no copy was made, or none was put back."""


def backup(database_url: str, target: Path) -> None:
    """Copy the database as it stands at one moment; nothing is overwritten, and half a copy never has the name."""
    if target.exists():
        raise NoBackup(f"{target} is there already: nothing was overwritten.")
    url = make_url(database_url)
    part = target.with_name(f"{target.name}.part")
    part.unlink(missing_ok=True)
    try:
        if url.get_backend_name() == "sqlite":
            _copy_sqlite(_file_of(url), part)
        else:
            _run("pg_dump", url, "--format=custom", f"--file={part}")
        _sync(part)
        part.rename(target)
    finally:
        part.unlink(missing_ok=True)


def restore(database_url: str, source: Path) -> None:
    """Put a copy in the place of a database that is not there (SQLite) or empty (PostgreSQL)."""
    if not source.is_file():
        raise NoBackup(f"{source} is not a file.")
    url = make_url(database_url)
    if url.get_backend_name() != "sqlite":
        _run("pg_restore", url, "--exit-on-error", "--single-transaction", "--no-owner", str(source))
        return
    target = _file_of(url)
    with hold_file(target):
        for name in (target, *(target.with_name(target.name + end) for end in BESIDE)):
            if name.exists():
                raise NoBackup(f"{name} is there already: move it away first, nothing was overwritten.")
        part = target.with_name(f"{target.name}.part")
        part.unlink(missing_ok=True)
        try:
            _copy_sqlite(source, part)
            _sync(part)
            part.rename(target)
        finally:
            part.unlink(missing_ok=True)


def _file_of(url: URL) -> Path:
    if not url.database:
        raise SettingsError("PURSER_DATABASE_URL names no file.")
    return Path(url.database)


def _copy_sqlite(source: Path, target: Path) -> None:
    """By SQLite's own backup, which waits for writers and misses none; then the copy is checked."""
    if not source.is_file():
        raise NoBackup(f"There is no database at {source}.")
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as here,
            closing(sqlite3.connect(target)) as there,
        ):
            here.backup(there)
            there.execute("PRAGMA journal_mode = DELETE")
            found = there.execute("PRAGMA integrity_check(1)").fetchone()
            tables = {name for (name,) in there.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError as error:
        raise NoBackup(f"{source} can't be copied: {error}.") from error
    if found != ("ok",):
        raise NoBackup(f"The copy of {source} is damaged: {found[0]}.")
    if not {"wallets", "transactions"} <= tables:
        raise NoBackup(f"{source} holds no books of Purser.")


def _sync(path: Path) -> None:
    with path.open("rb") as copy:
        os.fsync(copy.fileno())


def _run(tool: str, url: URL, *words: str) -> None:
    """One of PostgreSQL's own tools; the password goes by the environment, not by the command line."""
    plain = url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    command = [tool, *words, f"--dbname={plain}"]
    found = shutil.which(tool)
    if found is None:
        raise NoBackup(f"{tool} is not installed here. Where it is, run: {' '.join(command)}")
    env = {**os.environ, **({"PGPASSWORD": str(url.password)} if url.password else {})}
    done = subprocess.run([found, *command[1:]], env=env, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        raise NoBackup(f"{tool} failed: {done.stderr.strip()}")
