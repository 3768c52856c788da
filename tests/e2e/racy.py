"""Wallets that are honest or racy on purpose, driven by clients whose steps a seed interleaves.

Each operation looks, waits its turn, and acts. The honest bank looks again when it acts; each fault lets one decision
stand on what was seen before the wait. Time is the number of steps taken.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from tests.e2e.history import Call, Row

FaultName = Literal[
    "none",
    "lost update",
    "replayed key spends twice",
    "limit before lock",
    "refusal on a stale read",
    "seq taken by a refusal",
    "end cut off",
    "written and refused",
    "balance before lock",
    "written later",
    "cap before lock",
    "reversal before lock",
    "hold before lock",
]
ACCOUNTS = ("a", "b")
COUPON = "FEW"
CAP = 1
LIMIT = 40
START_LIMITS = dict.fromkeys(ACCOUNTS, LIMIT)


@dataclass(frozen=True, slots=True)
class Ask:
    account: str
    kind: str
    key: str
    credits: int


@dataclass(slots=True)
class Purse:
    """One wallet. `stale` is a balance that somebody keeps beside it."""

    balance: int = 0
    spent: int = 0
    stale: int = 0
    numbers: int = 0
    rows: list[Row] = field(default_factory=list)
    keys: dict[str, tuple[Ask, Row]] = field(default_factory=dict)
    given: dict[str, int] = field(default_factory=dict)
    open_holds: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class View:
    """What an operation saw when it came."""

    balance: int
    spent: int
    uses: int
    keys: frozenset[str]
    given: dict[str, int]
    open_holds: dict[str, int]


Steps = Generator[None, None, Call]


@dataclass(slots=True)
class Bank:
    """Wallets, one coupon, and one fault."""

    fault: FaultName
    random: Random
    purses: dict[str, Purse] = field(default_factory=lambda: {name: Purse() for name in ACCOUNTS})
    uses: int = 0
    clock: int = 0
    later: list[tuple[Purse, Row]] = field(default_factory=list)

    def run(self, ask: Ask) -> Steps:
        """Look, wait, act, answer; the call as its client saw it."""
        start = self.tick()
        seen = self._view(ask)
        yield
        self.tick()
        answer = self._act(ask, seen)
        yield
        return Call(start=start, end=self.tick(), account=ask.account, kind=ask.kind, key=ask.key, **answer)  # type: ignore[arg-type]

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    def flush(self) -> None:
        """Write what waits, newest first."""
        while self.later:
            purse, row = self.later.pop()
            self._append(purse, row.type, row.credits, row.id)

    def _view(self, ask: Ask) -> View:
        purse = self.purses[ask.account]
        return View(
            purse.balance,
            purse.spent,
            self.uses,
            frozenset(purse.keys),
            dict(purse.given),
            dict(purse.open_holds),
        )

    def _act(self, ask: Ask, seen: View) -> dict[str, object]:
        purse = self.purses[ask.account]
        now = self._view(ask)
        asked = COUPON if ask.kind == "coupon" else f"{ask.kind} {ask.credits}"
        told: dict[str, object] = {"credits": ask.credits, "asked": asked}
        known = seen.keys if self.fault == "replayed key spends twice" else now.keys
        if ask.key in known:
            before, row = purse.keys[ask.key]
            if before != ask:
                return told | {"status": 422, "code": "IDEMPOTENCY-002"}
            return told | {"status": 201, "is_replay": True, "row": row.id, "balance_after": row.balance_after}
        refused = self._refusal(ask, seen, now)
        if refused is not None:
            if self.fault == "seq taken by a refusal":
                purse.numbers += 1
            if self.fault != "written and refused" or ask.kind != "spend" or purse.balance < ask.credits:
                return told | refused
            self._write(purse, ask, seen)
            return told | refused
        row = self._write(purse, ask, seen)
        return told | {"status": 201, "row": row.id, "balance_after": row.balance_after}

    def _refusal(self, ask: Ask, seen: View, now: View) -> dict[str, object] | None:
        """Why not, decided on what is so, or on what the fault looks at."""
        if ask.kind == "grant":
            return None
        if ask.kind == "coupon":
            uses = seen.uses if self.fault == "cap before lock" else now.uses
            if any(row.type == "coupon_credit" for row in self.purses[ask.account].rows):
                return {"status": 409, "code": "COUPON-002"}
            return {"status": 409, "code": "COUPON-005"} if uses >= CAP else None
        if ask.kind == "reversal":
            given = seen.given if self.fault == "reversal before lock" else now.given
            return {"status": 409, "code": "SPEND-001"} if not any(given.values()) else None
        if ask.kind == "void":
            holds = seen.open_holds if self.fault == "hold before lock" else now.open_holds
            return {"status": 409, "code": "HOLD-001"} if not holds else None
        spent = seen.spent if self.fault == "limit before lock" else now.spent
        if spent + ask.credits > LIMIT:
            return {"status": 402, "code": "CREDIT-002", "spent": spent}
        balance = now.balance
        if self.fault in ("balance before lock", "lost update"):
            balance = seen.balance
        if self.fault == "refusal on a stale read":
            balance = min(balance, self.purses[ask.account].stale)
        if balance < ask.credits:
            return {"status": 402, "code": "CREDIT-001", "available": balance}
        return None

    def _write(self, purse: Purse, ask: Ask, seen: View) -> Row:
        reference = reverses = None
        credits, kind = ask.credits, "promo_credit"
        if ask.kind in ("spend", "hold"):
            credits, kind = -ask.credits, "debit" if ask.kind == "spend" else "hold"
        if ask.kind == "coupon":
            kind, self.uses = "coupon_credit", self.uses + 1
        if ask.kind == "reversal":
            given = seen.given if self.fault == "reversal before lock" else purse.given
            reverses = next(name for name, left in given.items() if left)
            credits, kind = given[reverses], "debit_reversal"
            purse.given[reverses] = 0
        if ask.kind == "void":
            holds = seen.open_holds if self.fault == "hold before lock" else purse.open_holds
            reference = next(iter(holds))
            credits, kind = holds[reference], "hold_release"
            purse.open_holds.pop(reference, None)
        name = f"{ask.account}{len(purse.rows)}-{self.clock}"
        reference = name if kind == "hold" else reference
        if self.fault == "written later" and self.random.random() < 0.5:
            row = Row(0, name, kind, credits, purse.balance + credits, reference, reverses)
            self.later.append((purse, row))
            return row
        if self.fault == "lost update":
            purse.balance = seen.balance
        row = self._append(purse, kind, credits, name, reference, reverses)
        purse.keys[ask.key] = (ask, row)
        if kind == "debit":
            purse.given[name] = -credits
        if kind == "hold":
            purse.open_holds[name] = -credits
        return row

    def _append(
        self,
        purse: Purse,
        kind: str,
        credits: int,
        name: str,
        reference: str | None = None,
        reverses: str | None = None,
    ) -> Row:
        purse.numbers += 1
        purse.balance += credits
        if kind in ("debit", "hold", "hold_release", "debit_reversal"):
            purse.spent -= credits
        if self.random.random() < 0.2:
            purse.stale = purse.balance
        row = Row(purse.numbers, name, kind, credits, purse.balance, reference, reverses)
        purse.rows.append(row)
        return row


def play(fault: FaultName, seed: int, clients: int = 8, each: int = 8) -> tuple[list[Call], dict[str, list[Row]]]:
    """A history of some clients on one bank, and the ledgers it left."""
    random = Random(seed)
    bank = Bank(fault, random)
    calls: list[Call] = []
    running: dict[int, Steps] = {}
    left = dict.fromkeys(range(clients), each)
    while left or running:
        if random.random() < 0.1:
            bank.flush()
        client = random.choice([*left, *running])
        if client in running:
            try:
                next(running[client])
            except StopIteration as done:
                calls.append(done.value)
                del running[client]
        elif left[client] == 0:
            del left[client]
        else:
            left[client] -= 1
            running[client] = bank.run(wanted(random, client, left[client]))
    bank.flush()
    ledgers = {name: list(purse.rows) for name, purse in bank.purses.items()}
    if fault == "end cut off":
        ledgers = {name: rows[:-1] for name, rows in ledgers.items()}
    return calls, ledgers


def wanted(random: Random, client: int, number: int) -> Ask:
    """What a client asks for next; three keys in ten are ones that others use too."""
    kinds = ("grant", "spend", "spend", "spend", "hold", "void", "reversal", "coupon")
    kind = random.choice(kinds)
    shared = random.random() < 0.3
    key = f"{kind}-shared" if shared else f"{kind}-{client}-{number}"
    most = 40 if kind == "grant" else 20
    return Ask(random.choice(ACCOUNTS), kind, key, 10 if shared else random.randint(1, most))
