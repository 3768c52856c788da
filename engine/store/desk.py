"""Reads of the audit log: what was done by whom, and why."""

from sqlalchemy import func
from sqlmodel import Session, col, select

from engine.store.tables import AuditRow

COUNTED_MAX = 10_000
"""Totals of lists are exact up to here."""


def acts_page(session: Session, page: int, limit: int) -> tuple[list[AuditRow], int]:
    """A page of the audit log, newest first, and how many acts it holds (exact up to `COUNTED_MAX`)."""
    newest = (col(AuditRow.created_at).desc(), col(AuditRow.audit_id).desc())
    rows = session.exec(select(AuditRow).order_by(*newest).offset((page - 1) * limit).limit(limit)).all()
    counted = select(AuditRow.audit_id).limit(COUNTED_MAX).subquery()
    return list(rows), session.exec(select(func.count()).select_from(counted)).one()
