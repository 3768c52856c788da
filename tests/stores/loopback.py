"""A server on loopback for the fakes: one method that answers, and every request kept."""

import contextlib
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

Answer = tuple[int, Any]
"""Status and JSON body; `None` for no body, a `Text` is a page, and with a status of 303 where it leads."""


class Text(str):
    """Not JSON."""


class Loopback:
    """`requests` is what was asked, as method and path. `meanwhile` is done before each answer; what
    fails inside shows in `failures`."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.failures: list[str] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self.lock = threading.RLock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, method: str, path: str, query: str, headers: Any, body: bytes) -> Answer:
        raise NotImplementedError

    def date(self) -> float | None:
        """The time that the server says it is, if not the real one."""
        return None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        assert kind is not None or not self.failures, self.failures


def _handler(fake: Loopback) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._serve()

        def do_POST(self) -> None:
            self._serve()

        def do_PUT(self) -> None:
            self._serve()

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(fake.date() if timestamp is None else timestamp)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            target = urlsplit(self.path)
            with fake.lock:
                fake.requests.append((self.command, target.path))
                try:
                    fake.meanwhile()
                    status, told = fake.answer(self.command, target.path, target.query, self.headers, body)
                except Exception as error:
                    fake.failures.append(repr(error))
                    status, told = 500, None
            is_text, leads = isinstance(told, Text), isinstance(told, Text) and status == 303
            raw = b"" if told is None or leads else told.encode() if is_text else json.dumps(told).encode()
            with contextlib.suppress(ConnectionError):
                self.send_response(status)
                self.send_header("Content-Type", "text/html; charset=utf-8" if is_text else "application/json")
                if leads:
                    self.send_header("Location", told)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

    return Handler
