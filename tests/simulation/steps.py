"""What the rules of the simulation share: batches, the comparison after each step, the count of what happened."""

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize
from msgspec.structs import replace

from engine.catalogs import load_catalog
from engine.rules import commands as c
from engine.rules.catalog import Catalog, Coupon
from engine.rules.errors import Refusal
from engine.rules.facts import Fact
from engine.rules.holds import HoldRules
from engine.rules.ledger import Transaction
from engine.rules.money import Money
from engine.store.database import Database
from tests.engine.backends import InMemory
from tests.engine.invariants import check
from tests.engine.support import FakeClock, gift, steady_terms
from tests.simulation.keepers import Keeper, comparable
from tests.simulation.oracle import Bought, Oracle

NUMBERS = itertools.count()
CREDITS = st.integers(1, 60)
WHICH = st.integers(0, 1)
CUT = st.sampled_from([True, True, False])
KEYED = st.sampled_from([True, True, False])
BACK = st.integers(0, 4)
FEW = st.integers(0, 1)
PRICE = 900
DISPUTED = 600
BATCH_MAX = 6


@dataclass
class Tally:
    """What all examples together have done: a simulation that ran nothing must not pass."""

    examples: int = 0
    rules: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)


def outcome_name(outcome: c.Outcome) -> str:
    if isinstance(outcome, Refusal):
        return outcome.code
    return "replayed" if isinstance(outcome, c.Posted) and outcome.replayed else type(outcome).__name__


def same_form(outcome: c.Outcome) -> object:
    """An outcome as a value: two refusals are equal when their code and facts are; of rows, the ids and numbers."""
    if isinstance(outcome, Refusal):
        return outcome.code, outcome.facts
    if isinstance(outcome, c.Posted):
        return outcome.replayed, [(row.transaction_id, row.seq, row.balance_after) for row in outcome.transactions]
    return outcome


def coupons_of(number: int) -> tuple[Coupon, ...]:
    """One for whoever is first, one for all that ends after a day, one after a top-up."""
    few = Coupon(code=f"FEW{number}", description="few", credits=30, bucket="recharge", max_redemptions=1)
    day = Coupon(code=f"DAY{number}", description="day", credits=20, bucket="limited_time", expires_after_days=1)
    top = Coupon(code=f"TOP{number}", description="top", credits=10, bucket="recharge", first_top_up_required=True)
    return few, day, top


class Steps(RuleBasedStateMachine):
    """A machine without rules; a test gives it the databases and the tally."""

    databases: tuple[Callable[[], Database], ...]
    reopen: Callable[[], None]
    tally: Tally
    shipped: Catalog = load_catalog("alphio")

    @initialize(
        overage=st.sampled_from(["refuse", "spend"]), daily=st.sampled_from([None, 150]), first=st.integers(0, 90)
    )
    def begin(self, overage: Literal["refuse", "spend"], daily: int | None, first: int) -> None:
        self.tally.examples += 1
        number = next(NUMBERS)
        self.coupons = coupons_of(number)
        catalog = msgspec.structs.replace(self.shipped, coupons=self.coupons)
        self.clock = FakeClock()
        self.batch: list[c.Command] = []
        self.keyed: list[c.Command] = []
        self.own: dict[str, int] = {}
        rules = HoldRules(overage=overage)
        self.oracle = Oracle(catalog, InMemory(steady_terms(rules)))
        self.keepers = [Keeper(find, steady_terms(rules), self.clock, catalog) for find in self.databases]
        self.accounts = (f"acc_sim_{number}_a", f"acc_sim_{number}_b")
        for account_id in self.accounts:
            self.oracle.memory.open(account_id, self.clock.now())
            for keeper in self.keepers:
                keeper.open(account_id)
            if first:
                self._wish(gift(account_id, first), False, cut=False)
        self._flush()
        self._set_limits(self.accounts[0], daily, None)

    def teardown(self) -> None:
        for keeper in getattr(self, "keepers", []):
            keeper.close()

    def _note(self, name: str) -> None:
        self.tally.rules[name] += 1

    def _wish(self, command: c.Command, is_keyed: bool, cut: bool) -> None:
        self._note(type(command).__name__)
        if is_keyed:
            command = replace(command, key=f"key-{next(NUMBERS)}")
        if command.key is not None:
            self.keyed.append(command)
        self.batch.append(command)
        if cut or len(self.batch) >= BATCH_MAX:
            self._flush()

    def _flush(self) -> None:
        """Post what has gathered as one batch; everybody has the same to say of it."""
        if not self.batch:
            return
        self._note("batch")
        batch, self.batch = self.batch, []
        seen = {each: len(self.oracle.books(each).rows) for each in self.accounts}
        outcomes = self.oracle.memory.post(batch, self.clock.now())
        self.tally.outcomes.update(map(outcome_name, outcomes))
        for account_id, count in seen.items():
            self._count_rows(self.oracle.books(account_id).rows[count:])
        for keeper in self.keepers:
            assert list(map(same_form, keeper.post(batch))) == list(map(same_form, outcomes))
        self._compare()

    def _count_rows(self, rows: tuple[Transaction, ...]) -> None:
        self.tally.outcomes.update(row.type for row in rows)

    def _compare(self) -> None:
        """The databases hold the same to the last byte, every law holds there, and the oracle agrees."""
        for account_id in self.accounts:
            first, *others = (keeper.books(account_id) for keeper in self.keepers)
            for other in others:
                assert other == first
            check(first)
            assert comparable(first) == comparable(self.oracle.books(account_id))

    def _available(self, who: int) -> int:
        return self.oracle.books(self.accounts[who]).wallet.available_credits

    def _end(self, who: int, back: int, k: bool, cut: bool, how: Callable[[Any], dict[str, Any]]) -> None:
        """End or extend an earlier hold, counted from the newest."""
        holds = self.oracle.books(self.accounts[who]).holds
        if holds:
            hold = holds[-1 - back % len(holds)]
            asked = how(hold)
            kind = asked.pop("kind")
            self._wish(kind(account_id=self.accounts[who], actor="s", hold_id=hold.hold_id, **asked), k, cut)

    def _reverse(self, who: int, back: int, credits: int | None, k: bool, cut: bool) -> None:
        """Undo an earlier debit, counted from the newest; where there is none, any row."""
        books = self.oracle.books(self.accounts[who])
        rows = [row for row in books.rows if row.type == "debit"] or list(books.rows)
        if rows:
            row = rows[-1 - back % len(rows)]
            asked = c.Reverse(
                account_id=row.account_id,
                actor="s",
                transaction_id=row.transaction_id,
                credits=credits,
                description="",
            )
            self._wish(asked, k, cut)

    def _bought(self, back: int) -> Bought | None:
        self._flush()
        found = list(self.oracle.bought.values())
        return found[-1 - back % len(found)] if found else None

    def _fact(self, bought: Bought, kind: str, name: str, state: str, minor: int, version: int = 1) -> Fact:
        return Fact(
            kind=kind,  # type: ignore[arg-type]
            object_id=name,
            state=state,  # type: ignore[arg-type]
            amount=Money(minor, "USD"),
            version=version,
            live=False,
            parent_id=None if kind == "payment" else f"pi_{bought.purchase_id}",
            purchase_id=bought.purchase_id if kind == "payment" else None,
        )

    def _say(
        self, back: int, kind: str, name: Callable[[Bought], str], state: str, minor: int, version: int = 1
    ) -> None:
        bought = self._bought(back)
        if bought is not None:
            self._note(f"{kind} {state}")
            self._hear(bought, self._fact(bought, kind, name(bought), state, minor, version))

    def _hear(self, bought: Bought, fact: Fact) -> None:
        seen = len(self.oracle.books(bought.account_id).rows)
        told = self.oracle.hear(bought.purchase_id, fact, self.clock.now())
        assert [keeper.hear(bought, fact) for keeper in self.keepers] == [told] * len(self.keepers)
        self.tally.outcomes[f"purchase {told}"] += 1
        self._count_rows(self.oracle.books(bought.account_id).rows[seen:])
        self._compare()

    def _set_limits(self, account_id: str, daily: int | None, per_call: int | None) -> None:
        if self.oracle.books(account_id).wallet.status == "closed":
            return  # it keeps every setting it had
        self.oracle.memory.set_limits(account_id, daily, per_call)
        for keeper in self.keepers:
            keeper.set_limits(account_id, daily, per_call)

    def _change_status(self, who: int, status: c.Status) -> None:
        self._flush()
        self._note(f"status {status}")
        account_id = self.accounts[who]
        seen = len(self.oracle.books(account_id).rows)
        told = self.oracle.change_status(account_id, status, self.clock.now())
        assert [keeper.change_status(account_id, status) for keeper in self.keepers] == [told] * len(self.keepers)
        self._count_rows(self.oracle.books(account_id).rows[seen:])
        self._compare()
