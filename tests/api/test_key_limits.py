"""An API key's own limits over HTTP: set with the key, changed, shown to the gateway, and kept by spends and holds."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from httpx import Response

from tests.api.host import Host, assert_problem

KEY = {"name": "laptop", "dailySpendLimitCredits": "10", "perCallLimitCredits": "6"}
LIMITS = {"dailySpendLimitCredits": "10", "perCallLimitCredits": "6"}
NONE = {"dailySpendLimitCredits": None, "perCallLimitCredits": None}


@pytest.fixture
def path(host: Host) -> str:
    path = host.open("a")
    host.grant(path, "recharge", 1_000)
    return path


def spend(host: Host, path: str, credits: int, key_id: str, key: str = "a spend") -> Response:
    return host.post(f"{path}/spends", {"amountCredits": str(credits), "apiKeyId": key_id}, key=key)


def put(host: Host, path: str, body: object) -> Response:
    return host.client.put(path, json=body, headers={"Authorization": f"Bearer {host.service_key}"})


def test_limits_are_set_with_the_key_listed_and_verified(host: Host, path: str) -> None:
    made = host.post(f"{path}/api-keys", KEY, key="k").json()
    assert made["limits"] == LIMITS
    assert host.post(f"{path}/api-keys", KEY, key="k").json() == made
    assert_problem(host.post(f"{path}/api-keys", {"name": "laptop"}, key="k"), 422, "IDEMPOTENCY-002")
    assert host.get(f"{path}/api-keys").json()["apiKeys"][0]["limits"] == LIMITS
    assert host.post("/v1/api-keys/verify", {"key": made["key"]}, key=None).json()["limits"] == LIMITS


def test_a_change_names_what_changes(host: Host, path: str) -> None:
    made = host.post(f"{path}/api-keys", KEY).json()
    mine = f"{path}/api-keys/{made['id']}"
    changed = put(host, mine, {"perCallLimitCredits": None})
    assert (changed.status_code, changed.json()["limits"]) == (200, {**LIMITS, "perCallLimitCredits": None})
    assert put(host, mine, {"name": "desk", "dailySpendLimitCredits": None}).json()["limits"] == NONE
    assert host.get(f"{path}/api-keys").json()["apiKeys"][0]["name"] == "desk"
    assert_problem(put(host, mine, {"dailySpendLimitCredits": "-1"}), 400, "INVALID")
    assert_problem(put(host, f"{host.open('b')}/api-keys/{made['id']}", {"name": "mine"}), 404, "NOT-FOUND")
    assert host.client.delete(mine, headers={"Authorization": f"Bearer {host.service_key}"}).status_code == 204
    assert_problem(put(host, mine, {"name": "gone"}), 404, "NOT-FOUND")


def test_spends_and_holds_count_on_the_key_they_name(host: Host, path: str) -> None:
    key_id = host.post(f"{path}/api-keys", KEY).json()["id"]
    told = assert_problem(spend(host, path, 7, key_id), 402, "CREDIT-002")
    assert (told["limitType"], told["limitCredits"], told["apiKeyId"]) == ("per_call", "6", key_id)
    first = spend(host, path, 6, key_id, key="first")
    assert first.status_code == 201 and first.json()["transaction"]["apiKeyId"] == key_id
    assert spend(host, path, 6, key_id, key="first").json() == first.json()
    body = {"amountCredits": "6"}
    assert_problem(host.post(f"{path}/spends", body, key="first"), 422, "IDEMPOTENCY-002")
    held = host.post(f"{path}/holds", {"amountCredits": "4", "apiKeyId": key_id}, key="h")
    assert held.status_code == 201
    told = assert_problem(spend(host, path, 1, key_id), 402, "CREDIT-002")
    assert (told["limitType"], told["currentDailySpend"]) == ("daily", "10")
    assert host.post(f"{path}/spends", {"amountCredits": "50"}, key="free").status_code == 201
    host.wait(days=1)
    assert spend(host, path, 6, key_id).status_code == 201


def test_a_key_of_nobody_of_another_revoked_or_ended_spends_nothing(host: Host, path: str) -> None:
    theirs = host.post(f"{host.open('b')}/api-keys", {"name": "theirs"}).json()["id"]
    mine = host.post(f"{path}/api-keys", {"name": "mine"}).json()["id"]
    delete = host.client.delete(f"{path}/api-keys/{mine}", headers={"Authorization": f"Bearer {host.service_key}"})
    assert delete.status_code == 204
    ends_at = (host.clock.now() + timedelta(hours=1)).isoformat()
    ended = host.post(f"{path}/api-keys", {"name": "ended", "expiresAt": ends_at}).json()["id"]
    assert spend(host, path, 1, ended).status_code == 201
    host.wait(hours=1)
    before = host.get(f"{path}/balance").json()["balanceCredits"]
    for key_id in ("key_nobody", theirs, mine, ended):
        assert_problem(spend(host, path, 1, key_id, "another"), 404, "NOT-FOUND")
    assert host.get(f"{path}/balance").json()["balanceCredits"] == before


def test_a_daily_limit_is_exact_however_many_spend_at_once(host: Host, path: str) -> None:
    key_id = host.post(f"{path}/api-keys", {"name": "busy", "dailySpendLimitCredits": "25"}).json()["id"]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: spend(host, path, 1, key_id, key=f"at once {n}").status_code, range(60)))
    assert (answers.count(201), answers.count(402)) == (25, 35)
