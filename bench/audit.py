"""The audit's speed: entries a second on both databases, beside a floor that reads and hashes the same rows."""

import argparse
import hashlib
import hmac
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import text
from sqlmodel import Session

from bench.common import private_postgresql, table
from engine.audit import Report
from engine.audit_many import audit_many
from engine.clock import monotonic
from engine.rules.ledger import Entry, Transaction, chain_hash
from engine.rules.lots import NEVER
from engine.store import books
from engine.store.bulk import insert_rows
from engine.store.database import Database, open_database, snapshot, transact
from engine.store.migrations import upgrade

KEY = b"the chain key of the audit bench"
DAY_0 = datetime(2026, 11, 2, tzinfo=UTC)
ACCOUNT = ("account_id", "locale", "profile", "anchor_at", "created_at")
USE = ("account_id", "day", "provider_id", "provider_name", "credits_spent", "call_count")
GRANTED = 10**12


def wallet_rows(account_id: str, rows: int) -> tuple[list[Transaction], str]:
    """A grant and many spends of one wallet, on its chain; and the lot they draw from."""
    made: list[Transaction] = []
    lot_id = f"lot_{account_id}_01J00000000000"
    balance, head = 0, b""
    for seq in range(1, rows + 1):
        credits = GRANTED if seq == 1 else -(seq % 7 + 1)
        balance += credits
        row = Transaction(
            account_id=account_id,
            seq=seq,
            transaction_id=f"txn_01J{seq:023d}",
            type="promo_credit" if seq == 1 else "debit",
            amount_credits=credits,
            balance_after=balance,
            debt_after=0,
            source="promo" if seq == 1 else None,
            description="A call of the model",
            reference_type="admin" if seq == 1 else "spend",
            reference_id=None,
            reverses_id=None,
            purchase_id=None,
            provider_id=None if seq == 1 else f"provider-{seq % 3}",
            provider_name=None if seq == 1 else f"Provider {seq % 3}",
            capability_id="chat",
            outcome="success",
            call_id=f"call-{seq}",
            actor="service:backend",
            metadata="{}",
            entries=(Entry(lot_id, "recharge", credits),),
            created_at=DAY_0 + timedelta(milliseconds=seq * 37),
            operation=None if seq == 1 else "spend",
            idempotency_key=None if seq == 1 else f"key-{account_id}-{seq}",
            fingerprint=None if seq == 1 else f"{seq:032x}",
        )
        row = msgspec.structs.replace(row, hash=chain_hash(KEY, head, row))
        head = row.hash
        made.append(row)
    return made, lot_id


def fill(db: Database, entries: int, wallets: int) -> None:
    """Wallets with as many rows each, written in bulk with everything that is kept beside them."""
    each = entries // wallets
    for number in range(wallets):
        account_id = f"acc_{number:026d}"
        rows, lot_id = wallet_rows(account_id, each)
        transact(db, lambda session, a=account_id, r=rows, lot=lot_id: _insert(session, a, r, lot))  # type: ignore[misc]


def _insert(session: Session, account_id: str, rows: list[Transaction], lot_id: str) -> None:
    last = rows[-1]
    spent: dict[tuple[object, str], list[int]] = {}
    for row in rows[1:]:
        sums = spent.setdefault((row.created_at.date(), row.provider_id or ""), [0, 0])
        sums[0] -= row.amount_credits
        sums[1] += 1
    today = last.created_at.date()
    insert_rows(session, "accounts", ACCOUNT, [(account_id, "en", "{}", DAY_0, DAY_0)])
    values = list(books.new_wallet_row(account_id, DAY_0))
    wallet = dict(zip(books.WALLET, values, strict=True)) | {
        "seq": last.seq,
        "head": last.hash,
        "available_recharge": last.balance_after,
        "last_at": last.created_at,
        "spent_on": today,
        "spent_credits": sum(sums[0] for (day, _), sums in spent.items() if day == today),
    }
    values = [wallet[name] for name in books.WALLET]
    insert_rows(session, "wallets", books.WALLET, [tuple(values)])
    lot = (account_id, lot_id, 1, "recharge", "promo", NEVER, GRANTED, last.balance_after, 0, 0, 0, 0, None, 0, None)
    columns = (*books.LOT, "bucket_order", "is_open")
    insert_rows(session, "lots", columns, [(*lot, rows[0].created_at, 2, True)])
    insert_rows(session, "transactions", books.TRANSACTION, list(map(books.transaction_row, rows)))
    names = {f"provider-{n}": f"Provider {n}" for n in range(3)}
    uses = [(account_id, day, name, names[name], *sums) for (day, name), sums in spent.items()]
    insert_rows(session, "usage_daily", USE, uses)


def floor(db: Database) -> float:
    """Seconds to read every column of every row in order, raw, and hash it: what no audit can do without."""
    started = monotonic()
    columns = ", ".join(books.TRANSACTION)
    statement = f"SELECT {columns} FROM transactions ORDER BY account_id, seq"
    count = 0
    with snapshot(db) as session:
        driver: Any = session.connection().connection
        if db.is_sqlite:
            cursor = driver.cursor()
        else:
            cursor = driver.driver_connection.cursor("floor", binary=True)
            cursor.itersize = 5_000
        cursor.execute(statement)
        encode = msgspec.json.Encoder().encode
        for row in cursor:
            hmac.digest(KEY, encode(row), hashlib.sha256)
            count += 1
    assert count > 0
    return monotonic() - started


def checked(report: Report) -> Report:
    assert report.is_clean, report.findings[:3]
    return report


@contextmanager
def opened(url: str) -> Iterator[Database]:
    db = open_database(url)
    try:
        upgrade(db)
        yield db
    finally:
        db.close()


def measure(name: str, url: str, entries: int, wallets: int, processes: int) -> list[list[str]]:
    with opened(url) as db:
        fill(db, entries, wallets)
        with db.writer.begin() as connection:
            connection.execute(text("ANALYZE"))
        least = floor(db)
        lines = [[f"{name}: read raw and hashed (floor)", f"{entries / least:,.0f}", f"{least:.1f}", "1.00"]]
        for label, many in (("one process", 1), (f"{processes} processes", processes)):
            started = monotonic()
            rows = checked(audit_many(db, [KEY], many)).rows
            taken = monotonic() - started
            lines.append([f"{name}: audit, {label}", f"{rows / taken:,.0f}", f"{taken:.1f}", f"{least / taken:.2f}"])
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--wallets", type=int, default=1_000)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    lines: list[list[str]] = []
    with tempfile.TemporaryDirectory(prefix="purser-bench-") as directory:
        url = f"sqlite:///{Path(directory) / 'audit.sqlite3'}"
        lines += measure("SQLite", url, options.entries, options.wallets, options.processes)
    with private_postgresql() as url:
        lines += measure("PostgreSQL", url, options.entries, options.wallets, options.processes)
    print(table(("case", "entries/s", "seconds", "ratio to floor"), lines))


if __name__ == "__main__":
    main()
