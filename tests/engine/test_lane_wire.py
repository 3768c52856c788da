"""Commands and answers survive the way to a lane and back: every kind, every refusal."""

import socket
from datetime import timedelta
from typing import get_args

import pytest

from engine import book
from engine.clock import new_id
from engine.group_commit import Answer
from engine.lane_wire import (
    CommandFailed,
    Frames,
    Line,
    answered_frame,
    asked_frame,
    commands_of,
    packed,
    read_answered,
    read_asked,
)
from engine.rules import commands as c
from engine.rules import errors
from engine.rules.decisions import Terms
from engine.store.database import Database, transact
from tests.engine.support import CHAIN_KEY, DAY_0, create_accounts, debit, gift

NEXT_WEEK = DAY_0 + timedelta(days=7, microseconds=1)
WHO = {"account_id": "acc_1", "actor": "support:ann"}
COMMANDS: tuple[c.Command, ...] = (
    c.Grant(
        **WHO,
        type="coupon_credit",
        source="coupon",
        bucket="limited_time",
        credits=10**15,
        description="✓ \x00",
        expires_at=NEXT_WEEK,
        key="k" * 255,
    ),
    c.Spend(**WHO, credits=3, api_key_id="key_1", metadata='{"a":1}', dry_run=True),
    c.Reverse(**WHO, transaction_id="txn_1", credits=None, description="d"),
    c.TakeBack(**WHO, type="refund", purchase_id="pur_1", credits=1, owe=True, description="d"),
    c.GiveBack(**WHO, type="dispute_won", purchase_id="pur_1", credits=1, description="d", only_owed=True),
    c.Hold(**WHO, credits=5, ttl_seconds=60),
    c.Capture(**WHO, hold_id="hld_1", credits=4),
    c.Void(**WHO, hold_id="hld_1"),
    c.Extend(**WHO, hold_id="hld_1", credits=1, ttl_seconds=5),
    c.Expire(**WHO),
    c.AdminDebit(**WHO, credits=2, description="d", bucket="monthly"),
    c.SetStatus(**WHO, status="closed"),
)


def there(commands: tuple[c.Command, ...]) -> list[tuple[int, c.Command]]:
    frame = asked_frame(7, packed(commands), timedelta(days=3, microseconds=5), frozenset({"a", "b"}))
    asked = read_asked(frame[4:])
    assert asked.clock_offset == timedelta(days=3, microseconds=5) and set(asked.events) == {"a", "b"}
    assert asked.size == len(commands)
    return list(commands_of(asked))


def back(answer: Answer) -> Answer:
    return read_answered(answered_frame(0.5, [9], [answer])[4:]).told[0].answer()


def test_every_command_arrives_as_it_was_sent() -> None:
    assert {type(command) for command in COMMANDS} == set(get_args(c.Command))
    twice = COMMANDS + COMMANDS[:2]
    assert there(twice) == list(enumerate(twice, 7))
    assert [c.fingerprint(command) for _, command in there(COMMANDS)] == list(map(c.fingerprint, COMMANDS))


def test_outcomes_come_back_as_they_were(db: Database) -> None:
    create_accounts(db, "acc_1")
    plan = debit("acc_1", 1)
    asked = [gift("acc_1", 5), debit("acc_1", 2, key="k"), debit("acc_1", 2, key="k")]
    asked.append(c.Spend(account_id="acc_1", actor=plan.actor, credits=1, dry_run=True))
    outcomes = transact(db, lambda session: book.post(session, asked, Terms(new_id, CHAIN_KEY), DAY_0))
    assert [type(outcome) for outcome in outcomes] == [c.Posted, c.Posted, c.Posted, c.Planned]
    assert [back(outcome) for outcome in outcomes] == outcomes


def every(kind: type[errors.Refusal]) -> list[type[errors.Refusal]]:
    return [found for each in kind.__subclasses__() for found in (each, *every(each))]


@pytest.mark.parametrize("kind", every(errors.Refusal), ids=lambda kind: kind.__name__)
def test_every_refusal_comes_back_with_its_words_and_facts(kind: type[errors.Refusal]) -> None:
    refusal = kind.__new__(kind)
    errors.Refusal.__init__(refusal, "Why not.", field="x", count=3, is_so=True, nothing=None)
    told = back(refusal)
    assert type(told) is kind and str(told) == "Why not."
    assert (told.detail, told.facts, told.code) == (refusal.detail, refusal.facts, refusal.code)


def test_any_other_error_comes_back_as_its_text() -> None:
    told = back(ValueError("too long for this column"))
    assert isinstance(told, CommandFailed) and "ValueError: too long for this column" in str(told)


def test_frames_arrive_whole_and_in_order_however_slowly_they_are_taken() -> None:
    ours, theirs = socket.socketpair()
    line, frames = Line(ours), Frames(theirs)
    commands = tuple(debit("acc_1", 1, key=f"k{n}", description="x" * 5_000) for n in range(400))
    for first in range(0, 400, 40):
        line.send(asked_frame(first, packed(commands[first : first + 40]), timedelta(0), frozenset()))
    arrived = []
    while len(arrived) < 10:
        arrived.append(read_asked(frames.next()))
    assert [command for asked in arrived for _, command in commands_of(asked)] == list(commands)
    line.end(10)
    with pytest.raises(EOFError):
        frames.next()
    assert frames.is_over
    ours.close()
    theirs.close()
