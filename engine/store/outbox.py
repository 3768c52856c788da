"""The outbox: work and messages that follow a commit, written in the same transaction as what they follow."""

from datetime import datetime

import msgspec
from sqlalchemy import update
from sqlmodel import Session, col, select

from engine.clock import new_id
from engine.store.tables import AuditRow, OutboxRow


def enqueue(
    session: Session,
    account_id: str,
    kind: str,
    payload: dict[str, object],
    now: datetime,
    due_at: datetime | None = None,
) -> str:
    """Write one row of work, due now or later; its id."""
    row = OutboxRow(
        account_id=account_id,
        outbox_id=new_id("out", now),
        kind=kind,
        payload=msgspec.json.encode(payload).decode(),
        due_at=due_at or now,
        created_at=now,
    )
    session.add(row)
    return row.outbox_id


def emit(session: Session, account_id: str, event: str, data: dict[str, object], now: datetime) -> None:
    """Write one outgoing event (SPEC §6); it leaves only if the transaction commits."""
    enqueue(session, account_id, "event", {"type": event, "data": data}, now)


def due(session: Session, kinds: tuple[str, ...], now: datetime, limit: int) -> list[OutboxRow]:
    """Rows to be done now, oldest first."""
    return list(
        session.exec(
            select(OutboxRow)
            .where(col(OutboxRow.done_at).is_(None), OutboxRow.due_at <= now, col(OutboxRow.kind).in_(kinds))
            .order_by(col(OutboxRow.due_at), col(OutboxRow.outbox_id))
            .limit(limit)
        ).all()
    )


def lease(session: Session, row: OutboxRow, until: datetime) -> bool:
    """Take a due row for this worker alone until then; `False` if another one was faster."""
    taken = session.execute(
        update(OutboxRow)
        .where(
            col(OutboxRow.account_id) == row.account_id,
            col(OutboxRow.outbox_id) == row.outbox_id,
            col(OutboxRow.due_at) == row.due_at,
            col(OutboxRow.done_at).is_(None),
        )
        .values(due_at=until)
        .returning(col(OutboxRow.outbox_id))
    )
    return taken.first() is not None


def mark_done(session: Session, row: OutboxRow, now: datetime) -> None:
    session.execute(
        update(OutboxRow)
        .where(col(OutboxRow.account_id) == row.account_id, col(OutboxRow.outbox_id) == row.outbox_id)
        .values(done_at=now, problem=None)
    )


def mark_failed(session: Session, row: OutboxRow, problem: str, due_at: datetime) -> None:
    """Note what went wrong and when to try again."""
    session.execute(
        update(OutboxRow)
        .where(col(OutboxRow.account_id) == row.account_id, col(OutboxRow.outbox_id) == row.outbox_id)
        .values(attempts=row.attempts + 1, problem=problem[:500], due_at=due_at)
    )


def events(session: Session, limit: int) -> list[OutboxRow]:
    """The newest outgoing events."""
    return list(
        session.exec(
            select(OutboxRow).where(OutboxRow.kind == "event").order_by(col(OutboxRow.created_at).desc()).limit(limit)
        ).all()
    )


def note_act(
    session: Session,
    account_id: str,
    actor: str,
    action: str,
    object_id: str,
    reason: str,
    facts: dict[str, object],
    now: datetime,
) -> None:
    """One line in the append-only audit log."""
    session.add(
        AuditRow(
            account_id=account_id,
            audit_id=new_id("aud", now),
            actor=actor,
            action=action,
            object_id=object_id,
            reason=reason,
            facts=msgspec.json.encode(facts).decode(),
            created_at=now,
        )
    )
