"""A closed account is read, and keeps every setting it had."""

import pytest

from tests.api.host import Host, assert_problem

SETTINGS: dict[str, dict[str, object]] = {
    "limits": {"perCallLimitCredits": "5"},
    "alerts": {"lowBalanceThresholdCredits": "5"},
    "profile": {"name": "Mira"},
    "entitlement-overrides": {"features": {"custom_credits": True}},
    "identities": {"issuer": "https://login.example", "subject": "u1"},
}


@pytest.mark.parametrize("resource", SETTINGS)
def test_a_closed_account_changes_no_setting(host: Host, resource: str) -> None:
    path = host.open("a")
    before = host.get(f"{path}/{resource}").json()
    host.post("/v1/admin/accounts/a/close", {"reason": "x"}, bearer=host.new_key("admin"))
    headers = {"Authorization": f"Bearer {host.service_key}"}
    refused = host.client.put(f"{path}/{resource}", json=SETTINGS[resource], headers=headers)
    assert_problem(refused, 403, "WALLET-001")
    assert host.get(f"{path}/{resource}").json() == before


def test_a_closed_accounts_key_is_not_changed_but_revoked(host: Host) -> None:
    path = host.open("a")
    key = host.post(f"{path}/api-keys", {"name": "one"}).json()["id"]
    host.post("/v1/admin/accounts/a/close", {"reason": "x"}, bearer=host.new_key("admin"))
    headers = {"Authorization": f"Bearer {host.service_key}"}
    assert_problem(host.client.put(f"{path}/api-keys/{key}", json={"name": "two"}, headers=headers), 403, "WALLET-001")
    assert host.client.delete(f"{path}/api-keys/{key}", headers=headers).status_code == 204


@pytest.mark.parametrize("catalog", ["ecolink"])
def test_a_closed_account_sets_no_auto_recharge(host: Host) -> None:
    path = host.open("a")
    host.post("/v1/admin/accounts/a/close", {"reason": "x"}, bearer=host.new_key("admin"))
    headers = {"Authorization": f"Bearer {host.service_key}"}
    refused = host.client.put(f"{path}/auto-recharge", json={"monthlyCapMinor": 500}, headers=headers)
    assert_problem(refused, 403, "WALLET-001")
