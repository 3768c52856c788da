"""Suspending, closing and corrections, told step by step to the rules in memory, to SQLite and to PostgreSQL."""

from dataclasses import dataclass
from datetime import timedelta

import pytest

from engine.rules.commands import AdminDebit, Command, Expire, GiveBack, Posted, Reverse, SetStatus, Status, TakeBack
from engine.rules.errors import Refusal
from engine.rules.lots import Bucket
from engine.store.database import Database
from tests.engine.backends import Backend, InMemory, Stored
from tests.engine.invariants import check
from tests.engine.support import DAY_0, bought, debit, gift

WALLET = "acc_status"


def status(to: Status) -> SetStatus:
    return SetStatus(account_id=WALLET, actor="admin:Kim", status=to)


def less(credits: int, bucket: Bucket | None = None, key: str | None = None) -> AdminDebit:
    return AdminDebit(
        account_id=WALLET, actor="admin:Kim", credits=credits, bucket=bucket, description="Correction", key=key
    )


def take(credits: int) -> TakeBack:
    return TakeBack(
        account_id=WALLET, actor="provider", type="refund", purchase_id="p", credits=credits, owe=True, description=""
    )


def give(credits: int) -> GiveBack:
    return GiveBack(
        account_id=WALLET, actor="provider", type="refund_failed", purchase_id="p", credits=credits, description=""
    )


LIMITED = gift(WALLET, 20, "limited_time", until=DAY_0 + timedelta(days=1))
MONTHLY = gift(WALLET, 50, "monthly", until=DAY_0 + timedelta(days=30))


@dataclass(frozen=True, slots=True)
class Step:
    """A command on a day, the rows it writes or the code of its refusal, and what is available (and owed) then."""

    day: int
    command: Command
    told: str
    left: str


STORIES: dict[str, tuple[Step, ...]] = {
    "a suspended wallet spends nothing and takes what comes": (
        Step(0, bought(WALLET, "p", 100), "deposit +100", "0/0/100"),
        Step(0, status("suspended"), "", "0/0/100"),
        Step(0, debit(WALLET, 1), "WALLET-001", "0/0/100"),
        Step(0, LIMITED, "promo_credit +20", "20/0/100"),
        Step(0, take(40), "refund -40", "20/0/60"),
        Step(0, give(40), "refund_failed +40", "20/0/100"),
        Step(0, less(30), "admin_debit -20 -10", "0/0/90"),
        Step(0, status("active"), "", "0/0/90"),
        Step(0, debit(WALLET, 90), "debit -90", "0/0/0"),
        Step(0, status("suspended"), "", "0/0/0"),
        Step(0, Reverse(account_id=WALLET, actor="s", transaction_id="txn_0000060000000006", credits=5, description=""),
             "debit_reversal +5", "0/0/5"),
    ),
    "closing forfeits every lot in spend order, after what has expired": (
        Step(0, LIMITED, "promo_credit +20", "20/0/0"),
        Step(0, MONTHLY, "promo_credit +50", "20/50/0"),
        Step(0, gift(WALLET, 7, "limited_time", until=DAY_0 + timedelta(days=9)), "promo_credit +7", "27/50/0"),
        Step(0, gift(WALLET, 9), "promo_credit +9", "27/50/9"),
        Step(1, status("closed"), "expiry -20 forfeit -7 forfeit -50 forfeit -9", "0/0/0"),
        Step(40, Expire(account_id=WALLET, actor="system"), "", "0/0/0"),
        Step(40, gift(WALLET, 5), "WALLET-001", "0/0/0"),
        Step(40, debit(WALLET, 1), "WALLET-001", "0/0/0"),
        Step(40, less(1), "WALLET-001", "0/0/0"),
        Step(40, status("active"), "WALLET-001", "0/0/0"),
        Step(40, status("closed"), "WALLET-001", "0/0/0"),
    ),
    "what was forfeited is not owed, what was spent is": (
        Step(0, bought(WALLET, "p", 100), "deposit +100", "0/0/100"),
        Step(0, debit(WALLET, 30), "debit -30", "0/0/70"),
        Step(0, status("closed"), "forfeit -70", "0/0/0"),
        Step(1, take(100), "refund ", "0/0/0 owed 30"),
        Step(1, give(100), "refund_failed ", "0/0/0"),
    ),
    "what comes back to a closed wallet pays its debt and is forfeited": (
        Step(0, bought(WALLET, "p", 100), "deposit +100", "0/0/100"),
        Step(0, take(100), "refund -100", "0/0/0"),
        Step(0, status("closed"), "", "0/0/0"),
        Step(1, give(100), "refund_failed +100 forfeit -100", "0/0/0"),
        Step(1, take(100), "refund ", "0/0/0"),
    ),
    "a correction downwards is all or nothing, of one bucket or of all": (
        Step(0, LIMITED, "promo_credit +20", "20/0/0"),
        Step(0, MONTHLY, "promo_credit +50", "20/50/0"),
        Step(0, gift(WALLET, 9), "promo_credit +9", "20/50/9"),
        Step(0, less(10, "recharge"), "CREDIT-001", "20/50/9"),
        Step(0, less(9, "recharge"), "admin_debit -9", "20/50/0"),
        Step(0, less(71), "CREDIT-001", "20/50/0"),
        Step(0, less(0), "INVALID", "20/50/0"),
        Step(0, less(25, key="k"), "admin_debit -20 -5", "0/45/0"),
        Step(0, less(25, key="k"), "again", "0/45/0"),
        Step(0, less(26, key="k"), "IDEMPOTENCY-002", "0/45/0"),
        Step(31, less(1), "expiry -45 CREDIT-001", "0/0/0"),
    ),
    "what a correction took counts as spent where the money goes back": (
        Step(0, bought(WALLET, "p", 100), "deposit +100", "0/0/100"),
        Step(0, gift(WALLET, 100), "promo_credit +100", "0/0/200"),
        Step(0, less(100), "admin_debit -100", "0/0/100"),
        Step(0, take(100), "refund  debt_repayment -100", "0/0/0"),
    ),
}  # fmt: skip


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param == "memory":
        return InMemory()
    db = request.getfixturevalue(request.param)
    assert isinstance(db, Database)
    return Stored(db)


@pytest.mark.parametrize("name", STORIES)
def test_the_story_holds_step_by_step(name: str, backend: Backend) -> None:
    backend.open(WALLET, DAY_0)
    for number, step in enumerate(STORIES[name]):
        told = carry_out(backend, step)
        assert told == (step.told, step.left), f"step {number}"


def carry_out(backend: Backend, step: Step) -> tuple[str, str]:
    seen = len(backend.books(WALLET).rows)
    [outcome] = backend.post([step.command], DAY_0 + timedelta(days=step.day))
    books = backend.books(WALLET)
    check(books)
    told = [" ".join([row.type, " ".join(f"{e.credits:+d}" for e in row.entries)]) for row in books.rows[seen:]]
    if isinstance(outcome, Refusal):
        told.append(outcome.code)
    elif isinstance(outcome, Posted) and outcome.replayed:
        told.append("again")
    left = "/".join(map(str, books.wallet.available))
    return " ".join(told), left + (f" owed {books.wallet.debt_credits}" if books.wallet.debt_credits else "")


def test_a_wallet_of_many_lots_is_closed_whole(db: Database) -> None:
    backend = Stored(db)
    backend.open(WALLET, DAY_0)
    backend.post([gift(WALLET, n + 1) for n in range(700)], DAY_0)
    outcomes = backend.post([status("closed"), gift(WALLET, 1)], DAY_0)
    books = backend.books(WALLET)
    check(books)
    assert isinstance(outcomes[0], Posted) and isinstance(outcomes[1], Refusal)
    assert [row.amount_credits for row in outcomes[0].transactions] == [-(n + 1) for n in range(700)]
    assert (books.wallet.status, books.wallet.available_credits) == ("closed", 0)


def test_a_bucket_behind_many_lots_of_others_is_reached(db: Database) -> None:
    backend = Stored(db)
    backend.open(WALLET, DAY_0)
    many = [gift(WALLET, 1, "limited_time", until=DAY_0 + timedelta(days=1 + n)) for n in range(100)]
    backend.post([*many, gift(WALLET, 5)], DAY_0)
    [outcome] = backend.post([less(5, "recharge")], DAY_0)
    assert isinstance(outcome, Posted)
    assert backend.books(WALLET).wallet.available == [100, 0, 0]
    check(backend.books(WALLET))
