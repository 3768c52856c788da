"""Paddle end to end: the real SDK in a real server, a Paddle of our own that keeps its books, signed webhooks."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.served import Served, environment, make_keys, purser, serving, wait_until
from tests.psp.fake_api import post
from tests.psp.fake_paddle import FakePaddle

ACCOUNT = "/v1/accounts/mira"


@pytest.fixture
def paddle() -> Iterator[FakePaddle]:
    with FakePaddle() as fake:
        yield fake


@pytest.fixture(params=["sqlite", "postgresql"])
def env(request: pytest.FixtureRequest, tmp_path: Path, paddle: FakePaddle) -> dict[str, str]:
    """A migrated database of either kind, Paddle's keys with a second webhook secret, and MoonPay's."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'purser.sqlite3'}"
    else:
        url = request.getfixturevalue("postgresql_url")
    made = environment(
        url,
        tmp_path,
        PURSER_CATALOG="alphio",
        PURSER_PADDLE_API_KEY=paddle.api_key,
        PURSER_PADDLE_WEBHOOK_SECRETS=f"pdl_ntfset_new,{paddle.webhook_secret}",
        PURSER_PADDLE_API_BASE=paddle.base_url,
        PURSER_MOONPAY_PUBLISHABLE_KEY="pk_test_1",
        PURSER_MOONPAY_SECRET_KEY="sk_test_1",
        PURSER_MOONPAY_WEBHOOK_KEY="wk_test_1",
        PURSER_MOONPAY_WALLET_ADDRESS="0xc216eD2D6c295579718dbd4a797845CdA70B3C36",
        TEST_MODE="1",
    )
    purser(made, "db", "upgrade")
    return made


def open_account(served: Served) -> None:
    body = {"accountId": "mira", "email": "mira@customer.example", "plan": "base"}
    made = served.call("service", "POST", "/v1/accounts", json=body)
    assert made.status_code == 201, made.text


def order(served: Served, cents: int = 2_500, **more: str) -> dict[str, Any]:
    started = served.call("service", "POST", f"{ACCOUNT}/checkout", json={"amountUsdCents": cents, **more})
    assert started.status_code == 201, started.text
    body: dict[str, Any] = started.json()
    return body


def webhooks(served: Served) -> str:
    return f"{str(served.http.base_url).rstrip('/')}/webhooks/paddle"


def deliver(served: Served, paddle: FakePaddle, *, again: bool = False) -> None:
    statuses = paddle.deliver(webhooks(served), again=again)
    assert set(statuses) <= {200}, statuses


def payment(served: Served, purchase_id: str) -> dict[str, Any]:
    listed = served.call("service", "GET", f"{ACCOUNT}/payments?limit=100").json()["payments"]
    return next(p for p in listed if p["id"] == purchase_id)


def balance(served: Served) -> int:
    return int(served.call("service", "GET", f"{ACCOUNT}/balance").json()["balanceCredits"])


def reverse(served: Served, purchase_id: str) -> None:
    path = f"/v1/support/purchases/{purchase_id}/reversals"
    asked = served.call("support", "POST", path, json={"reason": "The customer asked."}, key=f"reverse-{purchase_id}")
    assert (asked.status_code, asked.json()["status"]) == (202, "refunding"), asked.text


def test_a_checkout_is_paid_reversed_approved_and_audited(env: dict[str, str], paddle: FakePaddle) -> None:
    with serving(env, make_keys(env)) as served:
        open_account(served)
        quoted = served.call("service", "GET", f"{ACCOUNT}/quote?amountUsdCents=2500&country=DE&platform=web")
        assert quoted.json()["providers"] == ["paddle", "moonpay"]
        bought = order(served)
        assert bought["sessionId"].startswith("txn_") and bought["checkoutUrl"].endswith(bought["sessionId"])
        paddle.pay(bought["sessionId"])
        assert balance(served) == 0, "the redirect is not the provider's word"
        deliver(served, paddle)
        wait_until(lambda: balance(served) == 2_500)
        deliver(served, paddle, again=True)
        paid = payment(served, bought["purchaseId"])
        assert (paid["status"], paid["provider"], paid["providerReference"]) == (
            "completed",
            "paddle",
            bought["sessionId"],
        )
        (row,) = served.call("service", "GET", f"{ACCOUNT}/transactions").json()["transactions"]
        assert (row["referenceType"], row["referenceId"]) == ("paddle_payment", bought["sessionId"])
        reverse(served, bought["purchaseId"])
        wait_until(lambda: len(paddle.adjustments) == 1)
        assert balance(served) == 0
        paddle.decide(next(iter(paddle.adjustments)), "approved")
        deliver(served, paddle)
        wait_until(lambda: payment(served, bought["purchaseId"])["status"] == "refunded")
    assert "add up" in purser(env, "audit")


def test_a_rejected_refund_gives_back_and_a_chargeback_takes(env: dict[str, str], paddle: FakePaddle) -> None:
    with serving(env, make_keys(env)) as served:
        open_account(served)
        bought = order(served)
        paddle.pay(bought["sessionId"])
        deliver(served, paddle)
        wait_until(lambda: balance(served) == 2_500)
        reverse(served, bought["purchaseId"])
        wait_until(lambda: len(paddle.adjustments) == 1)
        paddle.decide(next(iter(paddle.adjustments)), "rejected")
        deliver(served, paddle)
        wait_until(lambda: balance(served) == 2_500)
        chargeback = paddle.charge_back(bought["sessionId"])
        deliver(served, paddle)
        wait_until(lambda: balance(served) == 0)
        paddle.reverse_chargeback(chargeback)
        deliver(served, paddle)
        wait_until(lambda: balance(served) == 2_500)
    assert "add up" in purser(env, "audit")


def test_forged_stale_and_misdirected_webhooks_are_refused_though_test_mode_is_set(
    env: dict[str, str], paddle: FakePaddle
) -> None:
    with serving(env, make_keys(env)) as served:
        open_account(served)
        bought = order(served)
        paddle.pay(bought["sessionId"])
        now = paddle.now()
        old = now.replace(year=now.year - 1, day=1)
        for body, headers in (
            paddle.signed(paddle.events[-1], None, "pdl_ntfset_somebody_else"),
            paddle.signed(paddle.events[-1], old),
        ):
            refused = served.http.post("/webhooks/paddle", content=body, headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (400, "WEBHOOK-001")
        body, headers = paddle.signed(paddle.events[-1])
        twice = [*headers.items(), ("Paddle-Signature", headers["paddle-signature"])]
        assert served.http.post("/webhooks/paddle", content=body, headers=twice).status_code == 400
        assert served.http.post("/webhooks/paddle", content=b"\xff\xfe", headers=headers).status_code == 400
        assert served.http.post("/webhooks/moonpay", content=body, headers=headers).status_code == 400
        assert served.http.post("/webhooks/stripe", content=body, headers=headers).status_code == 404
        assert served.http.post("/webhooks/paddle", content=b"x" * (1024 * 1024 + 1)).status_code == 413
        assert balance(served) == 0
        unknown = {"event_id": "evt_new", "event_type": "planet.discovered", "data": {}}
        rotated = paddle.signed(unknown, None, "pdl_ntfset_new")
        assert post(webhooks(served), *rotated) == 200


def test_a_crowd_of_the_same_webhook_credits_once(env: dict[str, str], paddle: FakePaddle) -> None:
    with serving(env, make_keys(env)) as served:
        open_account(served)
        bought = order(served)
        paddle.pay(bought["sessionId"])
        signed = [paddle.signed(event) for event in paddle.events]
        gate = threading.Barrier(10)

        def send(place: int) -> int:
            gate.wait()
            return post(webhooks(served), *signed[place % len(signed)])

        with ThreadPoolExecutor(10) as pool:
            statuses = list(pool.map(send, range(20)))
        deliver(served, paddle)
        wait_until(lambda: balance(served) == 2_500)
        assert set(statuses) == {200}
        (row,) = served.call("service", "GET", f"{ACCOUNT}/transactions").json()["transactions"]
        assert row["type"] == "deposit"


def test_a_moonpay_checkout_is_a_signed_link_whose_session_is_the_purchase(
    env: dict[str, str], paddle: FakePaddle
) -> None:
    with serving(env, make_keys(env)) as served:
        open_account(served)
        bought = order(served, provider="moonpay")
        assert bought["checkoutUrl"].startswith("https://buy-sandbox.moonpay.com?apiKey=pk_test_1&")
        assert bought["sessionId"] == bought["purchaseId"] and "&signature=" in bought["checkoutUrl"]
        assert payment(served, bought["purchaseId"])["status"] == "pending" and paddle.requests == []


def test_killed_while_paddle_makes_the_refund_it_is_made_once(env: dict[str, str], paddle: FakePaddle) -> None:
    keys = make_keys(env)
    with serving(env, keys) as served:
        open_account(served)
        bought = order(served)
        paddle.pay(bought["sessionId"])
        deliver(served, paddle)
        wait_until(lambda: balance(served) == 2_500)
        original = paddle.make_adjustment
        made = threading.Event()

        def make_and_never_answer(given: dict[str, Any]) -> dict[str, Any]:
            original(given)
            paddle.make_adjustment = original  # type: ignore[method-assign]
            made.set()
            served.kill()
            raise RuntimeError("the one who asked is gone")

        paddle.make_adjustment = make_and_never_answer  # type: ignore[method-assign]
        reverse(served, bought["purchaseId"])
        assert made.wait(30)
        served.process.wait(30)
    with serving(env, keys) as served:
        assert balance(served) == 0
        paddle.decide(next(iter(paddle.adjustments)), "approved")
        deliver(served, paddle)
        wait_until(lambda: payment(served, bought["purchaseId"])["status"] == "refunded")
        assert len(paddle.adjustments) == 1
    assert "add up" in purser(env, "audit")


def test_a_plan_is_bought_raised_and_cancelled(env: dict[str, str], paddle: FakePaddle) -> None:
    with serving(env, make_keys(env)) as served:
        served.call("service", "POST", "/v1/accounts", json={"accountId": "mira", "email": "mira@customer.example"})

        def asked(what: str, **body: str) -> dict[str, Any]:
            answer = served.call("service", "POST", f"{ACCOUNT}/subscription/{what}", json=body or None)
            assert answer.status_code == 200, answer.text
            return dict(answer.json())

        def now() -> dict[str, Any]:
            return dict(served.call("service", "GET", f"{ACCOUNT}/subscription").json())

        url = asked("change", plan="base", interval="month", provider="paddle")["checkoutUrl"]
        paddle.subscribe(url.rpartition("=")[2])
        deliver(served, paddle)
        wait_until(lambda: now()["plan"] == "base" and balance(served) == 3_100)
        shown = asked("preview", plan="pro")
        assert asked("change", plan="pro")["plan"] == "pro"
        deliver(served, paddle)
        deliver(served, paddle, again=True)
        paid = served.call("service", "GET", f"{ACCOUNT}/payments").json()["payments"]
        assert [one["amountMinor"] for one in paid] == [shown["dueNowMinor"], 1_900]
        wait_until(lambda: balance(served) == 3_100 + int(shown["monthlyCreditsNow"]))
        assert asked("cancel")["cancelAtPeriodEnd"] is True
        portal = served.call("service", "POST", f"{ACCOUNT}/provider-portal").json()["url"]
        assert portal.startswith("https://buyer-portal.paddle.com/")
    assert "add up" in purser(env, "audit")
