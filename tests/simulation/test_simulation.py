"""Random histories end in the same books in memory, on SQLite and on PostgreSQL."""

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from engine.audit import Finding, audit
from engine.store import books
from engine.store.database import Database, open_database
from tests.engine.support import CHAIN_KEY
from tests.simulation.machine import History, Tally

EXAMPLES = 15
STEPS = 40
ROUNDS_MAX = 10
BATCHES_MIN = 450
CRASHES_MIN = 60
HAPPENED = {
    "promo_credit",
    "deposit",
    "volume_discount",
    "debit",
    "debit_reversal",
    "refund",
    "dispute",
    "refund_failed",
    "debt_repayment",
    "expiry",
    "hold",
    "hold_release",
    "replayed",
    "Planned",
    "CREDIT-001",
    "CREDIT-002",
    "HOLD-001",
    "HOLD-002",
    "HOLD-003",
    "IDEMPOTENCY-002",
    "NOT-FOUND",
    "SPEND-001",
    "WALLET-002",
}


def test_random_histories_keep_the_same_books_everywhere(
    sqlite_url: str, postgresql: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fewer lots than usual in the first round of loading, so that small wallets reach the second.
    monkeypatch.setattr(books, "FIRST_LOTS", 2)
    opened = {"sqlite": open_database(sqlite_url)}

    def reopen_all() -> None:
        opened["sqlite"].close()
        opened["sqlite"] = open_database(sqlite_url)
        postgresql.writer.dispose()
        postgresql.reader.dispose()

    class Simulated(History):
        databases = (lambda: opened["sqlite"], lambda: postgresql)
        reopen = staticmethod(reopen_all)
        tally = Tally()

    try:
        for _ in range(ROUNDS_MAX):
            run_state_machine_as_test(
                Simulated, settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None)
            )
            if is_enough(Simulated.tally):
                break
        assert findings(opened["sqlite"]) == findings(postgresql) == []
    finally:
        opened["sqlite"].close()
    assert is_enough(Simulated.tally), Simulated.tally


def is_enough(tally: Tally) -> bool:
    """Whether everything a wallet can meet has happened, and often; a random round may well be a short one."""
    has_happened = all(tally.outcomes.get(name, 0) > 0 for name in HAPPENED)
    return has_happened and tally.batches >= BATCHES_MIN and tally.crashes >= CRASHES_MIN


def findings(db: Database) -> list[Finding]:
    """What the audit of every simulated wallet finds, but that the purchases themselves were never written."""
    report = audit(db, [CHAIN_KEY])
    assert report.wallets > 0
    return [each for each in report.findings if not each.what.startswith("grants without a purchase")]
