"""Limits over HTTP: both forms, `null` and omitted, and what a spend beyond them is answered."""

import pytest
from httpx import Response

from tests.api.host import Host, assert_problem


def put(host: Host, path: str, body: dict[str, object], bearer: str | None = None) -> Response:
    return host.client.put(path, json=body, headers={"Authorization": f"Bearer {bearer or host.service_key}"})


@pytest.fixture
def acme(host: Host) -> str:
    path = host.open("acme")
    host.grant(path, "recharge", 100_000_000)
    return path


@pytest.mark.parametrize("catalog", ["acn"])
def test_a_limit_is_set_in_dollars_or_credits_and_answered_in_both(host: Host, acme: str) -> None:
    none = dict.fromkeys(
        ("dailySpendLimitCredits", "dailySpendLimitUsdc", "perCallLimitCredits", "perCallLimitUsdc"), None
    )
    assert host.get(f"{acme}/limits").json() == none
    answer = put(host, f"{acme}/limits", {"dailySpendLimitUsdc": "50.00", "perCallLimitCredits": "2500000"})
    both = {
        "dailySpendLimitCredits": "50000000",
        "dailySpendLimitUsdc": "50.000000",
        "perCallLimitCredits": "2500000",
        "perCallLimitUsdc": "2.500000",
    }
    assert (answer.status_code, answer.json()) == (200, both)
    assert host.get(f"{acme}/limits").json() == both == put(host, f"{acme}/limits", both).json()
    assert put(host, f"{acme}/limits", none).json() == none == put(host, f"{acme}/limits", none).json()
    assert put(host, f"{acme}/limits", both).json() == both
    balance = host.balance(acme)
    assert (balance["dailySpendLimitCredits"], balance["perCallLimitCredits"]) == ("50000000", "2500000")


@pytest.mark.parametrize("catalog", ["acn"])
def test_null_removes_a_limit_and_an_omitted_one_stays(host: Host, acme: str) -> None:
    put(host, f"{acme}/limits", {"dailySpendLimitCredits": 10, "perCallLimitCredits": 5})
    body = put(host, f"{acme}/limits", {"perCallLimitUsdc": None}).json()
    assert (body["dailySpendLimitCredits"], body["perCallLimitCredits"]) == ("10", None)
    assert put(host, f"{acme}/limits", {}).json()["dailySpendLimitCredits"] == "10"
    assert put(host, f"{acme}/limits", {"dailySpendLimitCredits": "0"}).json()["dailySpendLimitCredits"] == "0"
    assert_problem(host.spend(acme, 1), 402, "ACN-CREDIT-002", limitCredits="0")


@pytest.mark.parametrize("catalog", ["acn"])
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"dailySpendLimitUsdc": "-1"}, "dailySpendLimitUsdc"),
        ({"dailySpendLimitUsdc": "1.0000001"}, "dailySpendLimitUsdc"),
        ({"dailySpendLimitUsdc": 0.5}, "dailySpendLimitUsdc"),
        ({"dailySpendLimitUsdc": "999999999999999"}, "dailySpendLimitUsdc"),
        ({"perCallLimitCredits": "1.5"}, "perCallLimitCredits"),
        ({"perCallLimitCredits": "1", "perCallLimitUsdc": "1"}, "perCallLimitUsdc"),
        ({"perCallLimit": "1"}, "perCallLimit"),
    ],
)
def test_a_malformed_limit_names_its_field(host: Host, acme: str, body: dict[str, object], field: str) -> None:
    assert_problem(put(host, f"{acme}/limits", body), 400, "ACN-INVALID", field=field)


def test_where_a_credit_has_no_value_limits_are_in_credits(host: Host) -> None:
    path = host.open("acme", plan="pro")
    problem = put(host, f"{path}/limits", {"dailySpendLimitUsdc": "5"})
    assert_problem(problem, 400, "INVALID", field="dailySpendLimitUsdc")
    body = put(host, f"{path}/limits", {"dailySpendLimitCredits": "5"}).json()
    assert (body["dailySpendLimitCredits"], body["dailySpendLimitUsdc"]) == ("5", None)
    assert put(host, f"{path}/limits", body).json() == body


def test_beyond_a_limit_is_refused_with_the_facts(host: Host, acme: str) -> None:
    put(host, f"{acme}/limits", {"dailySpendLimitCredits": "100", "perCallLimitCredits": "80"})
    facts = {"limitType": "per_call", "limitCredits": "80", "currentDailySpend": "0", "requestedCredits": "81"}
    assert_problem(host.spend(acme, 81), 402, "CREDIT-002", **facts)
    assert host.spend(acme, 80).status_code == 201
    facts = {"limitType": "daily", "limitCredits": "100", "currentDailySpend": "80", "requestedCredits": "21"}
    assert_problem(host.spend(acme, 21), 402, "CREDIT-002", **facts)
    assert_problem(host.post(f"{acme}/holds", {"amountCredits": "21"}), 402, "CREDIT-002", **facts)
    assert host.post(f"{acme}/holds", {"amountCredits": "20"}).status_code == 201
    host.wait(hours=15)
    assert host.spend(acme, 21).status_code == 201


def test_an_account_reads_its_limits_and_does_not_set_them(host: Host, acme: str) -> None:
    key = host.new_key("account", "acme")
    assert host.get("/v1/billing/limits", bearer=key).status_code == 200
    assert_problem(put(host, "/v1/billing/limits", {}, bearer=key), 403, "AUTH-002")
    assert_problem(put(host, "/v1/accounts/nobody/limits", {}), 404, "NOT-FOUND")
    assert_problem(host.get("/v1/accounts/nobody/limits"), 404, "NOT-FOUND")
