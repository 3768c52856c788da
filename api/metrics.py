"""Metrics for Prometheus: counted in each process, read from the database when asked, served on a port of their own.

Nothing names an account. Several processes count into files of one directory (`PROMETHEUS_MULTIPROC_DIR`, set before
they start), and the one that serves adds them up.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector
from sqlalchemy import case, func, select, text
from sqlmodel import Session, col

from api.environ import SettingsError
from api.settings import Settings
from engine.clock import monotonic, real_now
from engine.meter import counted
from engine.nightly import last_result
from engine.payments import PaymentProvider, ProviderRefused, ProviderUnreachable
from engine.rules.commands import Command, Outcome
from engine.store.cases import waiting_cases
from engine.store.database import Database, reading
from engine.store.polling import missed_events
from engine.store.tables import OutboxRow

__all__ = ["Meters", "collected", "mark_process_dead", "metered", "serving_metrics", "watched"]

MULTIPROCESS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
KEEP_SECONDS = 10.0
"""What was read from the database is good for so long: a scraper more must not cost the database more."""


class Meters:
    """Everything that this process counts itself."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        names = ("method", "route", "status")
        self.requests = Counter("purser_http_requests", "Requests answered", names, registry=registry)
        self.latency = Histogram(
            "purser_http_request_seconds", "From request to answer", names[:2], buckets=SECONDS, registry=registry
        )
        self.commands = Counter(
            "purser_commands", "Commands by what became of them", ("operation", "outcome"), registry=registry
        )
        self.batches = Histogram("purser_batch_size", "Commands in one commit", buckets=SIZES, registry=registry)
        self.commits = Histogram(
            "purser_commit_seconds", "From a batch taken to its commit", buckets=SECONDS, registry=registry
        )
        self.queued = Gauge(
            "purser_commit_queue",
            "Requests that wait for the next batch",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.lane_ends = Counter(
            "purser_lane_ends", "Times that a process of the book ended or could not be started", registry=registry
        )
        self.failures = Counter(
            "purser_provider_failures",
            "Calls of providers that failed",
            ("provider", "call", "kind"),
            registry=registry,
        )

    def batch(
        self, commands: Sequence[Command], answers: Sequence[Outcome | Exception], seconds: float, queued: int
    ) -> None:
        """One commit of group commit (`engine.meter.Meter`, as the next)."""
        for (operation, outcome), count in counted(commands, answers).items():
            self.commands.labels(operation, outcome).inc(count)
        self.batches.observe(len(commands))
        self.commits.observe(seconds)
        self.queued.set(queued)

    def lane_ended(self) -> None:
        """A lane of group commit is away."""
        self.lane_ends.inc()


def metered(app: ASGIApp, meters: Meters) -> ASGIApp:
    """The application, with each request counted by its route's template."""
    counters: dict[tuple[str, str, int], tuple[Callable[[], None], Callable[[float], None]]] = {}

    def found(key: tuple[str, str, int]) -> tuple[Callable[[], None], Callable[[float], None]]:
        method, route, status = key
        pair = (
            meters.requests.labels(method, route, str(status)).inc,
            meters.latency.labels(method, route).observe,
        )
        counters[key] = pair
        return pair

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        started = monotonic()
        status = 500

        async def sending(message: Message) -> None:
            nonlocal status
            status = cast(Mapping[str, Any], message).get("status", status)  # at an answer's start, or with all of it
            await send(message)

        try:
            await app(scope, receive, sending)
        finally:
            route = cast(Mapping[str, Any], scope).get("path_template") or "none"
            asked = str(cast(Mapping[str, Any], scope)["method"])
            method = asked if asked in METHODS else "other"
            key = (method, str(route), status)
            count, observe = counters.get(key) or found(key)
            count()
            observe(monotonic() - started)

    return answer


METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
"""Any other word in a request would make a time series of its own."""


class _Watched:
    """A provider whose failing calls are counted; all else is its own."""

    def __init__(self, provider: PaymentProvider, meters: Meters) -> None:
        self._provider = provider
        self._meters = meters

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the provider has under this name
        found = getattr(self._provider, name)
        if not callable(found):
            return found
        provider, failures = self._provider.name, self._meters.failures

        def call(*values: object, **named: object) -> object:
            try:
                return found(*values, **named)
            except ProviderUnreachable:
                failures.labels(provider, name, "unreachable").inc()
                raise
            except ProviderRefused:
                failures.labels(provider, name, "refused").inc()
                raise

        return call


def watched(providers: Mapping[str, PaymentProvider], meters: Meters) -> dict[str, PaymentProvider]:
    """The providers, each with its failures counted."""
    return {name: cast(PaymentProvider, _Watched(provider, meters)) for name, provider in providers.items()}


class _Kept(Collector):
    """What the database knows: backlogs, debts, the last audit. Read at most once in `KEEP_SECONDS`."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._read_at = -KEEP_SECONDS
        self._families: list[GaugeMetricFamily] = []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        if monotonic() - self._read_at >= KEEP_SECONDS:
            with reading(self._db) as session:
                self._families = [*_backlogs(session), *_wallets(session), *_audit(session)]
            self._read_at = monotonic()
        yield from self._families


def _family(name: str, text_: str, labels: Sequence[str] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"purser_{name}", text_, labels=labels)


def _backlogs(session: Session) -> list[GaugeMetricFamily]:
    waiting = _family("outbox_waiting", "Outbox rows not done", ("kind",))
    oldest = _family("outbox_oldest_seconds", "Age of the oldest outbox row not done", ("kind",))
    failing = _family("outbox_failing", "Outbox rows that failed at least once and are tried again", ("kind",))
    now = real_now()
    has_failed = case((col(OutboxRow.attempts) > 0, 1), else_=0)
    rows = session.execute(
        select(col(OutboxRow.kind), func.count(), func.min(col(OutboxRow.created_at)), func.sum(has_failed))
        .where(col(OutboxRow.done_at).is_(None))
        .group_by(col(OutboxRow.kind))
    )
    for kind, count, first, failed in rows:
        waiting.add_metric((kind,), count)
        oldest.add_metric((kind,), max(0.0, (now - first).total_seconds()))
        failing.add_metric((kind,), failed or 0)
    events = _family("webhooks_waiting", "Provider events not yet in the books", ("provider", "status"))
    for provider, status, count in session.execute(
        text(
            "SELECT provider, status, count(*) FROM provider_events WHERE status IN ('stored', 'parked') "
            "GROUP BY provider, status"
        )
    ):
        events.add_metric((provider, status), count)
    return [waiting, oldest, failing, events, *_cases(session)]


def _cases(session: Session) -> list[GaugeMetricFamily]:
    waiting = _family("provider_cases", "What providers said that waits for a person", ("provider", "kind"))
    for provider, kind, count in waiting_cases(session):
        waiting.add_metric((provider, kind), count)
    missed = _family("poll_missed", "What only polling found, since the beginning", ("provider",))
    for provider, count in missed_events(session).items():
        missed.add_metric((provider,), count)
    return [waiting, missed]


def _wallets(session: Session) -> list[GaugeMetricFamily]:
    debts = _family("wallets_in_debt", "Wallets that owe credits")
    debts.add_metric((), session.execute(text("SELECT count(*) FROM wallets WHERE debt_credits > 0")).scalar_one())
    return [debts]


def _audit(session: Session) -> list[GaugeMetricFamily]:
    result = last_result(session)
    if result is None or result.ended_at is None:
        return []
    figures = (
        ("audit_clean", "1 if the last audit found nothing", int(result.problems == 0)),
        ("audit_problems", "What the last audit found", result.problems),
        ("audit_entries", "Ledger rows that the last audit read", result.rows),
        ("audit_seconds", "How long the last audit took", result.seconds),
        ("audit_ended_timestamp_seconds", "When the last audit ended", result.ended_at.timestamp()),
    )
    families = []
    for name, words, value in figures:
        family = _family(name, words)
        family.add_metric((), value)
        families.append(family)
    return families


def collected(db: Database, meters: Meters | None) -> CollectorRegistry:
    """What is to be served: this process's own counts, or with `None` those of all workers; and the database's."""
    registry = CollectorRegistry() if meters is None else meters.registry
    if meters is None:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    registry.register(_Kept(db))
    return registry


@contextmanager
def serving_metrics(settings: Settings, db: Database, meters: Meters | None) -> Iterator[None]:
    """Serve `/metrics` on its own port until the block ends; nothing where no port is set."""
    if settings.metrics_port is None:
        yield
        return
    try:
        server, thread = start_http_server(settings.metrics_port, settings.metrics_host, collected(db, meters))
    except OSError as error:
        place = f"{settings.metrics_host} port {settings.metrics_port}"
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise SettingsError(f"PURSER_METRICS_PORT: cannot listen on {place}: {reason}.") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
