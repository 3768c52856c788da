"""Payments for credits that come later: a paid year, an upgrade of one, a commit plan granted month by month.

What was paid and has no lot yet is deferred too. Each lot that the payment grants takes its own cost out of it. Money
that goes back leaves it at once, and what lots then lose for that same money comes back into it: the payment and its
lots together never lose more than what went back. What goes back when nothing is left to come leaves the lots
(`rules/money_back.py`). What is left when nothing more comes is breakage.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

AT_ONCE = timedelta(minutes=1)
"""A first lot that is granted this soon came with its payment: its cost was never to come."""


@dataclass(frozen=True, slots=True)
class MoneyBack:
    """Money of a payment that went back for good, and since when."""

    at: datetime
    minor: int


@dataclass(frozen=True, slots=True)
class LotCost:
    """What a payment's lot cost, and where and when it was granted."""

    seq: int
    at: datetime
    minor: int


@dataclass(slots=True)
class Prepaid:
    """A payment, as far as its money is still to become lots; `lot_id` is the payment's own id.

    `lots` are all that it ever granted, oldest first. `ends_at` is since when nothing more comes, if that is so.
    """

    account_id: str
    purchase_id: str
    source: str
    currency: str
    amount_minor: int
    granted_at: datetime
    lots: tuple[LotCost, ...]
    backs: tuple[MoneyBack, ...]
    ends_at: datetime | None
    left_minor: int = 0
    back_minor: int = 0
    has_ended: bool = False
    cost_minor: int = field(init=False)
    granted_credits: int = 0
    gone_credits: int = 0

    def __post_init__(self) -> None:
        self.cost_minor = self.amount_minor - self._at_once_minor

    @property
    def lot_id(self) -> str:
        return self.purchase_id

    @property
    def deferred_minor(self) -> int:
        return self.left_minor

    @property
    def _at_once_minor(self) -> int:
        first = self.lots[0] if self.lots else None
        return first.minor if first is not None and first.at <= self.granted_at + AT_ONCE else 0

    def grants(self, seq: int) -> bool:
        """Whether the lot granted by this row takes its cost out of what was to come."""
        later = self.lots[1:] if self._at_once_minor > 0 else self.lots
        return any(lot.seq == seq for lot in later)

    def square(self, refunded_minor: int) -> int:
        """How much more, or less, of what is to come went back than was counted: in all, with what its lots lost by
        it, as much as went back in money, as far as anything is to come."""
        if self.has_ended:
            return 0
        more = min(self.back_minor - refunded_minor, self.left_minor)
        self.left_minor -= more
        return more

    def end(self) -> int:
        """Nothing more comes: what is left of it."""
        left, self.left_minor, self.has_ended = self.left_minor, 0, True
        return left


def is_prepaid(amount_minor: int, paid_at: datetime, lots: Sequence[LotCost]) -> bool:
    """Whether more was paid than the lot that came with the payment cost: the rest is to come."""
    return not lots or lots[0].minor < amount_minor or lots[0].at > paid_at + AT_ONCE
