"""Credits spent each day, as the usage page's chart reads them from the ledger, on both databases."""

from datetime import UTC, date, datetime, timedelta

from engine.book import post
from engine.rules.commands import Command, Posted, Reverse
from engine.store import daily, history
from engine.store.database import Database, reading, transact
from tests.engine.support import DAY_0, counting_terms, create_accounts, debit, gift

TERMS = counting_terms()


def test_a_reversal_lowers_the_day_of_its_debit(db: Database) -> None:
    create_accounts(db, "acc_1", "acc_2")
    put(db, gift("acc_1", 10_000), DAY_0)
    put(db, gift("acc_2", 10_000), DAY_0)
    put(db, debit("acc_1", 100), DAY_0)
    put(db, debit("acc_2", 7), DAY_0)
    spent = put(db, debit("acc_1", 50), DAY_0 + timedelta(days=1))
    put(db, debit("acc_1", 30), datetime(2026, 11, 4, 23, 59, 59, 999_999, tzinfo=UTC))
    put(db, debit("acc_1", 5), datetime(2026, 11, 5, tzinfo=UTC))
    undone = spent.transactions[-1].transaction_id
    undo = Reverse(account_id="acc_1", actor="service", transaction_id=undone, credits=20, description="Undone")
    put(db, undo, datetime(2026, 11, 6, tzinfo=UTC))

    def spent_since(start: datetime) -> dict[date, int]:
        with reading(db) as session:
            wallet = history.find_wallet(session, "acc_1")
            assert wallet is not None
            return daily.spent_by_day(session, wallet, start)

    days = {date(2026, 11, 2): 100, date(2026, 11, 3): 30, date(2026, 11, 4): 30, date(2026, 11, 5): 5}
    assert spent_since(datetime(2026, 11, 1, tzinfo=UTC)) == days
    assert spent_since(datetime(2026, 11, 5, tzinfo=UTC)) == {date(2026, 11, 5): 5}


def put(db: Database, command: Command, now: datetime) -> Posted:
    (outcome,) = transact(db, lambda session: post(session, [command], TERMS, now))
    assert isinstance(outcome, Posted)
    return outcome
