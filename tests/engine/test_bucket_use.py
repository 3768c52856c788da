"""What was spent from each bucket each day agrees with the daily totals, on both databases, as far as rows are few."""

from datetime import timedelta

from engine.rules.commands import Hold
from engine.store.bucket_use import spent_by_bucket
from engine.store.database import Database, reading
from engine.store.history import find_wallet
from engine.store.usage import spent_by_day
from tests.engine.support import DAY_0, create_accounts, debit, gift
from tests.engine.test_usage import FIRST, LAST, carry_out, spent, undo


def by_bucket(db: Database, rows_max: int = 100, days: int = 0) -> dict[int, dict[str, int]] | None:
    """By the number of days since the first."""
    with reading(db) as session:
        wallet = find_wallet(session, "acc_1")
        assert wallet is not None
        found = spent_by_bucket(session, wallet, DAY_0.date() + timedelta(days=days), rows_max)
    return None if found is None else {(day - DAY_0.date()).days: buckets for day, buckets in found.items()}


def test_buckets_add_up_to_the_daily_totals_reversals_included(db: Database) -> None:
    create_accounts(db, "acc_1", "acc_2")
    carry_out(db, [gift("acc_1", 100, "limited_time"), gift("acc_1", 1_000, "recharge"), gift("acc_2", 50)], DAY_0)
    first = spent(db, debit("acc_1", 130), DAY_0)
    carry_out(db, [debit("acc_2", 50)], DAY_0)
    later = DAY_0 + timedelta(days=2)
    spent(db, debit("acc_1", 40), later)
    spent(db, undo(first, 45), later)
    assert by_bucket(db) == {0: {"limited_time": 85, "recharge": 0}, 2: {"recharge": 40}}
    with reading(db) as session:
        totals = spent_by_day(session, "acc_1", FIRST, LAST)
    assert totals == {DAY_0.date(): 85, later.date(): 40}


def test_a_reversal_of_a_debit_from_before_is_left_out_and_a_hold_is_no_spend(db: Database) -> None:
    create_accounts(db, "acc_1")
    carry_out(db, [gift("acc_1", 1_000)], DAY_0)
    first = spent(db, debit("acc_1", 100), DAY_0)
    later = DAY_0 + timedelta(days=3)
    spent(db, undo(first), later)
    spent(db, debit("acc_1", 7), later)
    found = by_bucket(db, days=1)
    assert found is not None and [sum(buckets.values()) for buckets in found.values()] == [7]
    held = Hold(account_id="acc_1", actor="host", credits=10, ttl_seconds=3_600)
    carry_out(db, [held], later)
    assert by_bucket(db, days=1) == found


def test_too_many_rows_are_not_read(db: Database) -> None:
    create_accounts(db, "acc_1")
    carry_out(db, [gift("acc_1", 1_000), *(debit("acc_1", 1) for _ in range(5))], DAY_0)
    assert by_bucket(db, rows_max=4) is None
    found = by_bucket(db, rows_max=5)
    assert found is not None and sum(found[0].values()) == 5
