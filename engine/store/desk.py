"""Reads of the desk: what waits for a second person, and what was done by whom."""

from sqlalchemy import func
from sqlmodel import Session, col, select

from engine.store.tables import AuditRow, ReversalRow

WAITING_MAX = 100
COUNTED_MAX = 10_000
"""Totals of lists are exact up to here."""


def waiting_reversals(session: Session) -> list[ReversalRow]:
    """Reversals that wait for approval, longest waiting first, at most `WAITING_MAX`."""
    return list(
        session.exec(
            select(ReversalRow)
            .where(ReversalRow.status == "pending_approval")
            .order_by(col(ReversalRow.created_at), col(ReversalRow.reversal_id))
            .limit(WAITING_MAX)
        ).all()
    )


def acts_page(session: Session, page: int, limit: int) -> tuple[list[AuditRow], int]:
    """A page of the audit log, newest first, and how many acts it holds (exact up to `COUNTED_MAX`)."""
    newest = (col(AuditRow.created_at).desc(), col(AuditRow.audit_id).desc())
    rows = session.exec(select(AuditRow).order_by(*newest).offset((page - 1) * limit).limit(limit)).all()
    counted = select(AuditRow.audit_id).limit(COUNTED_MAX).subquery()
    return list(rows), session.exec(select(func.count()).select_from(counted)).one()
