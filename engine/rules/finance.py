"""Deferred revenue: what a lot's money is worth as its credits leave, and the journal that says so.

Money paid for credits is owed in service until the credits leave their lot. A lot of G credits that cost C minor units
has earned, after g of them have left, C × g ÷ G rounded down; each row moves it by the difference. So no unit is lost
or made: whatever the order, what left and what is still deferred sum up to C, and a lot that is empty has earned all
of it. A reserved credit has not left. Lots that cost nothing (gifts, bonuses) carry no money.

Where money goes back, `rules/money_back.py` says how much of it leaves which lot. From there on C is the money that
was kept, G the credits that were, and g those that left unreturned: what was earned stays, and the rest of C is earned
with the rest of G.

* recognised: credits were used, or paid for credits used before (`debt_repayment`); a reversal takes it back;
* breakage: credits left unused, by expiry, forfeit or a correction;
* refunded: money went back; one that fails, or a dispute that is won, brings it back.

Of a payment for credits that come later (`rules/prepaid.py`) the part that has no lot yet is deferred too, under the
payment's own id; a lot that it grants later is sold out of that part.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from engine.rules.ledger import Entry
from engine.rules.money import share_down
from engine.rules.prepaid import Prepaid

Kind = Literal["sold", "recognised", "breakage", "refunded"]
LedgerAccount = Literal["payments_clearing", "deferred_revenue", "revenue", "breakage_revenue"]

KINDS: dict[str, Kind | None] = {
    "deposit": "sold",
    "auto_recharge": "sold",
    "volume_discount": "sold",
    "coupon_credit": "sold",
    "promo_credit": "sold",
    "monthly_credit": "sold",
    "commit_credit": "sold",
    "admin_credit": "sold",
    "debit": "recognised",
    "debit_reversal": "recognised",
    "debt_repayment": "recognised",
    "expiry": "breakage",
    "forfeit": "breakage",
    "admin_debit": "breakage",
    "refund": "refunded",
    "refund_failed": "refunded",
    "dispute": "refunded",
    "dispute_won": "refunded",
    "hold": None,
    "hold_release": None,
}
"""What each type of row is to the money of a lot; nothing for what only reserves."""

SIDES: dict[Kind, tuple[LedgerAccount, LedgerAccount]] = {
    "sold": ("payments_clearing", "deferred_revenue"),
    "recognised": ("deferred_revenue", "revenue"),
    "breakage": ("deferred_revenue", "breakage_revenue"),
    "refunded": ("deferred_revenue", "payments_clearing"),
}
"""The account debited and the account credited; the other way round where money comes back."""


@dataclass(slots=True)
class PaidLot:
    """A lot that cost money, and how many of its credits have left so far."""

    account_id: str
    lot_id: str
    purchase_id: str | None
    source: str
    currency: str
    cost_minor: int
    granted_credits: int
    granted_seq: int
    granted_at: datetime
    gone_credits: int = 0
    taken_credits: int = 0
    """Of those that left, how many went back."""
    back_minor: int = 0
    """Of its cost, how much went back."""
    turn_credits: int = 0
    turn_minor: int = 0
    """How many were used, and what they had earned, when money went back last."""
    unearned_minor: int = 0
    """What had been earned before its money went back."""
    recognised_minor: int = 0
    """How much of what is earned is recognised; the rest is breakage."""

    @property
    def kept_minor(self) -> int:
        return self.cost_minor - self.back_minor

    @property
    def kept_credits(self) -> int:
        return self.granted_credits - self.taken_credits

    @property
    def used_credits(self) -> int:
        """Those that left and did not go back: spent, or left unused."""
        return self.gone_credits - self.taken_credits

    @property
    def earned_minor(self) -> int:
        return self.earned_at(self.used_credits)

    def earned_at(self, used: int) -> int:
        """What is earned once so many are used: from the last turn on, the rest of the money with the rest of the
        credits; where uses before it are undone, what was earned till then goes with them."""
        if used == self.kept_credits:
            return self.kept_minor
        if used < self.turn_credits:
            return share_down(self.turn_minor, used, self.turn_credits)
        rest = self.kept_minor - self.turn_minor
        return self.turn_minor + share_down(rest, used - self.turn_credits, self.kept_credits - self.turn_credits)

    @property
    def deferred_minor(self) -> int:
        """What is still owed in service once the lot was granted."""
        return self.kept_minor - self.earned_minor


@dataclass(frozen=True, slots=True)
class LedgerLine:
    """What finance reads of a ledger row. `back_minor` is what it names as the money of its purchase that is out."""

    seq: int
    transaction_id: str
    type: str
    entries: tuple[Entry, ...]
    created_at: datetime
    purchase_id: str | None = None
    debt_after: int = 0
    back_minor: int | None = None


@dataclass(frozen=True, slots=True)
class Movement:
    """Money of one lot that one row moved: into deferred revenue (`sold`) or out of it; negative where it comes back.

    `credits` has the same sign.
    """

    line: LedgerLine
    lot: PaidLot | Prepaid
    kind: Kind
    credits: int
    minor: int


@dataclass(frozen=True, slots=True)
class JournalLine:
    """One side of a double entry: an amount above zero on one of the two sides, zero on the other."""

    movement: Movement
    ledger_account: LedgerAccount
    debit_minor: int
    credit_minor: int


@dataclass(slots=True)
class RollForward:
    """Deferred revenue over a span of time, in minor units of one currency."""

    opening: int = 0
    sold: int = 0
    recognised: int = 0
    breakage: int = 0
    refunded: int = 0

    @property
    def closing(self) -> int:
        return self.opening + self.sold - self.recognised - self.breakage - self.refunded

    def add(self, movement: Movement) -> None:
        match movement.kind:
            case "sold":
                self.sold += movement.minor
            case "recognised":
                self.recognised += movement.minor
            case "breakage":
                self.breakage += movement.minor
            case "refunded":
                self.refunded += movement.minor

    def add_all(self, other: "RollForward") -> None:
        self.opening += other.opening
        self.sold += other.sold
        self.recognised += other.recognised
        self.breakage += other.breakage
        self.refunded += other.refunded


def move(line: LedgerLine, lots: dict[str, PaidLot]) -> list[Movement]:
    """What a row by which no money goes back does to that of the lots it touches; the lots are moved on."""
    kind = KINDS[line.type]
    assert kind != "refunded"
    found: list[Movement] = []
    if kind is None:
        return found
    for entry in line.entries:
        lot = lots.get(entry.lot_id)
        if lot is None:
            continue
        if line.seq == lot.granted_seq:
            found.append(Movement(line, lot, "sold", entry.credits, lot.cost_minor))
            continue
        before = lot.earned_minor
        lot.gone_credits -= entry.credits
        earned = lot.earned_minor - before
        lot.recognised_minor += earned if kind == "recognised" else 0
        found.append(Movement(line, lot, kind, -entry.credits, earned))
    return found


def journal(movement: Movement) -> tuple[JournalLine, ...]:
    """The two lines of a movement, the debited account first; none where rounding left nothing to move."""
    if movement.minor == 0:
        return ()
    debited, credited = SIDES[movement.kind]
    if movement.minor < 0:
        debited, credited = credited, debited
    amount = abs(movement.minor)
    return JournalLine(movement, debited, amount, 0), JournalLine(movement, credited, 0, amount)
