"""Auto-recharge as kept: what the customer set, each charge, each decision. Whoever changes them holds the lock."""

from datetime import datetime

from sqlalchemy import func, or_
from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from engine.clock import new_id
from engine.rules.recharge import Wish
from engine.store import outbox
from engine.store.bulk import update_rows
from engine.store.tables import AutoRechargeRow, OutboxRow, PurchaseRow, RechargeDecisionRow, RechargeRow
from engine.store.triggers import RECHARGE

IN_FLIGHT = ("pending", "processing", "requires_action")


def wish_of(row: AutoRechargeRow | None) -> Wish:
    """What the customer set; nothing set is off."""
    if row is None:
        return Wish()
    return Wish(row.is_enabled, row.threshold_credits, row.amount_minor, row.method_id, row.monthly_cap_minor)


def arm(session: Session, account_id: str, threshold_credits: int | None) -> None:
    """Have the wallet ask when a change leaves no more than this, or not at all; its lock is held."""
    update_rows(session, "wallets", ("account_id",), ("recharge_at_credits",), [(account_id, threshold_credits)])


def ask(session: Session, account_id: str, due_at: datetime, now: datetime) -> None:
    """Have the wallet looked at; an answer that is due then anyway is enough."""
    waiting = session.exec(
        select(OutboxRow.outbox_id).where(
            OutboxRow.account_id == account_id,
            OutboxRow.kind == RECHARGE,
            col(OutboxRow.done_at).is_(None),
            OutboxRow.due_at == due_at,
        )
    ).first()
    if waiting is None or due_at <= now:
        outbox.enqueue(session, account_id, RECHARGE, {}, now, due_at)


def in_flight(session: Session, account_id: str) -> RechargeRow | None:
    """The charge that has not ended; there is one at most."""
    return session.exec(
        select(RechargeRow).where(RechargeRow.account_id == account_id, col(RechargeRow.status).in_(IN_FLIGHT))
    ).first()


def last_fired_at(session: Session, account_id: str) -> datetime | None:
    """When the newest charge was begun."""
    return session.exec(
        select(RechargeRow.created_at)
        .where(RechargeRow.account_id == account_id)
        .order_by(col(RechargeRow.created_at).desc())
        .limit(1)
    ).first()


def fired_since(session: Session, account_id: str, start: datetime) -> int:
    """How many charges were begun since then, whatever came of them."""
    return session.exec(
        select(func.count())
        .select_from(RechargeRow)
        .where(RechargeRow.account_id == account_id, RechargeRow.created_at >= start)
    ).one()


def charged_since(session: Session, account_id: str, start: datetime) -> int:
    """Money of the charges begun since then that succeeded or still may."""
    found = session.exec(
        select(func.coalesce(func.sum(RechargeRow.amount_minor), 0)).where(
            RechargeRow.account_id == account_id, RechargeRow.created_at >= start, RechargeRow.status != "failed"
        )
    ).one()
    return int(found)


def was_taken_back(session: Session, account_id: str, since: datetime) -> bool:
    """Whether all that a charge had bought was taken back since then, or is disputed."""
    is_back = or_(
        col(PurchaseRow.credits_out) >= col(PurchaseRow.base_credits) + col(PurchaseRow.bonus_credits),
        col(PurchaseRow.is_disputed),
    )
    found = session.exec(
        select(PurchaseRow.purchase_id)
        .where(PurchaseRow.account_id == account_id, PurchaseRow.kind == "auto_recharge")
        .where(col(PurchaseRow.landed_at).is_not(None), PurchaseRow.updated_at > since, is_back)
        .limit(1)
    )
    return found.first() is not None


def due(session: Session, now: datetime, limit: int) -> list[RechargeRow]:
    """Charges in flight that somebody should look after now."""
    return list(
        session.exec(
            select(RechargeRow)
            .where(col(RechargeRow.status).in_(("processing", "requires_action")), RechargeRow.due_at <= now)
            .order_by(col(RechargeRow.due_at))
            .limit(limit)
        ).all()
    )


def note(
    session: Session,
    account_id: str,
    wish: Wish,
    available_credits: int,
    reason: str,
    now: datetime,
    *,
    purchase_id: str | None = None,
    fired: bool = False,
    again_at: datetime | None = None,
) -> None:
    """Write a decision down, unless it says what the one before it said."""
    newest = session.exec(_decisions(account_id).limit(1)).first()
    if newest is not None and not fired and purchase_id is None:
        same = (newest.reason, newest.again_at, newest.threshold_credits, newest.amount_minor)
        if same == (reason, again_at, wish.threshold_credits, wish.amount_minor):
            return
    session.add(
        RechargeDecisionRow(
            account_id=account_id,
            number=newest.number + 1 if newest is not None else 1,
            decision_id=new_id("rdec", now),
            fired=fired,
            reason=reason,
            available_credits=available_credits,
            threshold_credits=wish.threshold_credits,
            amount_minor=wish.amount_minor,
            purchase_id=purchase_id,
            again_at=again_at,
            created_at=now,
        )
    )
    session.flush()


def last_reason(session: Session, account_id: str) -> str | None:
    """What the newest decision says."""
    newest = session.exec(_decisions(account_id).limit(1)).first()
    return newest.reason if newest is not None else None


def list_decisions(session: Session, account_id: str, page: int, limit: int) -> tuple[list[RechargeDecisionRow], int]:
    """One page of decisions, newest first, and how many there are."""
    total = session.exec(
        select(func.count()).select_from(RechargeDecisionRow).where(RechargeDecisionRow.account_id == account_id)
    ).one()
    rows = session.exec(_decisions(account_id).offset((page - 1) * limit).limit(limit)).all()
    return list(rows), total


def _decisions(account_id: str) -> SelectOfScalar[RechargeDecisionRow]:
    return (
        select(RechargeDecisionRow)
        .where(RechargeDecisionRow.account_id == account_id)
        .order_by(col(RechargeDecisionRow.number).desc())
    )
