"""A lane remembers the wallets it wrote. Whatever others do to them, it answers and keeps what `book.post` would."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from time import monotonic, sleep

import pytest
from sqlalchemy import text

from engine import book
from engine.clock import Clock
from engine.group_commit import GroupCommit
from engine.lane_book import LaneBook
from engine.lane_process import in_processes
from engine.rules.commands import Command, Outcome, Planned, Posted, SetStatus, Spend
from engine.rules.decisions import Terms
from engine.rules.errors import (
    IdempotencyMismatch,
    InsufficientCredits,
    LimitReached,
    NotFound,
    Refusal,
    WalletNotActive,
)
from engine.store import alerts, books, memory
from engine.store.database import Database, reading, transact, writing
from engine.store.tables import Base
from tests.engine.backends import Stored
from tests.engine.invariants import check
from tests.engine.support import (
    DAY_0,
    counting_terms,
    create_accounts,
    debit,
    gift,
    lots_of,
    rows_of,
)

HOT = "acc_hot"
WALLETS = Base.metadata.tables["wallets"]
Change = Callable[[Database, Terms], None]


@pytest.fixture
def terms() -> Terms:
    return counting_terms()


@pytest.fixture
def lane(db: Database, terms: Terms) -> LaneBook:
    """A lane that remembers the wallets `HOT`, of 1,000 credits."""
    create_accounts(db, HOT, "acc_2", "acc_3")
    made = LaneBook(db, terms, lambda: DAY_0)
    assert posted(made, gift(HOT, 1_001), gift("acc_2", 1_001)) == [1_001, 1_001]
    assert posted(made, debit(HOT, 1), debit("acc_2", 1)) == [1_000, 1_000]
    return made


def assert_sound(db: Database, *account_ids: str) -> None:
    for account_id in account_ids:
        check(Stored(db).books(account_id))


def posted(lane: LaneBook, *commands: Command) -> list[int]:
    """Carry the commands out; what each left."""
    outcomes = lane.carry_out(commands)
    assert all(isinstance(outcome, Posted) for outcome in outcomes), outcomes
    return [outcome.transactions[-1].balance_after for outcome in outcomes if isinstance(outcome, Posted)]


def elsewhere(db: Database, terms: Terms, *commands: Command) -> list[Outcome]:
    """Post commands as a flow of the server does, in a transaction of its own."""
    return transact(db, lambda session: book.post(session, commands, terms, DAY_0))


def test_spends_on_a_wallet_it_wrote_read_nothing(lane: LaneBook, db: Database, reads: list[int]) -> None:
    assert posted(lane, debit(HOT, 1, key="a"), debit("acc_2", 2), debit(HOT, 3)) == [999, 998, 996]
    assert posted(lane, debit(HOT, 4)) == [992]
    assert reads == []
    with reading(db) as session:
        assert [row.balance_after for row in rows_of(session, HOT)] == [1_001, 1_000, 999, 996, 992]
    assert_sound(db, HOT, "acc_2")


def _granted(db: Database, terms: Terms) -> None:
    elsewhere(db, terms, gift(HOT, 50, "limited_time", until=DAY_0 + timedelta(days=3)))


def _spent(db: Database, terms: Terms) -> None:
    elsewhere(db, terms, debit(HOT, 990))


def _suspended(db: Database, terms: Terms) -> None:
    elsewhere(db, terms, SetStatus(account_id=HOT, actor="admin", status="suspended"))


def _limited(db: Database, _: Terms) -> None:
    _limit(db, HOT, 6)


def _limit(db: Database, account_id: str, credits: int) -> None:
    Stored(db).set_limits(account_id, credits, None)


@pytest.mark.parametrize(
    ("change", "expected"),
    [(_granted, None), (_spent, InsufficientCredits), (_suspended, WalletNotActive), (_limited, LimitReached)],
    ids=["granted", "spent", "suspended", "limited"],
)
@pytest.mark.parametrize("is_read_between", [False, True], ids=["at once", "after a read"])
def test_what_others_did_counts(
    lane: LaneBook, db: Database, terms: Terms, change: Change, expected: type[Refusal] | None, is_read_between: bool
) -> None:
    posted(lane, debit(HOT, 1, key="warm"))
    change(db, terms)
    if is_read_between:
        posted(lane, gift("acc_3", 1))
    first, other = lane.carry_out([debit(HOT, 20), debit("acc_2", 1)])
    assert isinstance(other, Posted)
    if expected is None:
        assert isinstance(first, Posted)
        assert [entry.bucket for entry in first.transactions[0].entries] == ["limited_time"]
    else:
        assert isinstance(first, expected)
    assert_sound(db, HOT, "acc_2")


def test_a_threshold_set_meanwhile_is_met(lane: LaneBook, db: Database) -> None:
    with writing(db) as session:
        alerts.set_threshold(session, HOT, 990)
    posted(lane, debit(HOT, 20))
    with reading(db) as session:
        told = session.connection().execute(text("SELECT payload FROM outbox WHERE kind = 'notice'")).scalars().all()
    assert len(told) == 1 and "lowBalance" in told[0]


def test_a_key_that_was_posted_is_answered_with_what_it_posted(
    lane: LaneBook, db: Database, terms: Terms, reads: list[int]
) -> None:
    (first,) = lane.carry_out([debit(HOT, 7, key="once")])
    outcomes = lane.carry_out([debit("acc_2", 1), debit(HOT, 7, key="once"), debit(HOT, 1), debit(HOT, 9, key="once")])
    assert isinstance(first, Posted) and isinstance(outcomes[1], Posted)
    assert outcomes[1].replayed and outcomes[1].transactions == first.transactions
    assert isinstance(outcomes[0], Posted) and isinstance(outcomes[2], Posted)
    assert isinstance(outcomes[3], IdempotencyMismatch)
    with reading(db) as session:
        assert [row.amount_credits for row in rows_of(session, HOT)] == [1_001, -1, -7, -1]
        assert [row.amount_credits for row in rows_of(session, "acc_2")] == [1_001, -1, -1]


def test_a_key_posted_elsewhere_is_found_even_where_the_spend_would_be_refused(
    lane: LaneBook, db: Database, terms: Terms
) -> None:
    assert isinstance(elsewhere(db, terms, debit(HOT, 900, key="mine"))[0], Posted)
    (again,) = lane.carry_out([debit(HOT, 900, key="mine")])
    assert isinstance(again, Posted) and again.replayed


def test_a_key_it_posted_itself_is_answered_even_where_the_spend_would_be_refused(lane: LaneBook, db: Database) -> None:
    _limit(db, HOT, 9)
    assert posted(lane, debit(HOT, 1)) == [999] and posted(lane, debit(HOT, 1)) == [998]
    (first,) = lane.carry_out([debit(HOT, 5, key="mine")])
    (again,) = lane.carry_out([debit(HOT, 5, key="mine")])
    assert isinstance(first, Posted) and isinstance(again, Posted) and again.replayed
    assert isinstance(lane.carry_out([debit(HOT, 5, key="another")])[0], LimitReached)


def test_what_an_api_key_may_spend_is_read(lane: LaneBook, db: Database) -> None:
    Stored(db).set_key(HOT, "key_1", 5, None)
    spend = Spend(account_id=HOT, actor="service", credits=3, api_key_id="key_1")
    for left in (999, 998, 997):
        assert posted(lane, debit(HOT, 1)) == [left]
    first, second = lane.carry_out([spend])[0], lane.carry_out([spend])[0]
    assert isinstance(first, Posted) and isinstance(second, LimitReached)
    assert lane._memory._pause == 0, "nothing was guessed"


def test_a_command_that_cannot_be_decided_fails_alone(lane: LaneBook) -> None:
    first, wrong, last = lane.carry_out([debit(HOT, 1), debit("acc_2", "three"), debit(HOT, 1)])  # type: ignore[arg-type]
    assert isinstance(first, Posted) and isinstance(last, Posted)
    assert isinstance(wrong, Exception) and not isinstance(wrong, Refusal)
    assert posted(lane, debit(HOT, 1), debit("acc_2", 1)) == [997, 999]


def test_one_key_twice_in_a_batch_spends_once(lane: LaneBook, db: Database, reads: list[int]) -> None:
    first, second = lane.carry_out([debit(HOT, 7, key="k"), debit(HOT, 7, key="k")])
    assert isinstance(first, Posted) and isinstance(second, Posted)
    assert not first.replayed and second.replayed and reads == []
    assert posted(lane, debit(HOT, 1)) == [992]


def test_what_a_wallet_alone_cannot_decide_is_read(lane: LaneBook, db: Database, reads: list[int]) -> None:
    """More than the first lot holds, a dry run, another kind of command, a wallet that is not known or not there."""
    posted(lane, gift(HOT, 5))
    reads.clear()
    assert posted(lane, debit(HOT, 1_003)) == [2]
    assert isinstance(lane.carry_out([Spend(account_id="acc_2", actor="s", credits=1, dry_run=True)])[0], Planned)
    assert isinstance(lane.carry_out([debit("acc_3", 1)])[0], InsufficientCredits)
    assert isinstance(lane.carry_out([debit("acc_nobody", 1)])[0], NotFound)
    assert isinstance(lane.carry_out([debit("acc_2", 0)])[0], Refusal)
    assert reads == [1] * 5 and lane._memory._pause == 0, "none of it was guessed at"
    with reading(db) as session:
        assert [lot.remaining_credits for lot in lots_of(session, HOT)] == [0, 2]


def test_a_batch_reads_only_for_what_it_does_not_know(lane: LaneBook, db: Database, reads: list[int]) -> None:
    batch = [debit(HOT, 1), gift("acc_3", 10), debit("acc_2", 2), debit("acc_3", 4), debit(HOT, 3)]
    assert posted(lane, *batch) == [999, 10, 998, 6, 996]
    assert posted(lane, debit("acc_2", 1), debit(HOT, 1), gift(HOT, 5), debit(HOT, 2)) == [997, 995, 1_000, 998]
    assert reads == [2, 3], "a wallet is known for all of the batch or for nothing of it"
    for left in ([997, 996, 5], [996, 995, 4]):
        assert posted(lane, *(debit(account_id, 1) for account_id in (HOT, "acc_2", "acc_3"))) == left
    assert reads == [2, 3, 1], "the first lot of a wallet that had none is not known yet"
    assert_sound(db, HOT, "acc_2", "acc_3")


def test_a_batch_that_guessed_in_part_and_wrong_is_carried_out_once(
    lane: LaneBook, db: Database, terms: Terms, reads: list[int]
) -> None:
    elsewhere(db, terms, debit(HOT, 600))
    reads.clear()
    refused, granted, spent = lane.carry_out([debit(HOT, 500), gift("acc_3", 10), debit("acc_2", 1)])
    assert isinstance(refused, InsufficientCredits) and isinstance(granted, Posted) and isinstance(spent, Posted)
    assert reads[-1] == 3 and lane._memory._pause == 1
    assert posted(lane, gift("acc_3", 1), debit("acc_2", 1), debit(HOT, 1)) == [11, 998, 399]
    assert_sound(db, HOT, "acc_2", "acc_3")


@pytest.mark.parametrize("known", ["one", "both", "both, one in its first spend of the day"])
def test_wallets_are_locked_in_one_order_known_or_not(db: Database, lane: LaneBook, known: str) -> None:
    """A flow has the first wallet and wants the second: a lane that knows the second waits for the first."""
    if known.endswith("day"):
        lane._now = lambda: DAY_0 + timedelta(days=1)
        posted(lane, debit(HOT, 1))
    second = gift("acc_2", 1) if known == "one" else debit("acc_2", 1)
    made: list[Outcome | Exception] = []
    batch = threading.Thread(target=lambda: made.extend(lane.carry_out([debit(HOT, 1), second])))
    began = monotonic()
    with writing(db) as session:
        books.lock_wallets(session, ["acc_2"], DAY_0)
        batch.start()
        sleep(0.2)
        books.lock_wallets(session, [HOT], DAY_0)
    batch.join(20)
    assert HOT > "acc_2" and all(isinstance(outcome, Posted) for outcome in made)
    assert monotonic() - began < 0.9, "a deadlock is found after a second"
    assert lane._memory._pause == 0, "the guess was right"


@pytest.mark.parametrize("others", [(), ("acc_2",)], ids=["alone", "with another"])
def test_a_guess_that_becomes_wrong_while_it_waits_writes_nothing(
    lane: LaneBook, db: Database, terms: Terms, others: tuple[str, ...], reads: list[int]
) -> None:
    answers: list[Outcome | Exception] = []
    batch = [debit(HOT, 600), *(debit(account_id, 1) for account_id in others)]
    spender = threading.Thread(target=lambda: answers.extend(lane.carry_out(batch)))
    with writing(db) as session:
        book.post(session, [debit(HOT, 500)], terms, DAY_0)
        spender.start()
        sleep(0.2)
        reads.clear()
    spender.join(20)
    assert isinstance(answers[0], InsufficientCredits) and all(isinstance(each, Posted) for each in answers[1:])
    assert reads == [len(batch)], "nothing but what was read for"
    assert posted(lane, debit(HOT, 500)) == [0]
    assert_sound(db, HOT, *others)


def test_a_lot_that_ends_is_not_spent(db: Database, terms: Terms) -> None:
    create_accounts(db, HOT)
    now = [DAY_0]
    lane = LaneBook(db, terms, lambda: now[0])
    posted(lane, gift(HOT, 10, "limited_time", until=DAY_0 + timedelta(days=1)), gift(HOT, 5))
    assert posted(lane, debit(HOT, 1)) == [14]
    now[0] += timedelta(days=1)
    assert posted(lane, debit(HOT, 1)) == [4]


@pytest.fixture
def apart(db: Database) -> Iterator[GroupCommit]:
    """A lane in a process of its own, beside this one."""
    opened = in_processes(db, counting_terms(), Clock(), 1)
    yield opened
    opened.close()


def test_a_lane_in_a_process_of_its_own_sees_what_this_one_wrote(db: Database, apart: GroupCommit) -> None:
    create_accounts(db, HOT)
    apart.submit(gift(HOT, 1_000)).result(30)
    for number in range(3):
        assert isinstance(apart.submit(debit(HOT, 1, key=f"k{number}")).result(30), Posted)
    _limit(db, HOT, 4)
    assert isinstance(apart.submit(debit(HOT, 2, key="too much")).result(30), LimitReached)
    assert isinstance(apart.submit(debit(HOT, 1, key="last")).result(30), Posted)
    with reading(db) as session:
        assert rows_of(session, HOT)[-1].balance_after == 996


def test_a_spend_that_drains_a_lot_waits_for_a_flow_and_does_not_block_it(
    db: Database, lane: LaneBook, terms: Terms
) -> None:
    """Both take the wallet first: neither has what the other one waits for."""
    drained: list[Outcome | Exception] = []
    spender = threading.Thread(target=lambda: drained.extend(lane.carry_out([debit(HOT, 1_000)])))
    began = monotonic()
    with writing(db) as session:
        books.lock_wallets(session, [HOT], DAY_0)
        spender.start()
        sleep(0.2)
        (posted_here,) = book.post(session, [debit(HOT, 1_000)], terms, DAY_0)
    spender.join(20)
    assert isinstance(posted_here, Posted) and isinstance(drained[0], InsufficientCredits)
    assert monotonic() - began < 0.9, "a deadlock is found after a second"


def test_after_wrong_guesses_it_guesses_more_seldom_until_one_is_right(
    lane: LaneBook, db: Database, terms: Terms, reads: list[int]
) -> None:
    for number in range(40):
        elsewhere(db, terms, debit(HOT, 1))
        reads.clear()
        posted(lane, debit(HOT, 1, key=f"k{number}"))
    assert lane._memory._pause > 2
    for _ in range(memory.PAUSE_MAX + 2):
        posted(lane, debit(HOT, 1))
    reads.clear()
    assert posted(lane, debit(HOT, 1), debit(HOT, 1)) and reads == []
    elsewhere(db, terms, debit(HOT, 1))
    posted(lane, debit(HOT, 1))
    assert lane._memory._pause == 1, "a right one makes up for all before it"


def test_it_remembers_no_more_wallets_than_it_may(
    lane: LaneBook, monkeypatch: pytest.MonkeyPatch, reads: list[int]
) -> None:
    monkeypatch.setattr(memory, "WALLETS_MAX", 2)
    posted(lane, gift("acc_3", 10))
    assert lane._memory._known.keys() == {HOT, "acc_2"}
    posted(lane, debit("acc_3", 1))
    assert lane._memory._known.keys() == {"acc_3"}
    assert posted(lane, debit("acc_2", 1)) == [999]
