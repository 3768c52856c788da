"""A provider's API on loopback: real HTTP for a fake that keeps its books, with the troubles a network has."""

import contextlib
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrived; `body` is its JSON."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Trouble:
    """What happens to one request: a status or no answer at all, before or after it took effect."""

    status: int | None
    is_executed: bool
    body: str


class FakeApi:
    """`handle` is the provider; `requests` is what was asked; `problems` is where the fake was not like it."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.problems: list[str] = []
        self.lock = threading.RLock()
        self._troubles: list[Trouble] = []
        self._spared = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        if kind is None and self.problems:
            raise AssertionError("The fake is not like the provider:\n" + "\n".join(sorted(set(self.problems))))

    def handle(self, request: Request) -> tuple[int, Any]:
        """The status and the JSON of the answer."""
        raise NotImplementedError

    def fail(self, status: int, *, times: int = 1, executed: bool = False, body: str = "a proxy's page") -> None:
        """The next requests end in this status; `executed` ones take effect first."""
        self._troubles += [Trouble(status, executed, body)] * times

    def drop(self, *, times: int = 1, executed: bool = False) -> None:
        """The next requests get no answer: the connection is closed."""
        self._troubles += [Trouble(None, executed, "")] * times

    def drop_later(self, after: int) -> None:
        """One request gets no answer though it took effect; so many before it are answered as ever."""
        self._spared = after
        self.drop(executed=True)

    def answer(self, request: Request) -> tuple[int, bytes] | None:
        """Status and body; `None` closes the connection."""
        with self.lock:
            self.requests.append(request)
            self._spared -= 1
            trouble = self._troubles.pop(0) if self._troubles and self._spared < 0 else None
            if trouble is None or trouble.is_executed:
                status, told = self.handle(request)
        if trouble is None:
            return status, json.dumps(told).encode()
        return None if trouble.status is None else (trouble.status, trouble.body.encode())


def post(url: str, body: bytes, headers: Mapping[str, str]) -> int:
    """Deliver a webhook; the status it was answered with."""
    request = urllib.request.Request(url, data=body, headers=dict(headers), method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def _handler(fake: FakeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._serve(None)

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length", "0"))
            self._serve(json.loads(self.rfile.read(length) or b"null"))

        def do_PATCH(self) -> None:
            self.do_POST()

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

        def _serve(self, body: Any) -> None:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
            answered = fake.answer(Request(self.command, parts.path, query, body, headers))
            if answered is None:
                return
            status, told = answered
            with contextlib.suppress(ConnectionError):  # who waited has hung up
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(told)))
                self.end_headers()
                self.wfile.write(told)

    return Handler
