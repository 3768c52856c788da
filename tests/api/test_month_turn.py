"""Where one month becomes the next, nobody sees the wallet in between: what has expired, and not yet what follows."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from engine.flows import accounts
from engine.flows.accounts import grant_due_months
from engine.flows.expiry import expire_due
from engine.store.database import Database, reading
from engine.store.tables import WalletRow
from tests.api.host import Host, assert_problem
from tests.api.plan_terms import month
from tests.api.subscriber import Subscriber, subscriber
from tests.api.test_alerts import put, told
from tests.engine.support import FakeClock

TURN = ["monthly_credit", "expiry", "monthly_credit"]
MONTH = {"days": 30.0}


def types(host: Host, path: str) -> list[str]:
    """The ledger's types, oldest first."""
    return [row["type"] for row in reversed(host.get(f"{path}/transactions", limit=100).json()["transactions"])]


def notices(host: Host) -> list[str]:
    return [each["notice"] for each in told(host, "notice")]


@pytest.fixture
def path(host: Host) -> str:
    """An account of 100 monthly credits, warned at 50, whose month has just ended. No job runs."""
    path = host.open("a")
    assert put(host, f"{path}/alerts", {"lowBalanceThresholdCredits": "50"}).status_code == 200
    host.wait(**MONTH)
    return path


def test_the_first_spend_of_a_month_draws_from_it(host: Host, path: str) -> None:
    assert host.spend(path, 40).status_code == 201
    assert types(host, path) == [*TURN, "debit"] and host.buckets(path)["monthly"] == 60
    assert grant_due_months(host.runtime, host.clock.now()) == 0
    assert notices(host) == []
    assert {event["type"] for event in told(host, "event")} == {"credits.granted", "credits.expired"}


@pytest.mark.parametrize("ask", ["balance", "hold", "batch", "transactions", "quote", "sweeper"])
def test_whatever_looks_first_finds_the_month(host: Host, path: str, ask: str) -> None:
    match ask:
        case "balance":
            assert host.balance(path)["balanceCredits"] == "100"
        case "hold":
            assert host.post(f"{path}/holds", {"amountCredits": "100"}).status_code == 201
        case "batch":
            spends = [{"accountId": "a", "amountCredits": "50", "idempotencyKey": f"k{n}"} for n in range(3)]
            results = host.post("/v1/spends/batch", {"spends": spends}, key=None).json()["results"]
            assert [result["status"] for result in results] == [201, 201, 402]
        case "transactions":
            assert host.get(f"{path}/transactions").json()["pagination"]["total"] == 3
        case "quote":
            assert host.get(f"{path}/quote", amountUsdCents=1_000).json()["balanceAfter"] == "1100"
        case _:
            assert expire_due(host.runtime, host.clock.now()) == 1
    assert types(host, path)[:3] == TURN
    assert "lowBalance" not in notices(host) or ask in ("hold", "batch")


def test_a_threshold_that_the_turn_crosses_is_told_once(host: Host) -> None:
    path = host.open("a")
    host.grant(path, "limited_time", 100, host.clock.now() + timedelta(**MONTH))
    assert put(host, f"{path}/alerts", {"lowBalanceThresholdCredits": "150"}).status_code == 200
    host.wait(**MONTH)
    assert host.balance(path)["balanceCredits"] == "100"
    assert notices(host) == ["lowBalance"]
    (low,) = [each for each in told(host, "event") if each["type"] == "balance.low"]
    assert low["data"]["balanceAfter"] == "100"


def test_many_at_once_see_one_turn(host: Host, path: str) -> None:
    barrier = threading.Barrier(8)

    def spend(number: int) -> int:
        barrier.wait()
        return host.spend(path, 20, description=str(number)).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(spend, range(8)))
    assert sorted(statuses) == [201] * 5 + [402] * 3
    assert types(host, path) == [*TURN, *["debit"] * 5]


def test_a_key_from_before_is_answered_by_what_it_did(host: Host) -> None:
    path = host.open("a")
    first = host.post(f"{path}/spends", {"amountCredits": "30"}, key="mine")
    host.wait(**MONTH)
    again = host.post(f"{path}/spends", {"amountCredits": "30"}, key="mine")
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotency-replayed"] == "true"


def test_who_has_no_month_to_come_has_nothing_left(host: Host) -> None:
    path = host.open("a", plan="pro")
    host.grant(path, "limited_time", 100, host.clock.now() + timedelta(**MONTH))
    host.wait(**MONTH)
    assert_problem(host.spend(path, 1), 402, "CREDIT-001", availableCredits="0")
    assert notices(host) == ["depleted"]


@pytest.mark.parametrize("status", ["suspended", "closed"])
def test_a_wallet_that_takes_no_spends_refuses_them(host: Host, path: str, status: str) -> None:
    admin = host.new_key("admin", name="Ada")
    verb = {"suspended": "suspend", "closed": "close"}[status]
    assert host.post(f"/v1/admin/accounts/a/{verb}", {"reason": "asked"}, bearer=admin).status_code == 200
    assert_problem(host.spend(path, 1), 403, "WALLET-001")
    assert_problem(host.spend(path, 1), 403, "WALLET-001")


def test_a_month_that_cannot_be_granted_keeps_nobody_from_the_rest(
    host: Host, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.grant(path, "recharge", 10)

    def broken(*_: object) -> None:
        raise RuntimeError("no month today")

    monkeypatch.setattr(accounts, "grant_due_month", broken)
    assert host.spend(path, 10).status_code == 201
    assert types(host, path)[-1] == "debit"


def wait_without_jobs(mira: Subscriber, until: str) -> None:
    mira.host.clock.advance(datetime.fromisoformat(until) - mira.host.clock.now())


@pytest.fixture
def mira(db: Database, clock: FakeClock) -> Iterator[Subscriber]:
    made = subscriber(db, clock)
    yield made
    made.runtime.group.close()


def test_a_year_that_is_paid_turns_its_months_for_who_comes_first(mira: Subscriber) -> None:
    mira.subscribe("base", "year")
    wait_without_jobs(mira, month(1))
    assert mira.host.spend(mira.path, 3_000).status_code == 201
    assert [kind for kind, _ in mira.rows()[-3:]] == ["expiry", "monthly_credit", "debit"]
    assert mira.is_clean()


def test_a_month_that_nobody_has_paid_yet_is_not_waited_for(mira: Subscriber) -> None:
    mira.subscribe("base")
    wait_without_jobs(mira, month(1))
    assert_problem(mira.host.spend(mira.path, 1), 402, "CREDIT-001", availableCredits="0")
    assert "depleted" in notices(mira.host)
    assert mira.is_clean()


def test_what_rolls_over_and_the_month_itself_come_together(db: Database, clock: FakeClock) -> None:
    def change(catalog: Any) -> Any:
        plans = tuple(replace(plan, rollover_max=40, rollover_periods=1) for plan in catalog.plans)
        return replace(catalog, plans=plans)

    mira = subscriber(db, clock, change)
    try:
        body = {"accountId": "b", "email": "b@customer.example", "plan": "base", "grantMonthlyCredits": True}
        assert mira.host.post("/v1/accounts", body).status_code == 201
        path = "/v1/accounts/b"
        assert put(mira.host, f"{path}/alerts", {"lowBalanceThresholdCredits": "1000"}).status_code == 200
        mira.host.wait(days=31)
        assert mira.host.spend(path, 3_040).status_code == 201
        assert types(mira.host, path) == ["monthly_credit", "expiry", "monthly_credit", "monthly_credit", "debit"]
    finally:
        mira.runtime.group.close()


def test_no_read_of_the_books_falls_between(host: Host, path: str) -> None:
    """The turn is one transaction's: each state that another connection can see has the old month or the new one."""
    seen: set[int] = set()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            with reading(host.runtime.db) as session:
                wallet = session.get(WalletRow, "a")
                assert wallet is not None
                seen.add(wallet.available_monthly)

    looking = threading.Thread(target=look)
    looking.start()
    host.balance(path)
    stop.set()
    looking.join()
    assert seen <= {100}
