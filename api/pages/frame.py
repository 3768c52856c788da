"""Pages as values: who may open one, which function fills it, and how it meets HTTP with one strict set of headers.

A page's function is plain: it runs in a thread, may block, and answers a response or raises a refusal, which becomes
a page in words with what to do next. A browser's POST needs our own origin (`Keyring.principal_of` sees to it).
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from inspect import iscoroutinefunction
from typing import Any, Literal, cast
from urllib.parse import parse_qsl, urlencode

import structlog
from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.response import Redirect
from litestar.response.base import ASGIResponse

from api.auth import Action, Principal
from api.pages.render import HEADERS, Templates
from api.pages.tongues import ENGLISH, Tongue, tongue_of
from api.portal import is_own_path
from api.problems import KINDS, RETRY_AFTER_SECONDS
from api.scope import Site
from api.sign_in import PATH as SIGN_IN_PATH
from engine.rules.errors import Forbidden, Invalid, NotFound, Refusal, Unauthenticated
from engine.runtime import Runtime
from engine.store.database import reading
from engine.store.tables import AccountRow

FORM_BYTES_MAX = 32 * 1024
FIELDS_MAX = 40
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}(\.pdf)?", re.ASCII)
log = structlog.get_logger()

Reader = Literal["customer", "staff", "anyone"]


@dataclass(frozen=True, slots=True)
class Visit:
    """One request for a page, read and allowed. `now` is the engine's, taken once.

    `query` and `form` hold the last value of each name; `account_id` is empty for staff. A page speaks its account's
    language, one without an account the browser's first, and the support desk English.
    """

    site: Site
    templates: Templates
    request: Request[Any, Any, Any]
    reader: Reader
    now: datetime
    principal: Principal | None = None
    account_id: str = ""
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)
    tongue: Tongue = ENGLISH

    @property
    def runtime(self) -> Runtime:
        return self.site.runtime

    @property
    def actor(self) -> str:
        assert self.principal is not None, "only a page for anyone has no principal"
        return self.principal.actor

    def may(self, action: Action) -> bool:
        """Whether this reader may do that: what the page offers, and never more than what it then allows."""
        return self.principal is not None and self.principal.may(action)

    @property
    def signs_in(self) -> bool:
        """Whether customers may sign in here, and need no link from the host."""
        return self.site.sign_in is not None

    def page(self, template: str, status: int = 200, **values: object) -> Response[str]:
        """The template as the answer, with what every page shows."""
        return self.templates.page(self, template, status, values)


Handler = Callable[[Visit], Response[Any]] | Callable[[Visit], Awaitable[Response[Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One method of one path, for customers of one account, for staff, or for anyone."""

    method: Literal["GET", "POST"]
    path: str
    reader: Reader
    handler: Handler
    may: Action = "read"


def page_route(page: Page, templates: Templates) -> HTTPRouteHandler:
    """The page as a handler of the framework."""

    async def answer(request: Request[Any, Any, Any]) -> ASGIResponse:
        site: Site = request.app.state.site
        visit = Visit(site, templates, request, page.reader, site.runtime.clock.now())
        try:
            visit = await _enter(page, visit)
            visit = replace(visit, tongue=await asyncio.to_thread(_tongue, visit))
            if iscoroutinefunction(page.handler):
                response: Response[Any] = await page.handler(visit)
            else:
                response = cast("Response[Any]", await asyncio.to_thread(page.handler, visit))
        except Refusal as refusal:
            response = await asyncio.to_thread(refused_page, visit, refusal)
        except Exception as error:
            log.error("unexpected error", exc_info=error)
            response = templates.page(visit, "broken.html", 500, {})
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response.to_asgi_response(app=None, request=request)

    return HTTPRouteHandler(
        path=page.path, http_method=page.method, request_max_body_size=FORM_BYTES_MAX, include_in_schema=False
    )(answer)


async def _enter(page: Page, visit: Visit) -> Visit:
    """Who, whether, about what: refused in this order."""
    request = visit.request
    principal = None
    if page.reader == "anyone":
        if page.method == "POST":
            visit.site.keyring.check_origin(request)
    else:
        principal = await visit.site.keyring.principal_of(request)
        visit = replace(visit, principal=principal, account_id=principal.account_id or "")
        if page.reader == "customer" and not principal.account_id:
            raise Forbidden("This page belongs to a customer, and you are signed in at the support desk.")
        if page.reader == "staff" and principal.account_id:
            raise Unauthenticated("The support desk needs a staff session.")
        principal.check_may(page.may)
    path: dict[str, str] = request.path_params
    if any(_ID.fullmatch(value) is None for value in path.values()):
        raise NotFound("page")
    query = dict(request.query_params.multi_items())
    form = await _form(request) if page.method == "POST" else {}
    for name, value in (*query.items(), *form.items()):
        if "\x00" in value or len(value) > 4_000:
            raise Invalid(name[:100], "That text is too long or holds a character that no page sends.")
    return replace(visit, path=path, query=query, form=form)


async def _form(request: Request[Any, Any, Any]) -> dict[str, str]:
    """A form's fields; `Invalid` for anything but a form."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Invalid("body", "This page takes a form.")
    try:
        text = (await request.body()).decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX)
    except ValueError as error:
        raise Invalid("body", "The form is malformed.") from error
    return dict(pairs)


def _tongue(visit: Visit) -> Tongue:
    """The language of this visit."""
    if visit.reader == "staff":
        return ENGLISH
    if not visit.account_id:
        wished = visit.request.headers.get("accept-language", "")
        return tongue_of(wished.partition(",")[0].partition(";")[0].strip())
    with reading(visit.runtime.db) as session:
        account = session.get(AccountRow, visit.account_id)
    return tongue_of(account.locale) if account is not None else ENGLISH


def refused_page(visit: Visit, refusal: Refusal) -> Response[str]:
    """A refusal as a page: what it was, and what to do next."""
    kind = KINDS[type(refusal)]
    if isinstance(refusal, Unauthenticated):
        if _may_go_and_sign_in(visit):
            return Redirect(sign_in_path(visit), status_code=303, headers={"cache-control": "no-store"})
        template = "sign_in.html" if visit.reader == "staff" else "signed_out.html"
        return visit.page(template, kind.status, order_id=_order_named(visit), problem=None, leave_url=None)
    response = visit.page("refused.html", kind.status, title=kind.title, refusal=refusal)
    if kind.status in RETRY_AFTER_SECONDS:
        seconds = refusal.facts.get("retryAfterSeconds", RETRY_AFTER_SECONDS[kind.status])
        response.headers["retry-after"] = str(seconds)
    return response


def _may_go_and_sign_in(visit: Visit) -> bool:
    """Whether this is a person without a session on their way to a customer's page: no script, no program, no form."""
    headers = visit.request.headers
    return (
        visit.signs_in
        and visit.reader == "customer"
        and visit.request.method == "GET"
        and "authorization" not in headers
        and headers.get("sec-fetch-mode", "navigate") == "navigate"
    )


def sign_in_path(visit: Visit) -> str:
    """Where the customer signs in, to come back to this page."""
    url = visit.request.url
    here = f"{url.path}?{url.query}" if url.query else url.path
    return f"{SIGN_IN_PATH}?{urlencode({'returnTo': here if is_own_path(here) else url.path})}"


def _order_named(visit: Visit) -> str | None:
    """The order a return URL names, so that a customer whose session ended while paying can still quote it."""
    named = visit.request.query_params.get("purchase", "")
    return named if visit.request.url.path.startswith("/top-up-credits/return") and _ID.fullmatch(named) else None
