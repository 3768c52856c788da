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
    left = -sum(credits for row, credits in entries if row.type in ("expiry", "forfeit"))
    assert left == lot.expired_credits, "expired is what the expiry and forfeit rows say"
    parts = (lot.remaining_credits, lot.held_credits, lot.taken_credits, lot.expired_credits, lot.spent_credits)
    assert min(*parts, lot.owed_credits) >= 0, f"no part of a lot is negative: {lot}"
    assert sum(parts) == lot.granted_credits
    taken = -sum(credits for row, credits in entries if row.type in ("refund", "dispute"))
    assert lot.taken_credits <= taken, "only a refund or a dispute takes"
    for row, credits in entries:
        if row.type in ("debit", "debt_repayment", "admin_debit", "forfeit"):
            assert credits < 0 and row.created_at < lot.expires_at, "nothing is drawn from expiry on"
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


def spent_on_last_day(books: WalletBooks) -> int:
    """Debits of the wallet's last spending day, less what was reversed of them on that same day."""
    day = books.wallet.spent_on
    debits = {row.transaction_id: row for row in books.rows if row.type == "debit" and row.created_at.date() == day}
    spent = -sum(row.amount_credits for row in debits.values())
    undone = sum(row.amount_credits for row in books.rows if row.reverses_id in debits and row.created_at.date() == day)
    return spent - undone
