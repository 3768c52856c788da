"""What is true of every history, whatever it is: conservation, order, batches, refusals, keys, debt."""

import itertools
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import text

from engine.rules.commands import Command, Expire, Posted
from engine.rules.errors import Refusal
from engine.rules.lots import BUCKETS, NEVER, Bucket, Lot, draw, spend_order
from engine.store import books
from engine.store.database import Database, reading, writing
from tests.engine.backends import Backend, InMemory, Stored, WalletBooks
from tests.engine.invariants import check
from tests.engine.support import DAY_0, counting_terms, create_accounts, insert_lots
from tests.laws.histories import ACCOUNT, Moment, cut, histories

NUMBERS = itertools.count(1)
CUTS = st.lists(st.sets(st.integers(1, 7)), min_size=4, max_size=4)


def on(account_id: str, commands: Sequence[Command]) -> list[Command]:
    """The same commands on another account's wallet."""
    return [replace(command, account_id=account_id) for command in commands]


def told(history: Sequence[Moment], backend: Backend | None = None, account_id: str = ACCOUNT) -> WalletBooks:
    """The books after a history, one batch a moment, checked after each."""
    backend = backend or InMemory()
    backend.open(account_id, DAY_0)
    for moment in history:
        backend.post(on(account_id, moment.commands), moment.now)
        check(backend.books(account_id))
    return backend.books(account_id)


@given(history=histories())
def test_credits_are_neither_made_nor_lost(history: Sequence[Moment]) -> None:
    books = told(history)
    total = sum(row.amount_credits for row in books.rows)
    assert total == sum(lot.remaining_credits for lot in books.lots) == books.wallet.available_credits
    for lot in books.lots:
        spent, taken, expired = lot.spent_credits, lot.taken_credits, lot.expired_credits
        assert lot.granted_credits == lot.remaining_credits + lot.held_credits + spent + taken + expired


@given(history=histories(), cuts=CUTS)
def test_how_a_history_is_cut_into_batches_does_not_matter(history: Sequence[Moment], cuts: list[set[int]]) -> None:
    pieces = [piece for moment, places in zip(history, cuts, strict=False) for piece in cut(moment, places)]
    assert told(pieces) == told(history)


@settings(max_examples=50)
@given(history=histories(), cuts=CUTS)
def test_nor_does_it_in_a_database_that_loads_its_lots_one_by_one(
    db: Database, monkeypatch: pytest.MonkeyPatch, history: Sequence[Moment], cuts: list[set[int]]
) -> None:
    monkeypatch.setattr(books, "FIRST_LOTS", 1)
    account_id = f"acc_law_{next(NUMBERS)}"
    pieces = [piece for moment, places in zip(history, cuts, strict=False) for piece in cut(moment, places)]
    assert told(pieces, Stored(db), account_id) == told(history, InMemory(), account_id)


@given(history=histories())
def test_a_refusal_changes_nothing(history: Sequence[Moment]) -> None:
    memory = InMemory()
    memory.open(ACCOUNT, DAY_0)
    for moment in history:
        memory.post([Expire(account_id=ACCOUNT, actor="system")], moment.now)
        for command in moment.commands:
            before = memory.books(ACCOUNT)
            [outcome] = memory.post([command], moment.now)
            if isinstance(outcome, Refusal):
                assert memory.books(ACCOUNT) == before


@given(history=histories())
def test_a_wallet_that_owes_has_nothing_available_and_spends_nothing(history: Sequence[Moment]) -> None:
    memory = InMemory()
    memory.open(ACCOUNT, DAY_0)
    for moment in history:
        for command in moment.commands:
            owed = memory.books(ACCOUNT).wallet.debt_credits
            [outcome] = memory.post([command], moment.now)
            wallet = memory.books(ACCOUNT).wallet
            assert wallet.debt_credits == 0 or wallet.available_credits == 0
            if owed and isinstance(outcome, Posted) and not outcome.replayed:
                assert "debit" not in {row.type for row in outcome.transactions}


@given(history=histories())
def test_a_request_repeated_with_its_key_is_answered_by_the_same_rows(history: Sequence[Moment]) -> None:
    memory = InMemory()
    memory.open(ACCOUNT, DAY_0)
    answered: list[tuple[Command, Posted]] = []
    now = DAY_0
    for moment in history:
        now = moment.now
        keyed = [replace(command, key=f"key-{next(NUMBERS)}") for command in moment.commands]
        outcomes = memory.post(keyed, now)
        done = zip(keyed, outcomes, strict=True)
        answered += [(c, o) for c, o in done if isinstance(o, Posted) and o.transactions]
    before = memory.books(ACCOUNT)
    again = memory.post([command for command, _ in answered], now)
    assert again == [Posted(outcome.transactions, replayed=True) for _, outcome in answered]
    assert memory.books(ACCOUNT) == before


@given(history=histories(), hours=st.integers(0, 100))
def test_expiry_is_a_fact_of_time_and_happens_once(history: Sequence[Moment], hours: int) -> None:
    memory = InMemory()
    told(history, memory)
    now = max(history[-1].now, memory.books(ACCOUNT).wallet.last_at) + timedelta(hours=hours)
    memory.post([Expire(account_id=ACCOUNT, actor="system")], now)
    swept = memory.books(ACCOUNT)
    assert all(lot.remaining_credits == 0 or lot.expires_at > now for lot in swept.lots)
    memory.post([Expire(account_id=ACCOUNT, actor="system")], now)
    assert memory.books(ACCOUNT) == swept


EXPIRIES = st.one_of(
    st.just(NEVER), st.integers(0, 3).map(lambda n: DAY_0 + timedelta(days=1, microseconds=n * 500_001))
)
LOTS = st.lists(st.tuples(st.sampled_from(BUCKETS), EXPIRIES), min_size=1, max_size=12)


def lots_like(shapes: Sequence[tuple[Bucket, datetime]]) -> list[Lot]:
    return [
        Lot(f"lot_{n}", n, bucket, "promo", expires_at, 10, 10, granted_at=DAY_0)
        for n, (bucket, expires_at) in enumerate(shapes, start=1)
    ]


@settings(max_examples=50)
@given(shapes=LOTS)
def test_the_spend_order_is_total_and_the_same_in_sql(db: Database, shapes: list[tuple[Bucket, datetime]]) -> None:
    account_id = f"acc_order_{next(NUMBERS)}"
    create_accounts(db, account_id)
    lots = lots_like(shapes)
    with writing(db) as session:
        insert_lots(session, account_id, lots)
    with reading(db) as session:
        statement = f"SELECT lot_id FROM lots WHERE account_id = :account ORDER BY {books.ORDER}"
        found = [row[0] for row in session.connection().execute(text(statement), {"account": account_id})]
    assert found == [lot.lot_id for lot in sorted(lots, key=spend_order)]
    assert len({spend_order(lot) for lot in lots}) == len(lots)


@given(shapes=LOTS, data=st.data())
def test_a_draw_empties_each_lot_before_it_touches_the_next(
    shapes: list[tuple[Bucket, datetime]], data: st.DataObject
) -> None:
    lots = sorted(lots_like(shapes), key=spend_order)
    credits = data.draw(st.integers(1, 10 * len(lots)))
    draws = draw(lots, credits)
    assert sum(each.credits for each in draws) == credits
    assert [each.lot_id for each in draws] == [lot.lot_id for lot in lots[: len(draws)]]
    assert all(each.credits == 10 for each in draws[:-1]) and draws[-1].credits > 0


def test_two_mints_count_alike() -> None:
    first, second = counting_terms().mint, counting_terms().mint
    assert [first("lot", DAY_0), first("txn", DAY_0)] == [second("lot", DAY_0), second("txn", DAY_0)]
