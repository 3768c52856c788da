"""The answers and problems of the contract, field by field: name, type, and where a field may be null."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from api.problems import KINDS
from engine.rules.errors import Refusal
from tests.api.desk import Desk, open_desk
from tests.api.host import Host, assert_problem

Shape = dict[str, str]
PATTERNS = {
    "credits": r"-?\d+",
    "usdc": r"-?\d+\.\d{6}",
    "usd": r"\d+\.\d{2}",
    "instant": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z",
    "date": r"\d{4}-\d\d-\d\d",
    "text": r"(?s).+",
}
KINDS_OF_VALUE: dict[str, type] = {"int": int, "bool": bool, "list": list, "object": dict}

BALANCE: Shape = {
    "balanceCredits": "credits", "balanceUsdc": "usdc?", "heldCredits": "credits", "debtCredits": "credits",
    "dailySpentCredits": "credits", "dailySpentUsdc": "usdc?", "dailySpendLimitCredits": "credits?",
    "perCallLimitCredits": "credits?", "lowBalanceAlertThreshold": "credits?", "status": "text", "buckets": "list",
}  # fmt: skip
BUCKET: Shape = {
    "bucket": "text", "availableCredits": "credits", "heldCredits": "credits", "nextExpiryAt": "instant?",
    "lots": "list",
}  # fmt: skip
LIMITS: Shape = {
    "dailySpendLimitCredits": "credits?", "dailySpendLimitUsdc": "usdc?", "perCallLimitCredits": "credits?",
    "perCallLimitUsdc": "usdc?",
}  # fmt: skip
ALERTS: Shape = {
    "lowBalanceThresholdCredits": "credits?", "lowBalanceThresholdUsdc": "usdc?", "emailNotifications": "object",
}  # fmt: skip
NOTIFICATIONS: Shape = dict.fromkeys(
    ("lowBalance", "dailyLimitReached", "paymentConfirmed", "unusualActivity", "dailySummary", "weeklySummary",
     "creditsExpiring", "autoRecharge", "refunds"),
    "bool",
)  # fmt: skip
TRANSACTION: Shape = {
    "id": "text", "seq": "int", "type": "text", "source": "text?", "amountCredits": "credits", "amountUsdc": "usdc?",
    "balanceAfter": "credits", "debtAfter": "credits", "description": "text?", "referenceType": "text?",
    "referenceId": "text?", "providerId": "text?", "capabilityId": "text?", "entries": "list", "createdAt": "instant",
}  # fmt: skip
PAYMENT: Shape = {
    "id": "text", "amountUsd": "usd?", "amountMinor": "int", "currency": "text", "creditsGranted": "credits",
    "status": "text", "provider": "text", "receiptUrl": "text?", "providerReference": "text?", "createdAt": "instant",
    "completedAt": "instant?",
}  # fmt: skip
SUMMARY: Shape = {
    "totalCreditsSpent": "credits", "totalUsdcSpent": "usdc?", "totalCalls": "int", "dateRange": "object",
}  # fmt: skip
DAY: Shape = {
    "date": "date", "creditsSpent": "credits", "usdcSpent": "usdc?", "callCount": "int", "providerBreakdown": "list",
}  # fmt: skip
PROVIDER: Shape = {
    "providerId": "text?", "providerName": "text?", "creditsSpent": "credits", "callCount": "int",
}  # fmt: skip
ENTITLEMENTS: Shape = {"plan": "text?", "features": "object", "addOns": "list", "limits": "object"}
SUBSCRIPTION: Shape = {
    "plan": "text?", "interval": "text?", "status": "text", "provider": "text?", "currentPeriodStart": "instant?",
    "currentPeriodEnd": "instant?", "cancelAtPeriodEnd": "bool", "pendingPlan": "text?", "monthlyCredits": "credits",
}  # fmt: skip
VERIFIED: Shape = {"accountId": "text", "apiKeyId": "text", "scopes": "list", "limits": "object"}
PAGE: Shape = {"page": "int", "limit": "int", "total": "int"}


def assert_shape(told: dict[str, Any], shape: Shape) -> None:
    for name, says in shape.items():
        assert name in told, f"{name} is missing in {told}"
        value, is_optional, kind = told[name], says.endswith("?"), says.rstrip("?")
        if value is None:
            assert is_optional, f"{name} is null"
        elif kind in PATTERNS:
            assert isinstance(value, str) and re.fullmatch(PATTERNS[kind], value), f"{name}: {value!r} is no {kind}"
        else:
            assert type(value) is KINDS_OF_VALUE[kind], f"{name}: {value!r} is no {kind}"


CATALOGUES = pytest.mark.parametrize("catalog", ["alphio", "acn", "ecolink"])


def opened(host: Host, catalog: str) -> str:
    return host.open("a", plan="pro" if catalog == "alphio" else None)


@pytest.fixture
def desk(host: Host) -> Desk:
    return open_desk(host)


@CATALOGUES
def test_every_read_has_the_fields_of_the_contract(host: Host, desk: Desk, catalog: str) -> None:
    path = opened(host, catalog)
    desk.buy(path, 2_000)
    host.post(f"{path}/spends", {"amountCredits": "3", "providerId": "gpt", "providerName": "GPT", "capabilityId": "c"})
    host.post(f"{path}/holds", {"amountCredits": "2"})
    balance = host.balance(path)
    assert_shape(balance, BALANCE)
    names = [bucket["bucket"] for bucket in balance["buckets"]]
    assert names == (["limited_time", "monthly", "recharge"] if catalog == "alphio" else ["recharge"])
    for bucket in balance["buckets"]:
        assert_shape(bucket, BUCKET)
    assert (balance["heldCredits"], balance["dailySpentCredits"], balance["debtCredits"]) == ("2", "5", "0")
    assert balance["dailySpendLimitCredits"] is balance["perCallLimitCredits"] is None
    assert (balance["balanceUsdc"] is None) == (catalog == "alphio")
    reads: tuple[tuple[str, Shape, Callable[[Any], Any]], ...] = (
        ("limits", LIMITS, lambda told: told),
        ("alerts", ALERTS, lambda told: told),
        ("alerts", NOTIFICATIONS, lambda told: told["emailNotifications"]),
        ("transactions", TRANSACTION, lambda told: told["transactions"][0]),
        ("transactions", PAGE, lambda told: told["pagination"]),
        ("payments", PAYMENT, lambda told: told["payments"][0]),
        ("payments", PAGE, lambda told: told["pagination"]),
        ("usage", SUMMARY, lambda told: told["summary"]),
        ("usage", {"from": "date", "to": "date"}, lambda told: told["summary"]["dateRange"]),
        ("usage", DAY, lambda told: told["daily"][0]),
        ("usage", PROVIDER, lambda told: told["daily"][0]["providerBreakdown"][0]),
        ("usage?groupBy=provider", PROVIDER, lambda told: told["providers"][0]),
        ("usage", {"daysToEmpty": "int?"}, lambda told: told["forecast"]),
        ("entitlements", ENTITLEMENTS, lambda told: told),
        ("subscription", SUBSCRIPTION, lambda told: told),
    )
    for name, shape, part in reads:
        resource, _, group = name.partition("?groupBy=")
        answer = host.get(f"{path}/{resource}", **({"groupBy": group} if group else {}))
        assert answer.status_code == 200, (name, answer.text)
        assert_shape(part(answer.json()), shape)
    assert "nextCursor" in host.get(f"{path}/transactions").json()


@CATALOGUES
def test_a_key_is_verified_as_the_contract_says(host: Host, catalog: str) -> None:
    path = opened(host, catalog)
    made = host.post(f"{path}/api-keys", {"name": "laptop"}).json()
    assert made["key"].startswith("acn_sk_") == (catalog == "acn")
    told = host.post("/v1/api-keys/verify", {"key": made["key"]}, key=None)
    assert told.status_code == 200
    assert_shape(told.json(), VERIFIED)


@CATALOGUES
def test_limits_set_in_one_form_are_told_in_both(host: Host, catalog: str) -> None:
    path = opened(host, catalog)
    bearer = {"Authorization": f"Bearer {host.service_key}"}
    told = host.client.put(f"{path}/limits", json={"dailySpendLimitCredits": "2500000"}, headers=bearer).json()
    assert_shape(told, LIMITS)
    usd = None if catalog == "alphio" else "2.500000"
    assert (told["dailySpendLimitCredits"], told["dailySpendLimitUsdc"]) == ("2500000", usd)
    assert told["perCallLimitCredits"] is told["perCallLimitUsdc"] is None
    kept = host.client.put(f"{path}/limits", json={"perCallLimitCredits": "7"}, headers=bearer).json()
    assert (kept["dailySpendLimitCredits"], kept["perCallLimitCredits"]) == ("2500000", "7")
    gone = host.client.put(f"{path}/limits", json={"dailySpendLimitCredits": None}, headers=bearer).json()
    assert (gone["dailySpendLimitCredits"], gone["dailySpendLimitUsdc"]) == (None, None)


STATUS = {
    "CREDIT-001": 402, "CREDIT-002": 402, "BILLING-001": 400, "BILLING-002": 400, "BILLING-003": 400,
    "BILLING-004": 400, "COUPON-001": 404, "COUPON-002": 409, "COUPON-003": 410, "COUPON-004": 403,
    "COUPON-005": 409, "PLAN-001": 403, "PLAN-002": 403, "PLAN-003": 409, "HOLD-001": 409, "HOLD-002": 409,
    "HOLD-003": 409, "SPEND-001": 409, "QUOTE-001": 400, "WEBHOOK-001": 400, "ACCOUNT-001": 409, "WALLET-001": 403,
    "WALLET-002": 403, "IDEMPOTENCY-001": 400, "IDEMPOTENCY-002": 422, "REFUND-001": 409, "REFUND-002": 409,
    "REFUND-003": 409, "REFUND-004": 409, "REFUND-005": 409, "AUTH-001": 401, "AUTH-002": 403, "NOT-FOUND": 404,
    "RATE-001": 429, "INVALID": 400, "UNAVAILABLE": 503,
}  # fmt: skip


def test_the_contracts_codes_and_no_others_have_their_status() -> None:
    told: dict[str, int] = {refusal.code: kind.status for refusal, kind in KINDS.items()}
    assert told == STATUS and all(issubclass(refusal, Refusal) for refusal in KINDS)


@CATALOGUES
def test_refusals_of_credits_name_their_facts(host: Host, desk: Desk, catalog: str) -> None:
    path, prefix = opened(host, catalog), "ACN-" if catalog == "acn" else ""
    host.grant(path, "recharge", 10)
    assert_problem(
        host.spend(path, 11), 402, f"{prefix}CREDIT-001",
        neededCredits="11", availableCredits="10", shortfallCredits="1",
    )  # fmt: skip
    bearer = {"Authorization": f"Bearer {host.service_key}"}
    limits = {"dailySpendLimitCredits": "6", "perCallLimitCredits": "4"}
    assert host.client.put(f"{path}/limits", json=limits, headers=bearer).status_code == 200
    host.spend(path, 4)
    for credits, kind, limit in ((5, "per_call", "4"), (3, "daily", "6")):
        assert_problem(
            host.spend(path, credits), 402, f"{prefix}CREDIT-002",
            limitType=kind, limitCredits=limit, currentDailySpend="4", requestedCredits=str(credits),
        )  # fmt: skip


@CATALOGUES
def test_the_codes_that_a_host_meets_first(host: Host, desk: Desk, catalog: str) -> None:
    path, prefix = opened(host, catalog), "ACN-" if catalog == "acn" else ""
    host.grant(path, "recharge", 100)
    spent = host.spend(path, 1).json()["transaction"]["id"]
    hold = host.post(f"{path}/holds", {"amountCredits": "5"}).json()["holdId"]
    host.post(f"{path}/spends/{spent}/reversal")
    host.post(f"{path}/spends", {"amountCredits": "1"}, key="twice")
    small, large = 1 if catalog == "ecolink" else 100, 2_000_000
    support, other = desk.support, host.new_key("account", "a", name="key")
    refused: tuple[tuple[Any, int, str], ...] = (
        (host.get(f"{path}/quote", amountUsdCents=small), 400, "BILLING-001"),
        (host.get(f"{path}/quote", amountUsdCents=large), 400, "BILLING-002"),
        (host.get(f"{path}/quote", amountUsdCents="9" * 30), 400, "BILLING-002"),
        (host.get(f"{path}/quote", amountUsdCents="ten"), 400, "BILLING-003"),
        (host.get(f"{path}/quote", amountUsdCents=2_000, provider="barter"), 400, "INVALID"),
        (host.get(f"{path}/quote", amountUsdCents=2_000, country="ZZ"), 400, "INVALID"),
        (host.post(f"{path}/checkout", {"amountUsdCents": 10**17}), 400, "BILLING-002"),
        (host.post(f"{path}/checkout", {"amountUsdCents": 10**40}), 400, "BILLING-002"),
        (host.post(f"{path}/checkout", {"amountUsdCents": 20.5}), 400, "BILLING-003"),
        (host.post(f"{path}/checkout", {"amountUsdCents": 2_000, "successUrl": ""}), 400, "BILLING-004"),
        (host.post("/v1/accounts", {"accountId": "zz", "email": "a@b.example", "country": "ZZ"}), 400, "INVALID"),
        (host.post(f"{path}/checkout", {"amountUsdCents": 2_000, "successUrl": "https://x.example/"}), 400,
         "BILLING-004"),
        (host.post(f"{path}/checkout", {"amountUsdCents": 2_000, "quoteToken": "x"}), 400, "QUOTE-001"),
        (host.post(f"{path}/coupons/redeem", {"code": "NOPE"}), 404, "COUPON-001"),
        (host.post(f"{path}/holds/{hold}/capture", {"amountCredits": "6"}), 409, "HOLD-003"),
        (host.post(f"{path}/spends/{spent}/reversal"), 409, "SPEND-001"),
        (host.post("/v1/accounts", {"accountId": "a", "email": "x@y.example"}), 409, "ACCOUNT-001"),
        (host.post(f"{path}/spends", {"amountCredits": "1"}, key=None), 400, "IDEMPOTENCY-001"),
        (host.post(f"{path}/spends", {"amountCredits": "2"}, key="twice"), 422, "IDEMPOTENCY-002"),
        (host.get(f"{path}/balance", bearer="nobody's"), 401, "AUTH-001"),
        (host.post(f"{path}/spends", {"amountCredits": "1"}, bearer=support), 403, "AUTH-002"),
        (host.get("/v1/accounts/b/balance", bearer=other), 404, "NOT-FOUND"),
        (host.post(f"{path}/spends", {"amountCredits": "1", "amuont": 1}), 400, "INVALID"),
    )  # fmt: skip
    for answer, status, code in refused:
        assert_problem(answer, status, prefix + code)
    assert host.post(f"{path}/holds/{hold}/void").status_code == 200
    assert_problem(host.post(f"{path}/holds/{hold}/void"), 409, f"{prefix}HOLD-001")
    late = host.post(f"{path}/holds", {"amountCredits": "5", "expiresInSeconds": 60}).json()["holdId"]
    host.wait(minutes=2)
    assert_problem(host.post(f"{path}/holds/{late}/capture", {"amountCredits": "1"}), 409, f"{prefix}HOLD-002")
    host.post("/v1/admin/accounts/a/suspend", {"reason": "asked"}, bearer=desk.admin)
    assert_problem(host.spend(path, 1), 403, f"{prefix}WALLET-001", walletStatus="suspended")


def test_refunds_are_refused_in_their_order(host: Host, desk: Desk) -> None:
    path = host.open("a", plan="pro")

    def reverse(purchase_id: str) -> Any:
        return host.post(f"/v1/support/purchases/{purchase_id}/reversals", {"reason": "x"}, bearer=desk.support)

    touched, gone, old = desk.buy(path, 2_000), desk.buy(path, 2_000), desk.buy(path, 2_000)
    host.spend(path, 1)
    assert_problem(reverse(touched), 409, "REFUND-002")
    assert reverse(gone).status_code == 202
    desk.jobs.run_due()
    assert_problem(reverse(gone), 409, "REFUND-003")
    desk.provider.can_refund = False
    assert_problem(reverse(gone), 409, "REFUND-003")
    assert_problem(reverse(old), 409, "REFUND-004")
    desk.provider.can_refund = True
    host.wait(hours=24)
    assert_problem(reverse(old), 409, "REFUND-001")
    assert host.spend(path, host.balance(path)["balanceCredits"]).status_code == 201
    desk.deliver(desk.provider.say("refund", "re_out", "succeeded", 2_000, parent=f"pi_{touched}"))
    assert_problem(host.spend(path, 1), 403, "WALLET-002")
