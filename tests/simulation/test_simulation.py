"""Random histories end in the same books by the rules alone, on SQLite and on PostgreSQL."""

from collections.abc import Callable

import pytest
from hypothesis import seed, settings
from hypothesis.stateful import run_state_machine_as_test

from engine.audit import Finding, audit
from engine.clock import monotonic
from engine.store import books, memory
from engine.store.database import Database, open_database
from engine.store.memory import Memory
from tests.engine.support import CHAIN_KEY
from tests.simulation.machine import History, Tally

EXAMPLES = 8
STEPS = 50
ROUNDS_MAX = 30
SECONDS = 45
"""After so long, or so many steps, no new round begins once everything has happened."""

STEPS_WANTED = 2_000

STEPS_MIN = 1_500
RULES_MIN = 20
HAPPENED = {
    "promo_credit",
    "monthly_credit",
    "coupon_credit",
    "deposit",
    "volume_discount",
    "debit",
    "admin_debit",
    "debit_reversal",
    "refund",
    "dispute",
    "dispute_won",
    "refund_failed",
    "debt_repayment",
    "expiry",
    "forfeit",
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
    "SPEND-001",
    "WALLET-001",
    "WALLET-002",
    "COUPON-002",
    "COUPON-004",
    "COUPON-005",
    "purchase paid",
    "purchase refunded",
    "purchase partially_refunded",
    "purchase quarantined",
    "reversal refunding",
    "reversal REFUND-001",
    "reversal REFUND-002",
    "reversal REFUND-003",
    "was_right",
    "was_wrong",
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
        postgresql.letters.dispose()

    class Simulated(History):
        databases = (lambda: opened["sqlite"], lambda: postgresql)
        reopen = staticmethod(reopen_all)
        tally = Tally()

    tally = Simulated.tally
    monkeypatch.setattr(memory, "PAUSE_MAX", 0)  # a lane guesses whenever it can
    for name in ("was_right", "was_wrong"):
        monkeypatch.setattr(Memory, name, counted(name, getattr(Memory, name), tally))
    ends = monotonic() + SECONDS
    try:
        for number in range(ROUNDS_MAX):
            if settings.default.derandomize:
                seed(number)(Simulated)  # else every round would tell the same histories
            run_state_machine_as_test(
                Simulated, settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None)
            )
            if is_enough(tally) and (monotonic() > ends or tally.rules.total() > STEPS_WANTED):
                break
        assert findings(opened["sqlite"]) == findings(postgresql) == []
    finally:
        opened["sqlite"].close()
    assert not missing(tally), f"never happened: {sorted(missing(tally))}"
    assert is_enough(tally), tally


def counted(name: str, told: Callable[[Memory], None], tally: Tally) -> Callable[[Memory], None]:
    """A lane was told so of its guess: the tally is told as well."""

    def tell(lane: Memory) -> None:
        tally.outcomes[name] += 1
        told(lane)

    return tell


def missing(tally: Tally) -> set[str]:
    return {name for name in HAPPENED if tally.outcomes[name] == 0}


def is_enough(tally: Tally) -> bool:
    """Whether everything a wallet can meet has happened, and often; a random round may well be a short one."""
    is_varied = sum(count >= 5 for count in tally.rules.values()) >= RULES_MIN
    return not missing(tally) and is_varied and tally.rules.total() >= STEPS_MIN and tally.rules["crash"] >= 5


def findings(db: Database) -> list[Finding]:
    """What the audit of every simulated wallet finds."""
    report = audit(db, [CHAIN_KEY])
    assert report.wallets > 0 and report.rows > 0
    return report.findings
