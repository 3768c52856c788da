"""What a provider said that could not be carried out: noted for a person, tried again or dismissed by one.

An event becomes a case when it failed too often or names what nobody knows; a refund, when it is in another currency
than the purchase, so that no number says which part of it went back. Nothing is forgotten while its case waits.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlmodel import Session

from engine.clock import new_id
from engine.rules.errors import AlreadyRefunded, Invalid, NotFound
from engine.rules.purchases import KnownFact, foreign_facts
from engine.runtime import Runtime
from engine.store import books, cases, outbox
from engine.store.database import reading, transact
from engine.store.tables import ProviderCaseRow, ProviderEventRow, PurchaseRow

NOBODY = ""
"""The account of audit lines about events whose account is unknown."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A case as it was decided; `is_replay` when it was decided this way before."""

    row: ProviderCaseRow
    is_replay: bool


def note_event(session: Session, event: ProviderEventRow, problem: str, now: datetime) -> None:
    """Open the case of an event, or put one that was tried again back into the queue. The event's row is locked."""
    there = cases.get_case(session, event.provider, "event", event.event_id)
    if there is None:
        new = ProviderCaseRow(
            provider=event.provider,
            kind="event",
            object_id=event.event_id,
            case_id=new_id("cas", now),
            about=event.type,
            problem=problem[:500],
            created_at=now,
            updated_at=now,
        )
        _open(session, new, NOBODY, now)
    elif there.status in ("waiting", "retrying"):
        there.status, there.problem, there.updated_at = "waiting", problem[:500], now
        session.add(there)


def close_event(session: Session, event: ProviderEventRow, now: datetime) -> None:
    """An event was carried out after all: nobody need look at it."""
    there = cases.get_case(session, event.provider, "event", event.event_id)
    if there is not None and there.status in ("waiting", "retrying"):
        there.status, there.updated_at = "closed", now
        session.add(there)


def note_foreign(session: Session, purchase: PurchaseRow, known: Iterable[KnownFact], now: datetime) -> None:
    """A case for each refund or dispute of a purchase that is in another currency; the wallet is locked.

    One that failed, or was won, asks nothing of anybody.
    """
    for fact in foreign_facts(known, purchase.currency):
        there = cases.get_case(session, purchase.provider, "foreign_refund", fact.fact_id)
        if fact.state in ("failed", "won", "prevented"):
            if there is not None and there.status == "waiting":
                there.status, there.updated_at = "closed", now
                session.add(there)
        elif there is None:
            _note_foreign(session, purchase, fact, now)


def _note_foreign(session: Session, purchase: PurchaseRow, fact: KnownFact, now: datetime) -> None:
    new = ProviderCaseRow(
        provider=purchase.provider,
        kind="foreign_refund",
        object_id=fact.fact_id,
        case_id=new_id("cas", now),
        about=fact.kind,
        account_id=purchase.account_id,
        purchase_id=purchase.purchase_id,
        amount_minor=fact.amount.minor,
        currency=fact.amount.currency,
        problem=f"a {fact.kind} in {fact.amount.currency} of a purchase in {purchase.currency}: no credits were taken",
        created_at=now,
        updated_at=now,
    )
    _open(session, new, purchase.account_id, now)


def _open(session: Session, row: ProviderCaseRow, account_id: str, now: datetime) -> None:
    session.add(row)
    session.flush()
    facts: dict[str, object] = {"provider": row.provider, "objectId": row.object_id, "about": row.about}
    actor, action = f"provider:{row.provider}", f"case.{row.kind}"
    outbox.note_act(session, account_id, actor, action, row.case_id, row.problem, facts, now)


def find(runtime: Runtime, case_id: str) -> ProviderCaseRow:
    with reading(runtime.db) as session:
        row = cases.find_case(session, case_id)
    if row is None:
        raise NotFound("case")
    return row


def decide(runtime: Runtime, case_id: str, action: Literal["retry", "dismiss"], actor: str, reason: str) -> Decided:
    """Try an event again, now, or leave a case as it is. Decided in another way before: refused."""
    found = find(runtime, case_id)

    def work(session: Session) -> Decided:
        now = runtime.clock.now()
        if found.account_id is not None:
            books.lock_wallets(session, [found.account_id], now)
        event = cases.get_event(session, found.provider, found.object_id) if found.kind == "event" else None
        row = cases.find_case(session, case_id, lock=True)
        assert row is not None, "cases are never deleted"
        wanted = "retrying" if action == "retry" else "dismissed"
        if row.status == wanted:
            return Decided(row, is_replay=True)
        if row.status != "waiting":
            raise AlreadyRefunded("This was decided before.", decided=row.status)
        if action == "retry" and event is None:
            raise Invalid("action", "Only an event that is still kept can be tried again.")
        # From here it must succeed.
        if event is not None:
            _move_event(session, event, is_retry=action == "retry", now=now)
        row.status, row.decided_by, row.reason, row.updated_at = wanted, actor, reason, now
        session.add(row)
        session.flush()
        facts: dict[str, object] = {"provider": row.provider, "objectId": row.object_id, "problem": row.problem}
        outbox.note_act(session, row.account_id or NOBODY, actor, f"case.{action}", case_id, reason, facts, now)
        return Decided(row, is_replay=False)

    return transact(runtime.db, work)


def _move_event(session: Session, event: ProviderEventRow, *, is_retry: bool, now: datetime) -> None:
    """Make an event due now, once; or let it go."""
    if is_retry:
        event.status, event.due_at = "stored", now
    elif event.status in ("stored", "parked"):
        event.status, event.done_at = "ignored", now
    session.add(event)
