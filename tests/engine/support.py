"""What tests of the engine share: a clock they move, ids that count, wallets to try things on."""

import itertools
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from operator import attrgetter

import psycopg
from msgspec import structs
from sqlalchemy import select
from sqlalchemy.engine import make_url
from sqlmodel import Session

from engine.rules.commands import Grant, Spend
from engine.rules.decisions import Terms
from engine.rules.holds import Hold, HoldRules
from engine.rules.ledger import Mint, Transaction, Wallet
from engine.rules.lots import BUCKETS, Bucket, Lot, spend_order
from engine.store import books
from engine.store.bulk import insert_rows
from engine.store.database import Database, transact
from engine.store.holds import HOLD, hold_of
from engine.store.tables import Base

DAY_0 = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
CHAIN_KEY = b"the chain key of the tests, 32 b"
ACCOUNT = ("account_id", "locale", "profile", "anchor_at", "created_at")


class FakeClock:
    """A clock that stands still until a test moves it, and never goes back."""

    def __init__(self, at: datetime = DAY_0) -> None:
        self._at = at

    def now(self) -> datetime:
        return self._at

    def advance(self, by: timedelta) -> datetime:
        assert by >= timedelta(0), "the clock never goes back"
        self._at += by
        return self._at


def counter_mint() -> Mint:
    """Ids that count from one for each prefix: `lot_000001`, `txn_000001`, … Two mints make the same ids."""
    counters: dict[str, itertools.count[int]] = {}

    def mint(prefix: str, at: datetime) -> str:
        return f"{prefix}_{next(counters.setdefault(prefix, itertools.count(1))):06d}"

    return mint


def counting_terms(holds: HoldRules | None = None) -> Terms:
    """Terms with a mint of their own: equal commands in equal order make equal rows, hashes included."""
    return Terms(counter_mint(), CHAIN_KEY, holds=holds or HoldRules())


def steady_terms(holds: HoldRules) -> Terms:
    """`counting_terms`, but rows do not count: their `seq` tells them apart, and one that is decided twice is the same.

    A lane decides a spend twice where its first guess was wrong.
    """
    mint = counter_mint()
    return Terms(lambda prefix, at: "txn_" if prefix == "txn" else mint(prefix, at), CHAIN_KEY, holds=holds)


def create_accounts(db: Database, *account_ids: str, now: datetime = DAY_0) -> None:
    """Insert accounts with empty, active wallets."""
    transact(db, lambda session: insert_accounts(session, account_ids, now))


def insert_accounts(session: Session, account_ids: Sequence[str], now: datetime) -> None:
    insert_rows(session, "accounts", ACCOUNT, [(a, "en", "{}", now, now) for a in account_ids])
    insert_rows(session, "wallets", books.WALLET, [books.new_wallet_row(a, now) for a in account_ids])


def insert_lots(session: Session, account_id: str, lots: Sequence[Lot]) -> None:
    """Insert lots as they are, without the rows that would have granted them."""
    names = Lot.__struct_fields__
    values = attrgetter(*names)
    rows = [(account_id, BUCKETS.index(lot.bucket), lot.remaining_credits > 0, *values(lot)) for lot in lots]
    insert_rows(session, "lots", ("account_id", "bucket_order", "is_open", *names), rows)


def gift(
    account_id: str, credits: int, bucket: Bucket = "recharge", *, until: datetime | None = None, key: str | None = None
) -> Grant:
    """A grant of free credits."""
    return Grant(
        account_id=account_id,
        actor="service",
        type="promo_credit",
        source="promo",
        bucket=bucket,
        credits=credits,
        description="A gift",
        expires_at=until,
        key=key,
    )


def bought(account_id: str, purchase_id: str, credits: int, *, is_bonus: bool = False) -> Grant:
    """The grant of a purchase's base lot, or of its bonus lot: recharge credits that never expire."""
    return Grant(
        account_id=account_id,
        actor="provider",
        type="volume_discount" if is_bonus else "deposit",
        source="volume_discount" if is_bonus else "custom_credits",
        bucket="recharge",
        credits=credits,
        description="Credits bought",
        reference_type="sandbox_payment",
        reference_id=f"pi_{purchase_id}",
        purchase_id=purchase_id,
        cost_minor=0 if is_bonus else credits,
        cost_currency="USD",
    )


def debit(account_id: str, credits: int, *, key: str | None = None, description: str = "") -> Spend:
    return Spend(account_id=account_id, actor="service", credits=credits, key=key, description=description)


def rows_of(session: Session, account_id: str) -> list[Transaction]:
    """The wallet's whole ledger, in order of `seq`, read without the store's own reading code."""
    table = Base.metadata.tables["transactions"]
    statement = select(*(table.c[name] for name in books.TRANSACTION)).where(table.c.account_id == account_id)
    return [books.transaction_of(tuple(row)) for row in session.connection().execute(statement.order_by(table.c.seq))]


def lots_of(session: Session, account_id: str) -> list[Lot]:
    """The wallet's lots, in order of the `seq` that granted them, with what its wallet says of the one it carries."""
    table, wallets = Base.metadata.tables["lots"], Base.metadata.tables["wallets"]
    statement = select(*(table.c[name] for name in Lot.__struct_fields__)).where(table.c.account_id == account_id)
    lots = [Lot(*row) for row in session.connection().execute(statement.order_by(table.c.granted_seq))]
    front = select(wallets.c.front_lot).where(wallets.c.account_id == account_id)
    carried = session.connection().execute(front).scalar()
    if carried is not None:
        row_credits, (lot_id, *rest) = json.loads(carried)
        first = min((lot for lot in lots if lot.remaining_credits > 0), key=spend_order)
        assert (first.lot_id, first.remaining_credits) == (lot_id, row_credits), "the first, as its row says"
        first.remaining_credits = rest[Lot.__struct_fields__.index("remaining_credits") - 1]
        assert first.remaining_credits > 0, "what is drained is not carried"
    return lots


def holds_of(session: Session, account_id: str) -> list[Hold]:
    """The wallet's holds, in order of their ids."""
    table = Base.metadata.tables["holds"]
    statement = select(*(table.c[name] for name in HOLD)).where(table.c.account_id == account_id)
    return [hold_of(tuple(row)) for row in session.connection().execute(statement.order_by(table.c.hold_id))]


def wallet_of(session: Session, account_id: str) -> Wallet:
    """The wallet but for what it carries of a lot: `lots_of` has that."""
    table = Base.metadata.tables["wallets"]
    statement = select(*(table.c[name] for name in books.WALLET)).where(table.c.account_id == account_id)
    return structs.replace(books.wallet_of(tuple(session.connection().execute(statement).one())), front=None)


@contextmanager
def wallets_locked(kind: str, url: str) -> Iterator[None]:
    """Some other client holds what a writer must wait for, as long as the block lasts."""
    if kind == "sqlite":
        with closing(sqlite3.connect(str(make_url(url).database), isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
        return
    with psycopg.connect(url) as session:
        session.execute("SELECT * FROM wallets FOR UPDATE")
        yield
        session.rollback()
