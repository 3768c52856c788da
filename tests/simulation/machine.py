"""A random history of one wallet, kept three times: by the rules in memory, on SQLite and on PostgreSQL.

A step posts a batch of wishes, which become commands on the wallet as it is; then all three have answered alike and
keep the same books, and the books keep every law. A crash loses a batch before its commit, and every connection.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Literal

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from engine.rules.commands import (
    Capture,
    Command,
    Expire,
    Extend,
    GiveBack,
    Hold,
    Outcome,
    Posted,
    Reverse,
    TakeBack,
    Void,
)
from engine.rules.errors import Refusal
from engine.rules.holds import Hold as KeptHold
from engine.rules.holds import HoldRules
from engine.rules.ledger import Transaction
from engine.rules.lots import BUCKETS, Bucket
from engine.store.database import Database
from tests.engine.backends import Backend, InMemory, Stored
from tests.engine.invariants import check
from tests.engine.support import FakeClock, bought, counting_terms, debit, gift

ACCOUNTS = (f"acc_simulated_{number}" for number in itertools.count())
NUMBERS = itertools.count()
PURCHASES = ("pur_1", "pur_2")
NEW_KEY = "a new key"
CREDITS = st.integers(1, 60)
KEYS = st.sampled_from([None, NEW_KEY, NEW_KEY, NEW_KEY, "k1"])


@dataclass(frozen=True, slots=True)
class Grants:
    bucket: Bucket
    credits: int
    hours: int | None
    key: str | None


@dataclass(frozen=True, slots=True)
class Buys:
    purchase_id: str
    base: int
    bonus: int


@dataclass(frozen=True, slots=True)
class Spends:
    """`percent` of what was available before the batch, and some credits more."""

    percent: int
    more: int
    key: str | None
    is_dry: bool


@dataclass(frozen=True, slots=True)
class Reverses:
    """An earlier debit, counted from the newest; where there is none, any row."""

    back: int
    credits: int | None
    key: str | None


@dataclass(frozen=True, slots=True)
class Returns:
    """Money of a purchase goes back (`owe` or not), or comes back after all (`owe` is `None`)."""

    purchase_id: str
    credits: int
    owe: bool | None
    key: str | None


@dataclass(frozen=True, slots=True)
class Holds:
    """`percent` of what was available before the batch, and some credits more, for some hours."""

    percent: int
    more: int
    hours: int
    key: str | None


@dataclass(frozen=True, slots=True)
class Ends:
    """An earlier hold, counted from the newest, is captured (`percent` of it, and more), voided or extended."""

    back: int
    how: str
    percent: int
    more: int
    key: str | None


@dataclass(frozen=True, slots=True)
class Repeats:
    """An earlier request with a key comes again, counted from the newest."""

    back: int


@dataclass(frozen=True, slots=True)
class Sweeps:
    pass


Wish = Grants | Buys | Spends | Reverses | Returns | Holds | Ends | Repeats | Sweeps

HOURS = st.none() | st.integers(1, 60)
GRANTS = st.builds(Grants, st.sampled_from(BUCKETS), CREDITS, HOURS, KEYS)
BUYS = st.builds(Buys, st.sampled_from(PURCHASES), CREDITS, st.sampled_from([0, 0, 5]))
SPENDS = st.builds(
    Spends,
    st.sampled_from([100, 0, 30, 50]),
    st.sampled_from([0, 1, 1, 7]),
    KEYS,
    st.sampled_from([False] * 6 + [True]),
)
REVERSES = st.builds(Reverses, st.integers(0, 4), st.none() | CREDITS, KEYS)
RETURNS = st.builds(
    Returns, st.sampled_from(PURCHASES), st.integers(1, 80), st.sampled_from([True, True, True, False, None]), KEYS
)
HOLDS = st.builds(Holds, st.sampled_from([0, 30, 60]), st.integers(0, 9), st.integers(1, 60), KEYS)
ENDS = st.builds(
    Ends,
    st.integers(0, 3),
    st.sampled_from(["capture", "capture", "void", "extend"]),
    st.sampled_from([0, 50, 100, 100]),
    st.sampled_from([0, 0, 0, 1, 5]),
    KEYS,
)
REPEATS = st.builds(Repeats, st.integers(0, 6))
WISHES = st.one_of(GRANTS, BUYS, SPENDS, SPENDS, HOLDS, ENDS, REVERSES, RETURNS, REPEATS, st.builds(Sweeps))
BATCHES = st.lists(WISHES, min_size=1, max_size=5)


@dataclass
class Tally:
    """What all examples together have done: a simulation that ran nothing must not pass."""

    examples: int = 0
    batches: int = 0
    crashes: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)

    def count(self, outcomes: list[Outcome], written: tuple[Transaction, ...]) -> None:
        for name in [*map(outcome_name, outcomes), *(row.type for row in written)]:
            self.outcomes[name] = self.outcomes.get(name, 0) + 1


def outcome_name(outcome: Outcome) -> str:
    if isinstance(outcome, Refusal):
        return outcome.code
    return "replayed" if isinstance(outcome, Posted) and outcome.replayed else type(outcome).__name__


def comparable(outcome: Outcome) -> object:
    """An outcome as a value: two refusals are equal when their code and facts are."""
    return (outcome.code, outcome.facts) if isinstance(outcome, Refusal) else outcome


class History(RuleBasedStateMachine):
    """The machine; `simulation` gives it the databases and the tally."""

    databases: tuple[Callable[[], Database], ...]
    reopen: Callable[[], None]
    tally: Tally

    @initialize(
        is_in_debt=st.booleans(), overage=st.sampled_from(["refuse", "spend"]), daily=st.sampled_from([None, 90])
    )
    def begin(self, is_in_debt: bool, overage: Literal["refuse", "spend"], daily: int | None) -> None:
        """An empty wallet, or one that owes most of a purchase that it has spent."""
        self.tally.examples += 1
        self.account_id = next(ACCOUNTS)
        self.clock = FakeClock()
        self.keyed: list[Command] = []
        rules = HoldRules(overage=overage)
        self.memory = InMemory(counting_terms(rules))
        self.stored = [Stored(find(), counting_terms(rules), is_grouped=True) for find in self.databases]
        for backend in self._all():
            backend.open(self.account_id, self.clock.now())
        if is_in_debt:
            self.post([Buys("pur_1", 100, 0), Spends(0, 100, None, False), Returns("pur_1", 80, True, None)], False)
        for backend in self._all():
            backend.set_limits(self.account_id, daily, None)

    @rule(wishes=BATCHES, is_lost=st.sampled_from([False, False, False, False, True]))
    def post(self, wishes: list[Wish], is_lost: bool) -> None:
        batch = self._commands(wishes)
        if is_lost:
            self._crash(batch)
            return
        self.tally.batches += 1
        now = self.clock.now()
        seen = len(self.memory.books(self.account_id).rows)
        outcomes = self.memory.post(batch, now)
        books = self.memory.books(self.account_id)
        self.tally.count(outcomes, books.rows[seen:])
        check(books)
        for backend in self.stored:
            assert [comparable(o) for o in backend.post(batch, now)] == [comparable(o) for o in outcomes]
            assert backend.books(self.account_id) == books

    @rule(hours=st.integers(1, 30))
    def time_passes(self, hours: int) -> None:
        self.clock.advance(timedelta(hours=hours))

    def _crash(self, batch: list[Command]) -> None:
        """The batch was decided and written, and the process dies before the commit: nothing of it is kept."""
        self.tally.crashes += 1
        for backend in self._all():
            backend.crash(batch, self.clock.now())
        type(self).reopen()
        for stored, find in zip(self.stored, self.databases, strict=True):
            stored.db = find()
        for backend in self._all():
            assert backend.books(self.account_id) == self.memory.books(self.account_id)

    def _all(self) -> tuple[Backend, ...]:
        return (self.memory, *self.stored)

    def _commands(self, wishes: list[Wish]) -> list[Command]:
        commands = [command for wish in wishes for command in self._wished(wish)]
        numbered = [replace(c, key=f"key-{next(NUMBERS)}") if c.key == NEW_KEY else c for c in commands]
        self.keyed += [command for command in numbered if command.key is not None]
        return numbered

    def _wished(self, wish: Wish) -> list[Command]:
        account_id, books = self.account_id, self.memory.books(self.account_id)
        match wish:
            case Grants():
                until = None if wish.hours is None else self.clock.now() + timedelta(hours=wish.hours)
                return [gift(account_id, wish.credits, wish.bucket, until=until, key=wish.key)]
            case Buys():
                bonus = [bought(account_id, wish.purchase_id, wish.bonus, is_bonus=True)] if wish.bonus else []
                return [bought(account_id, wish.purchase_id, wish.base), *bonus]
            case Spends():
                credits = books.wallet.available_credits * wish.percent // 100 + wish.more
                return [replace(debit(account_id, credits, key=wish.key), dry_run=wish.is_dry)]
            case Reverses():
                rows = [row for row in books.rows if row.type == "debit"] or list(books.rows)
                return [undo(rows[-1 - wish.back % len(rows)], wish.credits, wish.key)] if rows else []
            case Returns():
                return [money_returns(account_id, wish)]
            case Holds():
                credits = books.wallet.available_credits * wish.percent // 100 + wish.more
                return [reserve(account_id, credits, wish.hours, wish.key)]
            case Ends():
                return [end(books.holds[-1 - wish.back % len(books.holds)], account_id, wish)] if books.holds else []
            case Repeats():
                return [self.keyed[-1 - wish.back % len(self.keyed)]] if self.keyed else []
            case Sweeps():
                return [Expire(account_id=account_id, actor="system")]


def undo(row: Transaction, credits: int | None, key: str | None) -> Reverse:
    return Reverse(
        account_id=row.account_id,
        actor="service",
        transaction_id=row.transaction_id,
        credits=credits,
        description="",
        key=key,
    )


def reserve(account_id: str, credits: int, hours: int, key: str | None) -> Hold:
    return Hold(account_id=account_id, actor="service", credits=credits, ttl_seconds=hours * 3600, key=key)


def end(hold: KeptHold, account_id: str, wish: Ends) -> Capture | Void | Extend:
    credits = hold.credits * wish.percent // 100 + wish.more
    key, hold_id = wish.key, hold.hold_id
    if wish.how == "capture":
        return Capture(account_id=account_id, actor="service", hold_id=hold_id, credits=credits, key=key)
    if wish.how == "void":
        return Void(account_id=account_id, actor="service", hold_id=hold_id, key=key)
    hours = credits % 30
    return Extend(
        account_id=account_id, actor="service", hold_id=hold_id, credits=wish.more, ttl_seconds=hours * 3600, key=key
    )


def money_returns(account_id: str, wish: Returns) -> TakeBack | GiveBack:
    if wish.owe is None:
        return GiveBack(
            account_id=account_id,
            actor="provider",
            type="refund_failed",
            purchase_id=wish.purchase_id,
            credits=wish.credits,
            description="",
            key=wish.key,
        )
    return TakeBack(
        account_id=account_id,
        actor="provider",
        type="refund" if wish.owe else "dispute",
        purchase_id=wish.purchase_id,
        credits=wish.credits,
        owe=wish.owe,
        description="",
        key=wish.key,
    )
