"""Jobs: whatever time or a commit has made due, done by one thread a process and safe to do twice.

Provider events, outbox rows (refunds, documents, mails), sessions that are over, lots past their expiry, monthly
credits, subscriptions, the nightly audit. A row is leased before it is worked on, so several processes share the
work; a worker that dies gives its row up when the lease ends. What fails is tried again with growing waits; nothing is
dropped.
"""

import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog

from engine.flows import (
    accounts,
    cancelled_notes,
    cards,
    commits,
    documents,
    expiry,
    follow_up,
    receive,
    recharge,
    reconcile,
    refunds,
    send_back,
    store_renewals,
    stores,
    subscription_closing,
    subscription_reads,
    unclaimed,
    webhooks,
)
from engine.flows.digests import Digests
from engine.nightly import Nightly
from engine.payments import ProviderUnreachable
from engine.runtime import Runtime
from engine.store import outbox
from engine.store.database import reading, transact
from engine.store.tables import OutboxRow

Payload = dict[str, Any]
Handler = Callable[[Runtime, str, Payload], None]
LEASE = timedelta(seconds=60)
IDLE_SECONDS = 1.0
ROUNDS_MAX = 1_000
log = structlog.get_logger()


class TryLater(Exception):
    """What a handler raises when nothing is wrong here and the same may work later."""


def issue_document(runtime: Runtime, account_id: str, payload: Payload) -> None:
    """Outbox kind `document`."""
    if payload["kind"] == "receipt":
        documents.issue_receipt(runtime, account_id, payload["purchaseId"])
    elif payload["kind"] == "cancellation":
        cancelled_notes.issue_cancellation(runtime, account_id, payload["purchaseId"], payload["cause"])
    else:
        documents.issue_credit_note(runtime, account_id, payload["purchaseId"], payload["cause"])


def send_refund(runtime: Runtime, account_id: str, payload: Payload) -> None:
    """Outbox kind `refund`."""
    refunds.send_refund(runtime, account_id, payload["reversalId"])


def send_unclaimed_refund(runtime: Runtime, account_id: str, payload: Payload) -> None:
    """Outbox kind `refund_unclaimed`."""
    unclaimed.send_refund(runtime, payload["unclaimedId"])


def send_second_refund(runtime: Runtime, account_id: str, payload: Payload) -> None:
    """Outbox kind `refund_second`."""
    send_back.send(runtime, payload["secondId"])


def check_payment(runtime: Runtime, account_id: str, payload: Payload) -> None:
    """Outbox kind `payment_check`."""
    follow_up.check_payment(runtime, account_id, payload["purchaseId"])


def check_late_payment(runtime: Runtime, account_id: str, payload: Payload) -> None:
    """Outbox kind `late_payment_check`."""
    follow_up.check_late_payment(runtime, account_id, payload["purchaseId"], int(payload["asked"]))


def finish_store_purchase(runtime: Runtime, account_id: str, payload: Payload) -> None:
    """Outbox kind `store_finish`."""
    stores.finish_purchase(runtime, account_id, payload["purchaseId"])


def acknowledge_subscription(runtime: Runtime, account_id: str, payload: Payload) -> None:
    """Outbox kind `store_acknowledge`."""
    store_renewals.acknowledge(runtime, account_id, payload["subscriptionId"], payload["reference"], payload["since"])


def look_at_wallet(runtime: Runtime, account_id: str, payload: Payload) -> None:
    """Outbox kind `recharge`."""
    recharge.look(runtime, account_id)


def send_charge(runtime: Runtime, account_id: str, payload: Payload) -> None:
    """Outbox kind `charge`."""
    recharge.send_charge(runtime, account_id, payload["purchaseId"])


def detach_card(runtime: Runtime, account_id: str, payload: Payload) -> None:
    """Outbox kind `detach_card`."""
    cards.tell_provider(runtime, account_id, payload["methodId"])


def close_subscription(runtime: Runtime, account_id: str, payload: Payload) -> None:
    """Outbox kind `subscription_close`."""
    subscription_closing.close_subscription(runtime, account_id, payload["subscriptionId"])


def leave_one_subscription(runtime: Runtime, account_id: str, payload: Payload) -> None:
    """Outbox kind `subscription_second`."""
    subscription_closing.leave_one(runtime, account_id)


class Jobs:
    """The job loop. `handlers` adds kinds of outbox rows that an outer ring does, such as `mail`.

    A handler also finds the row's own id in its payload, as `outboxId`.
    """

    def __init__(self, runtime: Runtime, handlers: Mapping[str, Handler] | None = None) -> None:
        self._runtime = runtime
        self._handlers: dict[str, Handler] = {
            "document": issue_document,
            "refund": send_refund,
            "refund_unclaimed": send_unclaimed_refund,
            "refund_second": send_second_refund,
            "payment_check": check_payment,
            "late_payment_check": check_late_payment,
            "store_finish": finish_store_purchase,
            "store_acknowledge": acknowledge_subscription,
            "recharge": look_at_wallet,
            "charge": send_charge,
            "detach_card": detach_card,
            "subscription_close": close_subscription,
            "subscription_second": leave_one_subscription,
            **(handlers or {}),
        }
        self._nightly = Nightly(runtime)
        self._wake = threading.Event()
        self._digests = Digests()
        self._is_stopping = False
        self._turn = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Run in a thread of its own; refunds that a crash cut short are asked for at once, not when a lease ends."""
        self.resume()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()

    def resume(self) -> None:
        """Make refunds due that somebody began and did not end. The provider's key keeps one asked for twice one."""
        now = self._runtime.clock.now()
        transact(self._runtime.db, lambda session: outbox.hasten(session, "refund", now))

    def stop(self) -> None:
        """Finish the round under way and end the thread."""
        self._is_stopping = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self._nightly.stop()

    def wake(self) -> None:
        """Say that something may be due."""
        self._wake.set()

    def run_due(self) -> int:
        """Do everything that is due, and what that makes due, before this returns; how much was done."""
        done = 0
        for _ in range(ROUNDS_MAX):
            with self._turn:
                now = self._runtime.clock.now()
                count = self._round(now)
            if count == 0:
                break
            done += count
        return done

    def _run(self) -> None:
        while not self._is_stopping:
            for work in (self.run_due, self._nightly.look):
                try:
                    work()
                except Exception:
                    log.exception("jobs failed; trying again")
            self._wake.wait(IDLE_SECONDS)
            self._wake.clear()

    def _round(self, now: datetime) -> int:
        """Each job once; how much was done. One that fails stops none of the others and is raised after them."""
        runtime = self._runtime
        jobs: tuple[Callable[[], int], ...] = (
            lambda: receive.process_due(runtime, now),
            lambda: self._outbox(now),
            lambda: receive.expire_sessions(runtime, now),
            lambda: subscription_reads.settle_due(runtime, now),
            lambda: accounts.grant_due_months(runtime, now),
            lambda: expiry.expire_due(runtime, now, 500),
            lambda: follow_up.prune_events(runtime, now),
            lambda: self._digests.tell_due(runtime, now),
            lambda: webhooks.fan_out(runtime, now),
            lambda: recharge.look_after(runtime),
            lambda: commits.land_due_parts(runtime, now),
            lambda: reconcile.reconcile_due(runtime, now),
        )
        count = 0
        failed: list[Exception] = []
        for job in jobs:
            try:
                count += job()
            except Exception as error:
                failed.append(error)
        if failed:
            raise ExceptionGroup("jobs failed", failed)
        return count

    def _outbox(self, now: datetime) -> int:
        with reading(self._runtime.db) as session:
            rows = outbox.due(session, tuple(self._handlers), now, 100)
        return sum(self._do(row, now) for row in rows)

    def _do(self, row: OutboxRow, now: datetime) -> bool:
        """Lease one row, do it, mark it; whether it was ours."""
        db = self._runtime.db
        if not transact(db, lambda session: outbox.lease(session, row, now + LEASE)):
            return False
        payload = {**msgspec.json.decode(row.payload, type=Payload), "outboxId": row.outbox_id}
        try:
            self._handlers[row.kind](self._runtime, row.account_id, payload)
        except Exception as error:
            if not isinstance(error, ProviderUnreachable | TryLater):
                log.exception("outbox row failed", kind=row.kind, outbox_id=row.outbox_id)
            wait = timedelta(seconds=min(3600, 2 ** (row.attempts + 1)))
            problem = f"{type(error).__name__}: {error}"
            transact(db, lambda session: outbox.mark_failed(session, row, problem, now + wait))
        else:
            transact(db, lambda session: outbox.mark_done(session, row, self._runtime.clock.now()))
        return True
