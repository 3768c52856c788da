"""A Purser process: its parts opened in order, served over HTTP, and closed in the opposite order.

The server stops first (requests under way are finished), then the jobs, the group commit, the providers and, last,
the database. Everything is closed whichever way the block is left.
"""

import multiprocessing
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any

import structlog
import uvicorn
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp
from prometheus_client import CollectorRegistry
from sqlalchemy.exc import ArgumentError

from api import receipts as receipt_resources
from api.answers import heard_here
from api.app import create_app
from api.delivery import mail_sender
from api.environ import SettingsError
from api.front import malformed
from api.logs import log_to_stderr
from api.mails.compose import write_notice
from api.metrics import MULTIPROCESS_DIRECTORY, Meters, mark_process_dead, metered, serving_metrics, watched
from api.pages import page_handlers
from api.receipt_files import pdf_maker
from api.scope import Resource
from api.settings import Settings
from api.store_providers import apple_of, google_of
from api.webhook_sender import WebhookSender
from api.whole import refusing
from engine.catalogs import load_catalog
from engine.clock import Clock, sleep
from engine.flows import months
from engine.flows.webhooks import listen as listen_to
from engine.group_commit import GroupCommit, in_threads, tune_interpreter
from engine.jobs import Jobs
from engine.lane_process import in_processes
from engine.payments import PaymentProvider
from engine.runtime import Runtime, Secrets, chain_terms
from engine.store.database import Database, open_database, open_reader
from engine.store.file_locks import DatabaseLocked
from engine.store.migrations import is_current
from psp.moonpay import MoonPay
from psp.paddle import Paddle
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
    webhooks: WebhookSender
    renderer: Renderer

    def start(self) -> None:
        """Begin to work on what is due."""
        self.jobs.start()
        self.webhooks.start()

    @property
    def resources(self) -> tuple[Resource[Any] | HTTPRouteHandler, ...]:
        """The resources beside those that every application has, and the pages."""
        return (*receipt_resources.resources(self.renderer), *page_handlers(self.renderer))


def providers_of(settings: Settings) -> dict[str, PaymentProvider]:
    """The rails whose keys are set; `SettingsError` for one that this version cannot speak to."""
    providers: dict[str, PaymentProvider] = {}
    if settings.stripe is not None:
        stripe = settings.stripe
        providers["stripe"] = Stripe(stripe.secret_key, stripe.webhook_secrets, stripe.api_base)
    if settings.paddle is not None:
        paddle = settings.paddle
        providers["paddle"] = _usable(lambda: Paddle(paddle.api_key, paddle.webhook_secrets, paddle.api_base))
    if settings.moonpay is not None:
        keys = settings.moonpay
        providers["moonpay"] = _usable(
            lambda: MoonPay(keys.publishable_key, keys.secret_key, keys.webhook_key, keys.wallet_address)
        )
    if settings.apple is not None:
        providers["apple"] = apple_of(settings.apple)
    if settings.google is not None:
        providers["google"] = google_of(settings.google)
    return providers


def _usable(open_rail: Callable[[], PaymentProvider]) -> PaymentProvider:
    """The rail, or `SettingsError` for keys that contradict each other."""
    try:
        return open_rail()
    except ValueError as error:
        raise SettingsError(str(error)) from error


def check_webhooks(settings: Settings) -> None:
    """Refuse (`SettingsError`) what only a demo may do: call its own machine."""
    if settings.allows_webhooks_to_loopback:
        raise SettingsError("PURSER_WEBHOOKS_TO_LOOPBACK is for demos only: a server never calls its own machine.")


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


@contextmanager
def opened_to_read(settings: Settings) -> Iterator[Database]:
    """`opened` for a command that writes nothing: a SQLite file that another process holds is read beside it."""
    with ExitStack() as stack:
        try:
            db = stack.enter_context(opened(settings))
        except DatabaseLocked:
            db = open_reader(settings.database_url)
            stack.callback(db.close)
        yield db


def check_schema(db: Database) -> None:
    """Refuse (`SchemaOutdated`) to work on a schema of another version."""
    if not is_current(db):
        raise SchemaOutdated("The database schema is not this version's: run `purser db upgrade` first.")


@contextmanager
def assembled(
    settings: Settings,
    db: Database,
    clock: Clock,
    providers: Mapping[str, PaymentProvider],
    meters: Meters | None = None,
    *,
    serves: bool = False,
) -> Iterator[Parts]:
    """The parts on an open database, jobs not yet running; closed in order when the block ends. With `meters`, what
    group commit and the providers do is counted. Where it `serves` requests, the book has processes of its own."""
    catalog = load_catalog(settings.catalog)
    secrets = Secrets(settings.secret_keys)
    terms = chain_terms(catalog, secrets)

    def wake() -> None:
        jobs.wake()

    with ExitStack() as stack:
        group = in_processes(db, terms, clock) if serves else in_threads(db, terms, clock.now)
        stack.callback(group.close)
        if meters is not None:
            group.measure(meters)
            providers = watched(providers, meters)
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
        group.turn_months_by(partial(months.turn, runtime))
        stack.callback(runtime.reads.close)
        renderer = stack.enter_context(Renderer())
        handlers = {"mail": mail_sender(settings.smtp_url), "notice": write_notice, "pdf": pdf_maker(renderer)}
        jobs = Jobs(runtime, handlers)
        stack.callback(jobs.stop)
        sender = WebhookSender(runtime, allows_loopback=settings.allows_webhooks_to_loopback)
        stack.callback(sender.stop)
        listen_to(runtime)
        yield Parts(runtime, jobs, sender, renderer)


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


def run_app(
    app: ASGIApp, runtime: Runtime, settings: Settings, listener: socket.socket, on_started: Callable[[], None]
) -> None:
    """Serve until SIGINT or SIGTERM; `on_started` is called once requests are answered."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=refusing(malformed(settings, runtime.catalog.error_prefix)),
        lifespan="off",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    _Server(config, runtime.group, on_started).run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, group: GroupCommit, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._group = group
        self._on_started = on_started

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        with heard_here(self._group):
            await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        tune_interpreter()
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
    check_webhooks(settings)
    with listen(settings.host, settings.port) as listener:
        if workers == 1:
            _serve_one(settings, listener)
            return
        with opened(settings) as db:
            if db.is_sqlite:
                raise SettingsError("SQLite has one process: --workers needs PostgreSQL (PURSER_DATABASE_URL).")
            check_schema(db)
            if settings.metrics_port is None:
                _serve_many(settings, listener, workers)
                return
            with tempfile.TemporaryDirectory(prefix="purser-metrics-") as directory:
                os.environ[MULTIPROCESS_DIRECTORY] = directory
                with serving_metrics(settings, db, None):
                    _serve_many(settings, listener, workers)


def work(settings: Settings) -> None:
    """Jobs alone, until a signal ends them: a process beside servers on the same PostgreSQL database."""
    end_by_signal()
    check_webhooks(settings)
    meters = _meters(settings)
    with opened(settings) as db:
        check_schema(db)
        with assembled(settings, db, Clock(), providers_of(settings), meters) as parts:
            parts.start()
            with serving_metrics(settings, db, meters):
                log.info("purser works on jobs")
                while True:  # without an end, a signal that comes just before it would be slept over
                    sleep(0.5)


def _meters(settings: Settings) -> Meters | None:
    """Somebody to count, where metrics are asked for: else nothing is counted."""
    return None if settings.metrics_port is None else Meters(CollectorRegistry())


def _serve_one(settings: Settings, listener: socket.socket, *, is_alone: bool = True) -> None:
    """One process; where it `is_alone` it serves its metrics itself."""
    meters = _meters(settings)
    with opened(settings) as db, ExitStack() as stack:
        check_schema(db)
        parts = stack.enter_context(assembled(settings, db, Clock(), providers_of(settings), meters, serves=True))
        app: ASGIApp = create_app(parts.runtime, settings, parts.resources)
        if meters is not None:
            app = metered(app, meters)
            if is_alone:
                stack.enter_context(serving_metrics(settings, db, meters))
        parts.start()
        run_app(app, parts.runtime, settings, listener, lambda: log.info("purser serves", url=settings.base_url))


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
                if settings.metrics_port is not None:
                    mark_process_dead(process.pid)  # type: ignore[no-untyped-call]
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
    _serve_one(settings, listener, is_alone=False)
