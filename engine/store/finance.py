"""Reads for finance: lots that cost money, and the ledgers that moved them."""

import msgspec
from sqlalchemy import select
from sqlmodel import Session

from engine.rules.finance import LedgerLine, PaidLot
from engine.rules.ledger import Entry
from engine.store.tables import Base

_LOTS = Base.metadata.tables["lots"].c
_ROWS = Base.metadata.tables["transactions"].c
_entries = msgspec.json.Decoder(tuple[Entry, ...])


def paying_accounts(session: Session) -> list[str]:
    """Accounts with a lot that cost money, in the order of their ids."""
    statement = select(_LOTS.account_id).where(_LOTS.cost_minor > 0).distinct().order_by(_LOTS.account_id)
    return list(session.execute(statement).scalars())


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
        select(_ROWS.seq, _ROWS.transaction_id, _ROWS.type, _ROWS.entries, _ROWS.created_at)
        .where(_ROWS.account_id == account_id, _ROWS.seq > after_seq)
        .order_by(_ROWS.seq)
        .limit(limit)
    )
    return [LedgerLine(seq, name, type_, _entries.decode(entries), at) for seq, name, type_, entries, at in rows]
