"""Outcomes of the book in an event loop: each caller its own, refusals as values, errors raised."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any, cast

import pytest
from sqlmodel import Session

from api.answers import found_by, outcome_of
from engine.gathered_reads import GatheredReads
from engine.group_commit import in_threads
from engine.rules.commands import Outcome, Posted, Spend
from engine.rules.errors import InsufficientCredits, Unavailable
from engine.store.database import Database
from tests.engine.support import DAY_0, counting_terms, create_accounts, debit, gift


@pytest.fixture
def db(sqlite: Database) -> Database:
    create_accounts(sqlite, "acc_1")
    return sqlite


def test_each_caller_gets_its_own_outcome(db: Database) -> None:
    group = in_threads(db, counting_terms(), lambda: DAY_0)

    async def callers() -> list[Outcome]:
        await outcome_of(group, gift("acc_1", 30))
        return await asyncio.gather(*(outcome_of(group, debit("acc_1", 1, key=f"k{n}")) for n in range(40)))

    outcomes = asyncio.run(callers())
    group.close()
    assert [type(outcome) for outcome in outcomes] == [Posted] * 30 + [InsufficientCredits] * 10
    left = [outcome.balance_after for outcome in outcomes if isinstance(outcome, Posted)]
    assert left == list(range(29, -1, -1))


def test_a_server_that_shuts_down_takes_no_more(db: Database) -> None:
    group = in_threads(db, counting_terms(), lambda: DAY_0)
    group.close()

    async def caller() -> Outcome:
        return await outcome_of(group, gift("acc_1", 30))

    with pytest.raises(Unavailable):
        asyncio.run(caller())


def test_a_command_that_the_database_cannot_keep_raises_for_its_caller_alone(db: Database) -> None:
    group = in_threads(db, counting_terms(), lambda: DAY_0)
    poison = Spend(account_id="acc_1", actor="service", credits=1, description="\ud800")

    async def callers() -> list[Outcome | BaseException]:
        asked = [outcome_of(group, command) for command in (gift("acc_1", 30), poison, debit("acc_1", 5))]
        return await asyncio.gather(*asked, return_exceptions=True)

    granted, poisoned, spent = asyncio.run(callers())
    group.close()
    assert isinstance(granted, Posted) and isinstance(spent, Posted) and spent.balance_after == 25
    assert isinstance(poisoned, UnicodeEncodeError)


def test_what_is_cancelled_before_its_batch_is_never_carried_out(db: Database) -> None:
    is_busy, may_go = threading.Event(), threading.Event()

    def now() -> object:
        is_busy.set()
        assert may_go.wait(timeout=10)
        return DAY_0

    group = in_threads(db, counting_terms(), now)  # type: ignore[arg-type]

    async def callers() -> Outcome:
        first = outcome_of(group, gift("acc_1", 30))
        await asyncio.to_thread(is_busy.wait, 10)
        cancelled, kept = outcome_of(group, debit("acc_1", 7)), outcome_of(group, debit("acc_1", 5))
        cancelled.cancel()
        may_go.set()
        await first
        return await kept

    outcome = asyncio.run(callers())
    group.close()
    assert isinstance(outcome, Posted) and outcome.balance_after == 25, "seven credits were not spent"


def test_a_loop_that_is_gone_does_not_stop_the_book(db: Database) -> None:
    is_busy, may_go = threading.Event(), threading.Event()

    def now() -> object:
        is_busy.set()
        assert may_go.wait(timeout=10)
        return DAY_0

    group = in_threads(db, counting_terms(), now)  # type: ignore[arg-type]

    async def leave() -> None:
        outcome_of(group, gift("acc_1", 30))
        await asyncio.to_thread(is_busy.wait, 10)

    asyncio.run(leave())
    may_go.set()
    assert isinstance(group.submit(debit("acc_1", 5)).result(timeout=10), Posted)
    group.close()


def test_what_one_turn_looks_up_is_handed_over_together_after_it() -> None:
    class Told(GatheredReads):
        def put(self, items: Sequence[Any]) -> None:
            told.append([key for _, key, _ in items])
            for _, key, waiter in items:
                waiter.set_result(key)

    told: list[list[str]] = []

    async def caller() -> list[str | None]:
        reads = Told(cast(Database, None))
        asked = [found_by(reads, _together, key) for key in ("a", "b", "a")]
        assert not told
        return await asyncio.gather(*asked)

    assert asyncio.run(caller()) == ["a", "b", "a"] and told == [["a", "b", "a"]]


def test_a_look_up_that_cannot_be_handed_over_raises_for_its_caller() -> None:
    class Full(GatheredReads):
        def put(self, items: Sequence[Any]) -> None:
            raise RuntimeError("can't start new thread")

    async def caller() -> None:
        await found_by(Full(cast(Database, None)), _together, "k")

    with pytest.raises(RuntimeError, match="thread"):
        asyncio.run(caller())


def _together(_: Session, keys: Sequence[str]) -> dict[str, str]:
    return {key: key for key in keys}
