"""A request without a framework: as much of it as a hot resource needs, under the names that the framework's has."""

from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from litestar import Request
from litestar.types import HTTPScope, Receive


class PlainHeaders:
    """A request's headers by lower-case name."""

    __slots__ = ("_headers",)

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        self._headers = headers

    def getall(self, name: str, default: list[str]) -> list[str]:
        wanted = name.encode()
        return [value.decode("latin-1") for shown, value in self._headers if shown == wanted] or default

    def get(self, name: str, default: str | None = None) -> str | None:
        found = self.getall(name, [])
        return found[-1] if found else default


class PlainQuery:
    """A request's query."""

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def multi_items(self) -> list[tuple[str, str]]:
        text = self._raw.decode("latin-1")
        if "%" in text or "+" in text:
            return parse_qsl(text, keep_blank_values=True)
        parted = [pair.partition("=") for pair in text.split("&") if pair]
        return [(name, value) for name, _, value in parted]


class PlainRequest:
    """One request of a hot resource; it was shown with a bearer key, so it has no cookies."""

    __slots__ = ("_receive", "cookies", "headers", "method", "path_params", "query_params", "scope")

    def __init__(self, scope: HTTPScope, receive: Receive, path_params: dict[str, Any]) -> None:
        self.scope = scope
        self.method: str = scope["method"]
        self.headers = PlainHeaders(scope["headers"])
        self.query_params = PlainQuery(scope.get("query_string", b""))
        self.path_params = path_params
        self.cookies: dict[str, str] = {}
        self._receive = receive

    async def body(self) -> bytes:
        message: Any = await self._receive()
        raw: bytes = message.get("body", b"")
        while message.get("more_body", False):
            message = await self._receive()
            raw += message.get("body", b"")
        return raw


AnyRequest = Request[Any, Any, Any] | PlainRequest
