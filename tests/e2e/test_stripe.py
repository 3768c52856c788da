"""Stripe end to end: the real SDK in a real server, a Stripe of our own that keeps its books, signed webhooks."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.served import Served, environment, make_keys, purser, serving, wait_until
from tests.psp.fake_stripe import FakeStripe

ACCOUNT = "/v1/accounts/mira"
PURCHASES = 10


@pytest.fixture
def stripe() -> Iterator[FakeStripe]:
    with FakeStripe() as fake:
        yield fake


@pytest.fixture(params=["sqlite", "postgresql"])
def env(request: pytest.FixtureRequest, tmp_path: Path, stripe: FakeStripe) -> dict[str, str]:
    """A migrated database of either kind, and Stripe's keys."""
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
    )
    purser(made, "db", "upgrade")
    return made


def open_account(served: Served) -> None:
    made = served.call("service", "POST", "/v1/accounts", json={"accountId": "mira", "email": "mira@customer.example"})
    assert made.status_code == 201, made.text


def order(served: Served, cents: int = 50_000) -> dict[str, Any]:
    started = served.call("service", "POST", f"{ACCOUNT}/checkout", json={"amountUsdCents": cents})
    assert started.status_code == 201, started.text
    body: dict[str, Any] = started.json()
    return body


def webhooks(served: Served) -> str:
    return f"{str(served.http.base_url).rstrip('/')}/webhooks/stripe"


def deliver(served: Served, stripe: FakeStripe) -> None:
    statuses = stripe.deliver(webhooks(served))
    assert set(statuses) <= {200}, statuses


def status_of(served: Served, purchase_id: str) -> str:
    listed = served.call("service", "GET", f"{ACCOUNT}/payments?limit=100").json()["payments"]
    return str(next(p["status"] for p in listed if p["id"] == purchase_id))


def balance(served: Served) -> int:
    return int(served.call("service", "GET", f"{ACCOUNT}/balance").json()["balanceCredits"])


def test_a_checkout_is_paid_receipted_reversed_and_audited(env: dict[str, str], stripe: FakeStripe) -> None:
    with serving(env, make_keys(env)) as served:
        open_account(served)
        bought = order(served)
        assert bought["sessionId"].startswith("cs_") and balance(served) == 0
        stripe.pay(bought["sessionId"])
        assert balance(served) == 0, "the redirect is not the provider's word"
        deliver(served, stripe)
        wait_until(lambda: status_of(served, bought["purchaseId"]) == "completed")
        assert balance(served) == 550_000_000
        rows = served.call("service", "GET", f"{ACCOUNT}/transactions").json()["transactions"]
        assert [(row["type"], row["amountCredits"]) for row in rows] == [
            ("volume_discount", "50000000"),
            ("deposit", "500000000"),
        ]
        assert rows[0]["referenceType"] == "stripe_payment" and rows[0]["referenceId"].startswith("pi_")
        path = f"/v1/support/purchases/{bought['purchaseId']}/reversals"
        asked = served.call("support", "POST", path, json={"reason": "The customer asked."})
        assert asked.status_code == 202, asked.text
        wait_until(lambda: balance(served) == 0)
        deliver(served, stripe)
        wait_until(lambda: status_of(served, bought["purchaseId"]) == "refunded")
        wait_until(lambda: kinds(served) == ["credit_note", "receipt"])
    assert "add up" in purser(env, "audit")


def kinds(served: Served) -> list[str]:
    listed = served.call("service", "GET", f"{ACCOUNT}/receipts").json()["receipts"]
    return sorted(document["kind"] for document in listed)


def test_a_refund_in_stripes_dashboard_takes_the_credits_back(env: dict[str, str], stripe: FakeStripe) -> None:
    with serving(env, make_keys(env)) as served:
        open_account(served)
        bought = order(served, 1_000)
        payment_id = stripe.pay(bought["sessionId"])
        deliver(served, stripe)
        wait_until(lambda: balance(served) == 10_000_000)
        assert payment_id is not None
        stripe.refund(payment_id, 500)
        deliver(served, stripe)
        wait_until(lambda: balance(served) == 5_000_000)
        assert status_of(served, bought["purchaseId"]) == "partially_refunded"
    assert "add up" in purser(env, "audit")


def test_forged_and_stale_webhooks_are_refused_and_change_nothing(env: dict[str, str], stripe: FakeStripe) -> None:
    with serving(env, make_keys(env)) as served:
        open_account(served)
        bought = order(served, 1_000)
        stripe.pay(bought["sessionId"])
        body, headers = stripe.signed(stripe.events[-1], secret="whsec_somebody_else")
        forged = served.http.post("/webhooks/stripe", content=body, headers=headers)
        assert (forged.status_code, forged.json()["code"]) == (400, "ACN-WEBHOOK-001")
        unsigned = served.http.post("/webhooks/stripe", content=body)
        assert unsigned.status_code == 400
        assert served.http.post("/webhooks/stripe", content=b"x" * (1024 * 1024 + 1)).status_code == 413
        assert served.http.post("/webhooks/paddle", content=body, headers=headers).status_code == 404
        assert balance(served) == 0


def test_killed_between_webhooks_and_spends_it_credits_once_and_forgets_nothing(
    env: dict[str, str], stripe: FakeStripe
) -> None:
    keys = make_keys(env)
    with serving(env, keys) as served:
        open_account(served)
        first = order(served, 1_000)
        stripe.pay(first["sessionId"])
        deliver(served, stripe)
        wait_until(lambda: balance(served) == 10_000_000)
        bought = [order(served, 1_000)["sessionId"] for _ in range(PURCHASES)]
        acknowledged = spend_until_killed(served, stripe, bought)
    with serving(env, keys) as served:
        deliver(served, stripe)
        expected = (1 + PURCHASES) * 10_000_000
        wait_until(lambda: landed(served) == expected)
        found = spends(served)
        assert len(acknowledged) > 20 and acknowledged <= found
        assert balance(served) == expected - len(found)
    assert "add up" in purser(env, "audit")


def spend_until_killed(served: Served, stripe: FakeStripe, sessions: list[str]) -> set[str]:
    """Spends and webhooks at once, until the server is gone; the spends that were acknowledged."""
    known: set[str] = set()
    lock = threading.Lock()

    def spend(who: int) -> None:
        for number in range(10_000):
            try:
                answer = served.call(
                    "service", "POST", f"{ACCOUNT}/spends", json={"amountCredits": "1"}, key=f"{who}-{number}"
                )
            except httpx.HTTPError:
                return
            assert answer.status_code == 201, answer.text
            with lock:
                known.add(answer.json()["transaction"]["id"])

    def notify() -> None:
        for session_id in sessions:
            stripe.pay(session_id)
            try:
                stripe.deliver(webhooks(served))
            except OSError:
                return

    with ThreadPoolExecutor(5) as pool:
        running = [pool.submit(spend, who) for who in range(4)]
        told = pool.submit(notify)
        threading.Event().wait(0.7)
        wait_until(lambda: len(known) > 20)
        served.kill()
        for each in running:
            each.result(30)
        told.result(30)
    for session_id in sessions:
        if stripe.get(session_id, "checkout.session")["payment_status"] != "paid":
            stripe.pay(session_id)
    return known


def all_rows(served: Served, kind: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = served.call("service", "GET", f"{ACCOUNT}/transactions?limit=100&type={kind}{cursor}").json()
        rows.extend(page["transactions"])
        if page["nextCursor"] is None:
            return rows
        cursor = f"&cursor={page['nextCursor']}"


def landed(served: Served) -> int:
    return sum(int(row["amountCredits"]) for row in all_rows(served, "deposit"))


def spends(served: Served) -> set[str]:
    return {row["id"] for row in all_rows(served, "debit")}
