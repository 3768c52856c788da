"""The audit: reads every ledger row and proves that the books add up, or names the first row that does not.

For every wallet: `seq` has no gap, the hash chain is whole, Σ entries = amount, `balance_after` is the running sum,
each lot holds what its entries leave, the wallet's totals are those of its lots, what is held of each lot is what the
rows say and the open holds pin, head, `seq`, debt and the day's spending are those of the rows, daily usage is what the
debits say, what counts on an API key's day is what was spent and held with it, and what was taken back of a purchase is
what its lots say. For every purchase: exactly the grants it names, and what its provider's facts demand
(`engine/audit_purchases.py`). For every coupon: as many uses as redemptions and purchases that have it. For every
series of documents: no gap, and its chain whole. What the desk decided and what invoices paid for is looked at in
`engine/audit_desk.py`.

It reads one snapshot, window by window and keeps of a wallet only sums (by lot, by day and provider or key); one with a
million rows takes no more memory than one with ten. Several processes may share the accounts (`engine/audit_many.py`).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlmodel import Session

from engine.audit_desk import desk_findings
from engine.audit_documents import audit_documents
from engine.audit_purchases import audit_purchases
from engine.rules.audit import Finding, Row, WalletCheck
from engine.rules.audit_ends import end_findings
from engine.rules.coupons import uses_coupon
from engine.rules.holds import Hold
from engine.rules.keyed_hash import hmac_sha256
from engine.store import books, scan
from engine.store.database import Database, snapshot
from engine.store.scan import Span

CHUNK = 5_000
TYPE = books.TRANSACTION.index("type")
REFERENCE = books.TRANSACTION.index("reference_type")
REVERSES = books.TRANSACTION.index("reverses_id")
UNREADABLE = (TypeError, ValueError, IndexError, msgspec.MsgspecError, OperationalError)
"""What a row raises that no row of ours can be made of; SQLite's driver refuses text that is not UTF-8."""


@dataclass(slots=True)
class Report:
    """What was read, and what was found wrong; clean if nothing was. `coupons` counts the grants of each."""

    wallets: int = 0
    rows: int = 0
    purchases: int = 0
    documents: int = 0
    findings: list[Finding] = field(default_factory=list)
    coupons: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    @property
    def is_clean(self) -> bool:
        return not self.findings


Progress = Callable[[int], None]
"""Told how many ledger rows have been read; may raise to end the audit."""


def audit(db: Database, chain_keys: Sequence[bytes], progress: Progress = lambda rows: None) -> Report:
    """Read everything and report."""
    report = Report()
    with snapshot(db) as session:
        audit_span(session, Span(), chain_keys, report, progress)
        audit_rest(session, chain_keys, report)
    return report


def audit_rest(session: Session, keys: Sequence[bytes], report: Report) -> None:
    """All that is not one wallet's rows: wallets without any, purchases, coupons, documents."""
    report.wallets = scan.count_wallets(session)
    for account_id, what in scan.accounts_without_rows(session):
        report.findings.append(Finding(account_id, what))
    report.purchases = audit_purchases(session, report.findings)
    _audit_coupons(session, report)
    report.documents = audit_documents(session, keys, report.findings)
    report.findings += desk_findings(session)


def audit_span(
    session: Session, span: Span, keys: Sequence[bytes], report: Report, progress: Progress = lambda rows: None
) -> None:
    """The wallets of a span that have rows, in the order of their ids."""
    links = [hmac_sha256(key) for key in keys]
    check: WalletCheck | None = None
    for chunk in _chunks(session, span):
        debits = _reversed_debits(session, chunk)
        holds = _holds_of(session, chunk, (row for row, _ in debits.values()))
        ended: list[WalletCheck] = []
        if check is not None:
            check.begin_chunk()
        for (account_id, seq), row in chunk:
            if check is None or check.account_id != account_id:
                if check is not None:
                    ended.append(check)
                check = WalletCheck(account_id, links)
            check.take(seq, row, debits, holds)
        _close(session, ended, report)
        report.rows += len(chunk)
        progress(report.rows)
    if check is not None:
        _close(session, [check], report)


Keyed = tuple[tuple[str, int], Row | None]
"""A row under its key, or nothing where no row can be made of what is stored."""


def _chunks(session: Session, span: Span) -> Iterator[list[Keyed]]:
    """Every ledger row of a span by account and `seq`."""
    after = span.start
    while True:
        chunk = _chunk(session, span, after, CHUNK)
        if not chunk:
            return
        yield chunk
        after = chunk[-1][0]


def _chunk(session: Session, span: Span, after: Row, limit: int) -> list[Keyed]:
    """The next rows; where a chunk can't be read, fewer, down to the one that is at fault."""
    try:
        return [((row[0], row[1]), row) for row in scan.ledger_window(session, span, after, limit)]
    except UNREADABLE:
        if limit > 1:
            return _chunk(session, span, after, max(1, limit // 8))
        return [((row[0], row[1]), None) for row in scan.key_window(session, span, after, 1)]


def _reversed_debits(session: Session, chunk: list[Keyed]) -> dict[tuple[str, str], tuple[Row, int]]:
    """The debits that rows of this chunk reverse, with what rows before the chunk had given back of each."""
    wanted = {(row[0], row[REVERSES]) for _, row in chunk if row is not None and row[REVERSES] is not None}
    if not wanted:
        return {}
    account_before, seq_before = chunk[0][0]
    before: dict[tuple[str, str], int] = defaultdict(int)
    try:
        for account_id, debit_id, seq, credits in scan.reversals_of(session, wanted):
            if account_id == account_before and seq < seq_before:
                before[account_id, debit_id] += credits
        return {(row[0], row[2]): (row, before[row[0], row[2]]) for row in scan.rows_by_id(session, wanted)}
    except UNREADABLE:
        return {}  # the row at fault is found where it stands


def _holds_of(session: Session, chunk: list[Keyed], debits: Iterable[Row]) -> dict[Row, Hold]:
    """The holds that rows of this chunk, or debits that they reverse, are of."""
    rows = [row for _, row in chunk if row is not None and row[REFERENCE] == "hold"]
    rows += [row for row in debits if row[REFERENCE] == "hold"]
    wanted = {(row[0], row[REFERENCE + 1]) for row in rows if row[REFERENCE + 1] is not None}
    try:
        return scan.holds_by_id(session, wanted)
    except UNREADABLE:
        return _readable_holds(session, wanted)


def _readable_holds(session: Session, wanted: Iterable[Row]) -> dict[Row, Hold]:
    """One by one, without those that can't be read."""
    found: dict[Row, Hold] = {}
    for key in wanted:
        try:
            found |= scan.holds_by_id(session, [key])
        except UNREADABLE:
            continue
    return found


def _close(session: Session, checks: Sequence[WalletCheck], report: Report) -> None:
    """Hold what the rows of wallets made against what is kept beside them."""
    if not checks:
        return
    try:
        kept = scan.beside(session, [check.account_id for check in checks])
    except UNREADABLE as error:
        if len(checks) > 1:
            for check in checks:
                _close(session, [check], report)
            return
        (check,) = checks
        report.findings += [check.broken] if check.broken is not None else []
        report.findings.append(Finding(check.account_id, f"what is kept beside its rows can't be read: {error}"))
        return
    for check in checks:
        own = kept[check.account_id]
        report.findings += end_findings(check, own.wallet, own.lots, own.uses, own.key_uses, own.holds)
        for coupon, count in check.kept.coupons.items():
            report.coupons[coupon] += count


def _audit_coupons(session: Session, report: Report) -> None:
    """Every coupon was counted as often as it was redeemed and is on purchases that have its use."""
    granted = dict(report.coupons)
    for purchase_id, coupon, status, landed_at, is_counted in session.execute(
        text(
            "SELECT u.purchase_id, u.coupon, p.status, p.landed_at, u.is_counted FROM purchase_coupons u "
            "JOIN purchases p ON p.account_id = u.account_id AND p.purchase_id = u.purchase_id"
        )
    ):
        right = {uses_coupon(status, has_landed=landed_at is not None, is_over=is_over) for is_over in (False, True)}
        if bool(is_counted) not in right:
            said = "counted" if is_counted else "not counted"
            report.findings.append(Finding(purchase_id, f"it is {status} and the use of its coupon is {said}"))
        if is_counted:
            granted[coupon] = granted.get(coupon, 0) + 1
    for coupon, used in session.execute(text("SELECT coupon, used FROM coupon_uses ORDER BY coupon")):
        made = granted.pop(coupon, 0)
        if made != used:
            report.findings.append(Finding(coupon, f"the coupon was granted {made} times and counted {used}"))
    report.findings += [Finding(coupon, "the coupon was granted and never counted") for coupon in sorted(granted)]


__all__ = ["CHUNK", "Finding", "Progress", "Report", "audit", "audit_rest", "audit_span"]
