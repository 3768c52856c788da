"""The short way in: what the framework would do for the hottest resources, and the headers on every way out.

A request for a resource that `is_hot`, shown with one bearer key and a body of known length, is matched, let in, read
and answered here, by the same keyring, readers, handler and problems as by the framework (`api/scope.py`). Anything
else goes on to the framework, so what is odd is refused in one place only. Every answer leaves with `SAFE_HEADERS`,
and with what its credential's rate limit says.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

from litestar.enums import ScopeType
from litestar.exceptions import ClientException
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from api.plain import PlainRequest
from api.problems import MEDIA_TYPE, respond, respond_to_bug, respond_to_framework
from api.rates import SCOPE_KEY
from api.scope import Resource, Site, encoded, enter
from api.settings import Settings
from api.whole import WHOLE, Headers, Malformed
from engine.rules.errors import Refusal

OWN = "/v1/billing/"
NAMED = "/v1/accounts/"
JSON_TYPE = "application/json"
SAFE_HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
}
"""On every answer that does not say otherwise itself, as pages do (`api/pages/render.py`)."""

_NOTHING: Mapping[str, str] = {}
HTTPS_ONLY = {"strict-transport-security": "max-age=31536000"}


class Front:
    """Stands before the framework's application and knows the hot resources by method and path."""

    def __init__(self, behind: ASGIApp, site: Site, resources: Sequence[Resource[Any]]) -> None:
        self._behind = behind
        self._site = site
        self._prefix = site.runtime.catalog.error_prefix
        hot = [resource for resource in resources if resource.is_hot]
        assert all("{" not in resource.path and not resource.path.startswith("/") for resource in hot)
        safe = _safe_headers(site.settings)
        self._safe = _raw(safe)
        self._shown = lru_cache(64)(lambda headers: _raw(safe | dict(headers)))
        self._templates = {resource.path: resource.paths for resource in hot}
        self._hot: dict[tuple[str, str], Resource[Any]] = {
            (resource.method, resource.path): resource for resource in hot
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            found = self._match(scope)
            if found is not None and _is_plain(scope["headers"], found[0].body_bytes_max):
                resource, path_params = found
                scope["path_template"] = self._templates[resource.path]["account_id" in path_params]
                status, headers, body = await self._answer(resource, PlainRequest(scope, receive, path_params))
                await _send(scope, send, status, self._shown(tuple(headers.items())) + _raw(_rate_of(scope)), body)
                return
            send = self._sealed(scope, send)
        await self._behind(scope, receive, send)

    def _sealed(self, scope: HTTPScope, send: Send) -> Send:
        """`send`, with the headers that keep browsers safe and those that tell of rates on each answer's start."""

        async def seal(message: Message) -> None:
            if message["type"] == "http.response.start":
                shown = list(message["headers"])
                names = {name for name, _ in shown}
                shown.extend(pair for pair in self._safe if pair[0] not in names)
                shown.extend(_raw(_rate_of(scope)))
                message["headers"] = shown
            await send(message)

        return seal

    def _match(self, scope: HTTPScope) -> tuple[Resource[Any], dict[str, Any]] | None:
        path = scope["path"]
        if path.startswith(NAMED):
            account_id, _, rest = path[len(NAMED) :].partition("/")
            resource = self._hot.get((scope["method"], rest))
            return None if resource is None else (resource, {"account_id": account_id})
        if path.startswith(OWN):
            resource = self._hot.get((scope["method"], path[len(OWN) :]))
            return None if resource is None else (resource, {})
        return None

    async def _answer(self, resource: Resource[Any], request: PlainRequest) -> tuple[int, Mapping[str, str], bytes]:
        try:
            call = await enter(resource, self._site, request)
            answer = await resource.handler(call)  # type: ignore[misc]
            status, headers, body = encoded(answer, resource.status)
            return status, {"content-type": JSON_TYPE, **headers}, body
        except Refusal as refusal:
            refused = respond(refusal, self._prefix)
        except Exception as error:
            refused = respond_to_bug(error, self._prefix)
        return refused.status_code or 500, {"content-type": MEDIA_TYPE, **refused.headers}, refused.content


def malformed(settings: Settings, prefix: str) -> Malformed:
    """The answer to what is no HTTP: the same problem, with the same headers, as to a request that makes no sense."""
    refused = respond_to_framework(ClientException(), prefix)
    return Malformed(_raw({"content-type": MEDIA_TYPE, **_safe_headers(settings)}), refused.content)


def _safe_headers(settings: Settings) -> dict[str, str]:
    return SAFE_HEADERS | (HTTPS_ONLY if settings.is_https else {})


def _is_plain(headers: Iterable[tuple[bytes, bytes]], body_bytes_max: int) -> bool:
    """Whether there is exactly one `Authorization`, and a body, if there is one, of a known length that is allowed."""
    keys = 0
    for name, value in headers:
        if name == b"authorization":
            keys += 1
        elif name in (b"transfer-encoding", b"expect") or (
            name == b"content-length" and not (value.isdigit() and int(value) <= body_bytes_max)
        ):
            return False
    return keys == 1


def _raw(headers: Mapping[str, str]) -> Headers:
    return tuple((name.encode(), value.encode()) for name, value in headers.items()) if headers else ()


def _rate_of(scope: HTTPScope) -> Mapping[str, str]:
    rate: Mapping[str, str] = cast(dict[str, Any], scope).get(SCOPE_KEY, _NOTHING)
    return rate


async def _send(scope: HTTPScope, send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Whole, where the server takes it so."""
    if WHOLE in cast(Mapping[str, Any], scope).get("extensions", _NOTHING):
        await send(cast(Any, {"type": WHOLE, "status": status, "headers": headers, "body": body}))
        return
    raw = (*headers, (b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body, "more_body": False})
