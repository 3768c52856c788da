"""The short way in answers as the framework does, whatever is asked of a hot resource."""

from collections.abc import Iterator

import pytest
from httpx import Response
from litestar import Litestar
from litestar.testing import TestClient

from api.app import RESOURCES
from api.front import SAFE_HEADERS, Front
from tests.api.host import Host, new_app

HOT = tuple(resource for resource in RESOURCES if resource.is_hot)
SPEND = {"amountCredits": "5", "description": "a call"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def behind(host: Host) -> Iterator[TestClient[Litestar]]:
    """The same host without the short way in."""
    app = new_app(host.runtime)
    assert isinstance(app.asgi_handler, Front)
    app.asgi_handler = app.asgi_handler._behind
    with TestClient(app) as client:
        yield client


@pytest.fixture
def path(host: Host) -> str:
    path = host.open("a", plan="base")
    host.grant(path, "recharge", 1_000)
    return path


def shown(answer: Response) -> tuple[object, ...]:
    """What a client sees, but for what differs from moment to moment and what the front adds to either way."""
    body = answer.json() if answer.text else None
    headers = [
        (name, value)
        for name, value in answer.headers.multi_items()
        if name not in SAFE_HEADERS and not name.startswith("ratelimit")
    ]
    return answer.status_code, sorted(headers), body


def test_the_hottest_three_are_hot() -> None:
    assert {resource.path for resource in HOT} == {"balance", "quote", "spends"}


@pytest.mark.parametrize(
    ("method", "tail", "headers", "body"),
    [
        ("GET", "/balance", {}, None),
        ("GET", "/balance?at=2026-11-02", {}, None),
        ("GET", "/balance?at=tomorrow", {}, None),
        ("GET", "/balance?at=2026-11-02&at=2026-11-02", {}, None),
        ("GET", "/balance?odd=1", {}, None),
        ("GET", "/balance?at", {}, None),
        ("GET", "/balance?at=%zz%00", {}, None),
        ("GET", "/balance/", {}, None),
        ("GET", "/quote?amountUsdCents=29000", {}, None),
        ("GET", "/quote?amountUsdCents=29000&provider=stripe", {}, None),
        ("GET", "/quote?amountUsdCents=1", {}, None),
        ("GET", "/quote?amountUsdCents=+5000", {}, None),
        ("GET", "/quote?amountMinor=5000&currency=EUR", {}, None),
        ("GET", "/quote", {}, None),
        ("HEAD", "/balance", {}, None),
        ("POST", "/balance", {}, b"{}"),
        ("POST", "/spends", {"Idempotency-Key": "k", **JSON}, b'{"amountCredits": "0"}'),
        ("POST", "/spends", {"Idempotency-Key": "k", **JSON}, b'{"amountCredits": "9999"}'),
        ("POST", "/spends", {"Idempotency-Key": "k", **JSON}, b'{"amountCredits": 5, "amountCredits": 6}'),
        ("POST", "/spends", {"Idempotency-Key": "k", **JSON}, b"[" * 2_000),
        ("POST", "/spends", {"Idempotency-Key": "k", **JSON}, b"\xff"),
        ("POST", "/spends", {"Idempotency-Key": "k", "Content-Type": "text/plain"}, b'{"amountCredits": "5"}'),
        ("POST", "/spends", {"Idempotency-Key": "k"}, b""),
        ("POST", "/spends", {"Idempotency-Key": "", **JSON}, b'{"amountCredits": "5"}'),
        ("POST", "/spends", {"Idempotency-Key": "k" * 256, **JSON}, b'{"amountCredits": "5"}'),
        ("POST", "/spends", JSON, b'{"amountCredits": "5"}'),
        ("POST", "/spends", JSON, b'{"amountCredits": "5", "dryRun": true}'),
        ("POST", "/spends", {"Idempotency-Key": "k", **JSON}, b'"' + b"x" * 2_000_000 + b'"'),
        ("POST", "/spends", {"Idempotency-Key": "first", **JSON}, b'{"amountCredits": "5", "description": "a call"}'),
        ("POST", "/spends", {"Idempotency-Key": "first", **JSON}, b'{"amountCredits": "6"}'),
    ],
)
def test_both_ways_answer_alike(
    host: Host,
    behind: TestClient[Litestar],
    path: str,
    method: str,
    tail: str,
    headers: dict[str, str],
    body: bytes | None,
) -> None:
    assert host.post(f"{path}/spends", SPEND, key="first").status_code == 201
    asked = {"Authorization": f"Bearer {host.service_key}", **headers}
    answers = [client.request(method, path + tail, headers=asked, content=body) for client in (host.client, behind)]
    assert shown(answers[0]) == shown(answers[1])


@pytest.mark.parametrize("bearer", ["", "Bearer", "Bearer nothing", "Basic eDp5", "Bearer alp_sk_0000"])
def test_who_shows_no_key_of_ours_gets_the_same_no(
    host: Host, behind: TestClient[Litestar], path: str, bearer: str
) -> None:
    headers = {"Authorization": bearer} if bearer else {}
    answers = [client.get(f"{path}/balance", headers=headers) for client in (host.client, behind)]
    assert answers[0].status_code == 401 and shown(answers[0]) == shown(answers[1])


@pytest.mark.parametrize("account", ["b", "nobody", "a%2Fb", "a%20b", "%C3%A4", "", "a" * 65])
def test_an_account_sees_only_itself_on_both_ways(
    host: Host, behind: TestClient[Litestar], path: str, account: str
) -> None:
    host.open("b")
    own = host.new_key("account", "a")
    for bearer in (own, host.service_key):
        headers = {"Authorization": f"Bearer {bearer}"}
        answers = [client.get(f"/v1/accounts/{account}/balance", headers=headers) for client in (host.client, behind)]
        assert shown(answers[0]) == shown(answers[1])
    assert host.get("/v1/billing/balance", bearer=own).json()["balanceCredits"] == host.balance(path)["balanceCredits"]
    assert host.get("/v1/accounts/b/balance", bearer=own).status_code == 404


def test_a_role_that_may_not_spend_is_refused_on_both_ways(host: Host, behind: TestClient[Litestar], path: str) -> None:
    for role in ("support", "auditor"):
        headers = {"Authorization": f"Bearer {host.new_key(role)}", "Idempotency-Key": "k"}
        answers = [client.post(f"{path}/spends", headers=headers, json=SPEND) for client in (host.client, behind)]
        assert answers[0].status_code == 403 and shown(answers[0]) == shown(answers[1])
