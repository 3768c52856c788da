"""A thousand signed webhooks at once at a real server: answered soon, cheaply, while spends go on; all processed."""

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.crowd import crowd, getting, posting
from tests.e2e.served import Served, environment, free_port, make_keys, purser, serving, wait_until
from tests.psp.fake_stripe import FakeStripe

EVENTS = 1_000
PURCHASES = 30
SPENDS = 50
SECONDS_MAX = 2.0
FLOORS_MAX = 4.0
"""How long the slowest answer may take: two seconds, or on a busy machine four times what the same crowd waits for an
answer that costs nothing."""

CPU_FLOORS_MAX = 5.0
"""What reading, verifying and answering one webhook may cost the server, in answers that cost nothing."""


@pytest.fixture
def stripe() -> Iterator[FakeStripe]:
    with FakeStripe() as fake:
        yield fake


@pytest.fixture(params=["sqlite", "postgresql"])
def env(request: pytest.FixtureRequest, tmp_path: Path, stripe: FakeStripe) -> dict[str, str]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'purser.sqlite3'}"
    else:
        url = request.getfixturevalue("postgresql_url")
    made = environment(
        url,
        tmp_path,
        PURSER_STRIPE_SECRET_KEY=stripe.secret_key,
        PURSER_STRIPE_WEBHOOK_SECRETS=stripe.webhook_secret,
        PURSER_STRIPE_API_BASE=stripe.base_url,
        PURSER_METRICS_PORT=str(free_port()),
    )
    purser(made, "db", "upgrade")
    return made


def loop_seconds(served: Served) -> float:
    """CPU time of the thread that takes requests in and answers them."""
    pid = served.process.pid
    fields = Path(f"/proc/{pid}/task/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def opened(served: Served, stripe: FakeStripe) -> None:
    """An account with credits to spend, and purchases that Stripe has been paid for."""
    assert served.call("service", "POST", "/v1/accounts", json={"accountId": "mira", "email": "m@c.example"}).is_success
    grant = {"bucket": "recharge", "amountCredits": "1000", "source": "promo"}
    assert served.call("service", "POST", "/v1/accounts/mira/grants", key="g", json=grant).is_success
    for _ in range(PURCHASES):
        made = served.call("service", "POST", "/v1/accounts/mira/checkout", json={"amountUsdCents": 1_000})
        stripe.pay(made.json()["sessionId"])


def webhooks(stripe: FakeStripe) -> list[bytes]:
    """Every event of these payments twice, and as many more that nobody follows."""
    events = [*stripe.events, *stripe.events]
    while len(events) < EVENTS:
        strange = copy.deepcopy(stripe.events[-1])
        strange |= {"id": f"evt_strange{len(events)}", "type": "price.updated"}
        events.append(strange)
    requests = []
    for event in events:
        body, headers = stripe.signed(event)
        requests.append(posting("/webhooks/stripe", headers, body))
    return requests


def spends(served: Served) -> list[bytes]:
    body = json.dumps({"amountCredits": "1"}).encode()
    shown = {"authorization": f"Bearer {served.keys['service']}", "content-type": "application/json"}
    path = "/v1/accounts/mira/spends"
    return [posting(path, shown | {"idempotency-key": f"spend-{number}"}, body) for number in range(SPENDS)]


def waiting(env: dict[str, str]) -> list[str]:
    """What is not in the books yet, as the server's own metrics say."""
    told = httpx.get(f"http://127.0.0.1:{env['PURSER_METRICS_PORT']}/metrics", trust_env=False).text
    return [line for line in told.splitlines() if line.startswith("purser_webhooks_waiting{")]


def test_a_thousand_webhooks_at_once_are_answered_soon_and_cheaply_and_all_are_processed(
    env: dict[str, str], stripe: FakeStripe
) -> None:
    with serving(env, make_keys(env)) as served:
        opened(served, stripe)
        port = served.http.base_url.port
        assert port is not None
        requests = webhooks(stripe)
        idle = loop_seconds(served)
        floor = crowd(port, [getting("/healthz")] * EVENTS)
        before = loop_seconds(served)
        floor_cost = (before - idle) / EVENTS
        told = crowd(port, [*requests, *spends(served)])
        cost = (loop_seconds(served) - before) / (EVENTS + SPENDS)
        assert [status for status, _ in told] == [200] * EVENTS + [201] * SPENDS
        slowest, floor_seconds = max(s for _, s in told[:EVENTS]), max(s for _, s in floor)
        assert slowest < max(SECONDS_MAX, FLOORS_MAX * floor_seconds), f"{slowest:.1f} s, floor {floor_seconds:.1f} s"
        assert cost < CPU_FLOORS_MAX * floor_cost, f"{cost * 1000:.2f} ms a webhook, floor {floor_cost * 1000:.2f} ms"
        wait_until(lambda: waiting(env) == [], 120)
        account: dict[str, Any] = served.call("service", "GET", "/v1/accounts/mira/balance").json()
        assert account["balanceCredits"] == str(PURCHASES * 10_000_000 + 1_000 - SPENDS)
    assert "add up" in purser(env, "audit")
