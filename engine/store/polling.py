"""How far each provider's own list was read, and the purchases whose facts and credits are compared: rows only."""

from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from engine.payments import Event, PaymentProvider
from engine.rules.purchases import KnownFact
from engine.store.bulk import insert_new_rows
from engine.store.purchases import EVENT, read_fact
from engine.store.tables import CommitRow, FactRow, PollCursorRow, PurchaseRow


def cursor_of(session: Session, provider: PaymentProvider, *, lock: bool = False) -> PollCursorRow | None:
    """One rail's place in its provider's list."""
    mode = "live" if provider.is_live else "test"
    key = (provider.name, provider.account, mode)
    return session.get(PollCursorRow, key, with_for_update=lock)


def begin(session: Session, provider: PaymentProvider, every: timedelta, now: datetime) -> bool:
    """Whether this worker is to poll now; a rail seen for the first time is polled after a first wait."""
    row = cursor_of(session, provider, lock=True)
    if row is None:
        session.add(_new(provider, now))
        return False
    if row.polled_at + every > now:
        return False
    row.polled_at = now
    session.add(row)
    return True


def move_on(session: Session, provider: PaymentProvider, cursor: str, missed: int, now: datetime) -> None:
    """What was read is stored: go on from here, and count what webhooks did not bring."""
    row = cursor_of(session, provider, lock=True) or _new(provider, now)
    row.cursor = cursor
    row.polled_at = now
    if missed:
        row.missed += missed
        row.missed_at = now
    session.add(row)


def count_missed(session: Session, provider: PaymentProvider, missed: int, now: datetime) -> None:
    """Count what was found without any event, by asking for payments one by one."""
    row = cursor_of(session, provider, lock=True) or _new(provider, now)
    row.missed += missed
    row.missed_at = now
    session.add(row)


def _new(provider: PaymentProvider, now: datetime) -> PollCursorRow:
    mode = "live" if provider.is_live else "test"
    return PollCursorRow(provider=provider.name, provider_account=provider.account, mode=mode, polled_at=now)


def store_new(session: Session, provider: str, events: tuple[Event, ...], now: datetime) -> set[str]:
    """Keep those events that are not there yet, in one statement, whoever else keeps them now; the ids of the new."""
    wanted = {event.event_id: event for event in events}
    rows = [(provider, event.event_id, event.type, event.payload, "stored", 0, now, now) for event in wanted.values()]
    new = insert_new_rows(session, "provider_events", EVENT, EVENT[:2], rows)
    return {event_id for _, event_id in new}


def missed_events(session: Session) -> dict[str, int]:
    """Events that only polling brought, by provider, since the beginning: a counter for alarms."""
    return {row.provider: row.missed for row in session.exec(select(PollCursorRow)).all()}


def purchases_since(session: Session, provider: str, since: datetime, limit: int) -> list[PurchaseRow]:
    """A rail's purchases, the newest first."""
    return list(
        session.exec(
            select(PurchaseRow)
            .where(PurchaseRow.provider == provider, PurchaseRow.created_at >= since)
            .order_by(col(PurchaseRow.created_at).desc())
            .limit(limit)
        ).all()
    )


def facts_of(session: Session, purchase_ids: list[str]) -> dict[str, list[KnownFact]]:
    """What is known of these purchases."""
    found: dict[str, list[KnownFact]] = {}
    for row in session.exec(select(FactRow).where(col(FactRow.purchase_id).in_(purchase_ids))).all():
        found.setdefault(row.purchase_id, []).append(read_fact(row))
    return found


def commits_of(session: Session, purchase_ids: list[str]) -> dict[str, CommitRow]:
    """The commit plans among these purchases."""
    rows = session.exec(select(CommitRow).where(col(CommitRow.purchase_id).in_(purchase_ids))).all()
    return {row.purchase_id: row for row in rows}
