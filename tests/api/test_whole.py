"""An answer in one write is, byte for byte, what uvicorn makes of the same answer in two."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from prometheus_client import CollectorRegistry

from api.metrics import Meters, metered
from api.whole import WHOLE, WholeProtocol
from engine.clock import monotonic, sleep
from tests.api.host import Host, new_app

Ask = Callable[[bytes], list[bytes]]


@contextmanager
def asking(app: Any, protocol: Any) -> Iterator[Ask]:
    """What a server with this protocol writes until it hangs up, one connection each time, without the date."""
    config = uvicorn.Config(app, http=protocol, port=0, lifespan="off", log_config=None, loop="asyncio")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    ends = monotonic() + 10
    while not server.started and monotonic() < ends:
        sleep(0.01)
    assert server.started
    address = server.servers[0].sockets[0].getsockname()

    def ask(asked: bytes) -> list[bytes]:
        with socket.create_connection(address, timeout=10) as connection:
            connection.sendall(asked)
            said = b""
            while part := connection.recv(65_536):
                said += part
        return [line for line in said.split(b"\r\n") if not line.startswith(b"date: ")]

    yield ask
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


def request(host: Host, path: str, *more: str) -> bytes:
    lines = (f"GET {path} HTTP/1.1", "Host: test", f"Authorization: Bearer {host.service_key}", *more, "", "")
    return "\r\n".join(lines).encode()


@pytest.mark.parametrize("tail", ["/balance", "/balance?at=tomorrow", "/entitlements"])
def test_whole_or_in_parts_an_answer_is_the_same(host: Host, tail: str) -> None:
    path = host.open("a", plan="base")
    app = new_app(host.runtime)
    one = request(host, path + tail, "Connection: close")
    piped = request(host, path + tail) + request(host, "/v1/accounts/nobody/balance") + one
    for asked, count in ((one, 1), (piped, 3), (one.replace(b"HTTP/1.1", b"HTTP/1.0"), 1)):
        said = []
        for protocol in ("httptools", WholeProtocol):
            with asking(app, protocol) as ask:
                said.append(ask(asked))
        assert said[0] == said[1]
        assert sum(line.startswith(b"HTTP/1.1 ") or b"}HTTP/1.1 " in line for line in said[1]) == count


def test_each_answer_is_counted_by_its_status(host: Host) -> None:
    path = host.open("a", plan="base")
    meters = Meters(CollectorRegistry())
    with asking(metered(new_app(host.runtime), meters), WholeProtocol) as ask:
        for tail in ("/balance", "/balance?at=tomorrow"):
            ask(request(host, path + tail, "Connection: close"))
    names = {"method": "GET", "route": "/v1/accounts/{account_id:str}/balance"}
    for status in ("200", "400"):
        count = meters.registry.get_sample_value("purser_http_requests_total", {**names, "status": status})
        assert count == 1


@pytest.mark.parametrize(
    ("value", "status"), [(b"a", b"200 OK"), (b"a\r\nset-cookie: b", b"500 Internal Server Error")]
)
def test_what_could_begin_another_line_is_never_sent(value: bytes, status: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert WHOLE in scope["extensions"]
        await send({"type": WHOLE, "status": 200, "headers": ((b"x-name", value),), "body": b""})

    with asking(app, WholeProtocol) as ask:
        said = ask(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
    assert said[0] == b"HTTP/1.1 " + status and b"set-cookie: b" not in said
