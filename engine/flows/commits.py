"""Commit plans month by month: each part lands when it falls due, once, as long as its money is here."""

from datetime import datetime, timedelta

import structlog
from sqlmodel import Session, col, select

from engine import book
from engine.flows.converge import settle
from engine.flows.granting import commit_of, grants_of
from engine.rules.commands import Posted
from engine.rules.errors import Refusal
from engine.runtime import Runtime
from engine.store import books, outbox, purchases
from engine.store.database import reading, transact
from engine.store.tables import CommitRow

AGAIN = timedelta(days=1)
"""When a part that the wallet could not take is tried again."""

AFTER_AN_ERROR = timedelta(minutes=15)
"""When a part is tried again that failed for no reason a customer could have given."""

log = structlog.get_logger()


def land_due_parts(runtime: Runtime, now: datetime, limit: int = 100) -> int:
    """Land the parts that are due; how many commit plans were looked at. One that fails stops none of the others."""
    with reading(runtime.db) as session:
        due = session.exec(
            select(CommitRow)
            .where(col(CommitRow.next_part_at) <= now)
            .order_by(col(CommitRow.next_part_at))
            .limit(limit)
        ).all()
    for row in due:
        try:
            transact(
                runtime.db,
                lambda session, row=row: _land_part(session, runtime, row.account_id, row.purchase_id),  # type: ignore[misc]
            )
        except Exception:
            log.exception("a part of a commit plan failed", purchase_id=row.purchase_id)
            transact(runtime.db, lambda session, row=row: _put_off(session, row, now))  # type: ignore[misc]
    return len(due)


def _put_off(session: Session, row: CommitRow, now: datetime) -> None:
    books.lock_wallets(session, [row.account_id], now)
    there = session.get_one(CommitRow, (row.account_id, row.purchase_id))
    if there.next_part_at == row.next_part_at:
        there.next_part_at = now + AFTER_AN_ERROR
        session.add(there)


def _land_part(session: Session, runtime: Runtime, account_id: str, purchase_id: str) -> None:
    now = runtime.clock.now()
    page = books.lock_wallets(session, [account_id], now)[account_id]
    purchase = purchases.get_purchase(session, account_id, purchase_id, lock=True)
    commit = commit_of(session, purchase) if purchase is not None else None
    if purchase is None or commit is None or commit.next_part_at is None or commit.next_part_at > now:
        return
    assert purchase.provider_reference is not None, "a part follows a payment"
    if page.wallet.status == "closed":
        commit.next_part_at = None
        session.add(commit)
        return
    commands = grants_of(runtime, purchase, commit, purchase.provider_reference, "system")
    outcomes = book.post(session, commands, runtime.terms, now)
    if any(isinstance(outcome, Refusal) for outcome in outcomes):
        assert isinstance(outcomes[0], Refusal), "base and bonus are granted together or not at all"
        commit.next_part_at = now + AGAIN
        session.add(commit)
        return
    commit.parts_landed += 1
    session.add(commit)
    granted = sum(outcome.transactions[0].amount_credits for outcome in outcomes if isinstance(outcome, Posted))
    data: dict[str, object] = {"purchaseId": purchase_id, "creditsGranted": str(granted), "source": "commit"}
    outbox.emit(session, account_id, "credits.granted", data, now)
    settle(session, runtime, purchase, "system")
