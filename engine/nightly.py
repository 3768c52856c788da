"""The nightly audit: once a UTC day, by whichever process comes first, in a thread beside the jobs.

Each day has one outbox row of kind `audit`, leased while it is worked on and done with its result in it. The audit
pauses between windows so that it takes no more than half of a core, renews its lease, and ends when the jobs end: then
the row's lease runs out and another process begins anew.
"""

import threading
from contextlib import suppress
from datetime import datetime, timedelta

import msgspec
import structlog
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from engine.audit import Report, audit
from engine.clock import monotonic
from engine.runtime import Runtime
from engine.store import outbox
from engine.store.database import reading, transact
from engine.store.tables import OutboxRow

KIND = "audit"
OWNER = "-"
"""In place of an account: the audit is of all of them."""

HOUR = 3
"""UTC: from this hour on the day's audit is due."""

LEASE = timedelta(minutes=2)
PAUSE_SECONDS = 0.05
log = structlog.get_logger()


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How an audit ended, as its row keeps it; `first` names the first finding."""

    day: str
    problems: int = 0
    rows: int = 0
    wallets: int = 0
    seconds: float = 0.0
    first: str = ""
    ended_at: datetime | None = None


class Stopped(Exception):
    """The process ends before the audit does."""


class Nightly:
    """Looks whether the day's audit is due, and runs it; one per process."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._looked_at: str = ""

    def look(self) -> None:
        """Begin the day's audit in a thread of its own if it is due, nobody has it, and none runs here."""
        now = self._runtime.clock.now()
        day = now.date().isoformat()
        if now.hour < HOUR or day == self._looked_at or (self._thread is not None and self._thread.is_alive()):
            return
        self._thread = threading.Thread(target=self._run_logged, args=(day,), name="nightly-audit", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End an audit under way, and wait for it."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def run(self, day: str) -> Result | None:
        """The day's audit, unless it is done or another process has it."""
        row = self._lease(day)
        if row is None:
            return None
        started = monotonic()
        report = audit(self._runtime.db, self._runtime.secrets.all_for("ledger chain"), self._pacer(row))
        result = _result(day, report, monotonic() - started, self._runtime.clock.now())
        transact(self._runtime.db, lambda session: _keep(session, row, result))
        if not report.is_clean:
            log.error("the books do not add up", problems=result.problems, first=result.first)
        return result

    def _run_logged(self, day: str) -> None:
        try:
            if self.run(day) is not None or _is_done(self._runtime, day):
                self._looked_at = day
        except Stopped:
            log.info("the nightly audit was interrupted", day=day)
        except Exception:
            log.exception("the nightly audit failed; trying again when its lease ends")

    def _lease(self, day: str) -> OutboxRow | None:
        """The day's row, leased; made by whoever comes first."""
        db, now = self._runtime.db, self._runtime.clock.now()
        found = _row(self._runtime, day)
        if found is None:
            with suppress(IntegrityError):  # another process made it at the same moment
                transact(db, lambda session: _make(session, day, now))
            found = _row(self._runtime, day)
        if found is None or found.done_at is not None or found.due_at > now:
            return None
        until = now + LEASE
        if not transact(db, lambda session: outbox.lease(session, found, until)):
            return None
        found.due_at = until
        return found

    def _pacer(self, row: OutboxRow) -> "_Pacer":
        return _Pacer(self._runtime, row, self._stopping)


class _Pacer:
    """What the audit calls after each window: it rests a little, renews the lease, and ends when it must."""

    def __init__(self, runtime: Runtime, row: OutboxRow, stopping: threading.Event) -> None:
        self._runtime = runtime
        self._row = row
        self._stopping = stopping
        self._renewed = monotonic()

    def __call__(self, rows: int) -> None:
        if self._stopping.wait(PAUSE_SECONDS):
            raise Stopped
        if monotonic() - self._renewed > LEASE.total_seconds() / 4:
            until = self._runtime.clock.now() + LEASE
            if not transact(self._runtime.db, lambda session: outbox.lease(session, self._row, until)):
                raise Stopped
            self._row.due_at = until
            self._renewed = monotonic()


def last_result(session: Session) -> Result | None:
    """The newest audit that ended."""
    row = session.exec(
        select(OutboxRow)
        .where(OutboxRow.account_id == OWNER, OutboxRow.kind == KIND, col(OutboxRow.done_at).is_not(None))
        .order_by(col(OutboxRow.outbox_id).desc())
        .limit(1)
    ).first()
    return None if row is None else msgspec.json.decode(row.payload, type=Result)


def _id_of(day: str) -> str:
    return f"audit-{day}"


def _row(runtime: Runtime, day: str) -> OutboxRow | None:
    with reading(runtime.db) as session:
        return session.get(OutboxRow, (OWNER, _id_of(day)))


def _make(session: Session, day: str, now: datetime) -> None:
    if session.get(OutboxRow, (OWNER, _id_of(day))) is None:
        payload = msgspec.json.encode(Result(day=day)).decode()
        session.add(
            OutboxRow(account_id=OWNER, outbox_id=_id_of(day), kind=KIND, payload=payload, due_at=now, created_at=now)
        )


def _is_done(runtime: Runtime, day: str) -> bool:
    row = _row(runtime, day)
    return row is not None and row.done_at is not None


def _result(day: str, report: Report, seconds: float, now: datetime) -> Result:
    first = report.findings[0] if report.findings else None
    return Result(
        day=day,
        problems=len(report.findings),
        rows=report.rows,
        wallets=report.wallets,
        seconds=round(seconds, 3),
        first="" if first is None else f"{first.where}: {first.what}"[:500],
        ended_at=now,
    )


def _keep(session: Session, row: OutboxRow, result: Result) -> None:
    session.execute(
        text("UPDATE outbox SET payload = :payload WHERE account_id = :owner AND outbox_id = :id"),
        {"payload": msgspec.json.encode(result).decode(), "owner": row.account_id, "id": row.outbox_id},
    )
    assert result.ended_at is not None
    outbox.mark_done(session, row, result.ended_at)
