"""A month in money, account by account from the ledger: every movement in order, then each lot's roll-forward."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session

from engine.rules.finance import LedgerLine, Movement, PaidLot, RollForward, move
from engine.store.finance import lines_after, paid_lots, paying_accounts

CHUNK = 5_000


@dataclass(frozen=True, slots=True)
class LotMonth:
    """One lot over the month. `lot` stands as it is at the month's end."""

    lot: PaidLot
    figures: RollForward


def month_in_money(session: Session, start: datetime, end: datetime) -> Iterator[Movement | LotMonth]:
    """What moved in `[start, end)`: of each account its movements by time, then its lots that had or moved money.

    The session is a snapshot. Of an account only its paid lots are kept, never its rows.
    """
    for account_id in paying_accounts(session):
        lots = {lot.lot_id: lot for lot in paid_lots(session, account_id)}
        figures = {lot_id: RollForward() for lot_id in lots}
        is_open = False
        for line in _lines(session, account_id, lots, end):
            if not is_open and line.created_at >= start:
                _open(lots, figures, line)
                is_open = True
            for movement in move(line, lots):
                if is_open:
                    figures[movement.lot.lot_id].add(movement)
                    yield movement
        if not is_open:
            _open(lots, figures, None)
        yield from _closed(lots, figures, end)


def _lines(session: Session, account_id: str, lots: dict[str, PaidLot], end: datetime) -> Iterator[LedgerLine]:
    """The account's rows before `end`, from the one that granted its first paid lot."""
    after = min(lot.granted_seq for lot in lots.values()) - 1
    while True:
        found = lines_after(session, account_id, after, CHUNK)
        for line in found:
            if line.created_at >= end:
                return
            yield line
        if len(found) < CHUNK:
            return
        after = found[-1].seq


def _open(lots: dict[str, PaidLot], figures: dict[str, RollForward], first: LedgerLine | None) -> None:
    """Note what each lot granted before the month's first row had deferred when the month began."""
    for lot in lots.values():
        if first is None or lot.granted_seq < first.seq:
            figures[lot.lot_id].opening = lot.deferred_minor


def _closed(lots: dict[str, PaidLot], figures: dict[str, RollForward], end: datetime) -> Iterator[LotMonth]:
    for lot in lots.values():
        of_lot = figures[lot.lot_id]
        if lot.granted_at >= end:
            continue
        assert of_lot.closing == lot.deferred_minor, "what came in either left or is still deferred"
        if of_lot != RollForward():
            yield LotMonth(lot, of_lot)
