"""A hundred thousand lots in one wallet cost a spend what ten do: counted in lots and steps, not in seconds."""

from collections import Counter
from contextlib import suppress
from datetime import timedelta

import pytest
from sqlalchemy import text, update
from sqlmodel import Session

from engine import book
from engine.rules.commands import Command, Posted
from engine.rules.lots import NEVER, Lot
from engine.store import books
from engine.store.database import Database, reading, writing
from engine.store.tables import Base
from tests.engine.backends import Crash
from tests.engine.support import DAY_0, counting_terms, create_accounts, debit, insert_lots, lots_of

ACCOUNT = "acc_large"
LOTS = 100_000
EACH = 100
SOON = DAY_0 + timedelta(days=30)


@pytest.fixture
def large(db: Database) -> Database:
    """A wallet of 100,000 recharge lots of 100 credits, of which the 77,777th expires and the others do not."""
    create_accounts(db, ACCOUNT)
    lots = [
        Lot(f"lot_{n}", n, "recharge", "promo", SOON if n == 77_777 else NEVER, EACH, EACH, granted_at=DAY_0)
        for n in range(1, LOTS + 1)
    ]
    wallets = Base.metadata.tables["wallets"]
    with writing(db) as session:
        insert_lots(session, ACCOUNT, lots)
        totals = {"available_recharge": LOTS * EACH, "seq": LOTS, "next_expiry_at": SOON}
        session.connection().execute(update(wallets).where(wallets.c.account_id == ACCOUNT).values(totals))
    with db.writer.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))
    return db


def test_order_6_a_hundred_thousand_lots_cost_what_ten_do(large: Database) -> None:
    assert lots_loaded(large, debit(ACCOUNT, 99)) <= books.FIRST_LOTS
    assert lots_loaded(large, debit(ACCOUNT, 300 * EACH)) <= 300 * 8, "little more than is drawn"
    assert lots_loaded(large, debit(ACCOUNT, LOTS * EACH + 1)) <= books.FIRST_LOTS, "a refusal needs none"
    assert 0 < steps_of(large, debit(ACCOUNT, 250)) < 5_000, "reading every lot takes a hundred thousand"
    with writing(large) as session:
        [outcome] = book.post(session, [debit(ACCOUNT, 99)], counting_terms(), DAY_0)
    assert isinstance(outcome, Posted)
    assert [(entry.lot_id, entry.credits) for entry in outcome.transactions[0].entries] == [("lot_77777", -99)]
    with reading(large) as session:
        assert Counter(lot.remaining_credits for lot in lots_of(session, ACCOUNT)) == {1: 1, EACH: LOTS - 1}


def lots_loaded(db: Database, command: Command) -> int:
    with writing(db) as session:
        return len(books.load(session, [command], DAY_0)[ACCOUNT].lots)


def steps_of(db: Database, command: Command) -> int:
    """What a command costs the database: steps of SQLite's machine, or rows of `lots` that PostgreSQL reads."""
    steps = -1
    with suppress(Crash), writing(db) as session:
        if db.is_sqlite:
            steps = sqlite_steps(session, command)
        else:
            steps = postgresql_reads(session, command)
        raise Crash
    return steps


def sqlite_steps(session: Session, command: Command) -> int:
    tens = [0]

    def count() -> int:
        tens[0] += 1
        return 0

    driver = session.connection().connection.driver_connection
    assert driver is not None
    driver.set_progress_handler(count, 10)
    try:
        book.post(session, [command], counting_terms(), DAY_0)
    finally:
        driver.set_progress_handler(None, 0)
    return tens[0] * 10


def postgresql_reads(session: Session, command: Command) -> int:
    """The server's counts may still have earlier transactions of the connection in them."""
    scans_before, reads_before = lots_read(session)
    book.post(session, [command], counting_terms(), DAY_0)
    scans, reads = lots_read(session)
    assert scans == scans_before
    return reads - reads_before


def lots_read(session: Session) -> tuple[int, int]:
    """Scans of the whole table, and rows read in any way."""
    found = session.connection().execute(
        text("SELECT seq_scan, seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'lots'")
    )
    scans, reads = found.one()
    return int(scans), int(reads)
