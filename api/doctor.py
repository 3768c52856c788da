"""`purser doctor`: looks at everything a server stands on and says, line by line, what is well and what is not."""

import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from importlib.resources import files
from typing import Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from sqlalchemy import func, text
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlmodel import Session, select

from api.environ import SettingsError
from api.provider_settings import LOOPBACK
from api.server import providers_of
from api.settings import Settings
from engine.catalogs import load_catalog
from engine.clock import real_now
from engine.nightly import last_result
from engine.rules.catalog import CatalogError
from engine.rules.errors import Unavailable
from engine.rules.tax_currency import NATIONAL
from engine.store.database import Database, open_reader, reading
from engine.store.migrations import is_current
from engine.store.tables import WalletRow

Level = Literal["ok", "warning", "bad"]
POSTGRESQL_MIN = 140_000
CLOCK_SLACK = timedelta(seconds=2)
DISK_BYTES_MIN = 1_000_000_000
SMTP_SECONDS = 5.0
AUDIT_AGE = timedelta(hours=50)


@dataclass(frozen=True, slots=True)
class Sign:
    """One thing looked at: `bad` must be mended before money is at stake, a `warning` is for a person to judge."""

    name: str
    level: Level
    detail: str


def examine(settings: Settings) -> Iterator[Sign]:
    """Every sign in the order in which a server needs it; a database that can't be opened ends its own part."""
    yield _catalog(settings)
    yield from _exchange(settings)
    yield _providers(settings)
    yield _address(settings)
    yield from _database(settings)
    yield _disk(settings)
    yield _smtp(settings)
    yield _documents()


def _catalog(settings: Settings) -> Sign:
    try:
        catalog = load_catalog(settings.catalog)
    except CatalogError as error:
        return Sign("catalogue", "bad", str(error))
    return Sign("catalogue", "ok", f"{catalog.name} ({settings.catalog})")


def _exchange(settings: Settings) -> Iterator[Sign]:
    """Whether invoices can state their tax in the currency of the seller's country, where they are in another one."""
    try:
        catalog = load_catalog(settings.catalog)
    except CatalogError:
        return
    seller, sold_in = catalog.seller, catalog.pricing.currency
    national = NATIONAL.get(seller.country)
    if seller.vat_id is None or national is None or national == sold_in:
        return
    today = real_now().astimezone(ZoneInfo(seller.timezone)).date()
    rate = catalog.tax.exchange_on(sold_in, today)
    if rate is None:
        yield Sign("exchange", "warning", f"no rate from {sold_in} to {national} counts today: invoices will say so")
    else:
        yield Sign("exchange", "ok", f"1 {sold_in} is {rate.rate} {national} since {rate.since} ({rate.source})")


def _providers(settings: Settings) -> Sign:
    try:
        found = providers_of(settings)
    except SettingsError as error:
        return Sign("providers", "bad", str(error))
    if not found:
        return Sign("providers", "warning", "no payment provider has its keys: nobody can buy")
    modes = ", ".join(f"{name} ({'live' if each.is_live else 'test'})" for name, each in found.items())
    return Sign("providers", "ok", modes)


def _address(settings: Settings) -> Sign:
    host = urlsplit(settings.base_url).hostname
    if settings.is_https or host in LOOPBACK:
        return Sign("address", "ok", settings.base_url)
    return Sign("address", "warning", f"{settings.base_url} is not https: cookies and keys travel in the clear")


def _database(settings: Settings) -> Iterator[Sign]:
    try:
        db = open_reader(settings.database_url)
    except (ValueError, ArgumentError) as error:
        yield Sign("database", "bad", f"PURSER_DATABASE_URL can't be used: {error}")
        return
    try:
        with reading(db) as session:
            yield from _sqlite(session) if db.is_sqlite else _postgresql(session)
        yield from _schema(db)
    except (DBAPIError, Unavailable) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error.__cause__ or error
        yield Sign("database", "bad", f"it does not answer: {cause}".strip().splitlines()[0])
    finally:
        db.close()


def _schema(db: Database) -> Iterator[Sign]:
    if not is_current(db):
        yield Sign("schema", "bad", "not this version's: run `purser db upgrade`")
        return
    yield Sign("schema", "ok", "this version's")
    with reading(db) as session:
        yield _clock(session, is_sqlite=db.is_sqlite)
        yield _audit(session)


def _one(session: Session, question: str) -> Any:  # noqa: ANN401 - whatever the database calls the answer
    return session.execute(text(question)).scalar_one()


def _sqlite(session: Session) -> Iterator[Sign]:
    yield Sign("database", "ok", f"SQLite {_one(session, 'SELECT sqlite_version()')}, one process")
    damage = _one(session, "PRAGMA quick_check(1)")
    yield Sign("file", "ok" if damage == "ok" else "bad", f"quick check: {damage}")
    mode = _one(session, "PRAGMA journal_mode")
    durable = mode == "wal"
    yield Sign(
        "durability",
        "ok" if durable else "warning",
        f"journal mode {mode}; the server writes with synchronous = FULL" + ("" if durable else " once it has run"),
    )


def _postgresql(session: Session) -> Iterator[Sign]:
    version = int(_one(session, "SHOW server_version_num"))
    words = f"PostgreSQL {_one(session, 'SHOW server_version')}"
    yield Sign("database", "ok" if version >= POSTGRESQL_MIN else "bad", words)
    off = [
        name for name in ("fsync", "full_page_writes", "synchronous_commit") if _one(session, f"SHOW {name}") == "off"
    ]
    if off:
        yield Sign("durability", "bad", f"{', '.join(off)} off: a power cut loses acknowledged commits")
    else:
        yield Sign("durability", "ok", f"fsync on, synchronous_commit {_one(session, 'SHOW synchronous_commit')}")
    late = _one(session, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'async'")
    if late:
        yield Sign("replicas", "warning", f"{late} asynchronous: a failover to one loses acknowledged commits")


def _clock(session: Session, *, is_sqlite: bool) -> Sign:
    now = real_now()
    if not is_sqlite:
        apart = abs(session.execute(select(func.now())).scalar_one() - now)
        if apart > CLOCK_SLACK:
            return Sign("clock", "bad", f"this machine's and the database's are {apart.total_seconds():.1f} s apart")
    last = session.execute(select(func.max(WalletRow.last_at))).scalar_one()
    if last is not None and last > now + CLOCK_SLACK:
        return Sign("clock", "bad", f"the newest ledger row is of {last.isoformat()}, which has not come yet")
    return Sign("clock", "ok", f"{now.isoformat(timespec='seconds')}")


def _audit(session: Session) -> Sign:
    result = last_result(session)
    if result is None or result.ended_at is None:
        return Sign("audit", "warning", "no nightly audit has ended yet: run `purser audit`")
    told = f"{result.day}: {result.rows} rows, {result.problems} problems"
    if result.problems:
        return Sign("audit", "bad", f"{told}; first: {result.first}")
    is_old = real_now() - result.ended_at > AUDIT_AGE
    return Sign("audit", "warning" if is_old else "ok", f"{told}{', long ago' if is_old else ''}")


def _disk(settings: Settings) -> Sign:
    folder = next(
        each for each in (settings.data_dir.absolute(), *settings.data_dir.absolute().parents) if each.exists()
    )
    free = shutil.disk_usage(folder).free
    return Sign("disk", "ok" if free >= DISK_BYTES_MIN else "warning", f"{free // 1_000_000:,} MB free at {folder}")


def _smtp(settings: Settings) -> Sign:
    if settings.smtp_url is None:
        return Sign("mail", "warning", "PURSER_SMTP_URL is not set: mails stay in the mailbox table")
    parts = urlsplit(settings.smtp_url)
    place = (parts.hostname or "localhost", parts.port or (465 if parts.scheme == "smtps" else 25))
    try:
        with socket.create_connection(place, SMTP_SECONDS):
            return Sign("mail", "ok", f"{place[0]}:{place[1]} answers")
    except OSError as error:
        return Sign("mail", "bad", f"{place[0]}:{place[1]} does not answer: {error}")


def _documents() -> Sign:
    """What PDFs are made with: our own fonts, and Pango."""
    fonts = [
        each.name for each in files("receipts").joinpath("fonts").iterdir() if each.name.endswith((".ttf", ".otf"))
    ]
    if not fonts:
        return Sign("documents", "bad", "the fonts are missing: the installation is not whole")
    try:
        import_module("weasyprint")
    except OSError as error:
        return Sign("documents", "bad", f"WeasyPrint can't be loaded: {error}".splitlines()[0])
    return Sign("documents", "ok", f"{len(fonts)} fonts, WeasyPrint loads")
