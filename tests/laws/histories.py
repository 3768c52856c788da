"""Random histories for the laws: commands on one wallet that need not know how it stands."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from hypothesis import strategies as st
from msgspec.structs import replace

from engine.rules.commands import Command, Expire, GiveBack, Reverse, TakeBack
from engine.rules.lots import BUCKETS
from tests.engine.support import DAY_0, bought, debit, gift

ACCOUNT = "acc_law"
CREDITS = st.integers(1, 40)
KEYS = st.sampled_from([None, None, "k1", "k2"])
PURCHASES = st.sampled_from(["pur_1", "pur_2"])


@dataclass(frozen=True, slots=True)
class Moment:
    """Commands that are all carried out at one instant."""

    now: datetime
    commands: tuple[Command, ...]


def reverse(transaction_id: str, credits: int | None, key: str | None) -> Reverse:
    return Reverse(
        account_id=ACCOUNT, actor="service", transaction_id=transaction_id, credits=credits, description="", key=key
    )


def take_back(purchase_id: str, credits: int, owe: bool, key: str | None) -> TakeBack:
    return TakeBack(
        account_id=ACCOUNT,
        actor="provider",
        type="refund" if owe else "dispute",
        purchase_id=purchase_id,
        credits=credits,
        owe=owe,
        description="",
        key=key,
    )


def give_back(purchase_id: str, credits: int, only_owed: bool, key: str | None) -> GiveBack:
    return GiveBack(
        account_id=ACCOUNT,
        actor="provider",
        type="refund_failed",
        purchase_id=purchase_id,
        credits=credits,
        description="",
        only_owed=only_owed,
        key=key,
    )


ROWS = st.integers(1, 25).map(lambda number: f"txn_{number:06d}")
"""Ids as the counting mint makes them: some are of debits, some of other rows, some of none."""


def commands(now: datetime) -> st.SearchStrategy[Command]:
    until = st.none() | st.integers(1, 80).map(lambda hours: now + timedelta(hours=hours))
    return st.one_of(
        st.builds(
            lambda credits, bucket, until, key: gift(ACCOUNT, credits, bucket, until=until, key=key),
            CREDITS,
            st.sampled_from(BUCKETS),
            until,
            KEYS,
        ),
        st.builds(
            lambda purchase, credits, is_bonus: bought(ACCOUNT, purchase, credits, is_bonus=is_bonus),
            PURCHASES,
            CREDITS,
            st.booleans(),
        ),
        st.builds(
            lambda credits, key, is_dry: replace(debit(ACCOUNT, credits, key=key), dry_run=is_dry),
            st.integers(0, 90),
            KEYS,
            st.sampled_from([False, False, False, True]),
        ),
        st.builds(reverse, ROWS, st.none() | CREDITS, KEYS),
        st.builds(take_back, PURCHASES, CREDITS, st.booleans(), KEYS),
        st.builds(give_back, PURCHASES, CREDITS, st.booleans(), KEYS),
        st.just(Expire(account_id=ACCOUNT, actor="system")),
    )


@st.composite
def histories(draw: st.DrawFn, moments: int = 4) -> tuple[Moment, ...]:
    """A few moments, each later than the one before, with a few commands each."""
    now = DAY_0
    told = []
    for _ in range(draw(st.integers(1, moments))):
        told.append(Moment(now, tuple(draw(st.lists(commands(now), min_size=1, max_size=8)))))
        now += timedelta(hours=draw(st.integers(1, 40)))
    return tuple(told)


def cut(moment: Moment, places: set[int]) -> list[Moment]:
    """The moment in pieces: a cut stands before each of `places`."""
    pieces: list[list[Command]] = [[]]
    for place, command in enumerate(moment.commands):
        if place in places and pieces[-1]:
            pieces.append([])
        pieces[-1].append(command)
    return [Moment(moment.now, tuple(piece)) for piece in pieces]
