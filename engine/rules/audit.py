"""What the audit keeps of one wallet while its rows pass, and what it finds."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from engine.rules.holds import Hold
from engine.rules.ledger import Transaction, Wallet, chain_hash
from engine.rules.lots import BUCKETS, Lot
from engine.rules.usage import DayUse, use_of_debit, use_of_reversal

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
Debits = Mapping[tuple[str, str], tuple[Transaction, int]]
"""Debits by account and id, with what was given back of each before the rows at hand."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not add up: where (`account/seq` or an object's id) and what."""

    where: str
    what: str


@dataclass(frozen=True, slots=True)
class _Granted:
    """What the row that made a lot says of it."""

    seq: int
    credits: int
    row: Transaction


class WalletCheck:
    """One wallet's rows in order of `seq`, then what is kept beside them. Only the first broken row is named."""

    def __init__(self, account_id: str, keys: Sequence[bytes]) -> None:
        self.account_id = account_id
        self._keys = keys
        self._count = 0
        self._balance = 0
        self._head = b""
        self._last: Transaction | None = None
        self._broken: Finding | None = None
        self._is_readable = True
        self._left: dict[str, int] = defaultdict(int)
        self._held: dict[str, int] = defaultdict(int)
        self._granted: dict[str, _Granted] = {}
        self._undone: dict[str, int] = {}
        self._use: dict[tuple[date, str], tuple[int, int]] = {}

    def begin_chunk(self) -> None:
        """More rows follow, with debits that say what was given back until here."""
        self._undone.clear()

    def take(self, seq: int, row: Transaction | None, debits: Debits) -> None:
        """The next row, or `None` for one that can't be read."""
        self._count += 1
        if row is None:
            self._is_readable = False
            self._break(seq, "it can't be read")
            return
        if self._broken is None:
            what = self._wrong(row, debits)
            if what is not None:
                self._break(seq, what)
        self._balance += row.amount_credits
        self._head = row.hash
        self._last = row
        for entry in row.entries:
            self._left[entry.lot_id] += entry.credits
            if row.type in ("hold", "hold_release"):
                self._held[entry.lot_id] -= entry.credits
            if row.type in ADDS or entry.lot_id not in self._granted:  # what finds its own lot full makes a new one
                self._granted[entry.lot_id] = _Granted(row.seq, entry.credits, row)
        self._count_use(row, debits)

    def _break(self, seq: int, what: str) -> None:
        if self._broken is None:
            self._broken = Finding(f"{self.account_id}/{seq}", what)

    def _wrong(self, row: Transaction, debits: Debits) -> str | None:
        """What is wrong with this row, all before it being right."""
        if row.seq != self._count:
            return f"row {self._count} is missing"
        if sum([entry.credits for entry in row.entries]) != row.amount_credits:
            return "its entries do not sum up to its amount"
        balance = self._balance + row.amount_credits
        if balance != row.balance_after:
            return f"its balance is {row.balance_after}, the rows before it make {balance}"
        if all(chain_hash(key, self._head, row) != row.hash for key in self._keys):
            return "its hash does not fit its text and the row before it"
        if row.reverses_id is not None:
            debit, undone = debits.get((row.account_id, row.reverses_id), (None, 0))
            if debit is None or debit.type != "debit" or debit.seq >= row.seq:
                return "it gives back more than its debit took, or has no debit"
            if self._undone.get(row.reverses_id, undone) + row.amount_credits > -debit.amount_credits:
                return "it gives back more than its debit took, or has no debit"
        return None

    def _count_use(self, row: Transaction, debits: Debits) -> None:
        if row.type == "debit":
            self._add_use(use_of_debit(row))
        elif row.reverses_id is not None:
            found = debits.get((row.account_id, row.reverses_id))
            if found is None:
                return
            debit, before = found
            undone = self._undone.get(row.reverses_id, before) + row.amount_credits
            self._undone[row.reverses_id] = undone
            if row.type == "debit_reversal":
                is_whole = undone == -debit.amount_credits
                self._add_use(use_of_reversal(debit, row.amount_credits, is_whole=is_whole))

    def _add_use(self, use: DayUse) -> None:
        credits, calls = self._use.get((use.day, use.provider_id), (0, 0))
        self._use[use.day, use.provider_id] = (credits + use.credits_spent, calls + use.call_count)

    def end(
        self, wallet: Wallet | None, lots: Sequence[Lot], usage: Sequence[DayUse], holds: Sequence[tuple[Hold, int]]
    ) -> list[Finding]:
        """Everything found, the first broken row before the rest. `holds` are the open ones, each with the sum its
        row keeps."""
        found = [self._broken] if self._broken is not None else []
        if wallet is None:
            return [*found, Finding(self.account_id, "rows without a wallet")]
        if not self._is_readable or self._last is None:
            return found  # sums over rows that can't be read would accuse what is right
        found += self._wallet_findings(wallet, self._last) + self._lot_findings(wallet, lots)
        return found + self._hold_findings(lots, holds) + self._uses(usage)

    def _wallet_findings(self, wallet: Wallet, last: Transaction) -> list[Finding]:
        checks = (
            (f"the wallet's seq is {wallet.seq}, the last row's {last.seq}", wallet.seq == last.seq),
            ("the wallet's head is not the last row's hash", wallet.head == last.hash),
            (
                f"the wallet owes {wallet.debt_credits}, the last row says {last.debt_after}",
                wallet.debt_credits == last.debt_after,
            ),
            ("the wallet's total is not the last row's balance", wallet.available_credits == last.balance_after),
        )
        return [Finding(f"{self.account_id}/{last.seq}", what) for what, is_so in checks if not is_so]

    def _lot_findings(self, wallet: Wallet, lots: Sequence[Lot]) -> list[Finding]:
        found = []
        totals, held = [0] * len(BUCKETS), [0] * len(BUCKETS)
        left = dict(self._left)
        for lot in lots:
            totals[BUCKETS.index(lot.bucket)] += lot.remaining_credits
            held[BUCKETS.index(lot.bucket)] += lot.held_credits
            if left.pop(lot.lot_id, 0) != lot.remaining_credits:
                found.append(Finding(lot.lot_id, "it holds something else than its entries leave"))
            if not self._is_as_granted(lot):
                found.append(Finding(lot.lot_id, "no row granted it as it says"))
        found += [Finding(lot_id, "entries name a lot that is not there") for lot_id in left]
        if totals != wallet.available:
            found.append(Finding(self.account_id, f"buckets hold {totals}, the wallet says {wallet.available}"))
        if held != wallet.held:
            found.append(Finding(self.account_id, f"lots reserve {held}, the wallet says {wallet.held}"))
        return found

    def _hold_findings(self, lots: Sequence[Lot], holds: Sequence[tuple[Hold, int]]) -> list[Finding]:
        """What is held of each lot is what its rows say and what the open holds pin of it."""
        found = []
        pinned: dict[str, int] = defaultdict(int)
        for hold, kept in holds:
            if hold.credits != kept:
                found.append(Finding(hold.hold_id, f"its parts are {hold.credits} and it says {kept}"))
            for part in hold.parts:
                pinned[part.lot_id] += part.credits
        for lot in lots:
            said, pins = self._held.get(lot.lot_id, 0), pinned.pop(lot.lot_id, 0)
            if not said == pins == lot.held_credits:
                what = f"{lot.held_credits} of it are held, its rows say {said} and the open holds pin {pins}"
                found.append(Finding(lot.lot_id, what))
        return found + [Finding(lot_id, "open holds pin a lot that is not there") for lot_id in pinned]

    def _is_as_granted(self, lot: Lot) -> bool:
        granted = self._granted.get(lot.lot_id)
        if granted is None or (granted.seq, granted.credits) != (lot.granted_seq, lot.granted_credits):
            return False
        row = granted.row
        if row.created_at != lot.granted_at or (lot.lot_id, lot.bucket) not in {
            (e.lot_id, e.bucket) for e in row.entries
        }:
            return False
        return row.type not in ADDS or (row.source, row.purchase_id) == (lot.source, lot.purchase_id)

    def _uses(self, usage: Sequence[DayUse]) -> list[Finding]:
        """Days and providers on which the kept totals are not what the debits say."""
        kept = {(use.day, use.provider_id): (use.credits_spent, use.call_count) for use in usage}
        found = []
        for key in sorted(self._use.keys() | kept.keys()):
            if self._use.get(key, (0, 0)) != kept.get(key, (0, 0)):
                where = f"{self.account_id}/{key[0]}"
                found.append(Finding(where, f"usage of {key[1] or 'no provider'} is not what its debits say"))
        return found
