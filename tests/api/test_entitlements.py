"""Entitlements over HTTP: a plan's flags and numbers, what is set for one account both ways, and how fast it is."""

from time import perf_counter

import pytest

from engine.flows.entitlements import allow, entitlements
from tests.api.host import Host, assert_problem


def test_a_plans_flags_and_numbers(host: Host) -> None:
    path = host.open("a", plan="base")
    assert host.get(f"{path}/entitlements").json() == {
        "plan": "base",
        "features": {"custom_credits": True, "api_access": False, "projects": 3},
        "addOns": [],
        "limits": {"projects": 3},
    }
    assert host.get(f"{path}/entitlements/projects").json()["value"] == 3
    assert_problem(host.get(f"{path}/entitlements/teleport"), 404, "NOT-FOUND")
    assert_problem(host.get("/v1/accounts/nobody/entitlements"), 404, "NOT-FOUND")


def test_why_not_and_what_would_allow_it(host: Host) -> None:
    path = host.open("a")
    facts = {"feature": "custom_credits", "plan": "free", "requiredPlan": "base", "unlocks": "Base", "reason": "plan"}
    upgrade = "http://testserver.local/account/subscribe"
    assert_problem(host.get(f"{path}/entitlements/custom_credits"), 403, "PLAN-002", upgradeUrl=upgrade, **facts)


def test_overrides_work_both_ways_and_at_once_and_merge(host: Host) -> None:
    path = host.open("a", plan="base")

    def put(**features: object) -> dict[str, object]:
        answer = host.client.put(
            f"{path}/entitlement-overrides",
            json={"features": features},
            headers={"Authorization": f"Bearer {host.service_key}"},
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["features"])

    assert put(api_access=True, projects=1, beta=True) == {"api_access": True, "beta": True, "projects": 1}
    held = host.get(f"{path}/entitlements").json()
    assert (held["features"]["api_access"], held["limits"], held["addOns"]) == (
        True,
        {"projects": 1},
        ["api_access", "beta"],
    )
    assert host.get(f"{path}/entitlements/beta").status_code == 200
    assert put(custom_credits=False, beta=None) == {"api_access": True, "custom_credits": False, "projects": 1}
    assert host.get(f"{path}/entitlement-overrides").json()["features"] == put()
    assert_problem(host.get(f"{path}/entitlements/custom_credits"), 403, "PLAN-002", reason="override")
    assert_problem(host.post(f"{path}/checkout", {"amountUsdCents": 2_000}), 403, "PLAN-001", reason="override")
    put(custom_credits=True)
    free = host.open("b")
    assert_problem(host.post(f"{free}/checkout", {"amountUsdCents": 2_000}), 403, "PLAN-001", reason="plan")


def test_an_override_lets_a_free_account_top_up(host: Host) -> None:
    path = host.open("a")
    host.client.put(
        f"{path}/entitlement-overrides",
        json={"features": {"custom_credits": True}},
        headers={"Authorization": f"Bearer {host.service_key}"},
    )
    assert_problem(host.post(f"{path}/checkout", {"amountUsdCents": 2_000}), 503, "UNAVAILABLE")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"features": {"api_access": 3}},
        {"features": {"projects": True}},
        {"features": {"projects": -1}},
        {"features": {"projects": "3"}},
        {"features": {"projects": 1.5}},
        {"features": {"": True}},
        {"features": {"a b": True}},
        {"features": {}, "feature": {}},
    ],
    ids=str,
)
def test_malformed_overrides_are_refused(host: Host, body: dict[str, object]) -> None:
    path = host.open("a", plan="base")
    headers = {"Authorization": f"Bearer {host.service_key}"}
    assert_problem(host.client.put(f"{path}/entitlement-overrides", json=body, headers=headers), 400, "INVALID")


def test_only_the_host_sets_overrides_and_an_account_reads_its_own_entitlements(host: Host) -> None:
    path = host.open("a", plan="base")
    host.open("b")
    key = host.new_key("account", "a")
    assert host.get("/v1/billing/entitlements", bearer=key).json()["plan"] == "base"
    assert_problem(host.get("/v1/accounts/b/entitlements", bearer=key), 404, "NOT-FOUND")
    assert_problem(host.get(f"{path}/entitlement-overrides", bearer=key), 403, "AUTH-002")


@pytest.mark.parametrize("catalog", ["acn"])
def test_without_plans_everybody_may_top_up(host: Host) -> None:
    path = host.open("a")
    assert host.get(f"{path}/entitlements").json() == {
        "plan": None,
        "features": {"custom_credits": True},
        "addOns": [],
        "limits": {},
    }
    assert host.get(f"{path}/entitlements/custom_credits").json()["allowed"] is True


def test_an_answer_costs_a_few_reads_by_key(host: Host) -> None:
    """Under a millisecond of the engine's time where nothing else runs; five where everything does."""
    host.open("a", plan="pro")
    entitlements(host.runtime, "a")
    spans = []
    for _ in range(200):
        began = perf_counter()
        allow(host.runtime, "a", "api_access")
        spans.append(perf_counter() - began)
    assert sorted(spans)[20] < 0.005, sorted(spans)[20]
