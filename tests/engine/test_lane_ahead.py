"""A lane on PostgreSQL decides its next batch while the one before it is committed: whatever comes of that one."""

from collections.abc import Callable, Sequence
from time import sleep

import pytest
from sqlalchemy import text

from engine.clock import Clock
from engine.group_commit import BATCH_SIZE_MAX, Answer, GroupCommit
from engine.lane_book import LaneBook
from engine.lane_process import ProcessLane
from engine.rules import decisions
from engine.rules.commands import Command, Posted
from engine.rules.decisions import Terms
from engine.rules.errors import InsufficientCredits, Unavailable
from engine.store.database import Database, reading
from tests.engine.support import DAY_0, counting_terms, create_accounts, debit, gift, rows_of, wallets_locked
from tests.engine.test_lane_book import HOT, assert_sound, elsewhere, posted

Batch = list[Command]
LOCKED = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
WAITING = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@pytest.fixture
def terms() -> Terms:
    return counting_terms()


@pytest.fixture
def lane(postgresql: Database, terms: Terms) -> LaneBook:
    """A lane that remembers the wallets `HOT` and `acc_2`, of 100 credits each."""
    create_accounts(postgresql, HOT, "acc_2")
    made = LaneBook(postgresql, terms, lambda: DAY_0)
    assert posted(made, gift(HOT, 101), gift("acc_2", 101)) == [101, 101]
    assert posted(made, debit(HOT, 1), debit("acc_2", 1)) == [100, 100]
    return made


def both(
    lane: LaneBook, first: Batch, second: Batch, between: Callable[[], object] = bool
) -> tuple[list[Answer], list[Answer]]:
    """Carry out two batches, the second asked for while the first is committed."""
    asked: list[Batch] = []

    def coming() -> Batch:
        asked.append(second)
        return second

    one = lane.carry_out(first, None, coming)
    assert asked, "the second batch was asked for while the first was on its way"
    between()
    return one, lane.carry_out(second)


def left(answers: Sequence[Answer]) -> list[int]:
    assert all(isinstance(answer, Posted) for answer in answers), answers
    return [answer.balance_after for answer in answers if isinstance(answer, Posted)]


def balances(db: Database, account_id: str = HOT) -> list[int]:
    with reading(db) as session:
        return [row.balance_after for row in rows_of(session, account_id)]


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many commands were decided at a time."""
    counts: list[int] = []
    decide_all = decisions.decide_all

    def counted(pages: object, commands: Sequence[Command], terms: Terms) -> object:
        counts.append(len(commands))
        return decide_all(pages, commands, terms)  # type: ignore[arg-type]

    for name in ("engine.lane_book.decide_all", "engine.book.decide_all"):
        monkeypatch.setattr(name, counted)
    return counts


def test_the_second_batch_goes_on_where_the_first_ends(lane: LaneBook, postgresql: Database, loads: list[int]) -> None:
    one, two = both(lane, [debit(HOT, 5), debit("acc_2", 1)], [debit(HOT, 7, key="a"), debit(HOT, 8)])
    assert (left(one), left(two)) == ([95, 99], [88, 80])
    assert [size for size in loads if size > 0] == [2, 2], "each was decided once"
    assert posted(lane, debit(HOT, 10)) == [70]
    assert_sound(postgresql, HOT, "acc_2")


def test_what_others_write_after_the_first_counts(lane: LaneBook, postgresql: Database, terms: Terms) -> None:
    one, two = both(
        lane, [debit(HOT, 5)], [debit(HOT, 20)], between=lambda: elsewhere(postgresql, terms, debit(HOT, 90))
    )
    assert left(one) == [95] and isinstance(two[0], InsufficientCredits)
    assert balances(postgresql) == [101, 100, 95, 5]
    assert_sound(postgresql, HOT)


def test_where_the_first_guessed_wrong_both_are_carried_out_on_what_is_true(
    lane: LaneBook, postgresql: Database, terms: Terms
) -> None:
    elsewhere(postgresql, terms, debit(HOT, 90, key="flow"))
    one, two = both(lane, [debit(HOT, 5)], [debit(HOT, 3, key="b"), debit(HOT, 3)])
    assert left(one) == [5] and left(two[:1]) == [2] and isinstance(two[1], InsufficientCredits)
    assert balances(postgresql) == [101, 100, 10, 5, 2]
    assert posted(lane, debit(HOT, 2)) == [0]
    assert_sound(postgresql, HOT)


def test_the_same_key_in_both_spends_once(lane: LaneBook, postgresql: Database) -> None:
    one, two = both(lane, [debit(HOT, 5, key="twice")], [debit(HOT, 5, key="twice"), debit("acc_2", 1)])
    assert left(one) == [95] and left(two) == [95, 99]
    assert isinstance(two[0], Posted) and two[0].replayed
    assert balances(postgresql) == [101, 100, 95]
    assert_sound(postgresql, HOT, "acc_2")


def test_a_key_of_before_makes_the_first_a_replay_and_the_second_none(lane: LaneBook, postgresql: Database) -> None:
    assert posted(lane, debit(HOT, 5, key="old")) == [95]
    one, two = both(lane, [debit(HOT, 5, key="old")], [debit(HOT, 1)])
    assert isinstance(one[0], Posted) and one[0].replayed and left(two) == [94]
    assert balances(postgresql) == [101, 100, 95, 94]
    assert_sound(postgresql, HOT)


def test_what_the_first_leaves_too_little_for_is_refused(lane: LaneBook, postgresql: Database) -> None:
    one, two = both(lane, [debit(HOT, 60)], [debit(HOT, 60), debit(HOT, 40)])
    assert left(one) == [40] and isinstance(two[0], InsufficientCredits) and left(two[1:]) == [0]
    assert balances(postgresql) == [101, 100, 40, 0]
    assert_sound(postgresql, HOT)


def test_a_connection_lost_on_the_way_loses_and_doubles_nothing(lane: LaneBook, postgresql: Database) -> None:
    first: Batch = [debit(HOT, 5, key="lost")]
    second: Batch = [debit(HOT, 7, key="next"), debit("acc_2", 1, key="other")]

    def coming() -> Batch:
        """What is under way waits for the wallet's lock, and its connection is ended there."""
        with postgresql.reader.connect() as connection:
            while not connection.execute(text(WAITING)).scalars().all():
                sleep(0.01)
        return second

    with wallets_locked("postgresql", postgresql.url):
        assert isinstance(lane.carry_out(first, None, coming)[0], Unavailable)
    assert left(lane.carry_out(second)) == [93, 99]
    assert left(lane.carry_out(first)) == [88]
    assert balances(postgresql) == [101, 100, 93, 88]
    assert_sound(postgresql, HOT, "acc_2")


@pytest.mark.parametrize("kind", ["asked for", "decided"])
def test_what_cannot_be_looked_at_ahead_is_carried_out_in_its_turn(
    lane: LaneBook, postgresql: Database, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """And the batch under way has its own answer, once."""
    second: Batch = [debit(HOT, 1)]

    def coming() -> Batch:
        if kind == "asked for":
            raise RuntimeError("out of something")
        monkeypatch.setattr(LaneBook, "_decided", lambda *_: 1 / 0)
        return second

    one = lane.carry_out([debit(HOT, 5)], None, coming)
    monkeypatch.undo()
    assert left(one) == [95] and left(lane.carry_out(second)) == [94]
    assert balances(postgresql) == [101, 100, 95, 94]


def test_a_lane_of_its_own_looks_ahead(postgresql: Database, terms: Terms) -> None:
    """What is there while a batch waits for its lock is decided then, so its rows are as old as that."""
    create_accounts(postgresql, HOT)
    group = GroupCommit([ProcessLane(postgresql, terms, Clock(), 0)])
    try:
        assert isinstance(group.submit(gift(HOT, 2 * BATCH_SIZE_MAX + 1)).result(30), Posted)
        assert isinstance(group.submit(debit(HOT, 1)).result(30), Posted)
        with wallets_locked("postgresql", postgresql.url), postgresql.reader.connect() as watching:
            spends = group.submit_all([debit(HOT, 1) for _ in range(2 * BATCH_SIZE_MAX)])
            while not watching.execute(text(LOCKED)).scalar_one():
                sleep(0.01)
            sleep(0.5)
            released = Clock().now()
        outcomes = [future.result(30) for future in spends]
    finally:
        group.close()
    assert left(outcomes) == list(reversed(range(2 * BATCH_SIZE_MAX)))
    assert all(isinstance(outcome, Posted) and outcome.transactions[0].created_at < released for outcome in outcomes)
    assert_sound(postgresql, HOT)
