"""Reads of the support desk: what waits for a second person."""

from sqlmodel import Session, col, select

from engine.store.tables import ReversalRow

WAITING_MAX = 100


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
