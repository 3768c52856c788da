"""All that happened to one account, newest first: purchases, ledger rows, mails, documents and what people did.

Each kind is read where it lies and merged; a place in the list is an instant, a kind and a key, so that a page goes
on exactly where the last one ended, whatever was added meanwhile.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, false, or_
from sqlmodel import Session, col, select

from engine.rules.ledger import Wallet
from engine.store import history
from engine.store.tables import AuditRow, DocumentRow, MailRow, PurchaseRow


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where an entry stands: later instants first, then kinds and keys from the last to the first."""

    at: datetime
    kind: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that happened; what its kind does not have is `None`."""

    place: Place
    title: str
    id: str
    actor: str | None = None
    detail: str | None = None
    purchase_id: str | None = None
    credits: int | None = None
    amount_minor: int | None = None
    currency: str | None = None
    status: str | None = None


Reader = Callable[[Session, Wallet, Place | None, int], list[Entry]]


def timeline(
    session: Session, wallet: Wallet, before: Place | None, limit: int, kind: str | None = None
) -> tuple[list[Entry], bool]:
    """At most `limit` entries older than `before`, newest first, and whether there are more."""
    readers = READERS.values() if kind is None else (READERS[kind],)
    found = [entry for read in readers for entry in read(session, wallet, before, limit + 1)]
    found.sort(key=lambda entry: entry.place, reverse=True)
    return found[:limit], len(found) > limit


def _older(before: Place | None, kind: str, at: Any, key: Any) -> ColumnElement[bool]:  # noqa: ANN401 - columns
    """The condition that a row of this kind stands after a place."""
    if before is None:
        return ~false()
    same: ColumnElement[bool] = false()
    if kind < before.kind:
        same = at == before.at
    elif kind == before.kind:
        same = and_(at == before.at, key < before.key)
    return or_(at < before.at, same)


def _purchases(session: Session, wallet: Wallet, before: Place | None, limit: int) -> list[Entry]:
    at, key = col(PurchaseRow.created_at), col(PurchaseRow.purchase_id)
    rows = session.exec(
        select(PurchaseRow)
        .where(PurchaseRow.account_id == wallet.account_id, _older(before, "purchase", at, key))
        .order_by(at.desc(), key.desc())
        .limit(limit)
    ).all()
    return [
        Entry(
            place=Place(row.created_at, "purchase", row.purchase_id),
            title="Order placed",
            id=row.purchase_id,
            actor=row.actor,
            detail=row.description,
            purchase_id=row.purchase_id,
            credits=row.base_credits + row.bonus_credits,
            amount_minor=row.amount_minor,
            currency=row.currency,
            status=row.status,
        )
        for row in rows
    ]


def _ledger(session: Session, wallet: Wallet, before: Place | None, limit: int) -> list[Entry]:
    """`created_at` grows with `seq`, so a place in time is a place in the ledger; the key is `seq`, made to sort."""
    end = wallet.seq + 1
    if before is not None and before.kind == "transaction":
        end = int(before.key)
    elif before is not None:
        end = history.first_seq(session, wallet, before.at, is_after=before.kind > "transaction")
    rows = history.statement(session, wallet, history.StatementQuery(before_seq=end, limit=limit)).rows
    return [
        Entry(
            place=Place(row.created_at, "transaction", f"{row.seq:020d}"),
            title=row.type,
            id=row.transaction_id,
            actor=row.actor,
            detail=row.description,
            purchase_id=row.purchase_id,
            credits=row.amount_credits,
        )
        for row in rows
    ]


def _mails(session: Session, wallet: Wallet, before: Place | None, limit: int) -> list[Entry]:
    at, key = col(MailRow.created_at), col(MailRow.mail_id)
    rows = session.exec(
        select(MailRow)
        .where(MailRow.account_id == wallet.account_id, _older(before, "mail", at, key))
        .order_by(at.desc(), key.desc())
        .limit(limit)
    ).all()
    return [
        Entry(
            place=Place(row.created_at, "mail", row.mail_id),
            title=row.subject,
            id=row.mail_id,
            detail=f"to {row.recipient}",
            status="sent" if row.sent_at is not None else "waiting",
        )
        for row in rows
    ]


def _documents(session: Session, wallet: Wallet, before: Place | None, limit: int) -> list[Entry]:
    at, key = col(DocumentRow.issued_at), col(DocumentRow.document_id)
    rows = session.exec(
        select(DocumentRow)
        .where(DocumentRow.account_id == wallet.account_id, _older(before, "document", at, key))
        .order_by(at.desc(), key.desc())
        .limit(limit)
    ).all()
    return [
        Entry(
            place=Place(row.issued_at, "document", row.document_id),
            title=f"{row.kind.replace('_', ' ').capitalize()} {row.number}",
            id=row.document_id,
            detail=f"for {row.original_number}" if row.original_number else None,
            purchase_id=row.purchase_id,
            amount_minor=row.amount_minor,
            currency=row.currency,
        )
        for row in rows
    ]


def _acts(session: Session, wallet: Wallet, before: Place | None, limit: int) -> list[Entry]:
    at, key = col(AuditRow.created_at), col(AuditRow.audit_id)
    rows = session.exec(
        select(AuditRow)
        .where(AuditRow.account_id == wallet.account_id, _older(before, "act", at, key))
        .order_by(at.desc(), key.desc())
        .limit(limit)
    ).all()
    return [
        Entry(
            place=Place(row.created_at, "act", row.audit_id),
            title=row.action,
            id=row.audit_id,
            actor=row.actor,
            detail=row.reason,
            purchase_id=row.object_id if row.object_id.startswith("pay_") else None,
        )
        for row in rows
    ]


READERS: dict[str, Reader] = {
    "act": _acts,
    "document": _documents,
    "mail": _mails,
    "purchase": _purchases,
    "transaction": _ledger,
}
"""Every kind of entry, and how it is read."""
