"""Reads for finance: lots that cost money, payments for credits that come later, and the ledgers that moved them."""

import msgspec
from sqlalchemy import case, select
from sqlmodel import Session, col

from engine.rules.finance import KINDS, LedgerLine, PaidLot
from engine.rules.ledger import Entry
from engine.rules.money_back import read_money_out
from engine.rules.prepaid import MoneyBack
from engine.store.tables import Base, FactRow, PurchaseRow

_LOTS = Base.metadata.tables["lots"].c
_ROWS = Base.metadata.tables["transactions"].c
_IS_AHEAD = col(PurchaseRow.landed_at).is_not(None) & (
    col(PurchaseRow.subscription_id).is_not(None) | (col(PurchaseRow.kind) == "commit")
)
_BACK = [type_ for type_, kind in KINDS.items() if kind == "refunded"]
_entries = msgspec.json.Decoder(tuple[Entry, ...])


def paying_accounts(session: Session) -> list[str]:
    """Accounts with a lot that cost money, or a payment whose credits may come later, in the order of their ids."""
    granted = select(_LOTS.account_id).where(_LOTS.cost_minor > 0).distinct()
    ahead = select(col(PurchaseRow.account_id)).where(_IS_AHEAD).distinct()
    return sorted({*session.execute(granted).scalars(), *session.execute(ahead).scalars()})


def paid_lots(session: Session, account_id: str) -> list[PaidLot]:
    """An account's lots that cost money, in the order in which they were granted."""
    rows = session.execute(
        select(
            _LOTS.account_id,
            _LOTS.lot_id,
            _LOTS.purchase_id,
            _LOTS.source,
            _LOTS.cost_currency,
            _LOTS.cost_minor,
            _LOTS.granted_credits,
            _LOTS.granted_seq,
            _LOTS.granted_at,
        )
        .where(_LOTS.account_id == account_id, _LOTS.cost_minor > 0)
        .order_by(_LOTS.granted_seq)
    )
    return [PaidLot(*row) for row in rows]


def lines_after(session: Session, account_id: str, after_seq: int, limit: int) -> list[LedgerLine]:
    """The next rows of a ledger, oldest first."""
    rows = session.execute(
        select(
            _ROWS.seq,
            _ROWS.transaction_id,
            _ROWS.type,
            _ROWS.entries,
            _ROWS.created_at,
            _ROWS.purchase_id,
            _ROWS.debt_after,
            case((_ROWS.type.in_(_BACK), _ROWS.metadata_json), else_=None),
        )
        .where(_ROWS.account_id == account_id, _ROWS.seq > after_seq)
        .order_by(_ROWS.seq)
        .limit(limit)
    )
    return [
        LedgerLine(seq, name, type_, _entries.decode(entries), at, purchase_id, debt, read_money_out(metadata))
        for seq, name, type_, entries, at, purchase_id, debt, metadata in rows
    ]


def payments_ahead(session: Session, account_id: str) -> list[PurchaseRow]:
    """An account's payments that landed and whose credits may come later, oldest first."""
    statement = select(PurchaseRow).where(col(PurchaseRow.account_id) == account_id, _IS_AHEAD)
    rows = session.execute(statement.order_by(col(PurchaseRow.landed_at), col(PurchaseRow.purchase_id))).scalars()
    return list(rows)


def money_back(session: Session, purchase: PurchaseRow) -> tuple[MoneyBack, ...]:
    """What went back of a payment for good, in its own currency, oldest first; nothing of another payment for it."""
    rows = session.execute(
        select(FactRow)
        .where(
            col(FactRow.account_id) == purchase.account_id,
            col(FactRow.purchase_id) == purchase.purchase_id,
            col(FactRow.currency) == purchase.currency,
            ((col(FactRow.kind) == "refund") & (col(FactRow.state) == "succeeded"))
            | ((col(FactRow.kind) == "dispute") & (col(FactRow.state) == "lost")),
            col(FactRow.parent_id).is_(None) | (col(FactRow.parent_id) == purchase.provider_reference),
        )
        .order_by(col(FactRow.seen_at), col(FactRow.fact_id))
    ).scalars()
    return tuple(MoneyBack(row.seen_at, row.amount_minor) for row in rows)
