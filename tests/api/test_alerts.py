"""Alerts over HTTP: thresholds in both forms, preferences, and what is told of a balance and a day's limit."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
from httpx import Response
from sqlmodel import select

from engine.store.database import reading
from engine.store.tables import OutboxRow
from tests.api.host import Host, assert_problem

DEFAULTS = {
    "lowBalance": True,
    "dailyLimitReached": True,
    "paymentConfirmed": True,
    "unusualActivity": True,
    "dailySummary": False,
    "weeklySummary": False,
    "creditsExpiring": True,
    "autoRecharge": True,
    "refunds": True,
}


def put(host: Host, path: str, body: object, bearer: str | None = None) -> Response:
    return host.client.put(path, json=body, headers={"Authorization": f"Bearer {bearer or host.service_key}"})


def told(host: Host, kind: str) -> list[dict[str, Any]]:
    """The outbox's events or notices, oldest first."""
    with reading(host.runtime.db) as session:
        rows = session.exec(select(OutboxRow).where(OutboxRow.kind == kind)).all()
    ordered = sorted(rows, key=lambda row: (row.created_at, row.outbox_id))
    return [msgspec.json.decode(row.payload) for row in ordered]


@pytest.fixture
def acme(host: Host) -> str:
    path = host.open("acme")
    host.grant(path, "recharge", 1_000)
    return path


@pytest.mark.parametrize("catalog", ["acn"])
def test_a_threshold_is_set_in_credits_or_dollars_and_answered_in_both(host: Host, acme: str) -> None:
    none = {
        "lowBalanceThresholdCredits": None,
        "lowBalanceThresholdUsdc": None,
        "emailNotifications": DEFAULTS,
    }
    assert host.get(f"{acme}/alerts").json() == none
    assert host.balance(acme)["lowBalanceAlertThreshold"] is None
    answer = put(host, f"{acme}/alerts", {"lowBalanceThresholdUsdc": "5.00"})
    both = none | {"lowBalanceThresholdCredits": "5000000", "lowBalanceThresholdUsdc": "5.000000"}
    assert (answer.status_code, answer.json()) == (200, both)
    assert host.get(f"{acme}/alerts").json() == both
    assert host.balance(acme)["lowBalanceAlertThreshold"] == "5000000"
    assert put(host, f"{acme}/alerts", {}).json() == both
    assert put(host, f"{acme}/alerts", {"lowBalanceThresholdCredits": 7}).json()["lowBalanceThresholdCredits"] == "7"
    assert put(host, f"{acme}/alerts", {"lowBalanceThresholdCredits": None}).json() == none


def test_preferences_merge_field_by_field(host: Host, acme: str) -> None:
    changed = put(host, f"{acme}/alerts", {"emailNotifications": {"lowBalance": False, "dailySummary": True}}).json()
    assert changed["emailNotifications"] == DEFAULTS | {"lowBalance": False, "dailySummary": True}
    changed = put(host, f"{acme}/alerts", {"emailNotifications": {"refunds": False, "paymentConfirmed": True}}).json()
    expected = DEFAULTS | {"lowBalance": False, "dailySummary": True, "refunds": False}
    assert put(host, f"{acme}/alerts", changed).json() == changed
    assert changed["emailNotifications"] == expected
    assert host.get(f"{acme}/alerts").json()["emailNotifications"] == expected


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"emailNotifications": {"paymentConfirmed": False}}, "emailNotifications.paymentConfirmed"),
        ({"emailNotifications": {"depleted": False}}, "emailNotifications.depleted"),
        ({"emailNotifications": {"lowBalance": "no"}}, "emailNotifications.lowBalance"),
        ({"emailNotifications": {"lowBalance": None}}, "emailNotifications.lowBalance"),
        ({"emailNotifications": None}, "emailNotifications"),
        ({"lowBalanceThreshold": "5"}, "lowBalanceThreshold"),
        ({"lowBalanceThresholdCredits": "-1"}, "lowBalanceThresholdCredits"),
        ({"lowBalanceThresholdCredits": "1", "lowBalanceThresholdUsdc": "1"}, "lowBalanceThresholdUsdc"),
        ({"lowBalanceThresholdUsdc": "1"}, "lowBalanceThresholdUsdc"),
    ],
)
def test_what_is_malformed_or_forced_names_its_field(host: Host, acme: str, body: object, field: str) -> None:
    assert_problem(put(host, f"{acme}/alerts", body), 400, "INVALID", field=field)
    assert host.get(f"{acme}/alerts").json()["emailNotifications"] == DEFAULTS


def test_an_account_reads_its_alerts_and_does_not_set_them(host: Host, acme: str) -> None:
    key = host.new_key("account", "acme")
    assert host.get("/v1/billing/alerts", bearer=key).status_code == 200
    assert_problem(put(host, "/v1/billing/alerts", {}, bearer=key), 403, "AUTH-002")
    assert_problem(host.get(f"{acme}/alerts", bearer=host.new_key("support")), 403, "AUTH-002")
    assert_problem(put(host, "/v1/accounts/nobody/alerts", {}), 404, "NOT-FOUND")
    assert_problem(host.get("/v1/accounts/nobody/alerts"), 404, "NOT-FOUND")


@pytest.mark.parametrize("catalog", ["acn"])
def test_a_fall_to_the_threshold_is_told_once_with_its_place(host: Host, acme: str) -> None:
    put(host, f"{acme}/alerts", {"lowBalanceThresholdCredits": "500"})
    for credits in (490, 10, 10):
        assert host.spend(acme, credits).status_code == 201
    lows = [each["data"] for each in told(host, "event") if each["type"] == "balance.low"]
    assert [(low["accountId"], low["balanceAfter"], low["thresholdCredits"]) for low in lows] == [
        ("acme", "500", "500")
    ]
    assert lows[0]["seq"] == 3
    assert [each["notice"] for each in told(host, "notice")] == ["lowBalance"]
    host.wait(seconds=1)
    assert host.spend(acme, 490).status_code == 201
    assert [each["type"] for each in told(host, "event")][-1] == "balance.depleted"
    assert [each["notice"] for each in told(host, "notice")] == ["lowBalance", "depleted"]


@pytest.mark.parametrize("catalog", ["acn"])
def test_of_many_spends_at_once_one_crosses(host: Host, acme: str) -> None:
    """Group commit cuts them into batches as it pleases; the fall is one, and so is the end."""
    put(host, f"{acme}/alerts", {"lowBalanceThresholdCredits": "500"})
    with ThreadPoolExecutor(16) as callers:
        answers = list(callers.map(lambda _: host.spend(acme, 10).status_code, range(120)))
    assert (answers.count(201), answers.count(402)) == (100, 20)
    notices = sorted((each["notice"], each["balanceAfter"]) for each in told(host, "notice"))
    assert notices == [("depleted", "0"), ("lowBalance", "500")]


@pytest.mark.parametrize("catalog", ["acn"])
def test_a_batch_of_spends_tells_what_single_ones_would(host: Host, acme: str) -> None:
    put(host, f"{acme}/alerts", {"lowBalanceThresholdCredits": "900"})
    spends = [{"accountId": "acme", "idempotencyKey": f"b{n}", "amountCredits": "60"} for n in range(17)]
    results = host.post("/v1/spends/batch", {"spends": spends}).json()["results"]
    assert [result["status"] for result in results] == [201] * 16 + [402]
    assert [each["notice"] for each in told(host, "notice")] == ["lowBalance"]
    assert told(host, "notice")[0]["balanceAfter"] == "880"


@pytest.mark.parametrize("catalog", ["acn"])
def test_the_days_limit_is_told_once_a_day(host: Host, acme: str) -> None:
    put(host, f"{acme}/limits", {"dailySpendLimitCredits": "100"})
    host.spend(acme, 90)
    for _ in range(3):
        assert_problem(host.spend(acme, 20), 402, "ACN-CREDIT-002")
    facts = {"notice": "dailyLimitReached", "limitCredits": "100", "spentCredits": "90"}
    assert told(host, "notice") == [facts]
    host.wait(days=1)
    host.spend(acme, 100)
    assert told(host, "notice") == [facts, facts | {"spentCredits": "100"}]


@pytest.mark.parametrize("catalog", ["acn"])
def test_a_spend_above_the_whole_limit_says_nothing_of_the_day(host: Host, acme: str) -> None:
    put(host, f"{acme}/limits", {"dailySpendLimitCredits": "100"})
    assert_problem(host.spend(acme, 101), 402, "ACN-CREDIT-002", limitType="daily")
    assert told(host, "notice") == []
    assert host.spend(acme, 1).status_code == 201
    assert_problem(host.spend(acme, 100), 402, "ACN-CREDIT-002", limitType="daily")
    assert told(host, "notice") == [{"notice": "dailyLimitReached", "limitCredits": "100", "spentCredits": "1"}]


@pytest.mark.parametrize("catalog", ["acn"])
def test_a_keys_own_limit_says_nothing_of_the_accounts(host: Host, acme: str) -> None:
    """What the key is refused leaves the account's own notice of that day to be told."""
    put(host, f"{acme}/limits", {"dailySpendLimitCredits": "1000"})
    key_id = host.post(f"{acme}/api-keys", {"name": "laptop", "dailySpendLimitCredits": "50"}).json()["id"]
    assert host.spend(acme, 50, apiKeyId=key_id).status_code == 201
    assert_problem(host.spend(acme, 1, apiKeyId=key_id), 402, "ACN-CREDIT-002", apiKeyId=key_id, limitType="daily")
    assert told(host, "notice") == []
    assert_problem(host.spend(acme, 951), 402, "ACN-CREDIT-002", limitCredits="1000")
    facts = {"notice": "dailyLimitReached", "limitCredits": "1000", "spentCredits": "50"}
    assert told(host, "notice") == [facts]
