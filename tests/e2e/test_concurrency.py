"""Several server processes on one PostgreSQL, many clients on few wallets: what they saw is one history."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

import httpx
import pytest

from tests.e2e.clients import Crowd, read_ledger, with_rows
from tests.e2e.history import check
from tests.e2e.served import environment, make_keys, purser, serving, wait_until

CLIENTS = 10
STEPS = 70
CAP = 4
LIMIT = 400
HOT = ("hot1", "hot2", "hot3")
COLD = tuple(f"cold{number}" for number in range(6))
COUPON = f"""
[[coupons]]
code = "FEW"
description = "For the first {CAP}"
credits = 25
bucket = "recharge"
max_redemptions = {CAP}
"""


@pytest.fixture
def env(postgresql_url: str, tmp_path: Path) -> dict[str, str]:
    shipped = files("engine.catalogs").joinpath("acn.toml").read_text(encoding="utf-8")
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(shipped.replace("[descriptions]", f"{COUPON}\n[descriptions]", 1), encoding="utf-8")
    return environment(postgresql_url, tmp_path, PURSER_CATALOG=str(catalog))


def seconds_to_midnight() -> float:
    now = datetime.now(UTC)
    return 86_400 - (now.hour * 3_600 + now.minute * 60 + now.second)


def set_up(http: httpx.Client, crowd: Crowd) -> None:
    """Accounts with some credits; the first hot wallet has a daily limit from the start."""
    bearer = {"authorization": f"Bearer {crowd.bearer}"}
    for account in (*HOT, *COLD):
        body = {"accountId": account, "email": "mira@customer.example"}
        assert http.post("/v1/accounts", json=body, headers=bearer).status_code == 201
        grant: dict[str, object] = {"bucket": "recharge", "amountCredits": "100", "source": "promo"}
        crowd.ask(http, account, "grant", "grants", grant, 100, crowd.key())
    crowd.ask(http, HOT[0], "limits", "limits", {"dailySpendLimitCredits": str(LIMIT)}, LIMIT, "")


def test_what_many_clients_of_three_processes_saw_is_one_history(env: dict[str, str]) -> None:
    wait_until(lambda: seconds_to_midnight() > 150, seconds=200)  # a day's limit is judged within one day
    keys = make_keys(env)
    with serving(env, keys, "--workers", "3") as served:
        crowd = Crowd(str(served.http.base_url), keys["service"], HOT, COLD, "FEW")
        set_up(served.http, crowd)
        with ThreadPoolExecutor(CLIENTS) as pool:
            for client in [pool.submit(crowd.client, seed, STEPS) for seed in range(CLIENTS)]:
                client.result()
        ledgers = {account: read_ledger(served.http, crowd.bearer, account) for account in (*HOT, *COLD)}
        calls = with_rows(crowd.told, ledgers)
        report = json.loads(purser(env, "audit", "--json"))
    assert check(calls, ledgers, {"FEW": CAP}) == []
    assert report["clean"] and report["rows"] == sum(map(len, ledgers.values()))
    seen = Counter(f"{call.kind} {call.status} {call.code}".strip() for call in calls)
    for wanted in (
        "grant 201",
        "spend 201",
        "hold 201",
        "capture 200",
        "void 200",
        "extend 200",
        "reversal 201",
        "limits 200",
        "spend 402 ACN-CREDIT-001",
        "spend 402 ACN-CREDIT-002",
        "spend 422 ACN-IDEMPOTENCY-002",
        "coupon 409 ACN-COUPON-005",
    ):
        assert seen[wanted] > 0, (wanted, seen)
    assert sum(call.kind == "coupon" and call.is_done and not call.is_replay for call in calls) == CAP
    assert any(call.is_replay for call in calls)
    assert len(calls) > CLIENTS * STEPS / 2 and not {call for call in calls if call.status >= 500}
