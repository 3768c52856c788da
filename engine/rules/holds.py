"""Holds: credits reserved for later, the parts of lots they pin, and which of those a capture takes."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engine.rules.lots import Bucket, Draw

HoldStatus = Literal["open", "captured", "voided", "expired"]
Seconds = Annotated[int, Meta(ge=1, le=366 * 24 * 60 * 60)]


class HoldRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a hold lasts unless its request says, at most, and what capturing more than was held does: it is
    refused, or the excess is spent in normal spend order."""

    overage: Literal["refuse", "spend"] = "refuse"
    ttl_default_seconds: Seconds = 15 * 60
    ttl_max_seconds: Seconds = 30 * 24 * 60 * 60

    def __post_init__(self) -> None:
        if self.ttl_default_seconds > self.ttl_max_seconds:
            raise ValueError("ttl_default_seconds is above ttl_max_seconds")


class Part(msgspec.Struct, frozen=True, array_like=True):
    """Credits of one lot that a hold pins, and the UTC day on whose limit they count."""

    lot_id: str
    bucket: Bucket
    credits: int
    held_on: date


class Hold(msgspec.Struct):
    """A hold, as loaded: it is open once and ends once.

    `parts` stand in the order held; extending adds some. `counted_credits` is how much of the captured debit counts
    as spent on the day of its capture: always the last of what it drew, so a reversal gives that back first.
    """

    hold_id: str
    status: HoldStatus
    parts: tuple[Part, ...]
    captured_credits: int
    counted_credits: int
    ttl_seconds: int
    expires_at: datetime
    description: str
    provider_id: str | None
    provider_name: str | None
    capability_id: str | None
    call_id: str | None
    metadata: str
    actor: str
    created_at: datetime
    ended_at: datetime | None = None
    api_key_id: str | None = None

    @property
    def credits(self) -> int:
        """What was held, extensions included."""
        return sum(part.credits for part in self.parts)


def due_order(hold: Hold) -> tuple[datetime, str]:
    """Holds that are over are released in this order, whoever finds them."""
    return hold.expires_at, hold.hold_id


def taken(parts: Sequence[Part], credits: int) -> tuple[Part, ...]:
    """What a capture of `credits` takes of the parts: the first held, in order; all of them if it wants more."""
    found = []
    for part in parts:
        fits = min(part.credits, credits)
        if fits > 0:
            found.append(msgspec.structs.replace(part, credits=fits))
        credits -= fits
    return tuple(found)


def counted_on(day: date, parts: Iterable[Part]) -> int:
    """How many of these credits count on the limit of a day."""
    return sum(part.credits for part in parts if part.held_on == day)


def by_lot(parts: Iterable[Part | Draw]) -> tuple[Draw, ...]:
    """One draw a lot, lots in the order in which they first appear."""
    sums: dict[str, Draw] = {}
    for part in parts:
        before = sums[part.lot_id].credits if part.lot_id in sums else 0
        sums[part.lot_id] = Draw(part.lot_id, part.bucket, before + part.credits)
    return tuple(sums.values())
