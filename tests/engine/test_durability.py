"""A process killed in the middle of its spends: what it acknowledged is there once, and the chain is whole."""

import subprocess
import sys
from collections import Counter

from engine.audit import audit
from engine.rules.commands import Posted
from engine.store.database import open_database
from tests.engine.backends import Stored
from tests.engine.invariants import check
from tests.engine.support import CHAIN_KEY, DAY_0, create_accounts, debit, gift

CREDITS = 1_000_000
ACKNOWLEDGED_MIN = (100, 37)


def spend_until_killed(url: str, prefix: str, lines: int) -> list[str]:
    """Keys that a process had acknowledged when it was killed, at least `lines` of them."""
    command = [sys.executable, "-m", "tests.engine.spender", url, "acc_1", prefix]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        seen += process.stdout.readlines()
    return [line.strip() for line in seen if line.endswith("\n")]


def test_every_acknowledged_spend_survives_a_kill_once(db_url: str) -> None:
    db = open_database(db_url)
    create_accounts(db, "acc_1", now=DAY_0)
    Stored(db).post([gift("acc_1", CREDITS)], DAY_0)
    db.close()
    acknowledged = [
        key for place, lines in enumerate(ACKNOWLEDGED_MIN) for key in spend_until_killed(db_url, f"p{place}", lines)
    ]
    db = open_database(db_url)
    try:
        backend = Stored(db)
        books = backend.books("acc_1")
        check(books)
        stored = Counter(row.idempotency_key for row in books.rows if row.type == "debit")
        assert len(acknowledged) >= sum(ACKNOWLEDGED_MIN) and set(acknowledged) <= stored.keys()
        assert set(stored.values()) == {1}
        assert books.wallet.available_credits == CREDITS - len(stored)
        [again] = backend.post([debit("acc_1", 1, key=acknowledged[-1])], books.wallet.last_at)
        assert isinstance(again, Posted) and again.replayed
        assert audit(db, [CHAIN_KEY]).is_clean
    finally:
        db.close()
