"""The audit: reads every ledger row and proves that the books add up, or names the first row that does not.

For every wallet: `seq` has no gap, the hash chain is whole, Σ entries = amount, `balance_after` is the running sum,
each lot holds what its entries leave, the wallet's totals are those of its lots, what is held of each lot is what the
rows say and the open holds pin, head, `seq` and debt are those of the last row, and daily usage is what the debits say.
For every payment: exactly the grants its purchase names. For every series of documents: no gap, and its chain whole.

It reads one snapshot, row by row, and keeps of a wallet only sums (by lot, by day and provider): a wallet with a
million rows takes no more memory than one with ten.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlmodel import Session

from engine.audit_documents import audit_documents
from engine.rules.audit import Finding, WalletCheck
from engine.rules.holds import Hold
from engine.rules.ledger import Transaction
from engine.store import books
from engine.store.bulk import Row, select_rows, select_window
from engine.store.database import Database, snapshot
from engine.store.holds import HOLD, hold_of
from engine.store.usage import all_usage

CHUNK = 5_000
KEY = ("account_id", "seq")
_NUMBERS = tuple(
    books.TRANSACTION.index(name) for name in ("seq", "amount_credits", "balance_after", "debt_after", "command_rows")
)
_encode = msgspec.json.Encoder().encode
UNREADABLE = (TypeError, ValueError, msgspec.MsgspecError, OperationalError)
"""What a row raises that no row of ours can be made of; SQLite's driver refuses text that is not UTF-8."""


@dataclass(slots=True)
class Report:
    """What was read, and what was found wrong; clean if nothing was."""

    wallets: int = 0
    rows: int = 0
    purchases: int = 0
    documents: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not self.findings


def audit(db: Database, chain_keys: Sequence[bytes], progress: Callable[[int], None] = lambda rows: None) -> Report:
    """Read everything and report; `progress` is told how many ledger rows have been read."""
    report = Report()
    with snapshot(db) as session:
        _audit_wallets(session, chain_keys, report, progress)
        _audit_purchases(session, report)
        report.documents = audit_documents(session, chain_keys, report.findings)
    return report


def _audit_wallets(session: Session, keys: Sequence[bytes], report: Report, progress: Callable[[int], None]) -> None:
    """Wallets with rows, in the order of their ids, then those that claim to have some and have none."""
    seen: set[str] = set()
    check: WalletCheck | None = None
    for chunk in _chunks(session):
        debits = _reversed_debits(session, chunk)
        if check is not None:
            check.begin_chunk()
        for key, row in chunk:
            if check is None or check.account_id != key[0]:
                if check is not None:
                    _close(session, check, report)
                check = WalletCheck(key[0], keys)
                seen.add(key[0])
            check.take(key[1], row, debits)
        report.rows += len(chunk)
        progress(report.rows)
    if check is not None:
        _close(session, check, report)
    for account_id, seq in session.execute(text("SELECT account_id, seq FROM wallets")).all():
        report.wallets += 1
        if seq > 0 and account_id not in seen:
            report.findings.append(Finding(account_id, f"the wallet counts {seq} rows and has none"))
    for what, table in (("lots", "lots"), ("usage", "usage_daily")):
        for (account_id,) in session.execute(text(f"SELECT DISTINCT account_id FROM {table}")).all():  # noqa: S608
            if account_id not in seen:
                report.findings.append(Finding(account_id, f"it has {what} and no rows"))


Keyed = tuple[tuple[str, int], Transaction | None]
"""A row under its key, or nothing where no row can be made of what is stored."""


def _chunks(session: Session) -> Iterator[list[Keyed]]:
    """Every ledger row by account and `seq`."""
    after: Row = ("", -(2**62))
    while True:
        chunk = _chunk(session, after, CHUNK)
        if chunk:
            yield chunk
            after = chunk[-1][0]
        else:
            return


def _chunk(session: Session, after: Row, limit: int) -> list[Keyed]:
    """The next rows; where a chunk can't be read, fewer, down to the one that is at fault."""
    try:
        rows = select_window(session, "transactions", books.TRANSACTION, KEY, after, limit)
    except UNREADABLE:
        if limit > 1:
            return _chunk(session, after, max(1, limit // 8))
        return [(_key(row), None) for row in select_window(session, "transactions", KEY, KEY, after, 1)]
    return [(_key(row), _read(row)) for row in rows]


def _key(row: Row) -> tuple[str, int]:
    return row[0], row[1]


def _read(row: Row) -> Transaction | None:
    """The row as it was written, its entries to the byte; SQLite keeps any value in any column."""
    for place in _NUMBERS:
        if type(row[place]) is not int:
            return None
    if type(row[books.ENTRIES]) is not str:
        return None
    try:
        read = books.transaction_of(row)
    except UNREADABLE:
        return None
    return read if _encode(read.entries) == row[books.ENTRIES].encode() else None


def _reversed_debits(session: Session, chunk: list[Keyed]) -> dict[tuple[str, str], tuple[Transaction, int]]:
    """The debits that rows of this chunk reverse, with what rows before the chunk had given back of each."""
    wanted = [(row.account_id, row.reverses_id) for _, row in chunk if row is not None and row.reverses_id is not None]
    if not wanted:
        return {}
    account_before, seq_before = chunk[0][0]
    before: dict[tuple[str, str], int] = defaultdict(int)
    columns = ("account_id", "reverses_id", "seq", "amount_credits")
    try:
        for account_id, debit_id, seq, credits in select_rows(session, "transactions", columns, columns[:2], wanted):
            if account_id == account_before and seq < seq_before:
                before[account_id, debit_id] += credits
        rows = select_rows(session, "transactions", books.TRANSACTION, ("account_id", "transaction_id"), wanted)
    except UNREADABLE:
        return {}  # the row at fault is found where it stands
    debits = [debit for debit in map(_read, rows) if debit is not None]
    return {(d.account_id, d.transaction_id): (d, before[d.account_id, d.transaction_id]) for d in debits}


def _close(session: Session, check: WalletCheck, report: Report) -> None:
    """Hold what the rows made against what is kept beside them."""
    account_id = check.account_id
    try:
        wallets = select_rows(session, "wallets", books.WALLET, ("account_id",), [(account_id,)])
        lots = list(map(books.lot_of, select_rows(session, "lots", books.LOT, ("account_id",), [(account_id,)])))
        wallet = books.wallet_of(wallets[0]) if wallets else None
        usage = all_usage(session, account_id)
        report.findings.extend(check.end(wallet, lots, usage, _open_holds(session, account_id)))
    except UNREADABLE as error:
        report.findings.append(Finding(account_id, f"what is kept beside its rows can't be read: {error}"))


def _open_holds(session: Session, account_id: str) -> list[tuple[Hold, int]]:
    """The open holds by their parts, each with the sum its row keeps."""
    columns = (*HOLD, "held_credits")
    found = select_rows(session, "holds", columns, ("account_id", "status"), [(account_id, "open")])
    return [(hold_of(row[:-1]), row[-1]) for row in found]


def _audit_purchases(session: Session, report: Report) -> None:
    """Every landed purchase has its base grant and, where it names one, its bonus, once each, and no other has any."""
    granted: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
    for account_id, purchase_id, kind, credits in session.execute(
        text(
            "SELECT account_id, purchase_id, type, amount_credits FROM transactions "
            "WHERE purchase_id IS NOT NULL AND type IN ('deposit', 'auto_recharge', 'volume_discount')"
        )
    ).all():
        granted[(account_id, purchase_id)].append((kind, credits))
    for account_id, purchase_id, landed_at, base, bonus in session.execute(
        text("SELECT account_id, purchase_id, landed_at, base_credits, bonus_credits FROM purchases")
    ).all():
        report.purchases += 1
        named = [base] + ([bonus] if bonus else []) if landed_at is not None else []
        has = granted.pop((account_id, purchase_id), [])
        if sorted(credits for _, credits in has) != sorted(named):
            report.findings.append(Finding(purchase_id, f"it names the grants {named} and has {has}"))
    for (_, purchase_id), has in granted.items():
        report.findings.append(Finding(purchase_id, f"grants without a purchase: {has}"))
