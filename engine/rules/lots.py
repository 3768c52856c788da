"""Lots: credits granted together, and the one order in which they are spent."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal, get_args

import msgspec

Bucket = Literal["limited_time", "monthly", "recharge"]
BUCKETS: tuple[Bucket, ...] = get_args(Bucket)
"""Spend order of the buckets; the index is the lot's `bucket_order`."""

BUCKET_NAMES: dict[Bucket, str] = {"limited_time": "Limited-time", "monthly": "Monthly", "recharge": "Recharge"}
"""The buckets' names as people read them."""

BONUS_SOURCES = ("volume_discount", "coupon")
"""Where the lots come from that a purchase grants beside what was paid for."""

NEVER = datetime(9999, 12, 31, tzinfo=UTC)
"""`expires_at` of a lot that never expires: a far-future instant, so that one index serves the spend order."""


class Lot(msgspec.Struct, array_like=True):
    """Credits granted together, as loaded: counts change while a batch is decided, the rest never.

    `granted = remaining + held + spent + taken + expired`, where `taken` went back with its money and `expired`
    left by time or forfeit. `owed` is the part of what was spent whose money was taken back: it became debt. Of a
    subscription's payment what was spent is not owed, so there it is a part of what is held: once let go, it is taken.
    """

    lot_id: str
    granted_seq: int
    bucket: Bucket
    source: str
    expires_at: datetime
    granted_credits: int
    remaining_credits: int
    held_credits: int = 0
    taken_credits: int = 0
    owed_credits: int = 0
    expired_credits: int = 0
    purchase_id: str | None = None
    cost_minor: int = 0
    cost_currency: str | None = None
    granted_at: datetime = NEVER

    @property
    def is_of_subscription(self) -> bool:
        """Whether a subscription's payment granted it."""
        return self.source == "subscription" and self.purchase_id is not None

    @property
    def uncalled_credits(self) -> int:
        """What is held of a subscription's payment and is not to be taken yet, once it is let go."""
        return self.held_credits - self.owed_credits if self.is_of_subscription else 0

    @property
    def spent_credits(self) -> int:
        """What was drawn and not reversed, as far as this lot's own counts tell."""
        return (
            self.granted_credits
            - self.remaining_credits
            - self.held_credits
            - self.taken_credits
            - self.expired_credits
        )


class Draw(msgspec.Struct, frozen=True):
    """Credits of one lot: positive, in the order they are taken."""

    lot_id: str
    bucket: Bucket
    credits: int


def spend_order(lot: Lot) -> tuple[int, datetime, int]:
    """Bucket, then expiry (soonest first, never last), then the granting transaction's `seq`: a total order."""
    return BUCKETS.index(lot.bucket), lot.expires_at, lot.granted_seq


def purchase_order(lot: Lot) -> tuple[bool, int]:
    """Base before bonus and coupon, each as they were granted: of a purchase the last lot is taken back first."""
    return lot.source in BONUS_SOURCES, lot.granted_seq


def is_live(lot: Lot, at: datetime) -> bool:
    """A lot lives in `[granted_at, expires_at)`."""
    return at < lot.expires_at


def draw(lots: Iterable[Lot], credits: int) -> tuple[Draw, ...]:
    """Plan taking `credits` from lots that are already in spend order; nothing is changed.

    The caller has checked that they hold enough; the draws sum up to `credits` exactly.
    """
    draws = []
    left = credits
    for lot in lots:
        if left == 0:
            break
        part = min(lot.remaining_credits, left)
        if part > 0:
            draws.append(Draw(lot.lot_id, lot.bucket, part))
            left -= part
    assert left == 0, f"{left} credits could not be drawn: the caller promised {credits}"
    return tuple(draws)
