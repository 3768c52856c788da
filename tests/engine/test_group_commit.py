"""Group commit under many callers: each gets its own outcome, and the books are those of some order of the calls."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier, Event, Thread
from time import monotonic, sleep

import pytest
from msgspec.structs import replace
from sqlmodel import Session

from engine.clock import Clock, new_id
from engine.group_commit import GroupCommit, in_threads
from engine.lane_process import in_processes
from engine.rules.commands import Command, Expire, Outcome, Posted
from engine.rules.decisions import Terms
from engine.rules.errors import InsufficientCredits, Refusal, Unavailable
from engine.store.database import Database, open_database, transact
from engine.store.tables import AccountRow
from tests.engine.backends import Stored
from tests.engine.invariants import check
from tests.engine.support import CHAIN_KEY, DAY_0, bought, create_accounts, debit, gift, wallets_locked

TERMS = Terms(new_id, CHAIN_KEY)
Open = Callable[..., GroupCommit]


@pytest.fixture(params=["threads", "processes"])
def group_commit(request: pytest.FixtureRequest) -> Iterator[Open]:
    """Opens group commits, of either make, that are closed at the end of the test."""
    opened: list[GroupCommit] = []

    def make(db: Database, lanes: int | None = None) -> GroupCommit:
        clock = Clock()
        is_apart = request.param == "processes"
        opened.append(in_processes(db, TERMS, clock, lanes) if is_apart else in_threads(db, TERMS, clock.now, lanes))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def at_once(calls: list[Callable[[], "Future[Outcome]"]], threads: int = 20) -> list[Outcome]:
    """Make the calls from many threads that start together; outcomes stand in the order of the calls."""
    barrier = Barrier(threads)

    def run(number: int) -> list[tuple[int, Future[Outcome]]]:
        barrier.wait()
        return [(place, calls[place]()) for place in range(number, len(calls), threads)]

    with ThreadPoolExecutor(threads) as pool:
        made = [pair for part in pool.map(run, range(threads)) for pair in part]
    return [future.result(timeout=30) for _, future in sorted(made, key=lambda pair: pair[0])]


def submits(writer: GroupCommit, commands: list[Command]) -> list[Callable[[], "Future[Outcome]"]]:
    return [lambda command=command: writer.submit(command) for command in commands]  # type: ignore[misc]


def test_two_hundred_spends_with_one_key_debit_once(db: Database, group_commit: Open) -> None:
    create_accounts(db, "acc_1")
    writer = group_commit(db)
    writer.submit(gift("acc_1", 1000)).result(timeout=30)
    outcomes = at_once(submits(writer, [debit("acc_1", 3, key="once")] * 200))
    posted = [outcome for outcome in outcomes if isinstance(outcome, Posted)]
    assert len(posted) == 200
    assert len({outcome.transactions for outcome in posted}) == 1, "all get the same rows"
    assert Counter(outcome.replayed for outcome in posted) == {False: 1, True: 199}
    books = Stored(db).books("acc_1")
    check(books)
    assert [row.amount_credits for row in books.rows] == [1000, -3]


def test_with_money_for_some_of_the_spends_exactly_those_succeed(db: Database, group_commit: Open) -> None:
    create_accounts(db, "acc_1")
    writer = group_commit(db)
    writer.submit(gift("acc_1", 3 * 37 + 2)).result(timeout=30)
    outcomes = at_once(submits(writer, [debit("acc_1", 3, key=f"k{n}") for n in range(100)]))
    refused = [outcome for outcome in outcomes if isinstance(outcome, InsufficientCredits)]
    assert sum(isinstance(outcome, Posted) for outcome in outcomes) == 37 and len(refused) == 63
    assert {refusal.facts["availableCredits"] for refusal in refused} == {"2"}
    books = Stored(db).books("acc_1")
    check(books)
    assert books.wallet.available_credits == 2


@pytest.mark.parametrize("lanes", [1, 4])
def test_many_wallets_in_several_lanes_keep_their_own_books(db: Database, group_commit: Open, lanes: int) -> None:
    accounts = [f"acc_{n}" for n in range(16)]
    create_accounts(db, *accounts)
    writer = group_commit(db, lanes)
    for future in writer.submit_all([gift(account, 100) for account in accounts]):
        assert isinstance(future.result(timeout=30), Posted)
    commands: list[Command] = [debit(accounts[n % 16], 1 + n % 3, key=f"k{n}") for n in range(480)]
    assert all(isinstance(outcome, Posted) for outcome in at_once(submits(writer, commands)))
    for number, account in enumerate(accounts):
        books = Stored(db).books(account)
        check(books)
        spent = sum(1 + n % 3 for n in range(number, 480, 16))
        assert books.wallet.available_credits == 100 - spent and len(books.rows) == 31


def test_submit_all_keeps_the_order_of_each_wallet(db: Database, group_commit: Open) -> None:
    create_accounts(db, "acc_1", "acc_2")
    writer = group_commit(db, 2)
    commands: list[Command] = []
    for account in ("acc_1", "acc_2"):
        commands += [gift(account, 10), debit(account, 10), debit(account, 1), gift(account, 5)]
    outcomes = [future.result(timeout=30) for future in writer.submit_all(commands)]
    assert [type(outcome) for outcome in outcomes] == [Posted, Posted, InsufficientCredits, Posted] * 2


def poisons(is_sqlite: bool) -> list[Command]:
    """Commands that the rules take and the database does not."""
    refused_by_both: list[Command] = [
        debit("acc_1", 1, description="half a pair: \ud800"),
        replace(bought("acc_1", "pur_1", 1), cost_minor=2**63),
    ]
    return refused_by_both if is_sqlite else [*refused_by_both, debit("acc_1", 1, description="nothing: \x00")]


def test_a_poisoned_command_fails_alone(db: Database, group_commit: Open) -> None:
    create_accounts(db, "acc_1", "acc_2")
    writer = group_commit(db, 1)
    writer.submit_all([gift("acc_1", 100), gift("acc_2", 100)])[1].result(timeout=30)
    commands: list[Command] = [debit(f"acc_{1 + n % 2}", 1, key=f"k{n}") for n in range(60)]
    bad = poisons(db.is_sqlite)
    for place, poison in enumerate(bad):
        commands.insert(7 + 20 * place, poison)
    futures = writer.submit_all(commands)
    for command, future in zip(commands, futures, strict=True):
        if command in bad:
            error = future.exception(timeout=30)
            assert error is not None, f"the database kept something else than {command}"
            assert not isinstance(error, Refusal), "it is the database that cannot keep it"
        else:
            assert isinstance(future.result(timeout=30), Posted)
    for account in ("acc_1", "acc_2"):
        books = Stored(db).books(account)
        check(books)
        assert books.wallet.available_credits == 70 and len(books.rows) == 31


def test_two_processes_worth_of_writers_leave_no_gap(
    postgresql_url: str, postgresql: Database, group_commit: Open
) -> None:
    accounts = [f"acc_{n}" for n in range(3)]
    create_accounts(postgresql, *accounts)
    other = open_database(postgresql_url)
    try:
        writers = [group_commit(postgresql, 3), group_commit(other, 2)]
        for future in writers[0].submit_all([gift(account, 1000) for account in accounts]):
            future.result(timeout=30)
        calls = [
            call
            for place, writer in enumerate(writers)
            for call in submits(writer, [debit(accounts[n % 3], 1, key=f"w{place}-{n}") for n in range(300)])
        ]
        shared = [submits(writers[n % 2], [debit(accounts[0], 1, key="both")])[0] for n in range(20)]
        outcomes = at_once(calls + shared)
        assert all(isinstance(outcome, Posted) for outcome in outcomes)
        assert sum(isinstance(o, Posted) and not o.replayed for o in outcomes[600:]) == 1
        for place, account in enumerate(accounts):
            books = Stored(postgresql).books(account)
            check(books)
            assert len(books.rows) == 201 + (place == 0)
        for writer in writers:
            writer.close()
    finally:
        other.close()


def test_closing_finishes_what_was_taken_and_takes_no_more(db: Database, group_commit: Open) -> None:
    create_accounts(db, "acc_1")
    writer = group_commit(db)
    futures = writer.submit_all([gift("acc_1", 1) for _ in range(50)])
    writer.close()
    assert all(future.done() and isinstance(future.result(), Posted) for future in futures)
    with pytest.raises(Unavailable):
        writer.submit(gift("acc_1", 1))
    assert Stored(db).books("acc_1").wallet.available_credits == 50


def test_callers_are_told_within_the_deadline_when_a_wallet_stays_locked(
    kind: str, db_url: str, group_commit: Open
) -> None:
    db = open_database(db_url, deadline_seconds=1.0)
    create_accounts(db, "acc_1", now=DAY_0)
    writer = group_commit(db, 1)
    try:
        with wallets_locked(kind, db_url):
            started = monotonic()
            futures = writer.submit_all([gift("acc_1", 1) for _ in range(16)])
            errors = [future.exception(timeout=60) for future in futures]
            assert all(isinstance(error, Unavailable) for error in errors), errors
            assert monotonic() - started < 6, "the batch waits once, not each of its commands"
        assert isinstance(writer.submit(gift("acc_1", 1)).result(timeout=30), Posted)
        assert len(Stored(db).books("acc_1").rows) == 1
    finally:
        writer.close()
        db.close()


def month_over(db: Database, writer: GroupCommit, *account_ids: str) -> None:
    """Give each account ten credits that expire before this returns."""
    writer.submit(Expire(account_id=account_ids[0], actor="system")).result(timeout=30)  # by now it has started
    ends = Clock().now() + timedelta(seconds=2)
    for outcome in writer.submit_all([replace(gift(a, 10), expires_at=ends) for a in account_ids]):
        assert isinstance(outcome.result(timeout=30), Posted)
    sleep(max(0.0, (ends - Clock().now()).total_seconds()))


def set_due(db: Database, account_id: str, at: datetime | None) -> None:
    def change(session: Session) -> None:
        session.get_one(AccountRow, account_id).next_grant_at = at

    transact(db, change)


def test_what_meets_a_month_that_is_due_waits_for_it_and_nothing_else_does(db: Database, group_commit: Open) -> None:
    create_accounts(db, "acc_1", "acc_2")
    writer = group_commit(db)
    month_over(db, writer, "acc_1", "acc_2")
    set_due(db, "acc_1", DAY_0)
    turned: list[str] = []

    def turn(account_id: str) -> None:
        turned.append(account_id)
        month = replace(gift(account_id, 5), type="monthly_credit", key=f"month of {account_id}")
        writer.submit(month).result(timeout=30)
        set_due(db, account_id, None)

    writer.turn_months_by(turn)
    commands: list[Command] = [debit("acc_1", 2, key="a"), debit("acc_2", 1), debit("acc_1", 3), debit("acc_1", 1)]
    outcomes = [future.result(timeout=30) for future in writer.submit_all(commands)]
    assert [type(outcome) for outcome in outcomes] == [Posted, InsufficientCredits, Posted, InsufficientCredits]
    assert set(turned) == {"acc_1"}
    books = Stored(db).books("acc_1")
    check(books)
    assert [(row.type, row.amount_credits) for row in books.rows[1:]] == [
        ("expiry", -10),
        ("monthly_credit", 5),
        ("debit", -2),
        ("debit", -3),
    ]


def test_a_month_that_cannot_be_granted_is_waited_for_once(db: Database, group_commit: Open) -> None:
    create_accounts(db, "acc_1")
    writer = group_commit(db)
    month_over(db, writer, "acc_1")
    set_due(db, "acc_1", DAY_0)
    turned: list[str] = []

    def turn(account_id: str) -> None:
        turned.append(account_id)
        raise RuntimeError("no month today")

    writer.turn_months_by(turn)
    assert isinstance(writer.submit(debit("acc_1", 1)).result(timeout=30), InsufficientCredits)
    assert turned == ["acc_1"]


def test_closing_answers_those_that_wait_for_a_month(db: Database, group_commit: Open) -> None:
    create_accounts(db, "acc_1")
    writer = group_commit(db)
    month_over(db, writer, "acc_1")
    set_due(db, "acc_1", DAY_0)
    is_turning, may_end = Event(), Event()

    def turn(_: str) -> None:
        is_turning.set()
        assert may_end.wait(30)

    writer.turn_months_by(turn)
    waiting = writer.submit(debit("acc_1", 1))
    assert is_turning.wait(30)
    closing = Thread(target=writer.close)
    closing.start()
    may_end.set()
    closing.join(30)
    assert not closing.is_alive()
    assert waiting.exception(0) is not None or isinstance(waiting.result(0), InsufficientCredits)
