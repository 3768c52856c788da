"""Resources: one value says method, path, who may, what is asked, what is answered; and how it meets HTTP.

A module of the API is a few handlers and a tuple of resources; `create_app` takes the tuples:

```python
class CheckoutBody(Body, frozen=True, kw_only=True):
    amount_usd_cents: int

def checkout(call: Call[CheckoutBody]) -> Answer:      # a plain function runs in a thread and may block
    started = start_checkout(call.runtime, call.account_id, call.ask.amount_usd_cents, call.key)
    return Answer(CheckoutAnswer(…), is_replay=started.is_replay)

RESOURCES = (Resource(method="POST", path="checkout", may="buy", handler=checkout, asks=CheckoutBody,
                      answers=CheckoutAnswer, status=201, key="optional", summary="Start a checkout."),)
```

* A **relative** path is account-scoped and exists twice: `/v1/billing/<path>` for the account of the credential,
  `/v1/accounts/{accountId}/<path>` for service and staff keys (and for an account's own credential, for itself).
  `call.account_id` is the account; a service key may name one that does not exist: the book and the stores refuse it.
* An **absolute** path stands alone; `call.account_id` is the credential's account or, if the path has
  `{account_id:str}`, the one it names. `may=None` makes a resource public: then there is no principal.
* `asks` is the JSON body's shape (for GET and DELETE: the query's), or `bytes` for the raw body; it arrives as
  `call.ask`. Ids in paths arrive in `call.path`, already known to look like ids.
* `key` says whether `Idempotency-Key` is read: `required`, `optional` or `none`; it arrives as `call.key`.
* `also` names further statuses that are no problems in the form of RFC 9457, such as a page in words.
* `waits` is the shape of the 202 of a resource that may also answer "a person decides first".
* A handler answers an `Answer` or a Litestar `Response`, or raises a refusal. `async def` runs on the event loop and
  must never block.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from typing import Any, Generic, Literal, TypeVar, cast

import msgspec
from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.response.base import ASGIResponse

from api.auth import Action, Keyring, Principal
from api.body import BODY_BYTES_MAX, Body, read_body, read_query
from api.plain import AnyRequest
from api.settings import Settings
from api.sign_in import SignIn
from engine.rules.errors import Forbidden, IdempotencyKeyMissing, NotFound, Refusal
from engine.runtime import Runtime

T = TypeVar("T")

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}(\.pdf)?", re.ASCII)
_KEY = re.compile(r"[\x20-\x7e]{1,255}", re.ASCII)
_encoder = msgspec.json.Encoder()
_HEADERS = {"cache-control": "no-store"}
_REPLAYED = {**_HEADERS, "idempotency-replayed": "true"}


@dataclass(frozen=True, slots=True)
class Site:
    """What every handler may need; one per application, also at `app.state.site`."""

    runtime: Runtime
    settings: Settings
    keyring: Keyring
    sign_in: SignIn | None = None
    """How customers sign in at the OIDC issuer, where that is configured."""


class Call(msgspec.Struct, Generic[T], frozen=True):
    """One request, read and allowed. `account_id` is empty where the resource is about no account."""

    site: Site
    request: Request[Any, Any, Any]
    principal: Principal | None
    account_id: str
    path: Mapping[str, str]
    ask: T
    key: str | None

    @property
    def runtime(self) -> Runtime:
        return self.site.runtime

    @property
    def actor(self) -> str:
        """Who does this, as the ledger names them."""
        assert self.principal is not None, "only a public resource has no principal"
        return self.principal.actor


class Answer(msgspec.Struct, frozen=True):
    """What a handler answers: a value that msgspec writes as JSON. `status=None` is the resource's own."""

    value: object
    status: int | None = None
    is_replay: bool = False
    headers: Mapping[str, str] | None = None


Handled = Answer | Response[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource(Generic[T]):
    """One method of one path. `refuses` is what it may refuse beside what every resource may.

    One that `is_hot` is asked thousands of times a second: it is account-scoped without an id of its own in its path,
    its handler is `async` and never looks at `call.request` (`api/front.py`). One that `is_probed` also answers HEAD,
    which load balancers ask with; nothing else does, for a link that works once must not be spent by a glance at it.
    """

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    may: Action | None
    handler: Callable[[Call[T]], Handled] | Callable[[Call[T]], Awaitable[Handled]]
    asks: type[T] | None = None
    answers: object = None
    status: int = 200
    key: Literal["required", "optional", "none"] = "none"
    body_bytes_max: int = BODY_BYTES_MAX
    is_hot: bool = False
    is_probed: bool = False
    refuses: tuple[type[Refusal], ...] = field(default=())
    summary: str = ""
    waits: object = None
    also: Mapping[int, str] = field(default_factory=dict)

    @property
    def paths(self) -> tuple[str, ...]:
        if self.path.startswith("/"):
            return (self.path,)
        return f"/v1/billing/{self.path}", f"/v1/accounts/{{account_id:str}}/{self.path}"


def route(resource: Resource[Any], site: Site) -> HTTPRouteHandler:
    """The resource as a handler of the framework, under all its paths."""
    blocks = not iscoroutinefunction(resource.handler)

    async def answer(request: Request[Any, Any, Any]) -> ASGIResponse:
        call = await enter(resource, site, request)
        if blocks:
            handled: Any = await asyncio.to_thread(resource.handler, call)
        else:
            handled = await resource.handler(call)  # type: ignore[misc]
        if isinstance(handled, Answer):
            code, headers, body = encoded(handled, resource.status)
            return ASGIResponse(body=body, status_code=code, headers=dict(headers))
        response: ASGIResponse = handled.to_asgi_response(app=None, request=request)
        return response

    return HTTPRouteHandler(
        path=list(resource.paths),
        http_method=[resource.method, "HEAD"] if resource.is_probed else resource.method,
        status_code=resource.status if resource.status != 204 else 200,
        request_max_body_size=resource.body_bytes_max,
        include_in_schema=False,
    )(answer)


async def enter(resource: Resource[T], site: Site, request: AnyRequest) -> Call[T]:
    """Who, about which account, whether, what: refused in this order."""
    principal = None
    if resource.may is not None:
        principal = await site.keyring.principal_of(request)
        if not resource.path.startswith("/") or resource.path.startswith("/v1/accounts/"):
            _check_own(principal, request.path_params)  # whatever it may do with its own
        principal.check_may(resource.may)
    path: dict[str, str] = request.path_params
    account_id = _account(principal, resource, path)
    for name, value in path.items():
        if not isinstance(value, str) or _ID.fullmatch(value) is None:
            raise NotFound(name.removesuffix("_id").replace("_", " "))
    key = None if resource.key == "none" else idempotency_key(request, is_required=resource.key == "required")
    ask = await _ask(resource, request)
    return Call(site, cast(Any, request), principal, account_id, path, ask, key)


def _check_own(principal: Principal, path: Mapping[str, str]) -> None:
    """For an account's own credential no other account is there."""
    named = path.get("account_id")
    if principal.account_id is not None and named is not None and named != principal.account_id:
        raise NotFound("account")


def _account(principal: Principal | None, resource: Resource[Any], path: Mapping[str, str]) -> str:
    """The account a request is about."""
    if principal is not None:
        _check_own(principal, path)
    own = principal.account_id if principal is not None else None
    named = path.get("account_id")
    if named is not None:
        return named
    if own is None and not resource.path.startswith("/"):
        raise Forbidden("This credential has no account of its own: name one in /v1/accounts/{accountId}.")
    return own or ""


async def _ask(resource: Resource[Any], request: AnyRequest) -> Any:  # noqa: ANN401 - the resource's shape
    if resource.method in ("GET", "DELETE"):
        if resource.asks is None:
            return None
        return read_query(request.query_params.multi_items(), resource.asks)
    raw = await request.body()
    if resource.asks is None:
        if raw:
            read_body(raw, request.headers.get("content-type") or "", Body)
        return None
    if resource.asks is bytes:
        return raw
    return read_body(raw, request.headers.get("content-type") or "", resource.asks)


def idempotency_key(request: AnyRequest, *, is_required: bool) -> str | None:
    """The `Idempotency-Key` header; `IdempotencyKeyMissing` if it is malformed, doubled, or missing where needed."""
    shown = request.headers.getall("idempotency-key", [])
    if not shown and not is_required:
        return None
    if len(shown) != 1:
        raise IdempotencyKeyMissing("This request needs exactly one Idempotency-Key header.")
    return checked_key(shown[0])


def checked_key(key: object) -> str:
    """A key of 1 to 255 printable ASCII characters, or `IdempotencyKeyMissing`."""
    if not isinstance(key, str) or _KEY.fullmatch(key) is None:
        raise IdempotencyKeyMissing("An idempotency key is 1 to 255 printable ASCII characters.")
    return key


def encoded(answer: Answer, status: int) -> tuple[int, Mapping[str, str], bytes]:
    """Status, headers and body of an answer."""
    headers: Mapping[str, str] = _REPLAYED if answer.is_replay else _HEADERS
    if answer.headers is not None:
        headers = {**headers, **answer.headers}
    code = answer.status or status
    return code, headers, b"" if code == 204 else _encoder.encode(answer.value)
