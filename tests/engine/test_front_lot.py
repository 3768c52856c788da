"""The lot that a wallet's spends draw from stands in the wallet's own row: spends write no lot, readers see what is
left, and the lot's row follows as soon as anything else happens to it."""

from datetime import timedelta

from alembic import command
from sqlalchemy import select

from engine.audit import audit
from engine.rules.commands import Hold, Reverse, TakeBack
from engine.rules.lots import NEVER
from engine.store.alerts import lots_to_warn
from engine.store.balances import EXPIRING_MAX, LOTS_MAX, balance, balance_at
from engine.store.database import Database, reading
from engine.store.front_lots import front_lot
from engine.store.migrations import config
from engine.store.purchases import purchase_lots
from engine.store.tables import Base
from tests.engine.support import CHAIN_KEY, DAY_0, bought, create_accounts, debit, gift, lots_of
from tests.engine.test_usage import carry_out, spent

ACCOUNT = "acc_1"


def written(db: Database) -> list[int]:
    """What the lots' own rows say remains, in the order of their grants."""
    lots = Base.metadata.tables["lots"]
    with reading(db) as session:
        statement = select(lots.c.remaining_credits).order_by(lots.c.account_id, lots.c.granted_seq)
        rows = session.connection().execute(statement)
        return [remaining for (remaining,) in rows]


def left(db: Database) -> list[int]:
    """What does remain of each, the ledger's audit agreeing; the purchases themselves are not there."""
    found = [finding for finding in audit(db, [CHAIN_KEY]).findings if "without a purchase" not in finding.what]
    assert found == []
    with reading(db) as session:
        return [lot.remaining_credits for lot in lots_of(session, ACCOUNT)]


def test_spends_from_the_first_lot_write_no_lot_until_it_is_drained(db: Database) -> None:
    create_accounts(db, ACCOUNT)
    carry_out(db, [gift(ACCOUNT, 100), gift(ACCOUNT, 50)], DAY_0)
    for credits in (10, 20, 30):
        spent(db, debit(ACCOUNT, credits), DAY_0)
    assert (written(db), left(db)) == ([100, 50], [40, 50])
    spent(db, debit(ACCOUNT, 40), DAY_0)
    assert (written(db), left(db)) == ([0, 50], [0, 50])
    spent(db, debit(ACCOUNT, 5), DAY_0)
    assert (written(db), left(db)) == ([0, 50], [0, 45])
    spent(db, debit(ACCOUNT, 45), DAY_0)
    assert (written(db), left(db)) == ([0, 0], [0, 0])


def test_a_lot_that_is_the_first_no_longer_gets_its_own_row_back(db: Database) -> None:
    create_accounts(db, ACCOUNT)
    carry_out(db, [gift(ACCOUNT, 100)], DAY_0)
    spent(db, debit(ACCOUNT, 30), DAY_0)
    assert (written(db), left(db)) == ([100], [70])
    carry_out(db, [gift(ACCOUNT, 8, "limited_time", until=DAY_0 + timedelta(days=3))], DAY_0)
    assert (written(db), left(db)) == ([70, 8], [70, 8])
    spent(db, debit(ACCOUNT, 3), DAY_0)
    assert (written(db), left(db)) == ([70, 8], [70, 5])
    spent(db, debit(ACCOUNT, 1), DAY_0 + timedelta(days=3))
    assert (written(db), left(db)) == ([70, 0], [69, 0])


def test_what_changes_a_lot_in_another_way_writes_its_row(db: Database) -> None:
    create_accounts(db, ACCOUNT)
    carry_out(db, [bought(ACCOUNT, "pay_1", 100)], DAY_0)
    first = spent(db, debit(ACCOUNT, 30), DAY_0)
    carry_out(db, [Hold(account_id=ACCOUNT, actor="service", credits=5)], DAY_0)
    assert (written(db), left(db)) == ([65], [65])
    spent(db, debit(ACCOUNT, 1), DAY_0)
    assert (written(db), left(db)) == ([65], [64])
    undo = Reverse(
        account_id=ACCOUNT, actor="service", transaction_id=first.transaction_id, credits=None, description=""
    )
    carry_out(db, [undo], DAY_0)
    assert left(db) == [94]
    refund = TakeBack(
        account_id=ACCOUNT, actor="provider", type="refund", purchase_id="pay_1", credits=90, owe=True, description=""
    )
    carry_out(db, [refund], DAY_0)
    assert (written(db), left(db)) == ([4], [4])


def test_every_reader_of_lots_sees_what_is_left(db: Database) -> None:
    create_accounts(db, ACCOUNT)
    ends = DAY_0 + timedelta(days=2)
    carry_out(db, [gift(ACCOUNT, 100, "limited_time", until=ends), bought(ACCOUNT, "pay_1", 10)], DAY_0)
    spent(db, debit(ACCOUNT, 40), DAY_0)
    assert written(db) == [100, 10]
    later = DAY_0 + timedelta(hours=1)
    with reading(db) as session:
        view = balance(session, ACCOUNT, later)
        assert view is not None and [lot.remaining_credits for lot in view.buckets[0].lots] == [60]
        assert [each.credits for each in view.expiring] == [60]
        past = balance_at(session, ACCOUNT, DAY_0)
        assert past is not None and past.available_credits == 70
        assert [lot.credits for lot in lots_to_warn(session, ACCOUNT, ends)] == [60]
    spent(db, debit(ACCOUNT, 4), ends)
    with reading(db) as session:
        assert [lot.remaining_credits for lot in purchase_lots(session, ACCOUNT, "pay_1")] == [6]
    assert (written(db), left(db)) == ([0, 10], [0, 6])


def test_the_calendar_counts_what_is_left_where_the_database_adds_it_up(db: Database) -> None:
    create_accounts(db, ACCOUNT)
    ends = [DAY_0 + timedelta(days=1 + n % 2) for n in range(LOTS_MAX + 1)]
    carry_out(db, [gift(ACCOUNT, 10, "limited_time", until=at) for at in ends], DAY_0)
    spent(db, debit(ACCOUNT, 7), DAY_0)
    assert written(db).count(10) == LOTS_MAX + 1
    with reading(db) as session:
        view = balance(session, ACCOUNT, DAY_0)
    assert view is not None and len(view.expiring) == 2 <= EXPIRING_MAX
    assert [each.credits for each in view.expiring] == [10 * 51 - 7, 10 * 50]


def test_a_batch_that_drains_several_lots_leaves_the_next_to_be_found(db: Database) -> None:
    create_accounts(db, ACCOUNT)
    carry_out(db, [gift(ACCOUNT, 10) for _ in range(20)], DAY_0)
    carry_out(db, [debit(ACCOUNT, 15), debit(ACCOUNT, 15), debit(ACCOUNT, 15)], DAY_0)
    assert left(db) == [0] * 4 + [5] + [10] * 15
    carry_out(db, [debit(ACCOUNT, 1), debit(ACCOUNT, 150)], DAY_0)
    assert left(db) == [0] * 19 + [4]


def test_before_the_column_goes_the_rows_say_what_is_left(db: Database) -> None:
    create_accounts(db, ACCOUNT, "acc_2")
    carry_out(db, [gift(ACCOUNT, 100), gift("acc_2", 9)], DAY_0)
    spent(db, debit(ACCOUNT, 30), DAY_0)
    with db.writer.begin() as connection:
        command.downgrade(config(connection), "0018")
    assert written(db) == [70, 9]
    with db.writer.begin() as connection:
        command.upgrade(config(connection), "head")
    assert left(db) == [70]
    spent(db, debit(ACCOUNT, 1), DAY_0)
    assert left(db) == [69]


def test_a_plain_grant_needs_no_lot_to_be_read(db: Database) -> None:
    """It can't tell what is first among lots that it has not read, and so carries none."""
    create_accounts(db, ACCOUNT)
    carry_out(db, [gift(ACCOUNT, 5)], DAY_0)
    with reading(db) as session:
        assert front_lot(session, ACCOUNT) is None
    spent(db, debit(ACCOUNT, 1), DAY_0)
    with reading(db) as session:
        front = front_lot(session, ACCOUNT)
    assert front is not None and (front.row_credits, front.lot.remaining_credits, front.lot.expires_at) == (5, 4, NEVER)
