"""Attacks below HTTP's surface: requests whose length two readers could see differently, on a server that serves."""

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.front import SAFE_HEADERS
from tests.e2e.served import environment, serving

START = "POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\n"
SMUGGLED = "GET /v1/accounts HTTP/1.1\r\nHost: inside\r\n\r\n"
ODD: dict[str, str] = {
    "two lengths": "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "a length and chunks": "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a length with a sign": "Content-Length: +5\r\n\r\nhello",
    "a length that is negative": "Content-Length: -5\r\n\r\nhello",
    "a length in words": "Content-Length: five\r\n\r\nhello",
    "an unknown coding": "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "a chunk that is longer than it says": "Transfer-Encoding: chunked\r\n\r\n1\r\nhello\r\n0\r\n\r\n",
    "a chunk size with a sign": "Transfer-Encoding: chunked\r\n\r\n-1\r\nhello\r\n0\r\n\r\n",
    "a header without a name": ": x\r\nContent-Length: 0\r\n\r\n",
    "a blank before the colon": "Content-Length : 5\r\n\r\nhello",
    "a NUL in a header": "X-A: a\x00b\r\nContent-Length: 0\r\n\r\n",
    "a DEL in a key": "Idempotency-Key: a\x7fb\r\nContent-Length: 0\r\n\r\n",
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> Iterator[tuple[str, int]]:
    """Where a server on an empty database listens."""
    folder = tmp_path_factory.mktemp("wire")
    shutil.copyfile(migrated_sqlite, folder / "purser.sqlite3")
    with serving(environment(f"sqlite:///{folder / 'purser.sqlite3'}", folder), {}) as served:
        url = served.http.base_url
        assert url.port is not None
        yield url.host, url.port


def ask(address: tuple[str, int], raw: str) -> str:
    """All that the server answers to these bytes."""
    with socket.create_connection(address, timeout=5) as line:
        line.sendall(raw.encode("latin-1"))
        line.settimeout(1)
        told = b""
        try:
            while part := line.recv(65_536):
                told += part
        except (TimeoutError, ConnectionResetError):
            pass
        return told.decode("latin-1")


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_a_request_of_two_readings_is_refused_and_hides_no_second_one(address: tuple[str, int], odd: str) -> None:
    told = ask(address, START + ODD[odd])
    assert told == "" or told.startswith("HTTP/1.1 400 "), told
    assert told.count("HTTP/1.1 ") <= 1, told


@pytest.mark.parametrize("odd", ["two lengths", "a header without a name", "a NUL in a header", "a DEL in a key"])
def test_what_is_no_http_is_answered_with_a_problem(address: tuple[str, int], odd: str) -> None:
    head, _, body = ask(address, START + ODD[odd]).partition("\r\n\r\n")
    status, *lines = head.split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert status == "HTTP/1.1 400 Bad Request"
    assert (headers["content-type"], headers["connection"]) == ("application/problem+json", "close")
    assert headers.items() >= SAFE_HEADERS.items() and int(headers["content-length"]) == len(body)
    assert json.loads(body) == {
        "type": "urn:purser:problem:invalid-request",
        "title": "Invalid request",
        "status": 400,
        "detail": "The request is malformed.",
        "code": "ACN-INVALID",
    }


def test_a_plain_request_is_answered(address: tuple[str, int]) -> None:
    told = ask(address, "GET /v1/accounts HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert told.startswith("HTTP/1.1 401 ") and "AUTH-001" in told
