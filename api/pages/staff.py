"""Signing in at the support desk: a staff key, shown once in a form, becomes a browser session; and signing out."""

from typing import Any

from litestar import Response

from api.auth import MATRIX
from api.keys import hashes_of, is_key, is_token, new_token
from api.pages.frame import Visit
from api.pages.topup import see_other
from api.portal import STAFF_HOME, portal_session, session_cookie
from engine.clock import real_now
from engine.store import credentials
from engine.store.database import reading, transact


def sign_in(visit: Visit) -> Response[Any]:
    """A session in the name of the key's holder, for as long as a customer's and no longer than the key works."""
    key = visit.form.get("key", "").strip()
    runtime = visit.runtime
    found = None
    if is_key(key):
        visit.site.keyring.rates.count_try(visit.request)
        with reading(runtime.db) as session:
            found = credentials.find_credential(session, hashes_of(key, runtime.secrets), visit.now)
    is_narrowed = found is not None and found.scopes is not None and "support" not in found.scopes.split()
    if found is None or found.role not in MATRIX["support"] or is_narrowed:
        problem = "That is not the key of a support agent, an approver or an admin."
        return visit.page("sign_in.html", 401, problem=problem, order_id=None)
    visit.site.keyring.rates.forgive_try(visit.request)
    token = new_token()
    opened = portal_session(runtime, token, "session", found.role, found.name, None, found.credential_id)
    transact(runtime.db, lambda session: credentials.add_portal_session(session, opened))
    response = see_other(STAFF_HOME)
    response.cookies.append(session_cookie(visit.site.keyring, runtime, token))
    return response


def sign_out(visit: Visit) -> Response[Any]:
    """End the browser's session, here and in the database, whoever it belongs to."""
    keyring = visit.site.keyring
    token = visit.request.cookies.get(keyring.cookie_name, "")
    if is_token(token):
        hashes = hashes_of(token, visit.runtime.secrets)
        transact(visit.runtime.db, lambda session: credentials.end_portal_session(session, hashes, real_now()))
        keyring.forget()
    leave_url = visit.site.sign_in.leave_url if visit.site.sign_in is not None else None
    response = visit.page("signed_out.html", order_id=None, leave_url=leave_url)
    response.cookies.append(session_cookie(keyring, visit.runtime, ""))
    return response
