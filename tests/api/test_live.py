"""The API behind a real server: many callers at once, and what only raw HTTP can send."""

import http.client
import json
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import uvicorn

from api.batch import BATCH_BYTES_MAX
from api.whole import WholeProtocol
from engine.clock import monotonic, sleep
from tests.api.host import Host, new_app


@pytest.fixture
def port(host: Host) -> Iterator[int]:
    """A server on a free port of loopback, on the host's database."""
    app = new_app(host.runtime)
    config = uvicorn.Config(app, http=WholeProtocol, port=0, lifespan="off", log_config=None, loop="asyncio")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    ends = monotonic() + 10
    while not server.started and monotonic() < ends:
        sleep(0.01)
    assert server.started
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


def send(
    port: int, method: str, path: str, headers: list[tuple[str, str]], body: bytes = b""
) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.putrequest(method, path)
        for name, value in headers:
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def post(host: Host, port: int, path: str, body: object, *keys: str) -> tuple[int, dict[str, Any]]:
    headers = [("Authorization", f"Bearer {host.service_key}"), ("Content-Type", "application/json")]
    headers += [("Idempotency-Key", key) for key in keys]
    return send(port, "POST", path, headers, json.dumps(body).encode())


def test_many_spend_one_wallet_at_once_and_it_ends_at_nothing(host: Host, port: int) -> None:
    path = host.open("a", plan="pro")
    host.grant(path, "recharge", 100)

    def spend(number: int) -> int:
        return post(host, port, f"{path}/spends", {"amountCredits": "3"}, f"k{number}")[0]

    with ThreadPoolExecutor(16) as pool:
        assert Counter(pool.map(spend, range(60))) == {201: 33, 402: 27}
    assert host.balance(path)["balanceCredits"] == "1"


def test_many_send_one_key_at_once_and_one_spend_is_made(host: Host, port: int) -> None:
    path = host.open("a", plan="pro")
    host.grant(path, "recharge", 100)

    def spend(_: int) -> str:
        status, body = post(host, port, f"{path}/spends", {"amountCredits": "3"}, "same")
        assert status == 201
        return str(body["transaction"]["id"])

    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(spend, range(32)))) == 1
    assert host.balance(path)["balanceCredits"] == "97"


def test_two_key_headers_are_refused(host: Host, port: int) -> None:
    path = host.open("a")
    status, body = post(host, port, f"{path}/spends", {"amountCredits": "3"}, "one", "two")
    assert (status, body["code"]) == (400, "IDEMPOTENCY-001")


def test_two_authorizations_are_refused(host: Host, port: int) -> None:
    bearer = ("Authorization", f"Bearer {host.service_key}")
    status, body = send(port, "GET", "/v1/accounts", [bearer, bearer])
    assert (status, body["code"]) == (401, "AUTH-001")
    assert send(port, "GET", "/v1/accounts", [bearer])[0] == 200


def test_a_body_larger_than_the_path_takes_is_refused(host: Host, port: int) -> None:
    path = host.open("a")
    status, body = post(host, port, f"{path}/spends", {"amountCredits": "3", "callId": "x" * 65_536}, "k")
    assert (status, body["code"]) == (413, "INVALID")
    status, body = post(host, port, "/v1/spends/batch", {"spends": ["x" * BATCH_BYTES_MAX]})
    assert (status, body["code"]) == (413, "INVALID")


def test_any_bytes_in_a_path_or_a_query_are_answered(host: Host, port: int) -> None:
    host.open("a")
    bearer = ("Authorization", f"Bearer {host.service_key}")
    odd = ("%00", "%ff", "a%2Fb", "%F0%9F%92%B0", "..", "a%0d%0ab", "%ed%a0%80")
    for text in odd:
        assert send(port, "GET", f"/v1/accounts/{text}/balance", [bearer])[0] == 404
        status, body = send(port, "GET", f"/v1/accounts/a/transactions?cursor={text}", [bearer])
        assert (status, body["code"], body["field"]) == (400, "INVALID", "cursor")
        status, body = send(port, "GET", f"/v1/accounts/a/transactions?{text}=1", [bearer])
        assert (status, body["code"]) == (400, "INVALID")
