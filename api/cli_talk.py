"""How every command talks: answers on stdout, logs, progress and complaints on stderr, and its exit code."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
import msgspec
from rich.console import Console
from rich.progress import Progress, TextColumn
from sqlalchemy.exc import DBAPIError

from api.demo import remembered_offset
from api.environ import SettingsError
from api.exports import Month
from api.logs import log_to_stderr
from api.server import SchemaOutdated
from api.settings import Settings, read_settings
from engine.clock import Clock
from engine.rules.catalog import CatalogError
from engine.rules.errors import Refusal
from engine.store.database import Database
from engine.store.file_locks import DatabaseLocked

NO = 1
"""The answer is no: an audit that found something, a schema of another version."""
REFUSED = 2
"""Nothing was done."""
MENDABLE = (SettingsError, SchemaOutdated, DatabaseLocked, Refusal, OSError)


@contextmanager
def complaints(*kinds: type[Exception]) -> Iterator[None]:
    """Turn what an operator can mend into one line on stderr and exit code 2; `kinds` are a command's own."""
    mendable: tuple[type[Exception], ...] = (*MENDABLE, *kinds)
    try:
        yield
    except CatalogError as error:
        refuse(f"The catalogue can't be used: {error}")
    except mendable as error:
        refuse(str(error))
    except DBAPIError as error:
        refuse(f"The database does not answer: {error.orig}".strip().splitlines()[0])


def refuse(complaint: str) -> None:
    """Say why nothing was done, and end."""
    click.echo(f"purser: {complaint}", err=True)
    sys.exit(REFUSED)


def settings_of_environment() -> Settings:
    """The settings, or the complaint about them."""
    with complaints():
        return read_settings(os.environ)
    raise AssertionError("a complaint ends the process")


def check_begun(db: Database, month: Month) -> None:
    """Refuse a month that the engine's clock has not reached; a demo's may be ahead of real time."""
    if month.start > Clock(remembered_offset(db)).now():
        raise click.UsageError("--month: this month has not begun.")


def log_here() -> None:
    """Log to stderr, for a person or for a machine, whoever reads it."""
    log_to_stderr(for_people=sys.stderr.isatty())


@contextmanager
def counting(doing: str, *, is_shown: bool) -> Iterator[Callable[[int], None]]:
    """A line on stderr that counts the rows done, where somebody looks at it."""
    console = Console(stderr=True)
    columns = TextColumn(f"{doing}: {{task.completed:,.0f}} rows")
    with Progress(columns, console=console, transient=True, disable=not (is_shown and console.is_terminal)) as bar:
        task = bar.add_task("audit", total=None)
        yield lambda rows: bar.update(task, completed=rows)


def say_json(value: object) -> None:
    """One line for a program."""
    click.echo(msgspec.json.encode(value).decode())
    sys.stdout.flush()
