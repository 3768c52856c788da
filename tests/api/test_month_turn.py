"""Where one month becomes the next, nobody sees the wallet in between: what has expired, and not yet what follows."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import pytest

from engine.flows import accounts
from engine.flows.accounts import grant_due_months
from engine.flows.expiry import expire_due
from engine.store.database import reading
from engine.store.tables import WalletRow
from tests.api.host import Host, assert_problem
from tests.api.plan_terms import Open, month
from tests.api.subscriber import Subscriber
from tests.api.test_alerts import put, told

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


ROLLED = ["monthly_credit", "expiry", "monthly_credit", "monthly_credit"]


@pytest.fixture
def rolling(open_with: Open) -> Subscriber:
    """Beside an account "b" of 3,000 monthly credits, of which 40 roll over, whose month has just ended."""
    mira = open_with(40, 1)
    body = {"accountId": "b", "email": "b@customer.example", "plan": "base", "grantMonthlyCredits": True}
    assert mira.host.post("/v1/accounts", body).status_code == 201
    assert put(mira.host, "/v1/accounts/b/alerts", {"lowBalanceThresholdCredits": "1000"}).status_code == 200
    mira.host.wait(days=31)
    return mira


def test_what_rolls_over_and_the_month_itself_come_together(rolling: Subscriber) -> None:
    assert rolling.host.spend("/v1/accounts/b", 3_040).status_code == 201
    assert types(rolling.host, "/v1/accounts/b") == [*ROLLED, "debit"]


def cut_short(host: Host, step: str) -> None:
    """The job that grants months ends at a step, as a killed process does."""

    def end(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as cut, pytest.raises(KeyboardInterrupt):
        cut.setattr(accounts, step, end)
        grant_due_months(host.runtime, host.clock.now())


def test_a_turn_cut_short_before_it_is_noted_grants_once(host: Host, path: str) -> None:
    cut_short(host, "_move_on")
    assert types(host, path) == TURN
    assert grant_due_months(host.runtime, host.clock.now()) == 1
    assert grant_due_months(host.runtime, host.clock.now()) == 0
    assert types(host, path) == TURN and host.balance(path)["balanceCredits"] == "100"


@pytest.mark.parametrize("step", ["_grant", "_move_on"])
def test_a_turn_with_rollover_is_done_or_not(rolling: Subscriber, step: str) -> None:
    cut_short(rolling.host, step)
    with reading(rolling.runtime.db) as session:
        wallet = session.get(WalletRow, "b")
        assert wallet is not None and (wallet.seq, wallet.available_monthly) == (1, 3_000)
    grant_due_months(rolling.runtime, rolling.host.clock.now())
    assert grant_due_months(rolling.runtime, rolling.host.clock.now()) == 0
    assert types(rolling.host, "/v1/accounts/b") == ROLLED
    assert rolling.host.balance("/v1/accounts/b")["balanceCredits"] == "3040"
    assert rolling.is_clean()


def test_no_read_of_the_books_falls_between(host: Host, path: str) -> None:
    """The turn is one transaction's: each state that another connection can see has the old month or the new one."""
    seen: list[int] = []
    looked, stop = threading.Event(), threading.Event()

    def look() -> None:
        is_last = False
        while not is_last:
            is_last = stop.is_set()
            with reading(host.runtime.db) as session:
                wallet = session.get(WalletRow, "a")
                assert wallet is not None
                seen.append(wallet.available_monthly)
            looked.set()

    looking = threading.Thread(target=look)
    looking.start()
    assert looked.wait(30)
    host.balance(path)
    stop.set()
    looking.join()
    assert set(seen) == {100} and len(seen) > 1
