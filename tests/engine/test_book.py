"""The write path end to end, on both databases: what is posted is what is stored."""

from engine import book
from engine.rules.commands import Posted
from engine.store.database import Database, reading, writing
from tests.engine.support import DAY_0, counting_terms, create_accounts, debit, gift, rows_of


def test_a_batch_is_stored_as_it_was_answered(db: Database) -> None:
    create_accounts(db, "acc_1")
    with writing(db) as session:
        outcomes = book.post(session, [gift("acc_1", 100), debit("acc_1", 30)], counting_terms(), DAY_0)
    posted = [row for outcome in outcomes if isinstance(outcome, Posted) for row in outcome.transactions]
    with reading(db) as session:
        assert rows_of(session, "acc_1") == posted
    assert [row.balance_after for row in posted] == [100, 70]
