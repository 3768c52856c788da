"""The short way in: what the framework would do for the hottest resources, and no more.

A request for a resource that `is_hot`, shown with one bearer key and a body of known length, is matched, let in, read
and answered here, by the same keyring, readers, handler and problems as by the framework (`api/scope.py`). Anything
else goes on to the framework, so what is odd is refused in one place only.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from api.plain import PlainRequest
from api.problems import MEDIA_TYPE, respond, respond_to_bug
from api.scope import Resource, Site, encoded, enter
from engine.rules.errors import Refusal

OWN = "/v1/billing/"
NAMED = "/v1/accounts/"
JSON_TYPE = "application/json"


class Front:
    """Stands before the framework's application and knows the hot resources by method and path."""

    def __init__(self, behind: ASGIApp, site: Site, resources: Sequence[Resource[Any]]) -> None:
        self._behind = behind
        self._site = site
        self._prefix = site.runtime.catalog.error_prefix
        hot = [resource for resource in resources if resource.is_hot]
        assert all("{" not in resource.path and not resource.path.startswith("/") for resource in hot)
        self._hot: dict[tuple[str, str], Resource[Any]] = {
            (resource.method, resource.path): resource for resource in hot
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            found = self._match(scope)
            if found is not None and _is_plain(scope["headers"], found[0].body_bytes_max):
                resource, path_params = found
                scope["path_template"] = resource.paths["account_id" in path_params]
                status, headers, body = await self._answer(resource, PlainRequest(scope, receive, path_params))
                await _send(send, status, headers, body)
                return
        await self._behind(scope, receive, send)

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


async def _send(send: Send, status: int, headers: Mapping[str, str], body: bytes) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body, "more_body": False})
