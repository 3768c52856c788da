"""The sandbox provider's hosted page: what is bought, and a button for each way that paying can go.

It needs no cookie, no token and no script, so that a person and a program can press the same buttons.
"""

from urllib.parse import parse_qs

from litestar import Request, Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.params import FromPath

from api.demo_pages import page
from api.sandbox_server import SandboxServer
from api.sandbox_sessions import ACTIONS, PAYABLE, SandboxRefused, find_session
from api.sandbox_subscriptions import press
from engine.rules.descriptions import money_label
from engine.rules.money import Money
from engine.rules.return_urls import SESSION_PLACEHOLDER, origin_of
from engine.store.tables import SandboxSessionRow

Server = NamedDependency[SandboxServer]
AnyRequest = Request[object, object, State]


@get("/checkout/{session_id:str}")
async def show_checkout(session_id: FromPath[str], sandbox: Server) -> Response[str]:
    """The hosted page: what is bought, and a button for each way it can go."""
    row = await sandbox.keep(lambda session, now: find_session(session, session_id, now))
    return _checkout_page("checkout.html", sandbox, row)


@get("/checkout/{session_id:str}/{action:str}")
async def show_challenge(session_id: FromPath[str], action: FromPath[str], sandbox: Server) -> Response[str]:
    """What the customer's bank would show for 3-D Secure; no other button has a page of its own."""
    if action != "challenge":
        raise SandboxRefused(404, "page_unknown", "There is no such page.")
    row = await sandbox.keep(lambda session, now: find_session(session, session_id, now))
    return _checkout_page("challenge.html", sandbox, row)


@post("/checkout/{session_id:str}/{action:str}")
async def post_action(
    request: AnyRequest, session_id: FromPath[str], action: FromPath[str], sandbox: Server
) -> Response[None]:
    """One button, then back to the shop. `challenge` asks and pays in one; the page's own button only asks first."""
    if action not in ACTIONS:
        raise SandboxRefused(404, "action_unknown", "There is no such button.")
    row = await sandbox.keep(lambda session, now: find_session(session, session_id, now))
    await sandbox.announce(await sandbox.keep(lambda session, now: press(session, session_id, action, now)))
    if action == "challenge":
        if b"ask" in parse_qs(await request.body()).get(b"step", ()):
            return _see_other(f"{checkout_url(sandbox, row)}/challenge")
        await sandbox.announce(await sandbox.keep(lambda session, now: press(session, session_id, "pay", now)))
    if action == "pay-late":
        sandbox.confirm_later(session_id)
    if action in ("decline", "cancel", "expire"):
        return _see_other(row.cancel_url)
    return _see_other(row.success_url.replace(SESSION_PLACEHOLDER, row.session_id))


def checkout_url(sandbox: SandboxServer, row: SandboxSessionRow) -> str:
    """Where the customer opens a session."""
    return f"{sandbox.base_url}/sandbox/checkout/{row.session_id}"


def _checkout_page(template: str, sandbox: SandboxServer, row: SandboxSessionRow) -> Response[str]:
    targets = [origin_of(url) for url in (row.success_url, row.cancel_url)]
    is_payable = row.state in PAYABLE and sandbox.now() < row.expires_at
    return page(
        template,
        form_targets=targets,
        url=checkout_url(sandbox, row),
        amount=money_label(Money(row.amount_minor, row.currency)),
        description=row.description,
        state=row.state if is_payable or row.state not in PAYABLE else "expired",
        is_payable=is_payable,
        cancel_url=row.cancel_url,
    )


def _see_other(url: str) -> Response[None]:
    return Response(None, status_code=303, headers={"Location": url, "Cache-Control": "no-store"})
