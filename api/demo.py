"""The demo's own doors: the index, time travel, the mailbox, the outgoing events. Registered in demo mode only.

Requests are taken on loopback names only, in `Host` as in `Origin`: no page of another site reaches a demo, not
even one whose name was made to point at this machine.
"""

import asyncio
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from litestar import Request, Response, Router, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.enums import ScopeType
from litestar.params import FromPath
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec import Meta
from sqlmodel import Session, col, select

from api.body import Body, read_body, read_query
from api.demo_pages import page, stylesheet, wants_html
from api.instants import instant
from api.pages.words import money_short
from api.portal import new_link, new_staff_link
from api.problems import problem
from engine.clock import Clock
from engine.rules.catalog import Catalog
from engine.rules.errors import Forbidden, Invalid, NotFound
from engine.rules.lots import NEVER
from engine.rules.periods import period_start
from engine.runtime import Runtime
from engine.store import balances, outbox
from engine.store.database import Database, reading, transact
from engine.store.tables import DemoClockRow, MailRow

ADVANCE_SECONDS_MAX = 10 * 366 * 86_400
"""One step: ten years, leap days included."""

OFFSET_SECONDS_MAX = 100 * 366 * 86_400
"""All steps together: a calendar ends, and a demo long before it."""

LISTED_MAX = 1_000
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
CLOCK = "demo"
MAIL_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox allow-popups"
SUPPORT_NAME = "Sam Support"
APPROVER_NAME = "Ada Approver"

AnyRequest = Request[object, object, State]


class Demo:
    """What the doors need. `after_jump` does what the new time has made due before a jump is answered."""

    def __init__(self, runtime: Runtime, clock: Clock, account_id: str, after_jump: Callable[[], object]) -> None:
        self.runtime = runtime
        self.clock = clock
        self.account_id = account_id
        self.after_jump = after_jump
        self.turn = threading.Lock()


DemoOf = NamedDependency[Demo]


class JumpBody(Body, frozen=True, kw_only=True):
    advance_seconds: Annotated[int, Meta(ge=0, le=ADVANCE_SECONDS_MAX)]


def demo_router(demo: Demo) -> Router:
    """The index and everything below `/demo`."""
    return Router(
        path="/",
        route_handlers=[show_index, read_clock, move_clock, list_mails, show_mail, list_events, stylesheet],
        dependencies={"demo": Provide(lambda: demo, sync_to_thread=False)},
        include_in_schema=False,
    )


def remembered_offset(db: Database) -> timedelta:
    """How far earlier runs moved the clock."""
    with reading(db) as session:
        row = session.get(DemoClockRow, CLOCK)
    return timedelta(seconds=row.offset_seconds if row else 0)


def jump(demo: Demo, by: timedelta) -> None:
    """Move the clock, for good, and do what is due then. `Invalid` beyond what a calendar can bear."""
    with demo.turn:
        offset = demo.clock.offset + by
        if offset > timedelta(seconds=OFFSET_SECONDS_MAX):
            raise Invalid("advanceSeconds", "The demo's clock is a hundred years ahead already.")

        def remember(session: Session) -> None:
            session.merge(DemoClockRow(name=CLOCK, offset_seconds=int(offset.total_seconds())))

        transact(demo.runtime.db, remember)
        demo.clock.advance(by)
        demo.after_jump()


@get("/demo/clock")
async def read_clock(demo: DemoOf) -> dict[str, str]:
    return {"now": instant(demo.clock.now())}


@post("/demo/clock", status_code=200)
async def move_clock(request: AnyRequest, demo: DemoOf) -> Response[Any]:
    """`{"advanceSeconds": n}`, or the same from the index's form, which is sent back there."""
    raw, content_type = await request.body(), request.headers.get("content-type", "")
    is_form = content_type.startswith("application/x-www-form-urlencoded")
    if is_form:
        pairs = [(name, value) for name, values in _form(raw).items() for value in values]
        asked = read_query(pairs, JumpBody)
    else:
        asked = read_body(raw, content_type, JumpBody)
    await asyncio.to_thread(jump, demo, timedelta(seconds=asked.advance_seconds))
    if is_form:
        return Response(None, status_code=303, headers={"Location": "/"})
    return Response({"now": instant(demo.clock.now())})


@get("/demo/mailbox")
async def list_mails(request: AnyRequest, demo: DemoOf) -> Response[Any]:
    """Every mail written, newest first: a page for browsers, `{"mails": […]}` for programs."""
    mails = await asyncio.to_thread(_mails, demo.runtime.db)
    return page("mailbox.html", mails=mails) if wants_html(request) else Response({"mails": mails})


@get("/demo/mailbox/{mail_id:str}", sync_to_thread=True)
def show_mail(mail_id: FromPath[str], demo: DemoOf) -> Response[str]:
    """One mail as HTML, shut in: nothing in it is loaded, run or sent."""
    with reading(demo.runtime.db) as session:
        row = session.exec(select(MailRow).where(MailRow.mail_id == mail_id)).first()
    if row is None or row.html is None:
        raise NotFound("mail")
    headers = {"Content-Security-Policy": MAIL_POLICY, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
    return Response(row.html, media_type="text/html", headers=headers)


@get("/demo/events")
async def list_events(demo: DemoOf) -> dict[str, Any]:
    """The outgoing events, newest first."""
    return {"events": await asyncio.to_thread(_events, demo.runtime.db)}


@get("/")
async def show_index(demo: DemoOf) -> Response[str]:
    """The doors, each a fresh link."""
    customer_url, _ = await asyncio.to_thread(new_link, demo.runtime, demo.account_id)
    support_url = await asyncio.to_thread(new_staff_link, demo.runtime, "support", SUPPORT_NAME)
    approver_url = await asyncio.to_thread(new_staff_link, demo.runtime, "approver", APPROVER_NAME)
    now = demo.clock.now()
    expiry = await asyncio.to_thread(_next_expiry, demo, now)
    return page(
        "index.html",
        catalog=demo.runtime.catalog.name,
        customer=demo.runtime.catalog.demo.name,
        account_id=demo.account_id,
        customer_url=customer_url,
        support_url=support_url,
        approver_url=approver_url,
        support_name=SUPPORT_NAME,
        approver_name=APPROVER_NAME,
        now=now.strftime("%A, %d %B %Y, %H:%M UTC"),
        month_seconds=int((period_start(now, 1) - now).total_seconds()),
        day_seconds=86_400,
        expiry=expiry.strftime("%d %B %Y, %H:%M UTC") if expiry is not None else None,
        expiry_seconds=int((expiry - now).total_seconds()) + 1 if expiry is not None else 0,
        has_plans=bool(demo.runtime.catalog.plans),
        has_cards=demo.runtime.catalog.saves_cards,
        preset=money_short(_first_top_up(demo.runtime.catalog), demo.runtime.catalog.pricing.currency),
    )


def _next_expiry(demo: Demo, now: datetime) -> datetime | None:
    """When the customer's next credits expire; `None` if none ever do, or not in one step of the clock."""
    with reading(demo.runtime.db) as session:
        view = balances.balance(session, demo.account_id, now)
    ends = [lot.expires_at for bucket in view.buckets for lot in bucket.lots if lot.expires_at > now] if view else []
    soon = min(ends, default=NEVER)
    return soon if soon - now < timedelta(seconds=ADVANCE_SECONDS_MAX) else None


def _first_top_up(catalog: Catalog) -> int:
    """An amount to try first: the middle preset, else the least."""
    presets = catalog.pricing.presets_minor
    return presets[len(presets) // 2] if presets else catalog.pricing.min_minor


def _form(raw: bytes) -> dict[str, list[str]]:
    try:
        return parse_qs(raw.decode("ascii"), keep_blank_values=True)
    except UnicodeDecodeError as error:
        raise Invalid("body", "The form is not URL-encoded.") from error


def _mails(db: Database) -> list[dict[str, Any]]:
    with reading(db) as session:
        newest = col(MailRow.created_at).desc(), col(MailRow.mail_id).desc()
        rows = session.exec(select(MailRow).order_by(*newest).limit(LISTED_MAX)).all()
    return [
        {
            "id": row.mail_id,
            "accountId": row.account_id,
            "kind": row.kind,
            "to": row.recipient,
            "subject": row.subject,
            "text": row.text,
            "html": row.html,
            "createdAt": instant(row.created_at),
        }
        for row in rows
    ]


def _events(db: Database) -> list[dict[str, Any]]:
    with reading(db) as session:
        rows = outbox.events(session, LISTED_MAX)
    return [
        {
            "id": row.outbox_id,
            "accountId": row.account_id,
            **msgspec.json.decode(row.payload, type=dict[str, Any]),
            "createdAt": instant(row.created_at),
        }
        for row in rows
    ]


class LoopbackOnly:
    """An application that answers 403 unless `Host`, and `Origin` where there is one, are loopback names."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        refusal = Forbidden("A demo answers on loopback names only, to its own pages and to programs.")
        self._forbidden = msgspec.json.encode(problem(refusal, prefix))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            headers = scope["headers"]
            hosts = [b"//" + value for name, value in headers if name == b"host"]
            origins = [value for name, value in headers if name == b"origin"]
            if len(hosts) != 1 or not all(map(_is_loopback, (*hosts, *origins))):
                await _forbid(send, self._forbidden)
                return
        await self._app(scope, receive, send)


def _is_loopback(url: bytes) -> bool:
    try:
        return urlsplit(url.decode("ascii")).hostname in LOOPBACK
    except ValueError:
        return False


async def _forbid(send: Send, body: bytes) -> None:
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
