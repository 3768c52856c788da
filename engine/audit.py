"""The audit: reads every ledger row and proves that the books add up, or names the first row that does not.

For every wallet: `seq` has no gap, the hash chain is whole, Σ entries = amount, `balance_after` is the running sum,
each lot holds what its entries leave, the wallet's totals are those of its lots, what is held of each lot is what the
rows say and the open holds pin, and head, `seq` and debt are those of the last row. For every payment: exactly the
grants its purchase names. For every series of documents: no gap.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from sqlalchemy import text
from sqlmodel import Session

from engine.rules.ledger import Transaction, Wallet, first_broken_row
from engine.rules.lots import BUCKETS, Lot
from engine.store import books
from engine.store.bulk import Row, select_rows, select_window
from engine.store.database import Database, reading
from engine.store.holds import HOLD, hold_of

CHUNK = 5_000
ADDS = frozenset(
    {
        "deposit",
        "auto_recharge",
        "volume_discount",
        "coupon_credit",
        "promo_credit",
        "monthly_credit",
        "commit_credit",
        "admin_credit",
    }
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not add up: where (`account/seq` or an object's id) and what."""

    where: str
    what: str


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
    with reading(db) as session:
        _audit_wallets(session, chain_keys, report, progress)
        _audit_purchases(session, report)
        _audit_documents(session, report)
    return report


def _audit_wallets(session: Session, keys: Sequence[bytes], report: Report, progress: Callable[[int], None]) -> None:
    """Wallets with rows, then those that claim to have some and have none."""
    seen: set[str] = set()
    for account_id, rows in groupby(_all_rows(session), key=lambda row: row.account_id):
        mine = list(rows)
        seen.add(account_id)
        report.rows += len(mine)
        _audit_wallet(session, keys, report, account_id, mine)
        progress(report.rows)
    for account_id, seq in session.execute(text("SELECT account_id, seq FROM wallets")).all():
        report.wallets += 1
        if seq > 0 and account_id not in seen:
            report.findings.append(Finding(account_id, f"the wallet counts {seq} rows and has none"))


def _all_rows(session: Session) -> Iterator[Transaction]:
    """Every ledger row by account and `seq`, in chunks."""
    after: Row = ("", 0)
    while True:
        chunk = select_window(session, "transactions", books.TRANSACTION, ("account_id", "seq"), after, CHUNK)
        yield from map(books.transaction_of, chunk)
        if len(chunk) < CHUNK:
            return
        after = (chunk[-1][0], chunk[-1][1])


def _audit_wallet(
    session: Session, keys: Sequence[bytes], report: Report, account_id: str, rows: list[Transaction]
) -> None:
    found = _first_wrong_row(rows)
    broken = first_broken_row(keys, rows)
    if broken is not None and (found is None or broken.seq <= int(found.where.rsplit("/", 1)[1])):
        found = Finding(f"{account_id}/{broken.seq}", "its hash does not fit its text and the row before it")
    if found is not None:
        report.findings.append(found)
    wallet_rows = select_rows(session, "wallets", books.WALLET, ("account_id",), [(account_id,)])
    if not wallet_rows:
        report.findings.append(Finding(account_id, "rows without a wallet"))
        return
    wallet = books.wallet_of(wallet_rows[0])
    last = rows[-1]
    for what, is_so in (
        (f"the wallet's seq is {wallet.seq}, the last row's {last.seq}", wallet.seq == last.seq),
        ("the wallet's head is not the last row's hash", wallet.head == last.hash),
        (
            f"the wallet owes {wallet.debt_credits}, the last row says {last.debt_after}",
            wallet.debt_credits == last.debt_after,
        ),
        ("the wallet's total is not the last row's balance", wallet.available_credits == last.balance_after),
    ):
        if not is_so:
            report.findings.append(Finding(f"{account_id}/{last.seq}", what))
    lots = list(map(books.lot_of, select_rows(session, "lots", books.LOT, ("account_id",), [(account_id,)])))
    _audit_lots(report, account_id, rows, lots, wallet.available)
    _audit_holds(session, report, rows, lots, wallet)


def _first_wrong_row(rows: list[Transaction]) -> Finding | None:
    balance = 0
    reversed_credits: dict[str, int] = defaultdict(int)
    debits: dict[str, int] = {}
    for place, row in enumerate(rows, start=1):
        where = f"{row.account_id}/{row.seq}"
        if row.seq != place:
            return Finding(where, f"row {place} is missing")
        if sum(entry.credits for entry in row.entries) != row.amount_credits:
            return Finding(where, "its entries do not sum up to its amount")
        balance += row.amount_credits
        if balance != row.balance_after:
            return Finding(where, f"its balance is {row.balance_after}, the rows before it make {balance}")
        if row.type == "debit":
            debits[row.transaction_id] = -row.amount_credits
        if row.reverses_id is not None:
            reversed_credits[row.reverses_id] += row.amount_credits
            if reversed_credits[row.reverses_id] > debits.get(row.reverses_id, 0):
                return Finding(where, "it gives back more than its debit took, or has no debit")
    return None


def _audit_lots(
    report: Report, account_id: str, rows: list[Transaction], lots: list[Lot], available: list[int]
) -> None:
    left: dict[str, int] = defaultdict(int)
    granted: dict[str, tuple[int, int]] = {}
    for row in rows:
        for entry in row.entries:
            left[entry.lot_id] += entry.credits
            if row.type in ADDS or entry.lot_id not in granted:  # what finds its own lot full makes a new one
                granted[entry.lot_id] = (row.seq, entry.credits)
    totals = [0] * len(BUCKETS)
    for lot in lots:
        totals[BUCKETS.index(lot.bucket)] += lot.remaining_credits
        if left.pop(lot.lot_id, 0) != lot.remaining_credits:
            report.findings.append(Finding(lot.lot_id, "it holds something else than its entries leave"))
        if granted.get(lot.lot_id) != (lot.granted_seq, lot.granted_credits):
            report.findings.append(Finding(lot.lot_id, "no row granted it as it says"))
    for lot_id in left:
        report.findings.append(Finding(lot_id, "entries name a lot that is not there"))
    if totals != available:
        report.findings.append(Finding(account_id, f"buckets hold {totals}, the wallet says {available}"))


def _audit_holds(session: Session, report: Report, rows: list[Transaction], lots: list[Lot], wallet: Wallet) -> None:
    """The wallet holds what its lots hold, each lot what the rows say and what the open holds pin of it."""
    by_rows: dict[str, int] = defaultdict(int)
    for row in rows:
        if row.type in ("hold", "hold_release"):
            for entry in row.entries:
                by_rows[entry.lot_id] -= entry.credits
    pinned: dict[str, int] = defaultdict(int)
    account_id = wallet.account_id
    columns = (*HOLD, "held_credits")
    for found in select_rows(session, "holds", columns, ("account_id", "status"), [(account_id, "open")]):
        hold = hold_of(found[:-1])
        if hold.credits != found[-1]:
            report.findings.append(Finding(hold.hold_id, f"its parts are {hold.credits} and it says {found[-1]}"))
        for part in hold.parts:
            pinned[part.lot_id] += part.credits
    totals = [0] * len(BUCKETS)
    for lot in lots:
        totals[BUCKETS.index(lot.bucket)] += lot.held_credits
        said, pins = by_rows.pop(lot.lot_id, 0), pinned.pop(lot.lot_id, 0)
        if not said == pins == lot.held_credits:
            what = f"{lot.held_credits} of it are held, its rows say {said} and the open holds pin {pins}"
            report.findings.append(Finding(lot.lot_id, what))
    for lot_id in pinned:
        report.findings.append(Finding(lot_id, "open holds pin a lot that is not there"))
    if totals != wallet.held:
        report.findings.append(Finding(account_id, f"lots hold back {totals}, the wallet says {wallet.held}"))


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


def _audit_documents(session: Session, report: Report) -> None:
    """Numbers of a series are 1, 2, 3 … up to the last one taken."""
    taken: dict[str, list[int]] = defaultdict(list)
    for series, number in session.execute(text("SELECT series, number_in_series FROM documents")).all():
        taken[series].append(number)
        report.documents += 1
    for series, last in session.execute(text("SELECT series, last FROM document_series")).all():
        if sorted(taken.pop(series, [])) != list(range(1, last + 1)):
            report.findings.append(Finding(series, f"its numbers are not 1 to {last}, once each"))
    for series in taken:
        report.findings.append(Finding(series, "documents without a series"))
