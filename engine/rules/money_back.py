"""Money that goes back: how much of it there is, and what it takes out of the lots that it had paid for.

Refunded money is the money that went out, whatever the credits that went back with it had cost: those of a bonus lot,
which cost nothing and go first, take their part of the price with them too. So of each purchase what is deferred and
what was earned always sum up to the money that was kept, and when its lots are empty all of that is earned.

* It leaves the lots whose credits went back, as far as those cost; then what else the purchase has deferred; then what
  it had earned. Each time the last lot comes first.
* What it takes of what was earned is taken out of revenue: it went back for credits that had been used. Other credits
  that pay the debt for those are recognised in their turn.
* What is left of a lot's money when the last of its credits goes back is earned: it was kept, and nothing is owed.
* What comes back returns to the lots whose credits do, then to the others, and to revenue as far as it left it.

The row of a ledger that takes credits, or gives them back, names the money of the purchase that is out by then
(`mark_of_money`), so that a month is told the same for good. A row that names none had its credits' share of the price,
or what they had cost where all the purchase's credits did.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from engine.rules.finance import KINDS, LedgerLine, Movement, PaidLot
from engine.rules.money import share_down

MARK = "moneyOutMinor"


def mark_of_money(minor: int) -> str:
    """What a row that takes credits, or gives them back, carries: all the money of its purchase that is out then."""
    return msgspec.json.encode({MARK: minor}).decode()


def read_money_out(metadata: str | None) -> int | None:
    """The money that a row names, if it does."""
    return msgspec.json.decode(metadata, type=dict[str, int]).get(MARK) if metadata is not None else None


@dataclass(slots=True)
class Returned:
    """Of one purchase, as far as its account's history was read: what it was granted, and what of it is out."""

    granted_credits: int = 0
    out_credits: int = 0
    is_named: bool = False

    def count(self, line: LedgerLine) -> None:
        """Note what a row grants."""
        if KINDS[line.type] == "sold":
            self.granted_credits += sum(entry.credits for entry in line.entries)

    def money(self, line: LedgerLine, owed_credits: int, lots: Sequence[PaidLot], refunded_minor: int) -> int:
        """How much money goes back with a row (below zero: returns), after so much before; `owed_credits` is by how
        much it raised the account's debt."""
        before = self.out_credits
        self.out_credits += owed_credits - sum(entry.credits for entry in line.entries)
        if line.back_minor is not None:
            self.is_named = True
            return line.back_minor - refunded_minor
        if self.is_named:
            return 0
        if owed_credits == 0 and self.granted_credits == sum(lot.granted_credits for lot in lots):
            return own_money(line, lots)
        paid = sum(lot.cost_minor for lot in lots)
        return self._share_up(paid, self.out_credits) - self._share_up(paid, before)

    def _share_up(self, paid_minor: int, credits: int) -> int:
        """Credits are taken rounded down, so their money is rounded up."""
        return -(-paid_minor * min(credits, self.granted_credits) // self.granted_credits)


def own_money(line: LedgerLine, lots: Sequence[PaidLot]) -> int:
    """What the very credits that a row takes, or gives back, had cost."""
    credits = _credits(line)
    return sum(_own(lot, credits[lot.lot_id]) for lot in lots if lot.lot_id in credits)


def move_back(line: LedgerLine, lots: Sequence[PaidLot], minor: int) -> list[Movement]:
    """What money that goes back with a row, or returns, does to the purchase's lots, oldest first; they are moved on.

    It never takes more than they kept, nor returns more than left them.
    """
    credits = _credits(line)
    parts = _parts(lots, credits, minor)
    touched = [lot for lot in lots if lot.lot_id in credits or parts[lot.lot_id] != 0]
    return [each for lot in touched for each in _turn(line, lot, credits.get(lot.lot_id, 0), parts[lot.lot_id])]


def _credits(line: LedgerLine) -> dict[str, int]:
    """How many credits go back of each lot; below zero those that return."""
    found: dict[str, int] = {}
    for entry in line.entries:
        found[entry.lot_id] = found.get(entry.lot_id, 0) - entry.credits
    return found


def _own(lot: PaidLot, credits: int) -> int:
    if credits >= 0:
        return lot.earned_at(lot.used_credits + credits) - lot.earned_minor
    returned = min(-credits, lot.taken_credits)
    return -share_down(lot.back_minor, returned, lot.taken_credits) if returned > 0 else 0


def _parts(lots: Sequence[PaidLot], credits: Mapping[str, int], minor: int) -> dict[str, int]:
    """Each lot's part of the money, in the order of the rule."""

    def own(lot: PaidLot) -> int:
        return abs(_own(lot, credits.get(lot.lot_id, 0)))

    def deferred(lot: PaidLot) -> int:
        return lot.deferred_minor

    def kept(lot: PaidLot) -> int:
        return lot.kept_minor

    def back(lot: PaidLot) -> int:
        return lot.back_minor

    limits: tuple[Callable[[PaidLot], int], ...] = (own, deferred, kept) if minor > 0 else (own, back)
    parts = {lot.lot_id: 0 for lot in lots}
    left = abs(minor)
    for limit in limits:
        for lot in reversed(lots):
            more = max(0, min(limit(lot) - parts[lot.lot_id], left))
            parts[lot.lot_id] += more
            left -= more
    return {name: part if minor > 0 else -part for name, part in parts.items()}


def _turn(line: LedgerLine, lot: PaidLot, credits: int, minor: int) -> list[Movement]:
    """Move a lot on by what goes back of it. Credits that return beyond those that were taken are used no more."""
    before = lot.earned_minor
    taken = max(credits, -lot.taken_credits)
    used = lot.used_credits + credits - taken
    earned = lot.earned_at(used)
    lot.gone_credits += credits
    lot.taken_credits += taken
    lot.back_minor += minor
    if minor < 0:
        again = min(lot.unearned_minor, -minor)
        lot.unearned_minor -= again
        earned += again
    if used == lot.kept_credits:
        turn = lot.kept_minor
    else:
        turn = min(earned, lot.kept_minor) if used > 0 else 0
    lot.unearned_minor += max(0, earned - turn) if minor > 0 else 0
    lot.turn_credits, lot.turn_minor = used, turn
    return [Movement(line, lot, "refunded", credits, minor), *_revised(line, lot, turn - before, minor)]


def _revised(line: LedgerLine, lot: PaidLot, minor: int, back_minor: int) -> list[Movement]:
    """What changes of that which was earned: less of it is first what was recognised; more of it is breakage, or what
    comes back to revenue with its money."""
    recognised = max(minor, -lot.recognised_minor) if minor < 0 else minor if back_minor < 0 else 0
    lot.recognised_minor += recognised
    found = []
    if recognised != 0:
        found.append(Movement(line, lot, "recognised", 0, recognised))
    if minor != recognised:
        found.append(Movement(line, lot, "breakage", 0, minor - recognised))
    return found
