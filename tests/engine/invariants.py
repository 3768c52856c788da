"""What is true of every wallet's books after every command, checked from the rows alone."""

from collections import defaultdict
from itertools import pairwise

from engine.rules.ledger import Transaction, first_broken_row
from engine.rules.lots import BUCKETS, Lot
from tests.engine.backends import WalletBooks
from tests.engine.support import CHAIN_KEY


def check(books: WalletBooks) -> None:
    """Fail on the first law of the ledger that these books break."""
    _check_rows(books)
    _check_lots(books)
    _check_wallet(books)
    _check_holds(books)


def _check_rows(books: WalletBooks) -> None:
    rows = books.rows
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1)), "seq counts 1, 2, 3 … with no gap"
    balance = 0
    for row in rows:
        balance += row.amount_credits
        assert row.amount_credits == sum(entry.credits for entry in row.entries), "a row is the sum of its entries"
        assert row.balance_after == balance, "balanceAfter is the running sum"
        assert row.balance_after >= 0 and row.debt_after >= 0
        assert len({entry.lot_id for entry in row.entries}) == len(row.entries), "one entry a lot"
        assert 0 not in {entry.credits for entry in row.entries}, "no empty entry"
    assert all(before.created_at <= after.created_at for before, after in pairwise(rows)), "time never runs back"
    assert len({row.transaction_id for row in rows}) == len(rows)
    assert first_broken_row([CHAIN_KEY], rows) is None, "the chain holds"
    assert books.wallet.head == (rows[-1].hash if rows else b""), "the head is the last row's hash"


def _check_lots(books: WalletBooks) -> None:
    entries: dict[str, list[tuple[Transaction, int]]] = defaultdict(list)
    for row in books.rows:
        for entry in row.entries:
            entries[entry.lot_id].append((row, entry.credits))
    assert {lot.lot_id for lot in books.lots} == set(entries), "every lot has rows, every entry a lot"
    for lot in books.lots:
        check_lot(lot, entries[lot.lot_id])


def check_lot(lot: Lot, entries: list[tuple[Transaction, int]]) -> None:
    """One lot against all entries that name it, in order."""
    granting, granted = entries[0]
    assert (granting.seq, granted, granting.created_at) == (lot.granted_seq, lot.granted_credits, lot.granted_at)
    assert sum(credits for _, credits in entries) == lot.remaining_credits, "remaining is the sum of the entries"
    held = -sum(credits for row, credits in entries if row.type in ("hold", "hold_release"))
    assert held == lot.held_credits, "held is what the rows of holds say"
    left = -sum(credits for row, credits in entries if row.type in ("expiry", "forfeit"))
    assert left == lot.expired_credits, "expired is what the expiry and forfeit rows say"
    parts = (lot.remaining_credits, lot.held_credits, lot.taken_credits, lot.expired_credits, lot.spent_credits)
    assert min(*parts, lot.owed_credits) >= 0, f"no part of a lot is negative: {lot}"
    assert sum(parts) == lot.granted_credits
    taken = -sum(credits for row, credits in entries if row.type in ("refund", "dispute"))
    assert lot.taken_credits <= taken, "only a refund or a dispute takes"
    for row, credits in entries:
        if row.type in ("debit", "debt_repayment", "hold", "admin_debit", "forfeit"):
            is_captured = row.type == "debit" and row.reference_type == "hold"
            assert credits < 0
            assert is_captured or row.created_at < lot.expires_at, "only what was held is drawn from expiry on"
        if row.type == "expiry":
            assert row.created_at >= lot.expires_at, "nothing expires before its time"


def _check_wallet(books: WalletBooks) -> None:
    wallet, rows, lots = books.wallet, books.rows, books.lots
    assert wallet.seq == len(rows)
    for place, bucket in enumerate(BUCKETS):
        assert wallet.available[place] == sum(lot.remaining_credits for lot in lots if lot.bucket == bucket)
        assert wallet.held[place] == sum(lot.held_credits for lot in lots if lot.bucket == bucket)
    if rows:
        last = rows[-1]
        assert wallet.available_credits == last.balance_after
        assert wallet.debt_credits == last.debt_after
        assert wallet.last_at == last.created_at
        assert wallet.spent_today(wallet.spent_on) == spent_on_last_day(books)
    assert wallet.debt_credits == 0 or wallet.available_credits == 0, "debt is paid before anything is available"
    for lot in lots:
        assert lot.remaining_credits == 0 or wallet.next_expiry_at <= lot.expires_at, "no expiry is overlooked"


def _check_holds(books: WalletBooks) -> None:
    """Every hold against the rows that name it; and what is held of each lot is what the open holds pin."""
    rows: dict[str, list[Transaction]] = defaultdict(list)
    for row in books.rows:
        if row.reference_type == "hold" and row.reference_id is not None:
            rows[row.reference_id].append(row)
    assert set(rows) == {hold.hold_id for hold in books.holds}, "every hold has rows, every row of a hold a hold"
    pinned: dict[str, int] = defaultdict(int)
    for hold in books.holds:
        mine = rows[hold.hold_id]
        made = [row for row in mine if row.type == "hold"]
        released = [row for row in mine if row.type == "hold_release"]
        debits = [row for row in mine if row.type == "debit"]
        assert hold.credits == -sum(row.amount_credits for row in made)
        assert [row.amount_credits for row in released] == ([] if hold.status == "open" else [hold.credits])
        assert hold.captured_credits == -sum(row.amount_credits for row in debits)
        assert len(debits) == (hold.status == "captured")
        assert (hold.ended_at is None) == (hold.status == "open")
        if hold.status == "open":
            assert books.wallet.next_hold_expiry_at <= hold.expires_at, "no hold's end is overlooked"
            for part in hold.parts:
                pinned[part.lot_id] += part.credits
    assert {lot.lot_id: lot.held_credits for lot in books.lots if lot.held_credits} == pinned


def spent_on_last_day(books: WalletBooks) -> int:
    """What counts on the wallet's last spending day, from the rows of that day alone."""
    day = books.wallet.spent_on
    today = [row for row in books.rows if row.created_at.date() == day]
    counted = {row.transaction_id: -row.amount_credits for row in today if row.type == "debit"}
    total = 0
    for hold_id in {row.reference_id for row in today if row.reference_type == "hold"}:
        mine = [row for row in today if row.reference_id == hold_id and row.reference_type == "hold"]
        held = -sum(row.amount_credits for row in mine if row.type == "hold")
        released = sum(row.amount_credits for row in mine if row.type == "hold_release")
        debits = [row for row in mine if row.type == "debit"]
        if not released:
            total += held
        for row in debits:
            captured = -row.amount_credits
            counted[row.transaction_id] = max(0, captured - (released - held))
    for transaction_id, credits in counted.items():
        undone = sum(row.amount_credits for row in today if row.reverses_id == transaction_id)
        total += credits - min(undone, credits)
    return total
