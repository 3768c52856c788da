"""Clients of a served Purser who do everything at once and remember each request, its times and its answer."""

import itertools
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from engine.clock import monotonic, sleep
from tests.e2e.history import Call, Row

TRIES = 20
ROWS_OF = {"hold": "hold", "extend": "hold", "coupon": "coupon_credit"}
"""Answers that name a hold or a coupon, not a row: the type of the row they mean."""


@dataclass(frozen=True, slots=True)
class Told:
    """A request and its answer; which row it means is known once the ledger is read."""

    call: Call
    hold_id: str | None = None


@dataclass
class Crowd:
    """What all clients share: wallets by account, open holds and debits that anybody may end or reverse."""

    base_url: str
    bearer: str
    hot: tuple[str, ...]
    cold: tuple[str, ...]
    coupon: str
    told: list[Told] = field(default_factory=list)
    holds: list[tuple[str, str]] = field(default_factory=list)
    debits: list[tuple[str, str]] = field(default_factory=list)
    used: list[tuple[str, str, str, str, dict[str, object], int]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def client(self, seed: int, steps: int) -> None:
        """One client's whole work, on a connection of its own."""
        chance = random.Random(seed)
        with httpx.Client(base_url=self.base_url, timeout=60) as http:
            for _ in range(steps):
                account = chance.choice(self.hot if chance.random() < 0.8 else self.cold)
                chance.choice(WORK)(self, http, chance, account)

    def ask(
        self, http: httpx.Client, account: str, kind: str, path: str, body: dict[str, object], credits: int, key: str
    ) -> dict[str, Any]:
        """Send until there is an answer; 503 says to ask again with the same key."""
        headers = {"authorization": f"Bearer {self.bearer}", "idempotency-key": key}
        start = monotonic()
        for _ in range(TRIES):
            method = "PUT" if kind == "limits" else "POST"
            answer = http.request(method, f"/v1/accounts/{account}/{path}", json=body, headers=headers)
            if answer.status_code != 503:
                break
            sleep(0.05)
        end = monotonic()
        told: dict[str, Any] = answer.json()
        row = (told.get("transaction") or {}).get("id")
        balance = told.get("balanceAfter", told.get("newBalance"))
        call = Call(
            start=start,
            end=end,
            account=account,
            kind=kind,
            key=key,
            credits=credits,
            status=answer.status_code,
            asked=str(body.get("code") or f"{path} {sorted(body.items())}"),
            code=str(told.get("code", "")) if answer.is_error else "",
            is_replay="idempotency-replayed" in answer.headers,
            row=row,
            balance_after=None if balance is None else int(balance),
            available=_number(told.get("availableCredits")),
            spent=_number(told.get("currentDailySpend")),
        )
        with self.lock:
            self.told.append(Told(call, told.get("holdId")))
            if key and kind != "limits":
                self.used.append((account, kind, path, key, body, credits))
        return told

    def key(self) -> str:
        return f"key-{next(self.numbers)}"

    def pick(self, chance: random.Random, of: list[tuple[str, str]], *, is_last: bool) -> tuple[str, str] | None:
        """Something that another client left; `is_last` keeps it for one more to try."""
        with self.lock:
            if not of:
                return None
            place = chance.randrange(len(of))
            return of[place] if is_last else of.pop(place)


def _number(text: object) -> int | None:
    return None if text is None else int(str(text))


Step = Callable[[Crowd, httpx.Client, random.Random, str], None]


def grant(crowd: Crowd, http: httpx.Client, chance: random.Random, account: str) -> None:
    credits = chance.randint(1, 40)
    body: dict[str, object] = {"bucket": "recharge", "amountCredits": str(credits), "source": "promo"}
    crowd.ask(http, account, "grant", "grants", body, credits, crowd.key())


def spend(crowd: Crowd, http: httpx.Client, chance: random.Random, account: str) -> None:
    credits = chance.randint(1, 30)
    told = crowd.ask(http, account, "spend", "spends", {"amountCredits": str(credits)}, credits, crowd.key())
    if "transaction" in told:
        with crowd.lock:
            crowd.debits.append((account, told["transaction"]["id"]))


def hold(crowd: Crowd, http: httpx.Client, chance: random.Random, account: str) -> None:
    credits = chance.randint(1, 30)
    body: dict[str, object] = {"amountCredits": str(credits), "expiresInSeconds": 3_600}
    told = crowd.ask(http, account, "hold", "holds", body, credits, crowd.key())
    if "holdId" in told:
        with crowd.lock:
            crowd.holds.append((account, told["holdId"]))


def end_hold(crowd: Crowd, http: httpx.Client, chance: random.Random, account: str) -> None:
    found = crowd.pick(chance, crowd.holds, is_last=chance.random() < 0.5)
    if found is None:
        return
    owner, hold_id = found
    kind = chance.choice(("capture", "void", "extend"))
    credits = 0 if kind == "void" else chance.randint(1, 20)
    body: dict[str, object] = {} if kind == "void" else {"amountCredits": str(credits)}
    crowd.ask(http, owner, kind, f"holds/{hold_id}/{kind}", body, credits, crowd.key())


def reverse(crowd: Crowd, http: httpx.Client, chance: random.Random, account: str) -> None:
    found = crowd.pick(chance, crowd.debits, is_last=chance.random() < 0.5)
    if found is None:
        return
    owner, debit_id = found
    part = chance.choice((None, 1, 5))
    body: dict[str, object] = {} if part is None else {"amountCredits": str(part)}
    crowd.ask(http, owner, "reversal", f"spends/{debit_id}/reversal", body, part or 0, crowd.key())


def repeat(crowd: Crowd, http: httpx.Client, chance: random.Random, account: str) -> None:
    """An earlier request once more, by whoever comes: with the same body, or now and then with another."""
    with crowd.lock:
        if not crowd.used:
            return
        owner, kind, path, key, body, credits = chance.choice(crowd.used[-30:])
    if chance.random() < 0.2 and "amountCredits" in body and kind != "reversal":
        body, credits = {**body, "amountCredits": str(credits + 1)}, credits + 1
    crowd.ask(http, owner, kind, path, body, credits, key)


def redeem(crowd: Crowd, http: httpx.Client, chance: random.Random, account: str) -> None:
    taker = chance.choice((*crowd.hot, *crowd.cold))
    crowd.ask(http, taker, "coupon", "coupons/redeem", {"code": crowd.coupon}, 0, crowd.key())


def limit(crowd: Crowd, http: httpx.Client, chance: random.Random, account: str) -> None:
    """The first hot wallet keeps the limit it began with; the others' change all the time."""
    if account != crowd.hot[0]:
        most = chance.randint(0, 300)
        crowd.ask(http, account, "limits", "limits", {"dailySpendLimitCredits": str(most)}, most, "")


WORK: tuple[Step, ...] = (grant, spend, spend, spend, spend, hold, hold, end_hold, end_hold, reverse, repeat, repeat)
WORK += (redeem, limit)


def read_ledger(http: httpx.Client, bearer: str, account: str) -> list[Row]:
    """An account's whole ledger over HTTP, oldest first."""
    rows: list[Row] = []
    cursor: str | None = None
    while True:
        query = {"limit": "100", **({"cursor": cursor} if cursor else {})}
        headers = {"authorization": f"Bearer {bearer}"}
        answer = http.get(f"/v1/accounts/{account}/transactions", params=query, headers=headers)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        rows += [
            Row(
                row["seq"],
                row["id"],
                row["type"],
                int(row["amountCredits"]),
                int(row["balanceAfter"]),
                row["referenceId"],
                row["reversesId"],
            )
            for row in page["transactions"]
        ]
        cursor = page["nextCursor"]
        if cursor is None:
            return rows[::-1]


def with_rows(told: Sequence[Told], ledgers: Mapping[str, Sequence[Row]]) -> list[Call]:
    """The calls with the rows that their answers mean; the same key always means the same one."""
    named: dict[tuple[str, str, str], str] = {}
    calls = []
    for each in sorted(told, key=lambda one: one.call.start):
        call = each.call
        name = (call.account, call.kind, call.key)
        if call.is_done and call.kind in ROWS_OF:
            if name not in named:
                named[name] = _meant(each, ledgers[call.account], set(named.values()))
            call = replace(call, row=named[name])
        calls.append(call)
    return calls


def _meant(told: Told, ledger: Sequence[Row], taken: set[str]) -> str:
    """The row of a hold or a coupon: of several, the first nobody else has that left the balance it told."""
    call = told.call
    for row in ledger:
        is_of = call.kind == "coupon" or (row.reference_id == told.hold_id and abs(row.credits) == call.credits)
        if row.type == ROWS_OF[call.kind] and row.balance_after == call.balance_after and is_of and row.id not in taken:
            return row.id
    return "none that fits"
