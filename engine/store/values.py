"""Frozen values as rows of the money tables, and rows as values: by column name, in the tables' own order."""

from collections.abc import Callable
from datetime import datetime
from operator import attrgetter, itemgetter

import msgspec

from engine.rules.ledger import DayUse, Entry, FrontLot, Transaction, Wallet
from engine.rules.lots import BUCKETS, NEVER, Lot
from engine.store.bulk import Row

WALLET = (
    "account_id",
    "status",
    "seq",
    "head",
    "debt_credits",
    *(f"available_{bucket}" for bucket in BUCKETS),
    *(f"held_{bucket}" for bucket in BUCKETS),
    "next_expiry_at",
    "last_at",
    "spent_on",
    "spent_credits",
    "next_hold_expiry_at",
    "daily_limit_credits",
    "per_call_limit_credits",
    "low_balance_credits",
    "limit_alerted_on",
    "recharge_at_credits",
    "used_on",
    "used_credits",
    "uses",
    "front_lot",
)
USED_ON, USES, FRONT = map(WALLET.index, ("used_on", "uses", "front_lot"))
LOT = (
    "account_id",
    "lot_id",
    "granted_seq",
    "bucket",
    "source",
    "expires_at",
    "granted_credits",
    "remaining_credits",
    "held_credits",
    "taken_credits",
    "owed_credits",
    "expired_credits",
    "purchase_id",
    "cost_minor",
    "cost_currency",
    "granted_at",
)
TRANSACTION = tuple(f if f != "metadata" else "metadata_json" for f in Transaction.__struct_fields__)
WALLET_RARE_ALONE = (
    "status",
    "debt_credits",
    "next_expiry_at",
    "next_hold_expiry_at",
    "limit_alerted_on",
    "recharge_at_credits",
)
WALLET_RARE = ("used_on", *(f"held_{bucket}" for bucket in BUCKETS), *WALLET_RARE_ALONE)
LOT_RARE_ALONE = ("held_credits", "taken_credits", "owed_credits", "expired_credits")
LOT_RARE = ("is_open", *LOT_RARE_ALONE)
"""What few commands change. Naming an indexed column costs SQLite its index, changed or not."""
ENTRIES = TRANSACTION.index("entries")
stored_wallet = itemgetter(*map(WALLET.index, WALLET_RARE))
stored_lot = itemgetter(*map(LOT.index, LOT_RARE_ALONE))
_wallet_rare_alone = attrgetter(*WALLET_RARE_ALONE)
_lot_rare_alone = attrgetter(*LOT_RARE_ALONE)
_lot_values = attrgetter(*LOT[1:])
_entries = msgspec.json.Decoder(tuple[Entry, ...])
_uses = msgspec.json.Decoder(tuple[DayUse, ...])
_front = msgspec.json.Decoder(FrontLot)
_json = msgspec.json.Encoder()


def wallet_of(row: Row) -> Wallet:
    made: Callable[..., Wallet] = Wallet
    totals = list(row[5:8]), list(row[8:11])
    ends, settings, uses = row[15] or NEVER, row[16:USED_ON], uses_of(row[USES])
    front = front_of(row[FRONT])
    return made(*row[:3], bytes(row[3]), row[4], *totals, *row[11:15], ends, *settings, uses, front)


def uses_of(stored: str | None) -> tuple[DayUse, ...]:
    return () if stored is None else _uses.decode(stored)


def uses_values(uses: tuple[DayUse, ...]) -> tuple[int | None, str | None]:
    """`used_credits` and `uses` of a wallet's row."""
    if not uses:
        return None, None
    return sum([use.credits_spent for use in uses]), _json.encode(uses).decode()


def front_of(stored: str | None) -> FrontLot | None:
    return None if stored is None else _front.decode(stored)


def front_value(front: FrontLot | None) -> str | None:
    """`front_lot` of a wallet's row."""
    return None if front is None else _json.encode(front).decode()


def wallet_rare(wallet: Wallet) -> Row:
    """The values of `WALLET_RARE`, as they are in its row once it is saved."""
    used_on = wallet.uses[0].day if wallet.uses else None
    return (used_on, *wallet.held, *_wallet_rare_alone(wallet))


def lot_rare(lot: Lot) -> Row:
    """The same of `LOT_RARE`."""
    return (lot.remaining_credits > 0, *_lot_rare_alone(lot))


def lot_of(row: Row) -> Lot:
    """A lot as its own row says: `front_lots.py` has what remains of one that its wallet carries."""
    return Lot(*row[1:])


def transaction_of(row: Row) -> Transaction:
    values = list(row)
    values[ENTRIES] = _entries.decode(values[ENTRIES])
    values[-1] = bytes(values[-1])
    return Transaction(*values)


def lot_row(account_id: str, lot: Lot) -> Row:
    return (account_id, *_lot_values(lot))


def transaction_row(row: Transaction) -> Row:
    values = list(msgspec.structs.astuple(row))
    values[ENTRIES] = _json.encode(row.entries).decode()
    return tuple(values)


def new_wallet_row(account_id: str, now: datetime) -> Row:
    """The row of an empty wallet, in the order of `WALLET`."""
    return (account_id, "active", 0, b"", 0, 0, 0, 0, 0, 0, 0, NEVER, now, now.date(), 0, NEVER, *[None] * 9)
