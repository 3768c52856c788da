"""For whoever reads lots: what remains of the lot that its wallet carries stands in the wallet's row, not in its own.

The wallet's row is read before the lots' rows: one that was read first may be behind by the time that its wallet
carries it no longer.
"""

from engine.rules.ledger import FrontLot
from engine.rules.lots import Lot
from engine.store.bulk import select_rows
from engine.store.pens import AnySession
from engine.store.values import front_of


def front_lot(session: AnySession, account_id: str) -> FrontLot | None:
    """The lot that the account's wallet carries."""
    rows = select_rows(session, "wallets", ("front_lot",), ("account_id",), [(account_id,)])
    return front_of(rows[0][0]) if rows else None


def present(lot: Lot, front: FrontLot | None) -> Lot:
    """The lot as it is, whether its row says so or its wallet does."""
    return lot if front is None or front.lot.lot_id != lot.lot_id else front.lot


def carried(session: AnySession, account_id: str) -> dict[str, int]:
    """What remains of the lot that the account's wallet carries, by the lot's id."""
    front = front_lot(session, account_id)
    return {} if front is None else {front.lot.lot_id: front.lot.remaining_credits}
