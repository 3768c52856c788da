"""A lane that hangs is ended, one that cannot be started says so, and one that only takes its time is left alone."""

import asyncio
import dataclasses
import os
import signal
import sys
from time import monotonic, sleep

import pytest

from api.answers import heard_here, outcome_of
from engine.rules.commands import Posted
from engine.rules.errors import Unavailable
from engine.store.database import Database
from tests.engine.backends import Stored
from tests.engine.invariants import check
from tests.engine.support import create_accounts, debit, gift
from tests.engine.test_lane_process import WAIT, Desk, in_a_loop_of_its_own, kill, patiently
from tests.engine.test_lane_process import desk as desk


class Counted:
    """A meter that counts how often a lane ended."""

    ends = 0

    def batch(self, *_: object) -> None:
        """Not what it counts."""

    def lane_ended(self) -> None:
        self.ends += 1


@pytest.mark.parametrize("is_heard_by_a_loop", [False, True])
def test_a_lane_that_hangs_is_ended_and_started_again(db: Database, is_heard_by_a_loop: bool) -> None:
    create_accounts(db, "acc_1")
    desk = Desk(dataclasses.replace(db, deadline_seconds=0.5))
    counted = desk.lane.meter = Counted()
    patiently(desk, gift("acc_1", 10))
    before = desk.lane.process_id
    os.kill(before, signal.SIGSTOP)

    async def in_a_loop() -> BaseException | None:
        with heard_here(desk.group):
            asked = outcome_of(desk.group, debit("acc_1", 1, key="stuck"))
            return (await asyncio.gather(asked, return_exceptions=True))[0]  # type: ignore[return-value]

    if is_heard_by_a_loop:
        error = in_a_loop_of_its_own(in_a_loop)
    else:
        error = desk.group.submit(debit("acc_1", 1, key="stuck")).exception(WAIT)
    assert isinstance(error, Unavailable)
    assert isinstance(patiently(desk, debit("acc_1", 1, key="stuck")), Posted)
    assert desk.lane.process_id != before and counted.ends == 1
    desk.group.close()
    books = Stored(db).books("acc_1")
    check(books)
    assert books.wallet.available_credits == 9


def test_a_lane_that_takes_its_time_is_left_alone(db: Database) -> None:
    create_accounts(db, "acc_1")
    desk = Desk(dataclasses.replace(db, deadline_seconds=0.5))
    patiently(desk, gift("acc_1", 10))
    before = desk.lane.process_id
    sleep(4)  # nobody waits: it need not say anything
    os.kill(before, signal.SIGSTOP)
    waiting = desk.group.submit(debit("acc_1", 1))
    sleep(1.2)
    os.kill(before, signal.SIGCONT)
    assert isinstance(waiting.result(WAIT), Posted) and desk.lane.process_id == before
    desk.group.close()


def test_a_lane_that_cannot_be_started_says_so_until_it_is(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = desk.lane.meter = Counted()
    desk.post(gift("acc_1", 10))
    assert not desk.group.is_failing
    monkeypatch.setattr(sys, "executable", "/bin/false")
    kill(desk.lane)
    ends = monotonic() + WAIT
    while not desk.group.is_failing:
        assert monotonic() < ends, "nobody notices"
        sleep(0.05)
    assert counted.ends >= 3
    monkeypatch.undo()
    while desk.group.is_failing:
        assert monotonic() < ends + WAIT, "it came back, and nobody notices"
        sleep(0.05)
    assert isinstance(patiently(desk, debit("acc_1", 1)), Posted)
