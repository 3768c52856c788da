"""A month in money, account by account from the ledger: every movement in order, then each lot's roll-forward.

A payment for credits that come later stands beside its lots, with what is still to become lots.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sqlmodel import Session

from engine.rules.finance import KINDS, LedgerLine, Movement, PaidLot, RollForward, move
from engine.rules.money_back import Returned, move_back, own_money
from engine.rules.prepaid import Prepaid
from engine.store.finance import lines_after, paid_lots, paying_accounts

CHUNK = 5_000

ReadPrepaid = Callable[[Session, str, Sequence[PaidLot]], list[Prepaid]]
"""Of an account, by its paid lots, the payments for credits that come later."""


@dataclass(frozen=True, slots=True)
class LotMonth:
    """One lot, or payment for lots to come, over the month. `lot` stands as it is at the month's end."""

    lot: PaidLot | Prepaid
    figures: RollForward


@dataclass(frozen=True, slots=True)
class _Event:
    """What befalls a payment for credits that come later, beside the lots it grants."""

    created_at: datetime
    what: Literal["paid", "back", "end"]
    of: Prepaid
    minor: int = 0


@dataclass(slots=True)
class _Account:
    """The paid lots and payments of an account while its history is read; `seen` is the last row that was."""

    account_id: str
    lots: dict[str, PaidLot]
    prepaid: dict[str, Prepaid]
    figures: dict[str, RollForward]
    seen: int = 0
    debt: int = 0
    is_open: bool = False
    refunded: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    returned: dict[str, Returned] = field(default_factory=lambda: defaultdict(Returned))

    def open(self) -> None:
        """Note what each lot and payment had deferred when the month began."""
        for lot in self.lots.values():
            if lot.granted_seq <= self.seen:
                self.figures[lot.lot_id].opening = lot.deferred_minor
        for payment in self.prepaid.values():
            self.figures[payment.lot_id].opening = payment.left_minor
        self.is_open = True

    def lots_of(self, purchase_id: str) -> list[PaidLot]:
        """The paid lots that a purchase was granted so far, oldest first."""
        of_purchase = (lot for lot in self.lots.values() if lot.purchase_id == purchase_id)
        return [lot for lot in of_purchase if lot.granted_seq <= self.seen]

    def count(self, movement: Movement) -> Movement:
        if movement.kind == "refunded" and movement.lot.purchase_id is not None:
            self.refunded[movement.lot.purchase_id] += movement.minor
        if self.is_open:
            self.figures[movement.lot.lot_id].add(movement)
        return movement


def month_in_money(
    session: Session, start: datetime, end: datetime, read_prepaid: ReadPrepaid
) -> Iterator[Movement | LotMonth]:
    """What moved in `[start, end)`: of each account its movements by time, then its lots that had or moved money.

    The session is a snapshot. Of an account only its paid lots and payments are kept, never its rows.
    """
    for account_id in paying_accounts(session):
        lots = paid_lots(session, account_id)
        prepaid = read_prepaid(session, account_id, lots)
        account = _Account(
            account_id,
            {lot.lot_id: lot for lot in lots},
            {payment.purchase_id: payment for payment in prepaid},
            {name: RollForward() for name in [*(lot.lot_id for lot in lots), *(each.lot_id for each in prepaid)]},
        )
        for step in _steps(session, account, end):
            if not account.is_open and step.created_at >= start:
                account.open()
            for movement in _movements(step, account):
                if account.is_open:
                    yield movement
        if not account.is_open:
            account.open()
        yield from _closed(account, end)


def _steps(session: Session, account: _Account, end: datetime) -> Iterator[LedgerLine | _Event]:
    """Rows and what befell payments before `end`, by time; of one instant the rows come before what ends there."""
    events = _events(list(account.prepaid.values()), end)
    for line in _lines(session, account, end):
        while events and (events[-1].created_at, events[-1].what == "end") <= (line.created_at, False):
            yield events.pop()
        yield line
    yield from reversed(events)


def _events(payments: Sequence[Prepaid], end: datetime) -> list[_Event]:
    """All of them before `end`, the last one first."""
    found = []
    for payment in payments:
        found.append(_Event(payment.granted_at, "paid", payment))
        found += [_Event(max(back.at, payment.granted_at), "back", payment, back.minor) for back in payment.backs]
        if payment.ends_at is not None:
            found.append(_Event(payment.ends_at, "end", payment))
    rank = {"paid": 0, "back": 1, "end": 2}
    found.sort(key=lambda event: (event.created_at, rank[event.what], event.of.purchase_id), reverse=True)
    return [event for event in found if event.created_at < end]


def _movements(step: LedgerLine | _Event, account: _Account) -> Iterator[Movement]:
    """What a step moves, with what it moves of the payment that it concerns."""
    payment = None
    for movement in _befall(step) if isinstance(step, _Event) else _posted(step, account):
        yield account.count(movement)
        line, payment = movement.line, account.prepaid.get(movement.lot.purchase_id or "")
        if payment is None:
            continue
        if isinstance(movement.lot, PaidLot) and movement.kind == "sold" and payment.grants(line.seq):
            payment.left_minor -= movement.minor
            yield account.count(Movement(line, payment, "sold", 0, -movement.minor))
        more = payment.square(account.refunded[payment.purchase_id])
        if more != 0:
            yield account.count(Movement(line, payment, "refunded", 0, more))
    if payment is not None:
        yield from _beyond(line, payment, account)


def _posted(line: LedgerLine, account: _Account) -> list[Movement]:
    """What a row moves of lots. While a payment's credits are still to come, its lots lose what those that go back had
    cost: it squares that with the money itself."""
    owed, account.debt, account.seen = line.debt_after - account.debt, line.debt_after, line.seq
    if line.purchase_id is None:
        return move(line, account.lots)
    returned = account.returned[line.purchase_id]
    if KINDS[line.type] != "refunded":
        returned.count(line)
        return move(line, account.lots)
    lots, payment = account.lots_of(line.purchase_id), account.prepaid.get(line.purchase_id)
    if not lots:
        return []
    minor = returned.money(line, owed, lots, account.refunded[line.purchase_id])
    is_ahead = payment is not None and not payment.has_ended
    return move_back(line, lots, own_money(line, lots) if is_ahead else minor)


def _beyond(line: LedgerLine, payment: Prepaid, account: _Account) -> Iterator[Movement]:
    """Money that went back where nothing is to come that it could leave: it leaves the lots."""
    more = payment.back_minor - account.refunded[payment.purchase_id]
    if payment.has_ended or more <= 0:
        return
    of_event = LedgerLine(line.seq, line.transaction_id, line.type, (), line.created_at)
    for movement in move_back(of_event, account.lots_of(payment.purchase_id), more):
        yield account.count(movement)


def _befall(event: _Event) -> list[Movement]:
    payment = event.of
    match event.what:
        case "paid":
            payment.left_minor = payment.cost_minor
            return [Movement(_line(event, "payment"), payment, "sold", 0, payment.cost_minor)]
        case "back":
            payment.back_minor += event.minor
            return [Movement(_line(event, "refund"), payment, "refunded", 0, 0)]
        case "end":
            left = payment.end()
            return [Movement(_line(event, "nothing_to_come"), payment, "breakage", 0, left)] if left != 0 else []


def _line(event: _Event, type: str) -> LedgerLine:
    """In place of a ledger row: what befell a payment goes by the payment's id."""
    return LedgerLine(0, event.of.purchase_id, type, (), event.created_at)


def _lines(session: Session, account: _Account, end: datetime) -> Iterator[LedgerLine]:
    """The account's rows before `end`, from the one that granted its first paid lot."""
    if not account.lots:
        return
    after = min(lot.granted_seq for lot in account.lots.values()) - 1
    while True:
        found = lines_after(session, account.account_id, after, CHUNK)
        for line in found:
            if line.created_at >= end:
                return
            yield line
        if len(found) < CHUNK:
            return
        after = found[-1].seq


def _closed(account: _Account, end: datetime) -> Iterator[LotMonth]:
    every: list[PaidLot | Prepaid] = [*account.lots.values(), *account.prepaid.values()]
    for lot in every:
        of_lot = account.figures[lot.lot_id]
        if lot.granted_at >= end:
            continue
        assert of_lot.closing == lot.deferred_minor, "what came in either left or is still deferred"
        if of_lot != RollForward():
            yield LotMonth(lot, of_lot)
