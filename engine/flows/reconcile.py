"""Reconciliation: each provider's own list read since a cursor, through the same path as webhooks, and a report.

What webhooks did not bring is processed as if they had, so what was paid is granted and what was refunded is taken
back. What can't be healed is reported, and events that only polling found raise an alarm: an endpoint may be dead. A
provider joins by one method, `poll` (`engine/payments.py`).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import structlog
from sqlmodel import Session

from engine.flows import receive
from engine.flows.granting import terms_of
from engine.flows.reconcile_stores import healed_by
from engine.payments import (
    Event,
    PaymentProvider,
    PolledProvider,
    ProviderRefused,
    ProviderUnreachable,
    Store,
    can_be_polled,
)
from engine.rules.facts import Fact
from engine.rules.purchases import KnownFact, Terms, converge
from engine.runtime import Runtime
from engine.store import polling, purchases
from engine.store.database import reading, transact
from engine.store.tables import ProviderEventRow, PurchaseRow

EVERY = timedelta(minutes=10)
YOUNG = timedelta(minutes=5)
"""How old an event must be before its webhook counts as lost; a younger one is left to the next poll's overlap."""

WINDOW = timedelta(days=35)
COMPARED_MAX = 5_000
ASKED_MAX = 100
CHUNK = 500

Kind = Literal["paid_not_granted", "granted_not_paid", "refunded_not_taken_back", "amount_mismatch"]
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that did not agree, and whether it does now."""

    kind: Kind
    purchase_id: str
    is_healed: bool
    what: str


@dataclass(frozen=True, slots=True)
class Report:
    """One rail: how many events were listed, what no webhook had brought of these and of payments asked for one by
    one, and what was found."""

    provider: str
    listed: int
    missed: int
    findings: tuple[Finding, ...]

    @property
    def is_clean(self) -> bool:
        return all(finding.is_healed for finding in self.findings)


def reconcile_due(runtime: Runtime, now: datetime) -> int:
    """Poll the rails whose turn it is; how many were polled. One that does not answer has its turn again."""
    polled = 0
    for provider in runtime.providers.values():
        if not can_be_polled(provider):
            continue
        with reading(runtime.db) as session:
            before = polling.cursor_of(session, provider)
        if before is not None and before.polled_at + EVERY > now:
            continue
        if not transact(runtime.db, lambda session, p=provider: polling.begin(session, p, EVERY, now)):  # type: ignore[misc]
            continue
        try:
            reconcile(runtime, provider)
        except (ProviderUnreachable, ProviderRefused) as error:
            log.warning("provider not polled", provider=provider.name, problem=str(error))
        polled += 1
    return polled


def reconcile(runtime: Runtime, provider: PolledProvider) -> Report:
    """Read one provider's list, carry out what is new, and compare what is known with what was granted."""
    now = runtime.clock.now()
    with reading(runtime.db) as session:
        before = polling.cursor_of(session, provider)
        cursor, polled_at = (before.cursor, before.polled_at) if before is not None else (None, now)
    polled = provider.poll(cursor, now)
    old = tuple(event for event in polled.events if event.at is None or event.at <= now - YOUNG)
    findings: list[Finding] = []
    missed = 0
    for start in range(0, len(old), CHUNK):
        chunk = old[start : start + CHUNK]
        new = transact(runtime.db, lambda session, c=chunk: polling.store_new(session, provider.name, c, now))  # type: ignore[misc]
        for event in chunk:
            if event.event_id in new:
                healed = _carry_out(runtime, provider, event, now)
                missed += event.is_told or bool(healed)
                findings += healed
    transact(runtime.db, lambda session: polling.move_on(session, provider, polled.cursor, missed, now))
    findings += _compared(runtime, provider, now)
    asked = _asked_again(runtime, provider, min(polled_at, now) - timedelta(hours=1), now)
    untold = 0 if polled.has_list else sum(finding.is_healed for finding in asked)
    if untold:
        transact(runtime.db, lambda session: polling.count_missed(session, provider, untold, now))
    missed += untold
    if missed:
        log.error("polling found what no webhook brought", provider=provider.name, missed=missed)
    findings += asked
    for finding in findings:
        log.warning("reconciled", kind=finding.kind, purchase_id=finding.purchase_id, healed=finding.is_healed)
    return Report(provider.name, len(polled.events), missed, tuple(dict.fromkeys(findings)))


def _carry_out(runtime: Runtime, provider: PaymentProvider, event: Event, now: datetime) -> list[Finding]:
    """Process a missed event as its webhook would have been, and say what that healed."""
    if isinstance(provider, Store):
        healed = healed_by(runtime, provider, event, now)
        return [Finding(each.kind, each.purchase_id, True, f"{event.type} was never delivered") for each in healed]
    try:
        facts = provider.facts(event)
    except (ProviderUnreachable, ProviderRefused):
        return []  # it is stored, and the job that processes events tries again
    mode = "live" if provider.is_live else "test"
    with reading(runtime.db) as session:
        payments = [fact for fact in facts if isinstance(fact, Fact)]
        owners = {purchases.owner_of(session, provider.name, provider.account, mode, fact) for fact in payments}
        rows = [purchases.get_purchase(session, *owner) for owner in owners if owner is not None]
        stored = session.get(ProviderEventRow, (provider.name, event.event_id))
    assert stored is not None
    receive.process(runtime, provider, stored, now)
    found = []
    for row in rows:
        assert row is not None
        with reading(runtime.db) as session:
            after = purchases.get_purchase(session, row.account_id, row.purchase_id)
        assert after is not None
        if row.landed_at is None and after.landed_at is not None:
            found.append(Finding("paid_not_granted", row.purchase_id, True, f"{event.type} was never delivered"))
        if after.credits_out > row.credits_out:
            what = f"{event.type} was never delivered"
            found.append(Finding("refunded_not_taken_back", row.purchase_id, True, what))
    return found


def _compared(runtime: Runtime, provider: PaymentProvider, now: datetime) -> list[Finding]:
    """What is known of each recent purchase against what was granted and taken back."""
    freezes = runtime.catalog.refunds.early_fraud_warnings == "freeze"
    found: list[Finding] = []
    with reading(runtime.db) as session:
        rows = polling.purchases_since(session, provider.name, now - WINDOW, COMPARED_MAX)
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            ids = [row.purchase_id for row in chunk]
            facts, commits = polling.facts_of(session, ids), polling.commits_of(session, ids)
            for row in chunk:
                terms = terms_of(row, commits.get(row.purchase_id))
                finding = disagreement(row, terms, facts.get(row.purchase_id, []), provider.is_live, freezes)
                if finding is not None:
                    found.append(finding)
    return found


def disagreement(
    row: PurchaseRow, terms: Terms, known: list[KnownFact], is_live: bool, freezes: bool
) -> Finding | None:
    """How a purchase's facts and its credits disagree, if they do."""
    is_paid = any(fact.kind == "payment" and fact.state == "paid" for fact in known)
    if row.status == "quarantined":
        return Finding("amount_mismatch", row.purchase_id, False, row.problem or "it waits for an operator")
    if is_paid and row.landed_at is None:
        return Finding("paid_not_granted", row.purchase_id, False, row.problem or "its payment granted nothing")
    if row.landed_at is not None and not is_paid:
        return Finding("granted_not_paid", row.purchase_id, False, "no payment that is paid is known of it")
    firm = converge(terms, known, is_live, freezes).firm_credits
    if row.subscription_id is not None:
        return None  # of a subscription's payment only what is left is taken back
    if row.landed_at is not None and row.credits_out < firm:
        what = f"{firm} credits should be out and {row.credits_out} are"
        return Finding("refunded_not_taken_back", row.purchase_id, False, what)
    return None


def _asked_again(runtime: Runtime, provider: PaymentProvider, since: datetime, now: datetime) -> list[Finding]:
    """The provider's present word on checkouts that landed, or still wait, since the last look."""
    with reading(runtime.db) as session:
        rows = polling.purchases_since(session, provider.name, since, ASKED_MAX)
    found = []
    for row in rows:
        is_waiting = row.status in ("open", "processing", "expired") and row.created_at <= now - YOUNG
        if row.session_id is None or not (row.landed_at is not None or is_waiting):
            continue
        try:
            facts = provider.payment(row.session_id)
        except (ProviderUnreachable, ProviderRefused):
            continue
        payment = next((fact for fact in facts if fact.kind == "payment"), None)
        if payment is None:
            continue
        if row.landed_at is not None and payment.state != "paid":
            found.append(Finding("granted_not_paid", row.purchase_id, False, f"the provider says {payment.state}"))
        elif row.landed_at is not None and payment.amount.minor != row.amount_minor:
            what = f"the provider says {payment.amount.minor}, it was sold for {row.amount_minor}"
            found.append(Finding("amount_mismatch", row.purchase_id, False, what))
        elif row.landed_at is None and payment.state == "paid":
            receive.carry_out(runtime, provider, facts)
            with reading(runtime.db) as session:
                is_healed = _has_landed(session, row)
            found.append(Finding("paid_not_granted", row.purchase_id, is_healed, "no event said that it was paid"))
    return found


def _has_landed(session: Session, row: PurchaseRow) -> bool:
    after = purchases.get_purchase(session, row.account_id, row.purchase_id)
    return after is not None and after.landed_at is not None
