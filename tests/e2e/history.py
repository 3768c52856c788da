"""Checking what clients saw against what the ledger says: could these calls have happened one after the other?

A history is every call with its start and end, what it asked and what it was told. The ledger gives the order. Each
law of `check` names the call or row that breaks it; a history without faults has a single order of commands that
explains every answer, agrees with real time, and ends in exactly this ledger.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

NO_LIMIT = 2**62
COUNTED = frozenset({"debit", "hold", "hold_release", "debit_reversal"})
"""Rows that move what was spent today; a capture is a release and a debit, so it adds nothing by itself."""


@dataclass(frozen=True, slots=True)
class Row:
    """A ledger row as far as the laws look."""

    seq: int
    id: str
    type: str
    credits: int
    balance_after: int
    reference_id: str | None = None
    reverses_id: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One request from its first try to its answer. `row` is the id of the last row that it says it wrote.

    `available` and `spent` are what a refusal said the wallet stood at; of a change of limits, `credits` is the new
    daily limit.
    """

    start: float
    end: float
    account: str
    kind: str
    key: str
    credits: int
    status: int
    asked: str = ""
    code: str = ""
    is_replay: bool = False
    row: str | None = None
    balance_after: int | None = None
    available: int | None = None
    spent: int | None = None

    @property
    def is_done(self) -> bool:
        return self.status in (200, 201)


@dataclass(frozen=True, slots=True)
class Fault:
    """Which law is broken (`gap`, `balance`, `lost`, `order`, …) and by what."""

    law: str
    what: str


@dataclass(slots=True)
class _Wallet:
    """One account's rows by `seq`, its calls, and the state after each row that ends a command."""

    account: str
    rows: Sequence[Row]
    calls: list[Call]
    by_id: dict[str, Row] = field(default_factory=dict)
    writers: dict[str, list[Call]] = field(default_factory=lambda: defaultdict(list))
    spent_after: dict[int, int] = field(default_factory=dict)
    balance_after: dict[int, int] = field(default_factory=dict)

    def first_writer(self, row_id: str) -> Call:
        """Of the calls that name a row, the one that wrote it: the others were told so again."""
        return min(self.writers[row_id], key=lambda call: (call.is_replay, call.start))


def check(
    calls: Iterable[Call],
    ledgers: Mapping[str, Sequence[Row]],
    caps: Mapping[str, int] | None = None,
    limits: Mapping[str, int] | None = None,
) -> list[Fault]:
    """Every fault: `caps` are the coupons' by code, `limits` the daily ones that accounts had from the start."""
    told = list(calls)
    faults: list[Fault] = []
    for account, rows in ledgers.items():
        wallet = _Wallet(account, rows, [call for call in told if call.account == account])
        faults += _rows(wallet)
        faults += _claims(wallet)
        faults += _keys(wallet)
        faults += _undone(wallet)
        _note_states(wallet)
        faults += _order(wallet)
        faults += _refusals(wallet)
        faults += _limits(wallet, (limits or {}).get(account, NO_LIMIT))
    strangers = {call.account for call in told} - set(ledgers)
    faults += [Fault("lost", f"no ledger of {account}") for account in sorted(strangers)]
    return faults + _caps(told, caps or {})


def _rows(wallet: _Wallet) -> list[Fault]:
    """`seq` is 1, 2, 3 …, each balance the running sum, none below zero."""
    faults = []
    balance = 0
    for place, row in enumerate(wallet.rows, start=1):
        balance += row.credits
        where = f"{wallet.account}/{row.seq}"
        if row.seq != place:
            faults.append(Fault("gap", f"{where} stands at place {place}"))
        if row.balance_after != balance:
            faults.append(Fault("balance", f"{where} says {row.balance_after}, the rows make {balance}"))
            balance = row.balance_after
        if balance < 0:
            faults.append(Fault("overdrawn", f"{where} leaves {balance}"))
        if row.id in wallet.by_id:
            faults.append(Fault("twice", f"{where} is there twice"))
        wallet.by_id[row.id] = row
    return faults


def _claims(wallet: _Wallet) -> list[Fault]:
    """Every answer that claims a row names one that says the same, and every row is claimed."""
    faults = []
    for call in wallet.calls:
        if not call.is_done or call.row is None:
            continue
        row = wallet.by_id.get(call.row)
        if row is None:
            faults.append(Fault("lost", f"{call.kind} {call.key} was answered and is not in the ledger"))
            continue
        wallet.writers[call.row].append(call)
        if call.balance_after is not None and call.balance_after != row.balance_after:
            faults.append(Fault("answer", f"{call.key} was told {call.balance_after}, its row {row.balance_after}"))
    for row in wallet.rows:
        if row.type != "hold_release" and not wallet.writers.get(row.id):
            faults.append(Fault("unexplained", f"{wallet.account}/{row.seq} was written for nobody"))
    for row, after in zip(wallet.rows, [*wallet.rows[1:], None], strict=False):
        is_captured = after is not None and after.type == "debit" and after.reference_id == row.reference_id
        if row.type == "hold_release" and not is_captured and not wallet.writers.get(row.id):
            faults.append(Fault("unexplained", f"{wallet.account}/{row.seq} was released for nobody"))
    return faults


def _keys(wallet: _Wallet) -> list[Fault]:
    """A key stands for one request and makes one row, however often it is sent."""
    faults = []
    groups: dict[tuple[str, str], list[Call]] = defaultdict(list)
    for call in wallet.calls:
        if call.is_done and call.row is not None:
            groups[call.kind, call.key].append(call)
    for (kind, key), mine in groups.items():
        if len({call.row for call in mine}) > 1 or sum(not call.is_replay for call in mine) > 1:
            faults.append(Fault("key", f"{kind} {key} was carried out more than once"))
        if len({call.asked for call in mine}) > 1:
            faults.append(Fault("key", f"{kind} {key} answered two requests"))
    for row_id, claimed in wallet.writers.items():
        if len({(call.kind, call.key) for call in claimed}) > 1:
            faults.append(Fault("key", f"{wallet.by_id[row_id].id} answers several keys"))
    return faults


def _undone(wallet: _Wallet) -> list[Fault]:
    """No debit gives back more than it took, and no hold is released twice."""
    faults = []
    given: dict[str, int] = defaultdict(int)
    released: set[str | None] = set()
    for row in wallet.rows:
        if row.reverses_id is not None:
            given[row.reverses_id] += row.credits
            debit = wallet.by_id.get(row.reverses_id)
            if debit is None or given[row.reverses_id] > -debit.credits:
                faults.append(Fault("reversal", f"{wallet.account}/{row.seq} gives back more than was taken"))
        if row.type == "hold_release":
            if row.reference_id in released:
                faults.append(Fault("hold", f"{row.reference_id} ended twice"))
            released.add(row.reference_id)
    return faults


def _note_states(wallet: _Wallet) -> None:
    """What was available and spent after each command, and before all of them."""
    wallet.balance_after[0] = wallet.spent_after[0] = 0
    spent = 0
    for row in wallet.rows:
        spent -= row.credits if row.type in COUNTED else 0
        if wallet.writers.get(row.id):
            wallet.balance_after[row.seq], wallet.spent_after[row.seq] = row.balance_after, spent


def _order(wallet: _Wallet) -> list[Fault]:
    """What ended before another began stands before it."""
    faults = []
    latest: Call | None = None
    for row in wallet.rows:
        if not wallet.writers.get(row.id):
            continue
        call = wallet.first_writer(row.id)
        if latest is not None and call.end < latest.start:
            faults.append(Fault("order", f"{call.key} had ended when {latest.key} began and stands behind it"))
        if latest is None or call.start > latest.start:
            latest = call
    return faults


def _window(wallet: _Wallet, call: Call) -> list[int]:
    """The places in the ledger at which a call that wrote nothing may have been decided."""
    first, last = 0, wallet.rows[-1].seq if wallet.rows else 0
    for row_id in wallet.writers:
        writer, seq = wallet.first_writer(row_id), wallet.by_id[row_id].seq
        if writer.end < call.start:
            first = max(first, seq)
        elif writer.start > call.end:
            last = min(last, seq - 1)
    return [seq for seq in wallet.balance_after if first <= seq <= last]


def _refusals(wallet: _Wallet) -> list[Fault]:
    """A refusal for want of credits was true at some moment of the call, and so was the balance it told."""
    faults = []
    for call in wallet.calls:
        if call.status != 402 or not call.code.endswith("CREDIT-001"):
            continue
        balances = {wallet.balance_after[seq] for seq in _window(wallet, call)}
        if all(balance >= call.credits for balance in balances):
            faults.append(
                Fault("refusal", f"{call.key} was refused {call.credits} with at least {min(balances, default=0)}")
            )
        elif call.available is not None and call.available not in balances:
            faults.append(Fault("refusal", f"{call.key} was told {call.available}, which was never there meanwhile"))
    return faults


def _limits_at(wallet: _Wallet, call: Call, at_first: int) -> set[int]:
    """The daily limits that may have been in force during a call."""
    changes = [change for change in wallet.calls if change.kind == "limits" and change.is_done]
    ended = [change for change in changes if change.end < call.start]
    possible = set() if ended else {at_first}
    for change in changes:
        is_over = any(later.start > change.end for later in ended)
        if change.start <= call.end and not is_over:
            possible.add(change.credits)
    return possible


def _limits(wallet: _Wallet, at_first: int) -> list[Fault]:
    """No spend or hold passes the day's limit, and none is refused that would not have."""
    faults = []
    spent = 0
    for row in wallet.rows:
        before, spent = spent, spent - (row.credits if row.type in COUNTED else 0)
        if row.type == "hold" or (row.type == "debit" and wallet.writers.get(row.id)):
            call = wallet.first_writer(row.id) if wallet.writers.get(row.id) else None
            if call is None or call.kind not in ("spend", "hold", "extend"):
                continue
            if before - row.credits > max(_limits_at(wallet, call, at_first)):
                faults.append(Fault("limit", f"{wallet.account}/{row.seq} makes {before - row.credits} in a day"))
    for call in wallet.calls:
        if call.status != 402 or not call.code.endswith("CREDIT-002"):
            continue
        spends = {wallet.spent_after[seq] for seq in _window(wallet, call)}
        least = min(_limits_at(wallet, call, at_first))
        if all(each + call.credits <= least for each in spends) or call.spent not in {None, *spends}:
            faults.append(Fault("limit", f"{call.key} was refused below the limit, at {call.spent}"))
    return faults


def _caps(calls: Sequence[Call], caps: Mapping[str, int]) -> list[Fault]:
    """A coupon is redeemed up to its cap, never beyond, and used up only then; once for each account."""
    faults = []
    for code, cap in caps.items():
        mine = [call for call in calls if call.kind == "coupon" and call.asked == code]
        takers = {call.account for call in mine if call.is_done}
        fresh = [call.account for call in mine if call.is_done and not call.is_replay]
        if len(takers) > cap or len(fresh) > len(takers):
            faults.append(Fault("cap", f"{code} was redeemed {len(fresh)} times, its cap is {cap}"))
        if len(takers) < cap and any(call.code.endswith("COUPON-005") for call in mine):
            faults.append(Fault("cap", f"{code} was called used up after {len(takers)} of {cap}"))
    return faults
