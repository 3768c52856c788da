"""A lane in a process of its own: what it says is what a thread would have said, and it may die at any moment."""

import asyncio
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from time import monotonic, sleep
from typing import TypeVar

import pytest
import uvloop
from msgspec.structs import replace

from api.answers import heard_here, outcome_of
from engine.clock import Clock, new_id
from engine.group_commit import Answer, GroupCommit
from engine.lane_process import WAITING_MAX, ProcessLane
from engine.lane_wire import Answered, CommandFailed, Refused, Told
from engine.rules.commands import Command, Expire, Outcome, Posted
from engine.rules.decisions import Terms
from engine.rules.errors import InsufficientCredits, Unavailable
from engine.store.database import Database, open_database
from tests.engine.backends import Stored
from tests.engine.invariants import check
from tests.engine.support import CHAIN_KEY, create_accounts, debit, gift

WAIT = 30
T = TypeVar("T")


class Desk:
    """A group commit of one lane, its clock and its terms."""

    def __init__(self, db: Database) -> None:
        self.clock = Clock()
        self.terms = Terms(new_id, CHAIN_KEY)
        self.lane = ProcessLane(db, self.terms, self.clock, 0)
        self.group = GroupCommit([self.lane])

    def post(self, command: Command) -> Outcome:
        return self.group.submit(command).result(WAIT)


@pytest.fixture
def desk(db: Database) -> Iterator[Desk]:
    create_accounts(db, "acc_1")
    made = Desk(db)
    yield made
    made.group.close()


def in_a_loop_of_its_own(work: Callable[[], Coroutine[object, object, T]]) -> T:
    """Run a coroutine as a server does; in a thread, for a browser may have left a loop running in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: uvloop.run(work())).result(2 * WAIT)


def kill(lane: ProcessLane) -> None:
    os.kill(lane.process_id, signal.SIGKILL)


def patiently(desk: Desk, command: Command) -> Outcome:
    """Ask with the same key until the lane is back."""
    ends = monotonic() + WAIT
    while True:
        try:
            return desk.post(command)
        except Unavailable:
            assert monotonic() < ends, "the lane never came back"
            sleep(0.05)


def test_the_clock_of_the_server_is_the_lanes(db: Database, desk: Desk) -> None:
    tomorrow = desk.clock.now() + timedelta(days=1)
    desk.post(replace(gift("acc_1", 10), expires_at=tomorrow))
    assert desk.post(debit("acc_1", 1)) is not None
    desk.clock.advance(timedelta(days=2))
    outcome = desk.post(debit("acc_1", 1))
    assert isinstance(outcome, InsufficientCredits) and outcome.facts["availableCredits"] == "0"
    assert Stored(db).books("acc_1").rows[-1].created_at > tomorrow, "the expiry's row"


def test_the_lane_writes_the_events_that_somebody_listens_to_by_now(db: Database, desk: Desk) -> None:
    desk.post(gift("acc_1", 10))
    desk.post(debit("acc_1", 1, key="before"))
    desk.terms.wanted.events = frozenset({"credits.spent"})
    desk.post(debit("acc_1", 1, key="after"))
    with db.reader.connect() as connection:
        told = connection.exec_driver_sql("SELECT payload FROM outbox WHERE kind = 'event'").scalars().all()
    assert sum("credits.spent" in each for each in told) == 1


def test_a_killed_lane_comes_back_and_every_key_was_done_once_at_most(db: Database, desk: Desk) -> None:
    desk.post(gift("acc_1", 1_000))
    keys = [f"k{n}" for n in range(300)]
    waiting: list[tuple[str, Future[Outcome]]] = []
    for round_ in range(3):
        for key in keys[round_ * 100 : round_ * 100 + 100]:
            waiting.append((key, desk.group.submit(debit("acc_1", 1, key=key))))
        sleep(0.002 * round_)
        kill(desk.lane)
        assert isinstance(patiently(desk, debit("acc_1", 1, key=f"awake {round_}")), Posted)
    for key, future in waiting:
        if (error := future.exception(WAIT)) is not None:
            assert isinstance(error, Unavailable)
        assert isinstance(patiently(desk, debit("acc_1", 1, key=key)), Posted)
    books = Stored(db).books("acc_1")
    check(books)
    assert books.wallet.available_credits == 1_000 - 300 - 3 and len(books.rows) == 304


def test_while_it_is_away_callers_hear_so_at_once(desk: Desk) -> None:
    desk.post(gift("acc_1", 10))
    kill(desk.lane)
    refusals = 0
    ends = monotonic() + 0.3
    while monotonic() < ends:
        try:
            desk.group.submit(debit("acc_1", 1)).result(5)
        except Unavailable:
            refusals += 1
        sleep(0.01)
    assert refusals > 5
    assert isinstance(patiently(desk, debit("acc_1", 1)), Posted)


def test_signals_that_end_a_group_of_processes_leave_the_lane_to_its_server(desk: Desk) -> None:
    desk.post(gift("acc_1", 10))
    before = desk.lane.process_id
    os.kill(before, signal.SIGTERM)
    os.kill(before, signal.SIGINT)
    assert isinstance(desk.post(debit("acc_1", 1)), Posted) and desk.lane.process_id == before


@pytest.mark.parametrize("is_heard_by_a_loop", [False, True])
def test_far_more_than_a_socket_holds_is_carried_out_in_order(desk: Desk, is_heard_by_a_loop: bool) -> None:
    commands: list[Command] = [gift("acc_1", 4_000)]
    commands += [debit("acc_1", 1, key=f"k{n}", description="x" * 3_000) for n in range(2_000)]

    async def in_a_loop() -> list[Answer | None]:
        with heard_here(desk.group):
            return await asyncio.wrap_future(desk.group.submit_batch(commands))

    if is_heard_by_a_loop:
        outcomes = in_a_loop_of_its_own(in_a_loop)  # it turns the socket into one that never waits
    else:
        outcomes = desk.group.submit_batch(commands).result(WAIT)
    left = [outcome.balance_after for outcome in outcomes if isinstance(outcome, Posted)]
    assert left == list(range(4_000, 1_999, -1))


def test_a_lane_that_a_loop_hears_may_die_too(db: Database, desk: Desk) -> None:
    async def spend_on() -> list[Outcome]:
        with heard_here(desk.group):
            done = [await outcome_of(desk.group, gift("acc_1", 100))]
            done += await asyncio.gather(*(outcome_of(desk.group, debit("acc_1", 1, key=f"k{n}")) for n in range(20)))
            kill(desk.lane)
            while len(done) < 22:
                try:
                    done.append(await outcome_of(desk.group, debit("acc_1", 1, key="again")))
                except Unavailable:
                    await asyncio.sleep(0.02)
            in_a_thread = await asyncio.to_thread(desk.post, debit("acc_1", 1))
            return [*done, in_a_thread]

    assert all(isinstance(outcome, Posted) for outcome in in_a_loop_of_its_own(spend_on))
    assert isinstance(desk.post(debit("acc_1", 1)), Posted), "a thread hears it again once the loop is gone"
    assert Stored(db).books("acc_1").wallet.available_credits == 100 - 23


def test_a_batch_is_counted_where_the_requests_are(desk: Desk) -> None:
    class Counting:
        def __init__(self) -> None:
            self.told: list[tuple[str, str]] = []

        def batch(self, commands: Sequence[Command], answers: Sequence[object], seconds: float, queued: int) -> None:
            assert seconds > 0 and queued == 0
            self.told += [
                (command.operation, type(answer).__name__) for command, answer in zip(commands, answers, strict=True)
            ]

    meter = Counting()
    desk.group.measure(meter)
    desk.post(gift("acc_1", 1))
    desk.post(debit("acc_1", 2))
    sleep(0.05)
    assert meter.told == [("grant", "Posted"), ("spend", "InsufficientCredits")]


SERVE = """
import sys, time
from engine.clock import Clock, new_id
from engine.lane_process import ProcessLane
from engine.group_commit import Answer, GroupCommit
from engine.rules.commands import Expire
from engine.rules.decisions import Terms
from engine.store.database import open_database
lane = ProcessLane(open_database(sys.argv[1]), Terms(new_id, b"k" * 32), Clock(), 0)
GroupCommit([lane]).submit(Expire(account_id="acc_1", actor="system")).result(30)
print(lane.process_id, flush=True)
time.sleep(60)
"""


def test_a_lane_ends_with_its_server_however_that_ends_and_lets_go_of_the_file(sqlite_url: str) -> None:
    db = open_database(sqlite_url)
    create_accounts(db, "acc_1")
    db.close()
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, sqlite_url],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as server:
        assert server.stdout is not None
        lane = int(server.stdout.readline())
        server.kill()
    open_database(sqlite_url).close()
    ends = monotonic() + 10
    while Path(f"/proc/{lane}").exists() and "Z" not in Path(f"/proc/{lane}/stat").read_text().split(")")[-1]:
        assert monotonic() < ends, "the lane outlived its server"
        sleep(0.05)


def test_what_the_sweeper_asks_for_is_no_outcome_of_its_own(desk: Desk) -> None:
    outcome = desk.post(Expire(account_id="acc_1", actor="system"))
    assert isinstance(outcome, Posted) and outcome.transactions == ()


def test_a_lane_that_takes_nothing_does_not_keep_its_server_from_ending(sqlite_url: str) -> None:
    db = open_database(sqlite_url, deadline_seconds=0.5)
    create_accounts(db, "acc_1")
    desk = Desk(db)
    desk.post(gift("acc_1", 10))
    os.kill(desk.lane.process_id, signal.SIGSTOP)
    filling = "x" * 3_000
    waiting = desk.group.submit_all([debit("acc_1", 1, key=f"k{n}", description=filling) for n in range(1_000)])
    closing = threading.Thread(target=desk.group.close, daemon=True)
    closing.start()
    closing.join(WAIT)
    assert not closing.is_alive(), "the server hangs on a lane that is stopped"
    assert all(isinstance(future.exception(0), Unavailable) for future in waiting)
    db.close()


def test_a_lane_that_is_stuck_is_not_asked_for_ever_more(db: Database, desk: Desk) -> None:
    desk.post(gift("acc_1", 1))
    os.kill(desk.lane.process_id, signal.SIGSTOP)
    waiting = desk.group.submit_all([debit("acc_1", 2, key=f"k{n}") for n in range(WAITING_MAX)])
    assert isinstance(desk.group.submit(debit("acc_1", 1)).exception(0), Unavailable)
    os.kill(desk.lane.process_id, signal.SIGCONT)
    assert all(isinstance(future.result(WAIT), InsufficientCredits) for future in waiting)
    assert isinstance(desk.post(debit("acc_1", 1)), Posted)


def test_a_lane_that_is_away_does_not_speak_for_another(db: Database) -> None:
    accounts = [f"acc_{n}" for n in range(8)]
    create_accounts(db, *accounts)
    lanes = [ProcessLane(db, Terms(new_id, CHAIN_KEY), Clock(), number) for number in range(2)]
    group = GroupCommit(lanes)
    assert all(isinstance(each.result(WAIT), Posted) for each in group.submit_all([gift(a, 5) for a in accounts]))
    kill(lanes[0])
    lost = 0
    ends = monotonic() + 0.3
    while monotonic() < ends:
        told = [each.exception(WAIT) for each in group.submit_all([gift(a, 5) for a in accounts])]
        lost = sum(isinstance(each, Unavailable) for each in told)
        assert lost < len(accounts)
    assert lost > 0
    group.close()


class Raving(ProcessLane):
    """Its process once says what is no answer."""

    raves = True

    def _answer(self, answered: Answered) -> None:
        if self.raves and answered.told:
            self.raves = False
            answered.told[-1] = Told(answered.told[-1].number, refused=Refused("NO-SUCH-CODE", "", {}))
        super()._answer(answered)


def test_who_waits_for_a_lane_that_says_what_is_no_answer_hears_so(db: Database) -> None:
    create_accounts(db, "acc_1")
    lane = Raving(db, Terms(new_id, CHAIN_KEY), Clock(), 0)
    group = GroupCommit([lane])
    waiting = group.submit_all([gift("acc_1", 10), debit("acc_1", 1)])
    assert all(isinstance(future.exception(WAIT), Unavailable) for future in waiting)
    group.close()


class Ear:
    """A loop that counts what it was given to hear, and hears it in a thread of its own."""

    def __init__(self) -> None:
        self.lent: set[int] = set()
        self.threads: list[threading.Thread] = []

    def watch(self, fileno: int, call: Callable[[], None], /) -> None:
        def hear() -> None:
            readable = select.poll()
            readable.register(fileno, select.POLLIN)
            while fileno in self.lent and readable.poll(WAIT * 1_000):
                sleep(0.1)  # later than the lane's own thread
                call()

        self.lent.add(fileno)
        self.threads.append(threading.Thread(target=hear, daemon=True))
        self.threads[-1].start()

    def unwatch(self, fileno: int, /) -> None:
        self.lent.remove(fileno)


class Late(ProcessLane):
    """Its thread hears of the end just before a loop begins to listen."""

    ear: Ear | None = None

    def _hear(self) -> bool:
        is_there = super()._hear()
        if not is_there and self.ear is not None and not self.ear.threads:
            self.heard_by(self.ear)
        return is_there


def test_a_loop_that_begins_to_hear_a_lane_at_its_end_lets_go_of_the_socket_before_it_is_closed(db: Database) -> None:
    create_accounts(db, "acc_1")
    lane = Late(db, Terms(new_id, CHAIN_KEY), Clock(), 0)
    group = GroupCommit([lane])
    ear = lane.ear = Ear()
    kill(lane)
    ends = monotonic() + WAIT
    while len(ear.threads) < 2:
        assert monotonic() < ends, "the lane was not started again"
        sleep(0.05)
    ear.threads[0].join(1)
    assert not ear.threads[0].is_alive() and len(ear.lent) == 1, "the new lane's alone"
    assert isinstance(group.submit(gift("acc_1", 1)).result(WAIT), Posted)
    group.heard_by(None)
    assert not ear.lent
    group.close()


def test_a_command_of_a_wrong_value_fails_alone(db: Database, desk: Desk) -> None:
    before = desk.lane.process_id
    wrong = (replace(gift("acc_1", 1), bucket="no bucket"), replace(gift("acc_1", 1), credits="7"))
    waiting = desk.group.submit_all([gift("acc_1", 10), *wrong, gift("acc_1", 5), debit("acc_1", 1)])
    errors = [future.exception(WAIT) for future in waiting]
    assert [type(error) for error in errors] == [type(None), CommandFailed, CommandFailed, type(None), type(None)]
    assert "bucket" in str(errors[1])
    assert isinstance(desk.group.submit(wrong[1]).exception(WAIT), CommandFailed), "nor among others"
    assert desk.lane.process_id == before
    assert Stored(db).books("acc_1").wallet.available_credits == 14
