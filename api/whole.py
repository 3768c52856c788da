"""uvicorn's protocol with one message more: an answer that is whole leaves in one write.

By ASGI an answer is two messages, and uvicorn makes two writes of them: two calls of the system, and a client that
is woken for a head alone. Where a request's scope names the extension `WHOLE`, its answer may be one message of that
type with `status`, `headers` and `body`; the length is told here.

What is no HTTP never becomes a request: it has an answer of its own, made before the server starts.
"""

import re
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, cast

from uvicorn._types import ASGI3Application, ASGISendEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

WHOLE = "purser.http.response.whole"
Headers = tuple[tuple[bytes, bytes], ...]
_EXTENSIONS: dict[str, dict[object, object]] = {WHOLE: {}}
_NAME = re.compile(rb"[0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\x20-\x7e\x80-\xff\t]*")


@dataclass(frozen=True, slots=True)
class Malformed:
    """The answer, with status 400, to what is no HTTP."""

    headers: Headers = ()
    body: bytes = b""


class WholeProtocol(HttpToolsProtocol):
    """A connection whose requests may be answered whole."""

    malformed: ClassVar[Malformed] = Malformed()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        cycle.__class__ = _Cycle  # uvicorn has no other place to say so
        cycle.scope["extensions"] = _EXTENSIONS
        super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:
        told = _lines(tuple(self.server_state.default_headers)) + _lines(self.malformed.headers)
        self.transport.write(_written(400, told, self.malformed.body, keep_alive=False))
        self.transport.close()


def refusing(answer: Malformed) -> type[WholeProtocol]:
    """The protocol with this answer to what is no HTTP."""
    return type("RefusingProtocol", (WholeProtocol,), {"malformed": answer})


class _Cycle(RequestResponseCycle):
    """One request and its answer."""

    def send(self, message: ASGISendEvent) -> Coroutine[Any, Any, None]:
        whole = cast(dict[str, Any], message)
        return self._send_whole(whole) if whole["type"] == WHOLE else super().send(message)

    async def _send_whole(self, message: dict[str, Any]) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if not self.disconnected:
            self._answer(message["status"], message["headers"], message["body"])

    def _answer(self, status: int, headers: Headers, body: bytes) -> None:
        assert not self.response_started, "an answer is whole or in parts"
        told = _lines(tuple(self.default_headers)) + _lines(headers)
        self.response_started = self.response_complete = True
        self.transport.write(_written(status, told, body, keep_alive=self.keep_alive))
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


def _written(status: int, told: bytes, body: bytes, *, keep_alive: bool) -> bytes:
    """A whole answer as it goes out, after the lines of its headers."""
    end = b"\r\n" if keep_alive else b"connection: close\r\n\r\n"
    return b"%b%bcontent-length: %d\r\n%b%b" % (STATUS_LINE[status], told, len(body), end, body)


@lru_cache(256)
def _lines(headers: Headers) -> bytes:
    """Headers as they are sent; a name or a value that could begin another line is a bug."""
    assert all(_NAME.fullmatch(name) and _VALUE.fullmatch(value) for name, value in headers)
    return b"".join(b"%b: %b\r\n" % pair for pair in headers)
