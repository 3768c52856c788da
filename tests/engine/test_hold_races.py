"""Holds and limits under concurrency: many callers at once, on PostgreSQL over several databases' doors too."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial

import pytest

from engine.audit import audit
from engine.clock import Clock, new_id
from engine.group_commit import GroupCommit, in_threads
from engine.rules.commands import Capture, Command, Hold, Outcome, Posted, Void
from engine.rules.decisions import Terms
from engine.rules.errors import Refusal
from engine.rules.holds import HoldRules
from engine.store.database import Database, open_database
from tests.engine.backends import Stored, WalletBooks
from tests.engine.invariants import check
from tests.engine.support import CHAIN_KEY, create_accounts, debit, gift
from tests.engine.test_group_commit import at_once

TERMS = Terms(new_id, CHAIN_KEY, holds=HoldRules(ttl_default_seconds=3_600))
ACCOUNT = "acc_race"
DOORS = 3


@pytest.fixture
def doors(db: Database, db_url: str) -> Iterator[list[GroupCommit]]:
    """Writers that know nothing of each other, as processes would not; SQLite has one process, so one."""
    more = [] if db.is_sqlite else [open_database(db_url) for _ in range(DOORS - 1)]
    groups = [in_threads(each, TERMS, Clock().now) for each in (db, *more)]
    create_accounts(db, ACCOUNT, now=Clock().now())
    yield groups
    for group in groups:
        group.close()
    for each in more:
        each.close()


def calls(doors: list[GroupCommit], commands: list[Command]) -> "list[Callable[[], Future[Outcome]]]":
    return [partial(doors[place % len(doors)].submit, command) for place, command in enumerate(commands)]


def books_of(db: Database) -> WalletBooks:
    books = Stored(db).books(ACCOUNT)
    check(books)
    assert audit(db, [CHAIN_KEY]).is_clean
    return books


def test_fifty_captures_of_one_hold_capture_once(db: Database, doors: list[GroupCommit]) -> None:
    doors[0].submit(gift(ACCOUNT, 100)).result(timeout=30)
    held = doors[0].submit(Hold(account_id=ACCOUNT, actor="service", credits=40)).result(timeout=30)
    assert isinstance(held, Posted)
    hold_id = held.transactions[0].reference_id
    assert hold_id is not None
    ends: list[Command] = [
        Capture(account_id=ACCOUNT, actor="service", hold_id=hold_id, credits=25, key=f"c{number}")
        if number % 5
        else Void(account_id=ACCOUNT, actor="service", hold_id=hold_id, key=f"v{number}")
        for number in range(50)
    ]
    outcomes = at_once(calls(doors, ends))
    [ended] = [outcome for outcome in outcomes if isinstance(outcome, Posted)]
    assert Counter(o.code for o in outcomes if isinstance(o, Refusal)) == {"HOLD-001": 49}
    books = books_of(db)
    [hold] = books.holds
    assert hold.status == ("captured" if len(ended.transactions) == 2 else "voided")
    assert books.wallet.available_credits == 100 - hold.captured_credits
    assert hold.captured_credits in (0, 25) and sum(books.wallet.held) == 0


def test_a_daily_limit_is_exact_under_a_hundred_spends(db: Database, doors: list[GroupCommit]) -> None:
    doors[0].submit(gift(ACCOUNT, 10_000)).result(timeout=30)
    Stored(db).set_limits(ACCOUNT, daily=300, per_call=None)
    wishes: list[Command] = [
        debit(ACCOUNT, 7, key=f"s{number}")
        if number % 2
        else Hold(account_id=ACCOUNT, actor="service", credits=7, key=f"h{number}")
        for number in range(100)
    ]
    outcomes = at_once(calls(doors, wishes))
    done = [outcome for outcome in outcomes if isinstance(outcome, Posted)]
    assert len(done) == 300 // 7
    assert {o.code for o in outcomes if isinstance(o, Refusal)} == {"CREDIT-002"}
    books = books_of(db)
    assert books.wallet.spent_credits == 7 * len(done)
    assert books.wallet.available_credits == 10_000 - 7 * len(done)
