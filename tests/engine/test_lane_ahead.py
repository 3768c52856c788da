"""A lane on PostgreSQL decides its next batch while the one before it is committed: whatever comes of that one."""

import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from time import sleep

import pytest
from sqlalchemy import text, update

from engine import lane_book, lane_process
from engine.clock import Clock
from engine.group_commit import BATCH_SIZE_MAX
from engine.lane_book import Answer, LaneBook
from engine.lane_wire import Frames, Order, asked_frame, packed, read_answered
from engine.rules.commands import Command, Posted
from engine.rules.decisions import Terms
from engine.rules.errors import InsufficientCredits, Unavailable, WalletNotActive
from engine.store.database import Database, reading, writing
from tests.e2e.served import wait_until
from tests.engine.support import DAY_0, counting_terms, create_accounts, debit, gift, rows_of, wallets_locked
from tests.engine.test_lane_book import HOT, WALLETS, assert_sound, elsewhere, posted
from tests.engine.test_lane_process import Desk, patiently

Batch = list[Command]
LOCKED = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
END_WAITING = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@pytest.fixture
def terms() -> Terms:
    return counting_terms()


@pytest.fixture
def lane(postgresql: Database, terms: Terms, monkeypatch: pytest.MonkeyPatch) -> LaneBook:
    """A lane that always looks ahead, and remembers the wallets `HOT` and `acc_2`, of 100 credits each."""
    monkeypatch.setattr(lane_book, "AHEAD_SHARE", 0)
    create_accounts(postgresql, HOT, "acc_2")
    made = LaneBook(postgresql, terms, lambda: DAY_0)
    assert posted(made, gift(HOT, 101), gift("acc_2", 101)) == [101, 101]
    assert posted(made, debit(HOT, 1), debit("acc_2", 1)) == [100, 100]
    return made


def asked(lane: LaneBook, first: Batch, second: Batch) -> list[Answer]:
    """Carry out a batch; while it is committed, the second is asked for."""
    calls: list[Batch] = []

    def coming() -> Batch:
        calls.append(second)
        return second

    answers = lane.carry_out(first, None, coming)
    assert calls == [second]
    return answers


def both(
    lane: LaneBook, first: Batch, second: Batch, between: Callable[[], object] = bool
) -> tuple[list[Answer], list[Answer]]:
    """Carry out two batches, the second decided while the first is committed, if that is."""
    one = asked(lane, first, second)
    between()
    return one, lane.carry_out(second)


def left(answers: Sequence[Answer]) -> list[int]:
    assert all(isinstance(answer, Posted) for answer in answers), answers
    return [answer.balance_after for answer in answers if isinstance(answer, Posted)]


def balances(db: Database, account_id: str = HOT) -> list[int]:
    with reading(db) as session:
        return [row.balance_after for row in rows_of(session, account_id)]


def test_the_second_batch_goes_on_where_the_first_ends(lane: LaneBook, postgresql: Database, reads: list[int]) -> None:
    one, two = both(lane, [debit(HOT, 5), debit("acc_2", 1)], [debit(HOT, 7, key="a"), debit(HOT, 8)])
    assert (left(one), left(two)) == ([95, 99], [88, 80])
    assert posted(lane, debit(HOT, 10)) == [70]
    assert reads == []
    assert_sound(postgresql, HOT, "acc_2")


def test_what_others_write_after_the_first_counts(lane: LaneBook, postgresql: Database, terms: Terms) -> None:
    one, two = both(
        lane, [debit(HOT, 5)], [debit(HOT, 20)], between=lambda: elsewhere(postgresql, terms, debit(HOT, 90))
    )
    assert left(one) == [95] and isinstance(two[0], InsufficientCredits)
    assert balances(postgresql) == [101, 100, 95, 5]
    assert_sound(postgresql, HOT)


def test_what_others_change_without_a_row_counts(lane: LaneBook, postgresql: Database) -> None:
    def suspend() -> None:
        with writing(postgresql) as session:
            session.connection().execute(update(WALLETS).values(status="suspended"))

    one, two = both(lane, [debit(HOT, 5)], [debit(HOT, 20)], between=suspend)
    assert left(one) == [95] and isinstance(two[0], WalletNotActive)
    assert balances(postgresql) == [101, 100, 95]


def test_another_batch_than_the_one_that_was_asked_for(lane: LaneBook, postgresql: Database) -> None:
    second: Batch = [debit(HOT, 7)]
    assert left(asked(lane, [debit(HOT, 5)], second)) == [95]
    assert left(lane.carry_out([debit(HOT, 1)])) == [94]
    assert left(lane.carry_out(second)) == [87]
    assert_sound(postgresql, HOT)


def test_where_a_commit_takes_much_longer_the_next_batch_is_waited_for(
    lane: LaneBook, postgresql: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    with wallets_locked("postgresql", postgresql.url):
        waiting = ThreadPoolExecutor(1).submit(asked, lane, [debit(HOT, 5)], [debit(HOT, 7)])
        sleep(0.5)
    assert left(waiting.result(30)) == [95]
    assert left(lane.carry_out([debit(HOT, 7)], None, lambda: pytest.fail("it was asked"))) == [88]


def test_where_the_first_guessed_wrong_both_are_carried_out_on_what_is_true(
    lane: LaneBook, postgresql: Database, terms: Terms
) -> None:
    elsewhere(postgresql, terms, debit(HOT, 90, key="flow"))
    one, two = both(lane, [debit(HOT, 5)], [debit(HOT, 3, key="b"), debit(HOT, 3)])
    assert left(one) == [5] and left(two[:1]) == [2] and isinstance(two[1], InsufficientCredits)
    assert balances(postgresql) == [101, 100, 10, 5, 2]
    assert lane._memory._pause == 1, "one guess was wrong: what was decided on it was dropped"
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
            wait_until(lambda: connection.execute(text(END_WAITING)).scalars().all() != [])
        return second

    with wallets_locked("postgresql", postgresql.url):
        assert isinstance(lane.carry_out(first, None, coming)[0], Unavailable)
    assert left(lane.carry_out(second)) == [93, 99]
    assert left(lane.carry_out(first)) == [88]
    assert balances(postgresql) == [101, 100, 93, 88]
    assert_sound(postgresql, HOT, "acc_2")


def test_what_cannot_be_decided_ahead_is_carried_out_in_its_turn(
    lane: LaneBook, postgresql: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the batch under way has its own answer, once."""
    second: Batch = [debit(HOT, 1)]

    def coming() -> Batch:
        monkeypatch.setattr(LaneBook, "_decided", lambda *_: 1 / 0)
        return second

    one = lane.carry_out([debit(HOT, 5)], None, coming)
    monkeypatch.undo()
    assert left(one) == [95] and left(lane.carry_out(second)) == [94]
    assert balances(postgresql) == [101, 100, 95, 94]


def test_what_is_no_frame_ends_the_lane_after_the_batch_under_way(postgresql: Database) -> None:
    create_accounts(postgresql, HOT)
    desk = Desk(postgresql)
    try:
        assert left([desk.post(gift(HOT, 10_000)), desk.post(debit(HOT, 1))])[-1] == 9_999
        before = desk.lane.process_id
        with wallets_locked("postgresql", postgresql.url), postgresql.reader.connect() as watching:
            spends = desk.group.submit_all([debit(HOT, 1) for _ in range(2 * BATCH_SIZE_MAX)])
            assert desk.lane._line is not None
            desk.lane._line.send((3).to_bytes(4, "little") + b"bad")
            wait_until(lambda: watching.execute(text(LOCKED)).scalar_one() > 0)
        assert left([future.result(30) for future in spends[:BATCH_SIZE_MAX]])[-1] == 9_999 - BATCH_SIZE_MAX
        wait_until(lambda: desk.lane.process_id != before)
        rest = [future for future in spends[BATCH_SIZE_MAX:] if future.exception(30) is None]
        assert len(rest) in (0, BATCH_SIZE_MAX), "they were under way with the others, or never begun"
        assert left([patiently(desk, debit(HOT, 1))]) == [9_998 - BATCH_SIZE_MAX - len(rest)]
    finally:
        desk.group.close()


def test_what_arrives_during_a_commit_is_decided_then(
    postgresql: Database, terms: Terms, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there while a batch waits for its lock is decided then, so its rows are as old as that."""
    monkeypatch.setattr(lane_book, "AHEAD_SHARE", 0)
    monkeypatch.setattr(lane_process, "tune_interpreter", bool)
    create_accounts(postgresql, HOT)
    order = Order(postgresql.url, 10, terms.chain_key, terms.descriptions, terms.holds)
    ours, theirs = socket.socketpair()
    frames, many = Frames(ours), BATCH_SIZE_MAX + 2

    def serve() -> None:
        with theirs, suppress(EOFError):
            lane_process._serve(theirs, Frames(theirs), order)

    def frame(*asked: Command) -> bytes:
        return asked_frame(0, packed(asked), timedelta(0), frozenset())

    def heard() -> list[Answer]:
        return [each.answer() for each in read_answered(frames.next()).told]

    with ThreadPoolExecutor(1) as one, ours:
        lane = one.submit(serve)
        assert heard() == [], "its first word"
        for command, balance in ((gift(HOT, many + 1), many + 1), (debit(HOT, 1), many)):
            ours.sendall(frame(command))
            assert left(heard()) == [balance]
        with wallets_locked("postgresql", postgresql.url), postgresql.reader.connect() as watching:
            full = [debit(HOT, 1) for _ in range(BATCH_SIZE_MAX)]
            ours.sendall(frame(*full) + frame(debit(HOT, 1)) + frame(debit(HOT, 1)))  # a full batch takes one more
            wait_until(lambda: watching.execute(text(LOCKED)).scalar_one() > 0)
            sleep(0.3)
            released = Clock().now()
        first, ahead = heard(), heard()
        ours.shutdown(socket.SHUT_WR)
        lane.result(30)
    assert left(first)[-1] == 1 and left(ahead) == [0]
    assert isinstance(ahead[0], Posted) and ahead[0].transactions[0].created_at < released
    assert_sound(postgresql, HOT)
