"""A month in money: figures worked out by hand, and laws that hold for any history."""

import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.exports import HEADERS, Exported, export_month, read_month
from api.transactions import TransactionType
from engine import finance
from engine.rules.commands import Command, Expire, GiveBack, Grant, Posted, Reverse, TakeBack
from engine.rules.finance import KINDS, RollForward
from engine.rules.ledger import Transaction
from engine.rules.money_back import mark_of_money
from engine.store.database import Database, reading
from tests.conftest import empty_tables
from tests.engine.backends import Stored
from tests.engine.support import create_accounts, debit, gift, lots_of, rows_of

A = "acc_1"


def day(month: int, number: int, hour: int = 0) -> datetime:
    return datetime(2026, month, number, hour, tzinfo=UTC)


def buy(
    purchase_id: str, credits: int, cost_minor: int, currency: str = "USD", until: datetime | None = None, on: str = A
) -> Grant:
    return Grant(
        account_id=on,
        actor="provider",
        type="deposit",
        source="custom_credits",
        bucket="recharge",
        credits=credits,
        description="Credits bought",
        expires_at=until,
        purchase_id=purchase_id,
        cost_minor=cost_minor,
        cost_currency=currency,
    )


def bonus(purchase_id: str, credits: int, until: datetime | None = None) -> Grant:
    return Grant(
        account_id=A,
        actor="provider",
        type="volume_discount",
        source="volume_discount",
        bucket="recharge",
        credits=credits,
        description="Bonus",
        expires_at=until,
        purchase_id=purchase_id,
    )


def take_back(purchase_id: str, credits: int, out_minor: int | None = None) -> TakeBack:
    return TakeBack(
        account_id=A,
        actor="provider",
        type="refund",
        purchase_id=purchase_id,
        credits=credits,
        owe=True,
        description="Refund",
        metadata="{}" if out_minor is None else mark_of_money(out_minor),
    )


def give_back(purchase_id: str, credits: int, out_minor: int | None = None) -> GiveBack:
    return GiveBack(
        account_id=A,
        actor="provider",
        type="refund_failed",
        purchase_id=purchase_id,
        credits=credits,
        description="Refund failed",
        metadata="{}" if out_minor is None else mark_of_money(out_minor),
    )


def undo(row: Transaction, credits: int | None) -> Reverse:
    return Reverse(account_id=A, actor="service", transaction_id=row.transaction_id, credits=credits, description="")


def posted(stored: Stored, now: datetime, *commands: Command) -> Transaction:
    """All commands carried out; the first row of the last."""
    outcomes = stored.post(commands, now)
    last = outcomes[-1]
    assert isinstance(last, Posted), last
    return last.transactions[0]


@pytest.fixture
def kept(db: Database) -> Database:
    """October and November of one customer: 300 + 30 credits for $10.00, and 70 for 5.00 EUR that expire."""
    create_accounts(db, A, "acc_2", now=day(10, 1))
    stored = Stored(db)
    posted(stored, day(10, 10), buy("pay_a", 300, 1_000), bonus("pay_a", 30))
    spent = posted(stored, day(10, 11), debit(A, 100))
    posted(stored, day(11, 1), debit(A, 100))
    posted(stored, day(11, 2), undo(spent, 50))
    posted(stored, day(11, 3), buy("pay_b", 70, 500, "EUR", day(11, 20)), gift("acc_2", 1_000))
    posted(stored, day(11, 4), debit(A, 7), debit("acc_2", 500))
    stored.post([Expire(account_id=A, actor="system")], day(11, 21))
    posted(stored, day(11, 25), take_back("pay_a", 180))
    return db


def figures(db: Database, month: str, out: Path) -> dict[str, RollForward]:
    return export_month(db, read_month(month), out).figures


def table(made: Exported, kind: str) -> list[dict[str, str]]:
    (path,) = [path for path in made.files if path.name.endswith(f"-{kind}.csv")]
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert not rows or tuple(rows[0]) == HEADERS[kind]
    return rows


def test_the_roll_forward_is_what_a_person_works_out(kept: Database, tmp_path: Path) -> None:
    assert figures(kept, "2026-09", tmp_path) == {}
    october = figures(kept, "2026-10", tmp_path)
    assert october == {"USD": RollForward(opening=0, sold=1_000, recognised=333)}
    assert october["USD"].closing == 667
    november = figures(kept, "2026-11", tmp_path)
    assert november == {
        "EUR": RollForward(sold=500, recognised=50, breakage=450),
        "USD": RollForward(opening=667, recognised=333 - 166 - 46, refunded=546),
    }
    assert {currency: of.closing for currency, of in november.items()} == {"EUR": 0, "USD": 0}
    assert figures(kept, "2026-12", tmp_path) == {}


def test_the_files_say_the_same_in_parts(kept: Database, tmp_path: Path) -> None:
    out = tmp_path / "books"
    made = export_month(kept, read_month("2026-11"), out)
    assert sorted(path.name for path in out.iterdir()) == sorted(f"2026-11-{kind}.csv" for kind in HEADERS)
    assert [list(row.values()) for row in table(made, "roll-forward")] == [
        ["EUR", "0", "500", "50", "450", "0", "0"],
        ["USD", "667", "0", "121", "0", "546", "0"],
    ]
    assert [list(row.values()) for row in table(made, "recognised-revenue")] == [
        [A, "2026-11-01", "USD", "100", "333"],
        [A, "2026-11-02", "USD", "-50", "-166"],
        [A, "2026-11-04", "EUR", "7", "50"],
        [A, "2026-11-25", "USD", "0", "-46"],
    ]
    (broken,) = table(made, "breakage")
    assert (broken["createdAt"], broken["type"], broken["credits"], broken["breakageMinor"]) == (
        "2026-11-21T00:00:00Z",
        "expiry",
        "63",
        "450",
    )
    lots = {row["purchaseId"]: row for row in table(made, "cost-basis")}
    assert (lots["pay_a"]["costMinor"], lots["pay_a"]["grantedCredits"], lots["pay_a"]["leftCredits"]) == (
        "1000",
        "300",
        "0",
    )
    assert lots.keys() == {"pay_a", "pay_b"}


def test_the_journal_is_double_entry(kept: Database, tmp_path: Path) -> None:
    rows = table(export_month(kept, read_month("2026-11"), tmp_path), "journal")
    lines = [
        (row["type"], row["currency"], row["ledgerAccount"], row["debitMinor"], row["creditMinor"]) for row in rows
    ]
    assert lines == [
        ("debit", "USD", "deferred_revenue", "333", "0"),
        ("debit", "USD", "revenue", "0", "333"),
        ("debit_reversal", "USD", "revenue", "166", "0"),
        ("debit_reversal", "USD", "deferred_revenue", "0", "166"),
        ("deposit", "EUR", "payments_clearing", "500", "0"),
        ("deposit", "EUR", "deferred_revenue", "0", "500"),
        ("debit", "EUR", "deferred_revenue", "50", "0"),
        ("debit", "EUR", "revenue", "0", "50"),
        ("expiry", "EUR", "deferred_revenue", "450", "0"),
        ("expiry", "EUR", "breakage_revenue", "0", "450"),
        ("refund", "USD", "deferred_revenue", "546", "0"),
        ("refund", "USD", "payments_clearing", "0", "546"),
        ("refund", "USD", "revenue", "46", "0"),
        ("refund", "USD", "deferred_revenue", "0", "46"),
    ]


def test_debt_paid_from_another_lot_is_recognised_and_a_refund_that_failed_is_deferred_again(
    db: Database, tmp_path: Path
) -> None:
    create_accounts(db, A, now=day(10, 1))
    stored = Stored(db)
    posted(stored, day(10, 2), buy("pay_a", 100, 1_000), debit(A, 100))
    posted(stored, day(10, 3), buy("pay_b", 120, 1_200))
    posted(stored, day(10, 4), take_back("pay_a", 100))
    assert figures(db, "2026-10", tmp_path) == {"USD": RollForward(sold=2_200, recognised=1_000, refunded=1_000)}
    posted(stored, day(11, 1), take_back("pay_b", 20))
    assert figures(db, "2026-11", tmp_path) == {"USD": RollForward(opening=200, refunded=200)}
    posted(stored, day(12, 1), give_back("pay_b", 20))
    december = figures(db, "2026-12", tmp_path)["USD"]
    assert (december.opening, december.refunded, december.closing) == (0, -200, 200)


def test_a_part_that_goes_back_takes_its_money_with_it_though_the_bonus_goes_first(
    db: Database, tmp_path: Path
) -> None:
    create_accounts(db, A, now=day(10, 1))
    stored = Stored(db)
    posted(stored, day(10, 2), buy("pay_a", 600_000, 60_000), bonus("pay_a", 60_000))
    posted(stored, day(10, 3), take_back("pay_a", 66_000))
    assert figures(db, "2026-10", tmp_path) == {"USD": RollForward(sold=60_000, refunded=6_000)}
    posted(stored, day(11, 1), debit(A, 297_000))
    posted(stored, day(12, 1), debit(A, 297_000))
    assert figures(db, "2026-11", tmp_path) == {"USD": RollForward(opening=54_000, recognised=27_000)}
    assert figures(db, "2026-12", tmp_path) == {"USD": RollForward(opening=27_000, recognised=27_000)}


def test_money_that_is_won_back_returns_to_what_it_left(db: Database, tmp_path: Path) -> None:
    create_accounts(db, A, now=day(10, 1))
    stored = Stored(db)
    posted(stored, day(10, 2), buy("pay_a", 100, 1_000), bonus("pay_a", 10), debit(A, 60))
    posted(stored, day(11, 1), take_back("pay_a", 110, 1_000))
    posted(stored, day(12, 1), give_back("pay_a", 110, 0))
    assert figures(db, "2026-10", tmp_path) == {"USD": RollForward(sold=1_000, recognised=600)}
    assert figures(db, "2026-11", tmp_path) == {"USD": RollForward(opening=400, recognised=-600, refunded=1_000)}
    december = figures(db, "2026-12", tmp_path)["USD"]
    assert (december.recognised, december.refunded, december.closing) == (600, -1_000, 400)


def test_what_is_kept_of_a_lot_that_goes_back_whole_is_earned(db: Database, tmp_path: Path) -> None:
    create_accounts(db, A, now=day(10, 1))
    stored = Stored(db)
    posted(stored, day(10, 2), buy("pay_a", 100, 1_000), debit(A, 20))
    posted(stored, day(10, 3), take_back("pay_a", 80, 500))
    told = figures(db, "2026-10", tmp_path)
    assert told == {"USD": RollForward(sold=1_000, recognised=200, breakage=300, refunded=500)}


def test_every_type_of_row_has_its_place_in_the_figures() -> None:
    assert KINDS.keys() == set(get_args(TransactionType))


@pytest.mark.parametrize("text", ["2026-13", "2026-00", "2026-1", "26-10", "2026-10-01", "２０２６-10", "0000-01"])
def test_what_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="month"):
        read_month(text)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["buy", "gift", "spend", "undo", "take", "give", "wait"]),
        st.integers(1, 97),
        st.integers(0, 1_000),
    ),
    min_size=5,
    max_size=30,
)


@dataclass
class Bought:
    """What the history knows of a purchase: what it granted and cost, and how much of both is out."""

    credits: int
    minor: int
    out_credits: int = 0

    @property
    def out_minor(self) -> int:
        return -(-self.minor * self.out_credits // self.credits)


@given(steps=STEPS, chunk=st.integers(1, 7))
@settings(max_examples=30)
def test_any_history_closes_keeps_the_money_that_was_kept_and_its_journal_sums_up_to_zero(
    db: Database, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]], chunk: int
) -> None:
    empty_tables(db)
    create_accounts(db, A, now=day(1, 1))
    stored, now = Stored(db), day(1, 2)
    bought: dict[str, Bought] = {}
    for step in steps:
        if step[0] == "wait":
            now += timedelta(days=step[1] % 17)
            continue
        stored.post(list(_commands(db, step, now, bought)), now)
    before, finance.CHUNK = finance.CHUNK, chunk
    try:
        _check_months(db, tmp_path_factory.mktemp("months"), now.month + 12 * (now.year - 2026), bought)
    finally:
        finance.CHUNK = before


def _commands(db: Database, step: tuple[str, int, int], now: datetime, bought: dict[str, Bought]) -> Iterator[Command]:
    kind, number, more = step
    with reading(db) as session:
        rows = rows_of(session, A)
    debits = [row for row in rows if row.type == "debit"]
    if kind == "buy":
        purchase_id, until = f"pay_{len(rows)}", now + timedelta(days=20) if more % 3 == 0 else None
        extra = number // 2 if more % 2 else 0
        bought[purchase_id] = Bought(number + extra, more)
        yield buy(purchase_id, number, more, until=until)
        if extra:
            yield bonus(purchase_id, extra, until)
    elif kind == "gift":
        yield gift(A, number)
    elif kind == "spend":
        yield debit(A, number)
    elif kind == "undo" and debits:
        yield undo(debits[more % len(debits)], number if more % 2 else None)
    elif kind in ("take", "give") and bought:
        purchase_id, of = list(bought.items())[more % len(bought)]
        credits = min(number, of.credits - of.out_credits if kind == "take" else of.out_credits)
        of.out_credits += credits if kind == "take" else -credits
        if credits > 0:
            yield (take_back if kind == "take" else give_back)(purchase_id, credits, of.out_minor)


def _check_months(db: Database, out: Path, months: int, bought: dict[str, Bought]) -> None:
    closing: dict[str, int] = defaultdict(int)
    deferred = cleared = 0
    of_purchase: dict[str, int] = defaultdict(int)
    of_lot: dict[str, int] = {}
    for place in range(months):
        made = export_month(db, read_month(f"{2026 + place // 12}-{place % 12 + 1:02d}"), out)
        for currency, of in made.figures.items():
            assert of.opening == closing[currency], "a month opens as the one before it closed"
            closing[currency] = of.closing
        for currency in closing.keys() - made.figures.keys():
            assert closing[currency] == 0, "what is deferred is in every month"
        sums: dict[str, int] = defaultdict(int)
        for row in table(made, "journal"):
            amount = int(row["debitMinor"]) - int(row["creditMinor"])
            sums[row["transactionId"]] += amount
            deferred -= amount if row["ledgerAccount"] == "deferred_revenue" else 0
            cleared += amount if row["ledgerAccount"] == "payments_clearing" else 0
        assert set(sums.values()) <= {0}, "each transaction sums up to zero"
        assert sum(int(row["recognisedMinor"]) for row in table(made, "recognised-revenue")) == sum(
            of.recognised for of in made.figures.values()
        )
        for row in table(made, "cost-basis"):
            of_lot[row["lotId"]] = int(row["closingMinor"])
            earned = int(row["recognisedMinor"]) + int(row["breakageMinor"])
            of_purchase[row["purchaseId"]] += earned
    assert sum(closing.values()) == deferred
    assert cleared == sum(each.minor - each.out_minor for each in bought.values()), "the money that moved"
    with reading(db) as session:
        lots = lots_of(session, A)
    for lot in lots:
        left = of_lot.get(lot.lot_id, 0)
        assert 0 <= left <= lot.cost_minor
        assert left == 0 or lot.remaining_credits + lot.held_credits > 0, "an empty lot has nothing deferred"
        of_purchase[lot.purchase_id or ""] += left
    for purchase_id, each in bought.items():
        assert of_purchase[purchase_id] == each.minor - each.out_minor, "earned or deferred is what was kept"
