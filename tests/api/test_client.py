"""The host's client against a real Purser: sync and async, answers lost on the way, refusals as types, guards."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from litestar import Litestar, get
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.testing import AsyncTestClient
from standardwebhooks import Webhook, WebhookVerificationError

from api import client as c
from tests.api.host import Host

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Wire(httpx.BaseTransport):
    """The way to the application; it loses answers, or whole requests, as it is told."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.requests: list[httpx.Request] = []
        self.troubles: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        trouble = self.troubles.pop(0) if self.troubles else ""
        if trouble == "lost request":
            raise httpx.ConnectError("no route")
        if trouble == "busy":
            return httpx.Response(503, headers={"retry-after": "2"}, json={"code": "UNAVAILABLE", "detail": "later"})
        answer = self._host.client.request(
            request.method, request.url.raw_path.decode(), content=request.content, headers=dict(request.headers)
        )
        if trouble == "lost answer":
            raise httpx.ReadError("connection reset")
        return httpx.Response(answer.status_code, headers={"content-type": "application/json"}, content=answer.content)


class AsyncWire(httpx.AsyncBaseTransport):
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        return await asyncio.to_thread(self._wire.handle_request, request)


@pytest.fixture
def wire(host: Host) -> Wire:
    host.open("acme", plan="base")
    host.grant("/v1/accounts/acme", "recharge", 1_000)
    return Wire(host)


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def purser(host: Host, wire: Wire, waits: list[float]) -> c.Purser:
    return c.Purser("http://purser.local", host.service_key, transport=wire, pause=waits.append)


def test_a_spend_says_what_was_drawn_and_may_be_undone(purser: c.Purser) -> None:
    spent = purser.spend("acme", 300, description="Report")
    assert [draw.credits for draw in spent.draws] == [300] and spent.balance_after == "700"
    assert purser.reverse("acme", spent.transaction.id, credits=100).balance_after == "800"
    assert purser.grant("acme", "recharge", 50, "promo", description="Sorry").balance_after == "850"
    assert (purser.balance("acme").credits, purser.entitlements("acme").limits) == (850, {"projects": 3})


@pytest.mark.parametrize("trouble", ["lost request", "lost answer", "busy"])
def test_what_got_no_answer_is_tried_again_with_its_key_and_done_once(
    purser: c.Purser, wire: Wire, waits: list[float], trouble: str
) -> None:
    wire.troubles = [trouble, trouble]
    assert purser.spend("acme", 10).balance_after == "990"
    assert len({request.headers["idempotency-key"] for request in wire.requests}) == 1 and len(wire.requests) == 3
    assert purser.balance("acme").credits == 990
    assert waits == ([2.0, 2.0] if trouble == "busy" else [0.1, 0.2])


def test_after_every_try_it_says_that_nobody_answers(purser: c.Purser, wire: Wire) -> None:
    for trouble in ("lost request", "busy"):
        wire.troubles = [trouble] * 5
        with pytest.raises(c.Unreachable):
            purser.spend("acme", 10)
    assert purser.balance("acme").credits == 1_000


def test_refusals_are_types_with_their_facts(purser: c.Purser, host: Host) -> None:
    with pytest.raises(c.InsufficientCredits) as short:
        purser.spend("acme", 2_000)
    assert (short.value.status, short.value.code) == (402, "CREDIT-001")
    assert short.value.facts["shortfallCredits"] == "1000"
    with pytest.raises(c.Missing):
        purser.balance("nobody")
    purser.spend("acme", 1, key="same")
    with pytest.raises(c.KeyReused):
        purser.spend("acme", 2, key="same")


@pytest.mark.parametrize("catalog", ["acn"])
def test_a_code_is_known_with_the_catalogues_prefix_too(host: Host) -> None:
    host.open("acn1")
    purser = c.Purser("http://purser.local", host.service_key, transport=Wire(host))
    with pytest.raises(c.InsufficientCredits) as short:
        purser.spend("acn1", 1)
    assert short.value.code == "ACN-CREDIT-001"


def test_whether_an_account_may(purser: c.Purser) -> None:
    assert purser.allows("acme", "custom_credits") and not purser.allows("acme", "api_access")
    with pytest.raises(c.Missing):
        purser.allows("acme", "time_travel")


def test_a_hold_takes_what_was_used_and_gives_the_rest_back(purser: c.Purser) -> None:
    with purser.hold("acme", 500, description="GPU") as hold:
        assert purser.balance("acme").credits == 500
        assert hold.capture(120).released_credits == "380"
    assert purser.balance("acme").credits == 880
    with purser.hold("acme", 500):
        pass
    assert purser.balance("acme").credits == 880, "nothing was captured, so all of it came back"


def test_an_exception_gives_the_held_credits_back_and_is_what_the_caller_sees(purser: c.Purser, wire: Wire) -> None:
    with pytest.raises(ZeroDivisionError), purser.hold("acme", 500):
        raise ZeroDivisionError
    assert purser.balance("acme").credits == 1_000
    with pytest.raises(ZeroDivisionError), purser.hold("acme", 500):
        wire.troubles = ["lost request"] * 5
        raise ZeroDivisionError


def test_the_same_in_an_event_loop(host: Host, wire: Wire) -> None:
    async def ask() -> None:
        async with c.AsyncPurser("http://purser.local", host.service_key, transport=AsyncWire(wire)) as purser:
            wire.troubles = ["lost answer"]
            assert (await purser.spend("acme", 100)).balance_after == "900"
            async with purser.hold("acme", 500) as hold:
                await hold.capture(100)
            with pytest.raises(ZeroDivisionError):
                async with purser.hold("acme", 500):
                    raise ZeroDivisionError
            assert (await purser.grant("acme", "recharge", 200, "promo")).balance_after == "1000"
            assert (await purser.balance("acme")).credits == 1_000
            assert await purser.allows("acme", "custom_credits") and not await purser.allows("acme", "api_access")
            assert (await purser.entitlements("acme")).plan == "base"
            with pytest.raises(c.InsufficientCredits):
                await purser.spend("acme", 5_000)

    asyncio.run(ask())


def test_a_guard_serves_who_may_and_tells_the_others_what_to_get(host: Host, wire: Wire) -> None:
    def account_of(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
        return str(connection.query_params["account"])

    @get("/reports", guards=[c.requires("api_access", account_of)], sync_to_thread=False)
    def reports() -> str:
        return "served"

    host.open("big", plan="pro")

    async def ask() -> None:
        purser = c.AsyncPurser("http://purser.local", host.service_key, transport=AsyncWire(wire))
        app = Litestar([reports], state=State({"purser": purser}), openapi_config=None, logging_config=None)
        async with AsyncTestClient(app) as browser:
            assert (await browser.get("/reports?account=big")).text == "served"
            refused = await browser.get("/reports?account=acme")
            assert refused.status_code == 403 and refused.json()["extra"]["requiredPlan"] == "pro"
        await purser.close()

    asyncio.run(ask())


def test_a_webhook_is_verified_from_its_raw_bytes() -> None:
    body = b'{"type":"credits.granted","data":{}}'
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("msg_1", now, body.decode()),
    }
    assert c.verify_webhook(headers, body, SECRET)["type"] == "credits.granted"
    spoil: Callable[[bytes], bytes] = lambda raw: raw.replace(b"granted", b"grabbed")  # noqa: E731
    with pytest.raises(WebhookVerificationError):
        c.verify_webhook(headers, spoil(body), SECRET)
