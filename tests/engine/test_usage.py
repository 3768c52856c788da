"""Daily usage: kept by the spends themselves, the same as the ledger says, on both databases."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from engine.book import post
from engine.rules.commands import Command, Outcome, Posted, Reverse, Spend
from engine.rules.ledger import DayUse, Transaction
from engine.rules.usage import CARRIED_MAX, days_to_empty
from engine.store.database import Database, reading, transact
from engine.store.migrations import config
from engine.store.usage import all_usage, spent_between, spent_by_day, usage_between
from tests.conftest import empty_tables
from tests.engine.support import DAY_0, counting_terms, create_accounts, debit, gift, rows_of

TERMS = counting_terms()
FIRST, LAST = date(2026, 1, 1), date(2027, 1, 1)
STORED = (
    "SELECT account_id, day, provider_id, provider_name, credits_spent, call_count FROM usage_daily ORDER BY 1, 2, 3"
)


def carry_out(db: Database, commands: Sequence[Command], now: datetime) -> list[Outcome]:
    return transact(db, lambda session: post(session, commands, TERMS, now))


def spent(db: Database, command: Command, now: datetime) -> Transaction:
    (outcome,) = carry_out(db, [command], now)
    assert isinstance(outcome, Posted), outcome
    return outcome.transactions[-1]


def call(credits: int, provider_id: str | None, name: str | None = None, account_id: str = "acc_1") -> Spend:
    return Spend(
        account_id=account_id, actor="service", credits=credits, provider_id=provider_id, provider_name=name, key=None
    )


def undo(row: Transaction, credits: int | None = None) -> Reverse:
    return Reverse(
        account_id=row.account_id, actor="service", transaction_id=row.transaction_id, credits=credits, description=""
    )


def usage(db: Database, account_id: str = "acc_1") -> list[DayUse]:
    with reading(db) as session:
        return usage_between(session, account_id, FIRST, LAST)


def test_a_reversal_lowers_the_day_of_its_debit(db: Database) -> None:
    create_accounts(db, "acc_1", "acc_2")
    carry_out(db, [gift("acc_1", 10_000), gift("acc_2", 10_000)], DAY_0)
    carry_out(db, [debit("acc_1", 100), debit("acc_2", 7)], DAY_0)
    second = spent(db, debit("acc_1", 50), DAY_0 + timedelta(days=1))
    spent(db, debit("acc_1", 30), datetime(2026, 11, 4, 23, 59, 59, 999_999, tzinfo=UTC))
    spent(db, debit("acc_1", 5), datetime(2026, 11, 5, tzinfo=UTC))
    spent(db, undo(second, 20), datetime(2026, 11, 6, tzinfo=UTC))
    with reading(db) as session:
        days = {date(2026, 11, 2): 100, date(2026, 11, 3): 30, date(2026, 11, 4): 30, date(2026, 11, 5): 5}
        assert spent_by_day(session, "acc_1", FIRST, LAST) == days
        assert spent_by_day(session, "acc_1", date(2026, 11, 4), date(2026, 11, 4)) == {date(2026, 11, 4): 30}
        assert spent_between(session, "acc_1", date(2026, 11, 2), date(2026, 11, 3)) == 130


def test_one_batch_adds_one_row_a_day_and_provider(db: Database) -> None:
    create_accounts(db, "acc_1", "acc_2")
    carry_out(db, [gift("acc_1", 10_000), gift("acc_2", 10_000)], DAY_0)
    commands = [
        call(5, "gpt", "GPT"),
        call(7, "gpt", "GPT 2"),
        call(1, "gpt"),
        call(11, None),
        call(13, "gpt", "GPT", "acc_2"),
    ]
    carry_out(db, commands, DAY_0)
    spent(db, call(100, "gpt"), DAY_0)
    day = DAY_0.date()
    assert usage(db) == [DayUse(day, "", None, 11, 1), DayUse(day, "gpt", "GPT 2", 113, 4)]
    assert usage(db, "acc_2") == [DayUse(day, "gpt", "GPT", 13, 1)]


def test_a_wallet_carries_its_newest_day_alone_and_few_providers(db: Database) -> None:
    create_accounts(db, "acc_1")
    carry_out(db, [gift("acc_1", 10_000)], DAY_0)
    first = spent(db, call(5, "gpt", "GPT"), DAY_0)
    spent(db, call(7, None), DAY_0)
    assert _stored(db) == []
    tomorrow = DAY_0 + timedelta(days=1)
    spent(db, undo(first, 2), tomorrow)
    assert _stored(db) == [], "a day that nothing followed is still carried"
    spent(db, call(1, "gpt"), tomorrow)
    day = DAY_0.date()
    assert _stored(db) == [("acc_1", day, "", None, 7, 1), ("acc_1", day, "gpt", "GPT", 3, 1)]
    spent(db, undo(first), tomorrow)
    assert _stored(db)[1] == ("acc_1", day, "gpt", "GPT", 0, 0)
    carry_out(db, [call(1, f"p{number}") for number in range(CARRIED_MAX)], tomorrow)
    assert len(_stored(db)) == 2 + CARRIED_MAX + 1
    assert len(usage(db)) == 1 + CARRIED_MAX + 1
    last = spent(db, call(3, "p0"), tomorrow)
    spent(db, undo(last), tomorrow)
    assert sum(use.credits_spent for use in usage(db)) == 7 + 1 + CARRIED_MAX


def test_a_call_stays_a_call_until_all_of_it_is_reversed(db: Database) -> None:
    create_accounts(db, "acc_1")
    carry_out(db, [gift("acc_1", 10_000)], DAY_0)
    first = spent(db, call(100, "gpt", "GPT"), DAY_0)
    spent(db, call(1, "gpt", "GPT"), DAY_0)
    day = DAY_0.date()
    spent(db, undo(first, 30), DAY_0 + timedelta(days=2))
    assert usage(db) == [DayUse(day, "gpt", "GPT", 71, 2)]
    carry_out(db, [undo(first, 20), undo(first), undo(first), call(4, "gpt")], DAY_0 + timedelta(days=3))
    assert usage(db) == [DayUse(day, "gpt", "GPT", 1, 1), DayUse(day + timedelta(days=3), "gpt", None, 4, 1)]


def test_a_spend_and_its_reversals_in_the_same_batch_leave_nothing(db: Database) -> None:
    create_accounts(db, "acc_1")
    carry_out(db, [gift("acc_1", 10_000)], DAY_0)
    first = spent(db, call(1, "gpt"), DAY_0)
    second = spent(db, call(1, "gpt"), DAY_0)
    carry_out(db, [undo(first), undo(second), call(100, "gpt")], DAY_0)
    assert usage(db) == [DayUse(DAY_0.date(), "gpt", None, 100, 1)]


@pytest.mark.parametrize(
    ("available", "spent_credits", "days"),
    [(100, 0, None), (0, 7, 0), (100, 7, 100), (100, 700, 1), (99, 700, 0), (10, 3, 23), (10**15, 1, 7 * 10**15)],
)
def test_days_to_empty_is_what_is_available_over_the_average_of_seven_days(
    available: int, spent_credits: int, days: int | None
) -> None:
    assert days_to_empty(available, spent_credits) == days


STEP = st.one_of(
    st.tuples(st.just("spend"), st.integers(1, 60), st.sampled_from([None, "a", "b"])),
    st.tuples(st.just("undo"), st.integers(0, 9), st.one_of(st.none(), st.integers(1, 60))),
)
BATCHES = st.lists(st.tuples(st.integers(0, 3), st.lists(STEP, min_size=1, max_size=6)), min_size=1, max_size=6)


@given(history=BATCHES)
@settings(max_examples=25)
def test_usage_is_what_the_ledger_says_and_what_the_migration_makes_of_it(
    db: Database, history: list[tuple[int, list[tuple[str, int, object]]]]
) -> None:
    empty_tables(db)
    create_accounts(db, "acc_1")
    now = DAY_0
    carry_out(db, [gift("acc_1", 1_000)], now)
    for days, steps in history:
        now += timedelta(days=days)
        with reading(db) as session:
            debits = [row for row in rows_of(session, "acc_1") if row.type == "debit"]
        carry_out(db, list(_commands(debits, steps)), now)
    with reading(db) as session:
        kept = [("acc_1", *msgspec.structs.astuple(use)) for use in all_usage(session, "acc_1")]
        assert kept == _said_by(rows_of(session, "acc_1"))
    kept = [row for row in kept if row[4:] != (0, 0)]
    _step_back(db, "0017")
    assert [row for row in _stored(db) if row[4:] != (0, 0)] == kept, "no wallet carries any"
    _fill_again(db)
    assert [row for row in _stored(db) if row[4:] != (0, 0)] == kept


def _commands(debits: list[Transaction], steps: list[tuple[str, int, object]]) -> list[Command]:
    commands: list[Command] = []
    for kind, number, more in steps:
        if kind == "spend":
            assert more is None or isinstance(more, str)
            commands.append(call(number, more, f"{more} {number}" if more and number % 2 else None))
        elif debits:
            assert more is None or isinstance(more, int)
            commands.append(undo(debits[number % len(debits)], more))
    return commands


def _said_by(rows: list[Transaction]) -> list[tuple[object, ...]]:
    """Usage counted from the ledger alone, in another way: by debit, not by row."""
    found: dict[tuple[date, str], list[object]] = {}
    for row in rows:
        if row.type != "debit":
            continue
        undone = sum(other.amount_credits for other in rows if other.reverses_id == row.transaction_id)
        day = found.setdefault((row.created_at.date(), row.provider_id or ""), [None, 0, 0])
        assert isinstance(day[1], int) and isinstance(day[2], int)
        left = -row.amount_credits - undone
        day[:] = [row.provider_name or day[0], day[1] + left, day[2] + (left > 0)]
    return [("acc_1", *key, *found[key]) for key in sorted(found)]


def _stored(db: Database) -> list[tuple[object, ...]]:
    with reading(db) as session:
        rows = [tuple(row) for row in session.execute(text(STORED))]
    return [(row[0], date.fromisoformat(str(row[1])), *row[2:]) for row in rows]


def _fill_again(db: Database) -> None:
    """Step back before the table was there, and forward again: the migration fills it from the ledger."""
    before = ScriptDirectory.from_config(config(None)).get_revision("0004").down_revision
    assert isinstance(before, str)
    _step_back(db, before)
    with db.writer.begin() as connection:
        command.upgrade(config(connection), "head")


def _step_back(db: Database, revision: str) -> None:
    with db.writer.begin() as connection:
        command.downgrade(config(connection), revision)
