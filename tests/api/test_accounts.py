"""Accounts: opened by the host, on a plan, with monthly credits period by period."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from engine.flows.accounts import grant_due_months
from engine.flows.expiry import expire_due
from engine.runtime import Runtime
from tests.api.host import Host, assert_problem

ANNA = {"email": "anna@customer.example"}


def rows(host: Host, path: str) -> list[tuple[str, int]]:
    """The ledger, oldest first: type and credits."""
    found = host.get(f"{path}/transactions", limit=100).json()["transactions"]
    return [(row["type"], int(row["amountCredits"])) for row in reversed(found)]


def test_an_account_starts_on_the_first_plan_with_its_monthly_credits(host: Host) -> None:
    answer = host.post("/v1/accounts", ANNA | {"name": "Anna", "country": "DE", "locale": "de-DE"})
    body = answer.json()
    assert answer.status_code == 201
    assert body["accountId"].startswith("acc_")
    assert (body["plan"], body["status"], body["name"], body["country"], body["locale"]) == (
        "free", "active", "Anna", "DE", "de-DE",
    )  # fmt: skip
    assert (body["createdAt"], body["nextMonthlyCreditsAt"]) == ("2026-11-02T09:30:00Z", "2026-12-02T09:30:00Z")
    path = f"/v1/accounts/{body['accountId']}"
    assert host.get(path).json() == body
    (monthly,) = [b for b in host.balance(path)["buckets"] if b["bucket"] == "monthly"]
    assert (monthly["availableCredits"], monthly["nextExpiryAt"]) == ("100", "2026-12-02T09:30:00Z")
    row = host.get(f"{path}/transactions").json()["transactions"][0]
    assert (row["type"], row["source"], row["description"]) == (
        "monthly_credit", "subscription", "Monthly credits: Free",
    )  # fmt: skip


def test_a_plan_of_the_hosts_brings_credits_only_when_asked(host: Host) -> None:
    bare = host.post("/v1/accounts", ANNA | {"accountId": "bare", "plan": "pro"}).json()
    assert (bare["plan"], bare["nextMonthlyCreditsAt"]) == ("pro", None)
    assert host.balance("/v1/accounts/bare")["balanceCredits"] == "0"
    full = ANNA | {"accountId": "full", "plan": "pro", "grantMonthlyCredits": True}
    assert host.post("/v1/accounts", full).json()["nextMonthlyCreditsAt"] == "2026-12-02T09:30:00Z"
    assert host.balance("/v1/accounts/full")["balanceCredits"] == "10000"


@pytest.mark.parametrize("catalog", ["acn"])
def test_without_plans_in_the_catalogue_an_account_has_none(host: Host) -> None:
    body = host.post("/v1/accounts", ANNA | {"accountId": "a"}).json()
    assert (body["plan"], body["nextMonthlyCreditsAt"]) == (None, None)
    assert rows(host, "/v1/accounts/a") == []
    assert_problem(host.post("/v1/accounts", ANNA | {"plan": "pro"}), 400, "ACN-INVALID", field="plan")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "email"),
        ({"email": "no address"}, "email"),
        (ANNA | {"accountId": "a b"}, "accountId"),
        (ANNA | {"accountId": "ab\n"}, "accountId"),
        (ANNA | {"accountId": ""}, "accountId"),
        (ANNA | {"accountId": "x" * 65}, "accountId"),
        (ANNA | {"accountId": "é"}, "accountId"),
        (ANNA | {"country": "de"}, "country"),
        (ANNA | {"country": "DEU"}, "country"),
        (ANNA | {"locale": "german language"}, "locale"),
        (ANNA | {"plan": "gold"}, "plan"),
        (ANNA | {"grantMonthlyCredits": False}, "grantMonthlyCredits"),
        (ANNA | {"name": "x" * 201}, "name"),
        (ANNA | {"nmae": "Anna"}, "nmae"),
    ],
)
def test_a_malformed_account_names_its_field(host: Host, body: object, field: str) -> None:
    assert_problem(host.post("/v1/accounts", body), 400, "INVALID", field=field)
    assert host.get("/v1/accounts").json()["pagination"]["total"] == 0


def test_an_account_id_is_taken_once(host: Host) -> None:
    host.open("acme")
    answer = host.post("/v1/accounts", ANNA | {"accountId": "acme"})
    assert_problem(answer, 409, "ACCOUNT-001", accountId="acme")


def test_a_keyed_account_is_opened_once(host: Host) -> None:
    first = host.post("/v1/accounts", ANNA, key="k1")
    again = host.post("/v1/accounts", ANNA, key="k1")
    assert (again.status_code, again.json(), again.headers["idempotency-replayed"]) == (201, first.json(), "true")
    assert_problem(host.post("/v1/accounts", ANNA | {"name": "A"}, key="k1"), 422, "IDEMPOTENCY-002")
    assert host.get("/v1/accounts").json()["pagination"]["total"] == 1
    other = host.new_key("service", name="another backend")
    assert host.post("/v1/accounts", ANNA, key="k1", bearer=other).json()["accountId"] != first.json()["accountId"]


def test_two_requests_with_one_key_at_the_same_moment_open_one_account(host: Host) -> None:
    barrier = threading.Barrier(4)

    def ask(_: int) -> tuple[int, str]:
        barrier.wait()
        answer = host.post("/v1/accounts", ANNA, key="same")
        return answer.status_code, answer.json()["accountId"]

    with ThreadPoolExecutor(4) as pool:
        answers = set(pool.map(ask, range(4)))
    assert len(answers) == 1 and {status for status, _ in answers} == {201}
    assert host.get("/v1/accounts").json()["pagination"]["total"] == 1


def test_accounts_are_listed_newest_first_by_page(host: Host) -> None:
    for number in range(5):
        host.open(f"a{number}")
        host.wait(seconds=1)
    page = host.get("/v1/accounts", page=2, limit=2).json()
    assert [a["accountId"] for a in page["accounts"]] == ["a2", "a1"]
    assert page["pagination"] == {"page": 2, "limit": 2, "total": 5}
    assert_problem(host.get("/v1/accounts", limit=101), 400, "INVALID", field="limit")
    assert_problem(host.get("/v1/accounts", page=0), 400, "INVALID", field="page")
    assert_problem(host.get("/v1/accounts", pgae=1), 400, "INVALID", field="pgae")
    assert_problem(host.get("/v1/accounts/nobody"), 404, "NOT-FOUND")


def due_months(host: Host) -> int:
    return grant_due_months(host.runtime, host.clock.now())


def test_each_period_grants_once_and_the_rest_of_the_last_one_expires(host: Host) -> None:
    path = host.open("a")
    host.spend(path, 30)
    assert due_months(host) == 0
    host.wait(days=30)
    assert (due_months(host), due_months(host)) == (1, 0)
    assert rows(host, path) == [("monthly_credit", 100), ("debit", -30), ("expiry", -70), ("monthly_credit", 100)]
    assert host.get(path).json()["nextMonthlyCreditsAt"] == "2027-01-02T09:30:00Z"


def test_periods_that_nobody_granted_are_skipped(host: Host) -> None:
    path = host.open("a")
    host.wait(days=100)
    assert (due_months(host), due_months(host)) == (1, 0)
    assert rows(host, path) == [("monthly_credit", 100), ("expiry", -100), ("monthly_credit", 100)]
    assert host.get(path).json()["nextMonthlyCreditsAt"] == "2027-03-02T09:30:00Z"


def test_monthly_credits_of_the_31st_keep_their_day(host: Host) -> None:
    host.wait(days=59)
    path = host.open("a")
    ends = []
    for _ in range(4):
        ends.append(host.get(path).json()["nextMonthlyCreditsAt"][:10])
        host.clock.advance(datetime.fromisoformat(f"{ends[-1]}T09:30:00+00:00") - host.clock.now())
        due_months(host)
    assert ends == ["2027-01-31", "2027-02-28", "2027-03-31", "2027-04-30"]


def test_a_month_is_granted_once_however_many_run_at_once(host: Host) -> None:
    paths = [host.open(f"a{n}") for n in range(6)]
    host.wait(days=31)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: due_months(host), range(4)))
    for path in paths:
        assert rows(host, path) == [("monthly_credit", 100), ("expiry", -100), ("monthly_credit", 100)]


def test_a_hosts_idempotency_key_never_meets_the_key_of_a_month(host: Host) -> None:
    path = host.open("a", plan="pro")
    host.post("/v1/accounts", ANNA | {"accountId": "b"})
    body = {"bucket": "recharge", "amountCredits": "5", "source": "admin"}
    assert host.post(f"{path}/grants", body, key="period:1").status_code == 201
    assert host.post("/v1/accounts/b/grants", body, key="period:1").status_code == 201
    host.wait(days=31)
    due_months(host)
    assert host.buckets("/v1/accounts/b") == {"limited_time": 0, "monthly": 100, "recharge": 5}


def test_a_closed_wallet_gets_no_more_months(host: Host) -> None:
    path = host.open("a")
    close(host.runtime, "a")
    host.wait(days=31)
    assert (due_months(host), due_months(host)) == (1, 0)
    assert host.get(path).json()["nextMonthlyCreditsAt"] is None


def close(runtime: Runtime, account_id: str) -> None:
    with runtime.db.writer.begin() as connection:
        connection.exec_driver_sql(f"UPDATE wallets SET status = 'closed' WHERE account_id = '{account_id}'")


def test_the_sweeper_lets_expired_credits_leave_once(host: Host) -> None:
    paths = [host.open(f"a{n}") for n in range(3)]
    host.wait(days=31)
    assert expire_due(host.runtime, host.clock.now(), limit=2) == 2
    assert expire_due(host.runtime, host.clock.now()) == 1
    assert expire_due(host.runtime, host.clock.now()) == 0
    for path in paths:
        assert rows(host, path) == [("monthly_credit", 100), ("expiry", -100), ("monthly_credit", 100)]
