"""A Purser process: its parts opened in order, served over HTTP, and closed in the opposite order.

The server stops first (requests under way are finished), then the jobs, the group commit, the providers and, last,
the database. Everything is closed whichever way the block is left.
"""

import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any

import structlog
import uvicorn
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from sqlalchemy.exc import ArgumentError

from api import receipts as receipt_resources
from api.app import create_app
from api.delivery import mail_sender
from api.environ import SettingsError
from api.logs import log_to_stderr
from api.pages import page_handlers
from api.receipt_files import pdf_maker
from api.scope import Resource
from api.settings import Settings
from engine.catalogs import load_catalog
from engine.clock import Clock, sleep
from engine.group_commit import GroupCommit, collect_rarely
from engine.jobs import Jobs
from engine.payments import PaymentProvider
from engine.runtime import Runtime, Secrets, chain_terms
from engine.store.database import Database, open_database
from engine.store.migrations import is_current
from psp.stripe import Stripe
from receipts.render import Renderer

GRACE_SECONDS = 20
"""How long requests under way may take to finish once the process was told to end."""

RESTART_SECONDS = 1.0
"""The pause before a worker that ended is replaced, so that one that can't start does not keep a core busy."""

log = structlog.get_logger()


class SchemaOutdated(Exception):
    """The database's schema is not the one this version was written for."""


@dataclass(frozen=True)
class Parts:
    """What a process is made of while it runs."""

    runtime: Runtime
    jobs: Jobs
    renderer: Renderer

    @property
    def resources(self) -> tuple[Resource[Any] | HTTPRouteHandler, ...]:
        """The resources beside those that every application has, and the pages."""
        return (*receipt_resources.resources(self.renderer), *page_handlers(self.renderer))


def providers_of(settings: Settings) -> dict[str, PaymentProvider]:
    """The rails whose keys are set; `SettingsError` for one that this version cannot speak to."""
    for name in ("paddle", "apple", "google", "moonpay"):
        if getattr(settings, name) is not None:
            raise SettingsError(f"PURSER_{name.upper()}_…: this version has no adapter for this provider.")
    if settings.stripe is None:
        return {}
    stripe = settings.stripe
    return {"stripe": Stripe(stripe.secret_key, stripe.webhook_secrets, stripe.api_base)}


@contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    """The database of the settings, until the block ends; `SettingsError` for a URL that names none."""
    try:
        db = open_database(settings.database_url)
    except (ValueError, ArgumentError) as error:
        raise SettingsError(f"PURSER_DATABASE_URL can't be used: {error}.") from error
    try:
        yield db
    finally:
        db.close()


def check_schema(db: Database) -> None:
    """Refuse (`SchemaOutdated`) to work on a schema of another version."""
    if not is_current(db):
        raise SchemaOutdated("The database schema is not this version's: run `purser db upgrade` first.")


@contextmanager
def assembled(
    settings: Settings, db: Database, clock: Clock, providers: Mapping[str, PaymentProvider]
) -> Iterator[Parts]:
    """The parts on an open database, jobs not yet running; closed in order when the block ends."""
    catalog = load_catalog(settings.catalog)
    secrets = Secrets(settings.secret_keys)
    terms = chain_terms(catalog, secrets)

    def wake() -> None:
        jobs.wake()

    with ExitStack() as stack:
        group = GroupCommit(db, terms, clock.now)
        stack.callback(group.close)
        runtime = Runtime(
            db=db,
            catalog=catalog,
            secrets=secrets,
            terms=terms,
            clock=clock,
            group=group,
            providers=providers,
            base_url=settings.base_url,
            return_origins=settings.return_origins,
            wake_jobs=wake,
        )
        renderer = stack.enter_context(Renderer())
        jobs = Jobs(runtime, {"mail": mail_sender(settings.smtp_url), "pdf": pdf_maker(renderer)})
        stack.callback(jobs.stop)
        yield Parts(runtime, jobs, renderer)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, so that a busy port is known before anything starts; port 0 takes a free one.

    Raises `SettingsError` naming the address.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise SettingsError(f"Cannot listen on {host} port {port}: {reason}.") from error


def run_app(app: ASGIApp, listener: socket.socket, on_started: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM; `on_started` is called once requests are answered."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    _Server(config, on_started).run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        collect_rarely()
        self._on_started()


def end_by_signal() -> None:
    """Make SIGINT and SIGTERM leave every open block in order; the exit code is 0, for that is how a server ends."""

    def leave(_: int, __: FrameType | None) -> None:
        sys.exit(0)

    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, leave)


def serve(settings: Settings, workers: int = 1) -> None:
    """API, pages and jobs until a signal ends them; several processes share the work on PostgreSQL only.

    Everything that can be refused is refused before the first request is taken: `SettingsError`, `CatalogError`,
    `SchemaOutdated`, `DatabaseLocked`.
    """
    end_by_signal()
    load_catalog(settings.catalog)
    providers_of(settings)
    with listen(settings.host, settings.port) as listener:
        if workers == 1:
            _serve_one(settings, listener)
            return
        with opened(settings) as db:
            if db.is_sqlite:
                raise SettingsError("SQLite has one process: --workers needs PostgreSQL (PURSER_DATABASE_URL).")
            check_schema(db)
        _serve_many(settings, listener, workers)


def work(settings: Settings) -> None:
    """Jobs alone, until a signal ends them: a process beside servers on the same PostgreSQL database."""
    end_by_signal()
    with opened(settings) as db:
        check_schema(db)
        with assembled(settings, db, Clock(), providers_of(settings)) as parts:
            parts.jobs.start()
            log.info("purser works on jobs")
            signal.pause()


def _serve_one(settings: Settings, listener: socket.socket) -> None:
    with opened(settings) as db:
        check_schema(db)
        with assembled(settings, db, Clock(), providers_of(settings)) as parts:
            app = create_app(parts.runtime, settings, parts.resources)
            parts.jobs.start()
            run_app(app, listener, lambda: log.info("purser serves", url=settings.base_url))


def _serve_many(settings: Settings, listener: socket.socket, workers: int) -> None:
    """Keep so many processes on one socket; one that dies is replaced, and all end with this one."""
    context = multiprocessing.get_context("spawn")
    running: list[SpawnProcess] = []
    try:
        while True:
            for _ in range(workers - len(running)):
                process = context.Process(target=_worker, args=(settings, listener))
                process.start()
                running.append(process)
            wait([process.sentinel for process in running])
            for process in [process for process in running if not process.is_alive()]:
                running.remove(process)
                log.error("worker ended", pid=process.pid, exit_code=process.exitcode)
            sleep(RESTART_SECONDS)
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.join()


def _worker(settings: Settings, listener: socket.socket) -> None:
    log_to_stderr(for_people=False)
    end_by_signal()
    _serve_one(settings, listener)
