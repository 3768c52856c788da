"""Signing in at the OIDC issuer: to it with a fresh attempt, and back with a code that becomes a browser session.

What comes back is looked at in this order: the browser's own cookie and its `state`, that it is the issuer who
answers, what it answers, whom its id token names, and to which account the host bound them.
"""

from typing import Any, Literal

import structlog
from litestar import Response
from litestar.datastructures import Cookie
from litestar.response import Redirect

from api.keys import hashes_of, new_token
from api.oidc import Person
from api.pages.frame import Visit
from api.portal import HOME, is_own_path, portal_session, session_cookie
from api.sign_in import ATTEMPT_LIFE, CALLBACK_PATH, PATH, PURPOSE, Attempt, SignIn, attempt_in, new_attempt
from engine.clock import real_now
from engine.rules.errors import NotFound, Unauthenticated, Unavailable
from engine.store import credentials, identities
from engine.store.database import reading, transact
from engine.store.tables import IdentityRow

__all__ = ["CALLBACK_PATH", "PATH", "come_back", "go"]

_OUR_PAGES = ("/top-up-credits", "/account/")
_QUIET = {"cache-control": "no-store", "referrer-policy": "no-referrer"}
Failure = Literal["over", "cancelled", "refused", "silent", "stranger"]
_STATUS: dict[Failure, int] = {"over": 400, "cancelled": 401, "refused": 401, "silent": 503, "stranger": 403}
log = structlog.get_logger()


def go(visit: Visit) -> Response[Any]:
    """On to the issuer, with an attempt that only this browser can finish."""
    door = _door(visit)
    wished = visit.query.get("returnTo", "")
    attempt = new_attempt(visit.runtime.secrets.signing(PURPOSE), wished if _is_ours(wished) else HOME, real_now())
    try:
        url = door.url(attempt)
    except Unavailable:
        return _failed(visit, "silent", attempt)
    return Redirect(url, status_code=303, headers=_QUIET, cookies=[_cookie(visit, attempt.cookie())])


def come_back(visit: Visit) -> Response[Any]:
    """A session for whom the issuer names, if this browser asked; the attempt is over whatever comes of it."""
    door = _door(visit)
    shown = visit.request.cookies.get(_cookie_name(visit), "")
    attempt = attempt_in(shown, visit.runtime.secrets.all_for(PURPOSE), real_now())
    found = _finished(visit, door, attempt)
    if isinstance(found, IdentityRow):
        assert attempt is not None, "only an attempt finds a person"
        answer = _opened(visit, found, attempt)
    else:
        log.info("nobody signed in", why=found)
        answer = _failed(visit, found, attempt)
    answer.cookies.append(_cookie(visit, ""))
    answer.headers.update(_QUIET)
    return answer


def _finished(visit: Visit, door: SignIn, attempt: Attempt | None) -> IdentityRow | Failure:
    """Whom this answer signs in, or why nobody; every try counts for its address unless it succeeds."""
    rates, asked = visit.site.keyring.rates, visit.query
    is_doubled = len(list(visit.request.query_params.multi_items())) != len(asked)
    rates.count_try(visit.request)
    if attempt is None or is_doubled or asked.get("state") != attempt.state:
        return "over"
    try:
        if not door.is_from_issuer(asked.get("iss")):
            return "over"
        if "error" in asked:
            return "cancelled" if asked["error"] == "access_denied" else "refused"
        person = door.person(asked.get("code", ""), attempt)
    except Unauthenticated:
        return "refused"
    except Unavailable:
        return "silent"
    row = _bound(visit, person)
    if row is None:
        return "stranger"
    rates.forgive_try(visit.request)
    return row


def _bound(visit: Visit, person: Person) -> IdentityRow | None:
    with reading(visit.runtime.db) as session:
        return identities.find_identity(session, person.issuer, person.subject)


def _opened(visit: Visit, row: IdentityRow, attempt: Attempt) -> Response[Any]:
    """The session: the old one of this browser ends, so that nobody can have planted it."""
    runtime, keyring = visit.runtime, visit.site.keyring
    token, old = new_token(), visit.request.cookies.get(keyring.cookie_name, "")
    opened = portal_session(runtime, token, "session", row.role, row.account_id, row.account_id, row.identity_id)
    if old:
        hashes = hashes_of(old, runtime.secrets)
        transact(runtime.db, lambda session: credentials.end_portal_session(session, hashes, real_now()))
        keyring.forget()
    transact(runtime.db, lambda session: credentials.add_portal_session(session, opened))
    return Redirect(attempt.return_to, status_code=303, cookies=[session_cookie(keyring, runtime, token)])


def _failed(visit: Visit, why: Failure, attempt: Attempt | None) -> Response[Any]:
    """Why nobody is signed in, and the way to try again."""
    return visit.page("signing_failed.html", _STATUS[why], why=why, return_to=attempt.return_to if attempt else HOME)


def _door(visit: Visit) -> SignIn:
    if visit.site.sign_in is None:
        raise NotFound("page")
    return visit.site.sign_in


def _is_ours(path: str) -> bool:
    """Whether it is a customer's page of this service, and not a step of signing in."""
    return is_own_path(path) and path.startswith(_OUR_PAGES) and not path.startswith(PATH)


def _cookie_name(visit: Visit) -> str:
    return f"{visit.site.keyring.cookie_name}-sign-in"


def _cookie(visit: Visit, value: str) -> Cookie:
    return Cookie(
        key=_cookie_name(visit),
        value=value,
        path="/",
        max_age=int(ATTEMPT_LIFE.total_seconds()) if value else 0,
        httponly=True,
        samesite="lax",
        secure=visit.runtime.base_url.startswith("https://"),
    )
