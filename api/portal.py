"""Portal sessions: the host's backend asks for a one-time link, and the customer's browser turns it into a session.

The link lives ten minutes and works once; the session lives twelve hours. Both are 256 random bits of which only the
keyed hash is stored. Their ends are of real time, whatever the engine's clock says.
"""

import re
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from litestar import Response
from litestar.datastructures import Cookie
from litestar.response import Redirect
from msgspec import Meta

from api.auth import Keyring
from api.body import Body
from api.keys import hashes_of, is_token, new_token
from api.scope import Answer, Call, Resource
from api.transactions import View
from engine.clock import real_now
from engine.rules.errors import Invalid, NotFound, RateLimited
from engine.runtime import Runtime
from engine.store import accounts, credentials
from engine.store.credentials import PortalSession
from engine.store.database import reading, transact

LINK_LIFE = timedelta(minutes=10)
SESSION_LIFE = timedelta(hours=12)
HOME = "/top-up-credits"
STAFF_HOME = "/support"
_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]{0,500}", re.ASCII)
_QUIET = {"cache-control": "no-store", "referrer-policy": "no-referrer"}


class PortalBody(Body, frozen=True, kw_only=True):
    """`returnTo`: the path of one of our pages to land on."""

    return_to: Annotated[str, Meta(max_length=500)] | None = None


class PortalAnswer(View, frozen=True, kw_only=True):
    """A link for one browser, once."""

    url: str
    expires_at: datetime


def post_portal_session(call: Call[PortalBody]) -> Answer:
    """Make a one-time link to the account's pages."""
    if call.ask.return_to is not None and not is_own_path(call.ask.return_to):
        raise Invalid("returnTo", "It is a path on this service, such as /account/billing.")
    url, expires_at = new_link(call.runtime, call.account_id, call.ask.return_to)
    return Answer(PortalAnswer(url=url, expires_at=expires_at))


def new_link(runtime: Runtime, account_id: str, return_to: str | None = None) -> tuple[str, datetime]:
    """A fresh one-time link to the account's pages and when it ends; `NotFound` without such an account. Blocks."""
    token = new_token()
    link = portal_session(runtime, token, "link", "owner", account_id, account_id)
    with reading(runtime.db) as session:
        if accounts.find_account(session, account_id) is None:
            raise NotFound("account")
    transact(runtime.db, lambda session: credentials.add_portal_session(session, link))
    query = f"?{urlencode({'returnTo': return_to})}" if return_to else ""
    return f"{runtime.base_url}/portal/{token}{query}", link.expires_at


def new_staff_link(runtime: Runtime, role: Literal["support", "approver", "admin"], name: str) -> str:
    """A fresh one-time link to the support desk for a named member of staff. Blocks."""
    token = new_token()
    link = portal_session(runtime, token, "link", role, name, None)
    transact(runtime.db, lambda session: credentials.add_portal_session(session, link))
    return f"{runtime.base_url}/portal/{token}"


def open_door(call: Call[PortalBody]) -> Response[str]:
    """Turn a link into a browser session and go to the page; 410 when it was used or is too old.

    One that does not work counts as a failed try of its address, like a wrong key.
    """
    runtime, token, rates = call.runtime, call.path["token"], call.site.keyring.rates
    used = None
    rates.count_try(call.request)
    if is_token(token):
        hashes = hashes_of(token, runtime.secrets)
        used = transact(runtime.db, lambda session: credentials.use_link(session, hashes, real_now()))
    if used is None:
        return _gone(call)
    rates.forgive_try(call.request)
    session_token = new_token()
    opened = portal_session(
        runtime, session_token, "session", used.role, used.subject, used.account_id, used.credential_id
    )
    transact(runtime.db, lambda session: credentials.add_portal_session(session, opened))
    target = call.ask.return_to
    home = HOME if used.account_id is not None else STAFF_HOME
    path = target if target is not None and is_own_path(target) else home
    cookie = session_cookie(call.site.keyring, runtime, session_token)
    return Redirect(path, status_code=303, headers=_QUIET, cookies=[cookie])


def _gone(call: Call[PortalBody]) -> Response[str]:
    from api.pages.stray import stray_page  # here, for pages stand on this module

    answer = stray_page(call.site, call.request, "link_over", 410)
    answer.headers.update(_QUIET)
    return answer


def session_cookie(keyring: Keyring, runtime: Runtime, token: str) -> Cookie:
    """The cookie that carries a session; an empty token takes it away."""
    return Cookie(
        key=keyring.cookie_name,
        value=token,
        path="/",
        max_age=int(SESSION_LIFE.total_seconds()) if token else 0,
        httponly=True,
        samesite="lax",
        secure=runtime.base_url.startswith("https://"),
    )


def is_own_path(path: str) -> bool:
    """Whether a path leads to this service only: it starts with one slash and hides no other host."""
    return _PATH.fullmatch(path) is not None


def portal_session(
    runtime: Runtime,
    token: str,
    kind: Literal["link", "session"],
    role: str,
    subject: str,
    account_id: str | None,
    credential_id: str | None = None,
) -> PortalSession:
    """A link or session that begins now, of real time; one opened with a key works no longer than that key."""
    now = real_now()
    return PortalSession(
        token_hash=hashes_of(token, runtime.secrets)[0],
        kind=kind,
        role=role,
        subject=subject,
        account_id=account_id,
        created_at=now,
        expires_at=now + (LINK_LIFE if kind == "link" else SESSION_LIFE),
        credential_id=credential_id,
    )


RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="POST",
        path="portal-sessions",
        may="wallet",
        handler=post_portal_session,
        asks=PortalBody,
        answers=PortalAnswer,
        status=201,
        summary="A one-time link that signs the account's customer in to the pages.",
    ),
    Resource(
        method="GET",
        path="/portal/{token:str}",
        may=None,
        handler=open_door,
        asks=PortalBody,
        status=303,
        refuses=(Invalid, NotFound, RateLimited),
        also={410: "A page in words: the link was used or is too old."},
        summary="The one-time link itself: a browser session and a redirect.",
    ),
)
