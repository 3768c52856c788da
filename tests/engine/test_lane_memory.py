"""What a lane remembers is what it would read; another connection, another server or another lane is no exception."""

import threading
from collections import Counter
from functools import partial
from random import Random
from time import monotonic, sleep

import pytest
from sqlalchemy import text, update
from sqlalchemy.engine import make_url

from engine import lane_book
from engine.book import post
from engine.lane_book import LaneBook
from engine.rules.commands import Command, Outcome, Posted
from engine.rules.decisions import Terms
from engine.rules.errors import InsufficientCredits, Refusal, Unavailable, WalletNotActive
from engine.rules.ledger import Page, Transaction, Wallet, first_broken_row
from engine.store import books, memory
from engine.store.database import Database, open_database, reading, writing
from engine.store.pens import pen_of
from tests.engine.support import CHAIN_KEY, DAY_0, counting_terms, create_accounts, debit, gift, rows_of, wallets_locked
from tests.engine.test_lane_book import HOT, WALLETS, assert_sound, elsewhere, posted


@pytest.fixture
def terms() -> Terms:
    return counting_terms()


def test_the_remembered_page_is_the_one_that_would_be_read(db: Database, terms: Terms) -> None:
    """Whatever mixture of commands came before, on as many wallets as fit in a batch."""
    accounts = [f"acc_{number}" for number in range(6)]
    create_accounts(db, *accounts)
    lane, random, compared = LaneBook(db, terms, lambda: DAY_0), Random(11), 0
    for _ in range(120):
        batch: list[Command] = [
            gift(account, random.randint(1, 60))
            if random.random() < 0.1
            else debit(account, random.randint(1, 6), key=random.choice([None, f"k{random.randrange(400)}"]))
            for account in random.choices(accounts, k=random.randint(1, 5))
        ]
        lane.carry_out(batch)
        known = dict(lane._memory._known)
        spends: list[Command] = [debit(account_id, 1) for account_id in known]
        with writing(db) as session:
            read = books.load(session, spends, DAY_0)
        for account_id, (wallet, _) in known.items():
            remembered = books.page_of(wallet, None, DAY_0)
            assert same_values(remembered) == same_values(read[account_id])
            compared += 1
    assert compared > 200
    assert_sound(db, *accounts)


def test_a_lane_that_remembers_does_what_one_that_reads_does(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same batches on wallets of the same history, with others writing in between: in part known, or wrongly.

    A third lane decides each batch while the one before it is committed, as far as its database lets it.
    """
    monkeypatch.setattr(memory, "PAUSE_MAX", 1)
    monkeypatch.setattr(lane_book, "AHEAD_SHARE", 0)
    sides, terms = ("guess", "read", "ahead"), counting_terms()
    create_accounts(db, *(f"{side}_{n}" for side in sides for n in range(4)))
    lanes = {side: LaneBook(db, terms, lambda: DAY_0) for side in sides}
    lanes["read"]._memory._skips = 10**9
    random, guesses = Random(3), Counter[str]()
    plans = [
        [(random.randrange(4), random.choice("ssssg"), random.randint(1, 9), random.randrange(300)) for _ in "12345"]
        for _ in range(150)
    ]
    batches = {side: [_batch(side, plan) for plan in plans] for side in sides}
    for number in range(len(plans)):
        disturbed = random.choice([None, None, None, 0, 1, 2, 3])
        answers = []
        for side, lane in lanes.items():
            batch, known = batches[side][number], lane._memory._known
            guesses["in part"] += bool(known) and not all(command.account_id in known for command in batch)
            guesses["ahead"] += lane._ahead is not None and lane._ahead.guess is not None
            if disturbed is not None:
                elsewhere(db, terms, gift(f"{side}_{disturbed}", 1))
            following = batches[side][number + 1 :] if side == "ahead" else []
            answers.append([said(answer) for answer in lane.carry_out(batch, None, partial(next, iter(following), []))])
            guesses["wrong"] += lane._memory._pause > 0
        assert answers[0] == answers[1] == answers[2]
    assert guesses["in part"] > 20 and guesses["wrong"] > 20 and lanes["read"]._memory._skips > 0
    assert guesses["ahead"] > 20 or db.is_sqlite
    assert_sound(db, *(f"{side}_{n}" for side in sides for n in range(4)))
    with reading(db) as session:
        for n in range(4):
            guessed, read, ahead = ([told(row) for row in rows_of(session, f"{side}_{n}")] for side in sides)
            assert guessed == read == ahead and len(read) > 50


def _batch(side: str, plan: list[tuple[int, str, int, int]]) -> list[Command]:
    return [
        gift(f"{side}_{n}", 4 * credits)
        if kind == "g"
        else debit(f"{side}_{n}", credits, key=None if key % 2 else f"k{key}")
        for n, kind, credits, key in plan
    ]


def said(answer: Outcome | Exception) -> object:
    if isinstance(answer, Posted):
        return answer.replayed, [told(row) for row in answer.transactions]
    assert isinstance(answer, Refusal)
    return answer.code, answer.facts


def told(row: Transaction) -> tuple[object, ...]:
    return row.seq, row.type, row.amount_credits, row.balance_after, row.idempotency_key


def same_values(page: Page) -> tuple[Wallet, object, object, object, object]:
    return page.wallet, page.at, page.order, page.lots, page.stored


def test_another_connection_to_sqlite_knows_nothing(sqlite: Database, terms: Terms) -> None:
    """One that was opened anew counts from nothing: it may have come just as far as the one before it had."""
    create_accounts(sqlite, HOT)
    sqlite.writer.dispose()
    lane = LaneBook(sqlite, terms, lambda: DAY_0)
    posted(lane, gift(HOT, 100))
    posted(lane, debit(HOT, 1))
    before = lane._memory._state
    assert before is not None
    sqlite.writer.dispose()
    with writing(sqlite) as session:
        pen = pen_of(session)
        while pen.driver.total_changes < before[2]:
            session.connection().execute(update(WALLETS).values(status="suspended"))
        assert memory._state(pen)[1:] == before[1:], "only the connection differs"
    (refused,) = lane.carry_out([debit(HOT, 1)])
    assert isinstance(refused, WalletNotActive)


def test_a_server_that_was_set_back_is_not_taken_for_the_one_it_was(postgresql: Database, terms: Terms) -> None:
    """Its transactions may be numbered again: what was remembered of another connection is forgotten."""
    create_accounts(postgresql, HOT)
    lane = LaneBook(postgresql, terms, lambda: DAY_0)
    posted(lane, gift(HOT, 100))
    posted(lane, debit(HOT, 1))
    wallet, mark = lane._memory._known[HOT]
    with writing(postgresql) as session:
        session.connection().execute(update(WALLETS).values(status="suspended"))
        written_by = session.connection().execute(text("SELECT xmin::text FROM wallets")).scalar_one()
    assert written_by != mark.text
    lane._memory._known[HOT] = wallet, memory.Mark(written_by)  # as if the same number had been given twice
    postgresql.letters.dispose()
    (refused,) = lane.carry_out([debit(HOT, 1)])
    assert isinstance(refused, WalletNotActive)


def test_a_lost_connection_is_told_and_the_key_tells_the_rest(
    postgresql: Database, postgresql_url: str, terms: Terms
) -> None:
    create_accounts(postgresql, HOT)
    url = make_url(postgresql_url).update_query_dict({"application_name": "to be lost"})
    opened = open_database(url.render_as_string(hide_password=False))
    try:
        lane = LaneBook(opened, terms, lambda: DAY_0)
        posted(lane, gift(HOT, 100))
        assert posted(lane, debit(HOT, 1)) == [99] and posted(lane, debit(HOT, 1)) == [98]
        with postgresql.reader.connect() as connection:
            ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'to be lost'"
            assert connection.execute(text(ended)).scalars().all() != []
        (lost,) = lane.carry_out([debit(HOT, 1, key="lost")])
        assert isinstance(lost, Unavailable)
        (again,) = lane.carry_out([debit(HOT, 1, key="lost")])
        assert isinstance(again, Posted) and again.transactions[0].balance_after == 97
    finally:
        opened.close()


def test_who_has_waited_as_long_as_anybody_waits_no_longer(db_url: str, kind: str, terms: Terms) -> None:
    opened = open_database(db_url, deadline_seconds=1.0)
    try:
        create_accounts(opened, HOT)
        lane = LaneBook(opened, terms, lambda: DAY_0)
        posted(lane, gift(HOT, 100))
        posted(lane, debit(HOT, 1))
        began = monotonic()
        with wallets_locked(kind, db_url):
            (busy,) = lane.carry_out([debit(HOT, 1)])
        assert isinstance(busy, Unavailable)
        assert monotonic() - began < 1.9, "one deadline, not one for each way"
    finally:
        opened.close()


def test_who_waits_for_somebody_that_writes_the_wallet_sees_what_was_written(db: Database, terms: Terms) -> None:
    """The wallet is as it was remembered when the wait begins, and is not when it ends."""
    create_accounts(db, HOT)
    lane = LaneBook(db, terms, lambda: DAY_0)
    posted(lane, gift(HOT, 100))
    posted(lane, debit(HOT, 1))
    answers: list[Outcome | Exception] = []
    waiting = threading.Thread(target=lambda: answers.extend(lane.carry_out([debit(HOT, 20)])))
    with writing(db) as session:
        post(session, [debit(HOT, 90)], terms, DAY_0)
        waiting.start()
        sleep(0.3)
        assert answers == []
    waiting.join(30)
    (refused,) = answers
    assert isinstance(refused, InsufficientCredits) and refused.facts["availableCredits"] == "9"
    assert_sound(db, HOT)


def test_what_breaks_after_the_commit_spends_nothing_again(
    db: Database, terms: Terms, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_accounts(db, HOT)
    lane = LaneBook(db, terms, lambda: DAY_0)
    posted(lane, gift(HOT, 100))
    posted(lane, debit(HOT, 1))

    def break_off(*_: object) -> None:
        raise RuntimeError("out of something")

    monkeypatch.setattr(memory.Memory, "confirm", break_off)
    with pytest.raises(RuntimeError):
        lane.carry_out([debit(HOT, 20)])
    with reading(db) as session:
        assert [row.balance_after for row in rows_of(session, HOT)] == [100, 99, 79]


def test_two_lanes_and_a_flow_on_one_wallet_spend_each_credit_once(db: Database, db_url: str) -> None:
    """Each guesses and is often wrong; every command is posted once, in one chain."""
    terms = counting_terms()
    create_accounts(db, HOT)
    elsewhere(db, terms, gift(HOT, 100_000))
    made: list[Outcome | Exception] = []

    def spend(name: str) -> None:
        lane = LaneBook(db, counting_terms(), lambda: DAY_0)
        for number in range(60):
            made.extend(lane.carry_out([debit(HOT, 1, key=f"{name}-{number}-{place}") for place in range(3)]))

    def flow() -> None:
        for number in range(40):
            made.extend(elsewhere(db, terms, debit(HOT, 1, key=f"flow-{number}")))

    threads = [threading.Thread(target=work) for work in (lambda: spend("a"), lambda: spend("b"), flow)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(made) == 2 * 180 + 40 and all(isinstance(outcome, Posted) for outcome in made)
    with reading(db) as session:
        rows = rows_of(session, HOT)
    assert_sound(db, HOT)
    assert rows[-1].balance_after == 100_000 - 400 and len(rows) == 401
    assert first_broken_row([CHAIN_KEY], rows) is None
