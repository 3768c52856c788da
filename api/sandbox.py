"""The sandbox provider's own side over HTTP: its API, and what its operator can do to a payment.

Registered in demo mode only. The API is guarded by its key; the hosted page (`sandbox_page.py`) and the operator's
doors need none, for there is no real money behind them.
"""

from typing import Annotated

import msgspec
from litestar import Response, Router, get, post
from litestar.di import Provide
from litestar.params import FromPath
from msgspec import Meta

from api.demo_pages import page, wants_html
from api.sandbox_calls import asked as _asked
from api.sandbox_doors import HANDLERS
from api.sandbox_page import AnyRequest, Server, checkout_url, post_action, show_challenge, show_checkout
from api.sandbox_provider import PROVIDER_HANDLERS
from api.sandbox_returns import (
    Outcome,
    Returned,
    can_close_dispute,
    close_dispute,
    fail_refund,
    get_dispute,
    get_refund,
    make_refund,
    open_dispute,
    refund_outside,
    standing_refund,
)
from api.sandbox_server import SandboxServer
from api.sandbox_sessions import SandboxRefused, create_session, find_payment, find_session, payment_told
from api.sandbox_wallet import WALLET_HANDLERS, check_call
from psp.sandbox_wire import Dispute, NewRefund, NewSession, Payment, Problem, Refund, Session


class _RefundBody(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    amount_minor: Annotated[int, Meta(ge=1)] | None = None


def sandbox_router(sandbox: SandboxServer) -> Router:
    """Everything below `/sandbox`."""
    return Router(
        path="/sandbox",
        route_handlers=[
            post_session,
            read_payment_of_session,
            read_payment,
            post_refund,
            read_refund,
            read_dispute,
            show_checkout,
            show_challenge,
            post_action,
            play_refund,
            play_refund_fails,
            play_dispute,
            play_dispute_won,
            play_dispute_lost,
            *HANDLERS,
            *WALLET_HANDLERS,
            *PROVIDER_HANDLERS,
        ],
        dependencies={"sandbox": Provide(lambda: sandbox, sync_to_thread=False)},
        exception_handlers={SandboxRefused: _refused},
        include_in_schema=False,
    )


@post("/api/sessions")
async def post_session(request: AnyRequest, sandbox: Server) -> Response[Session]:
    key = check_call(request, sandbox, is_keyed=True)
    asked = await _asked(request, NewSession)
    row = await sandbox.keep(lambda session, now: create_session(session, asked, key, now))
    made = Session(id=row.session_id, url=checkout_url(sandbox, row), expires_at=row.expires_at)
    return Response(made, status_code=201)


@get("/api/sessions/{session_id:str}/payment")
async def read_payment_of_session(request: AnyRequest, session_id: FromPath[str], sandbox: Server) -> Payment:
    check_call(request, sandbox)
    return await sandbox.keep(lambda session, now: payment_told(find_session(session, session_id, now)))


@get("/api/payments/{payment_id:str}")
async def read_payment(request: AnyRequest, payment_id: FromPath[str], sandbox: Server) -> Payment:
    check_call(request, sandbox)
    return await sandbox.keep(lambda session, now: payment_told(find_payment(session, payment_id, now)))


@post("/api/refunds")
async def post_refund(request: AnyRequest, sandbox: Server) -> Response[Refund | Dispute]:
    """The answer does not wait for the webhook: Purser may be waiting for the answer."""
    key = check_call(request, sandbox, is_keyed=True)
    asked = await _asked(request, NewRefund)
    made = await sandbox.keep(lambda session, now: make_refund(session, asked, key, now))
    sandbox.send(made.events)
    return Response(made.told, status_code=201)


@get("/api/refunds/{refund_id:str}")
async def read_refund(request: AnyRequest, refund_id: FromPath[str], sandbox: Server) -> Refund:
    check_call(request, sandbox)
    return await sandbox.keep(lambda session, now: get_refund(session, refund_id, now))


@get("/api/disputes/{dispute_id:str}")
async def read_dispute(request: AnyRequest, dispute_id: FromPath[str], sandbox: Server) -> Dispute:
    check_call(request, sandbox)
    return await sandbox.keep(lambda session, now: get_dispute(session, dispute_id, now))


@post("/payments/{payment_id:str}/refund", status_code=200)
async def play_refund(request: AnyRequest, payment_id: FromPath[str], sandbox: Server) -> Refund | Dispute:
    """A refund made in the provider's dashboard: `{amountMinor?}`, or all that is left."""
    asked = await _asked(request, _RefundBody) if await request.body() else _RefundBody()
    made = await sandbox.keep(lambda session, now: refund_outside(session, payment_id, asked.amount_minor, now))
    return await _announced(sandbox, made)


@post("/payments/{payment_id:str}/refund-fails", status_code=200)
async def play_refund_fails(payment_id: FromPath[str], sandbox: Server) -> Refund | Dispute:
    """The newest refund of the payment fails after all; if there is none, one is made first."""
    refund_id = await sandbox.keep(lambda session, now: standing_refund(session, payment_id, now))
    if refund_id is None:
        made = await sandbox.keep(lambda session, now: refund_outside(session, payment_id, None, now))
        refund_id = (await _announced(sandbox, made)).id
    failing = refund_id
    return await _announced(sandbox, await sandbox.keep(lambda session, now: fail_refund(session, failing, now)))


@post("/payments/{payment_id:str}/dispute", status_code=200)
async def play_dispute(payment_id: FromPath[str], sandbox: Server) -> Refund | Dispute:
    return await _announced(sandbox, await sandbox.keep(lambda session, now: open_dispute(session, payment_id, now)))


@post("/payments/{payment_id:str}/dispute-won", status_code=200)
async def play_dispute_won(payment_id: FromPath[str], sandbox: Server) -> Refund | Dispute:
    return await _close_dispute(sandbox, payment_id, "won")


@post("/payments/{payment_id:str}/dispute-lost", status_code=200)
async def play_dispute_lost(payment_id: FromPath[str], sandbox: Server) -> Refund | Dispute:
    return await _close_dispute(sandbox, payment_id, "lost")


async def _close_dispute(sandbox: SandboxServer, payment_id: str, outcome: Outcome) -> Refund | Dispute:
    """The dispute ends; where there is none that could end so, one is opened first, and told first."""
    if not await sandbox.keep(lambda session, now: can_close_dispute(session, payment_id, outcome, now)):
        await _announced(sandbox, await sandbox.keep(lambda session, now: open_dispute(session, payment_id, now)))
    made = await sandbox.keep(lambda session, now: close_dispute(session, payment_id, outcome, now))
    return await _announced(sandbox, made)


async def _announced(sandbox: SandboxServer, made: Returned) -> Refund | Dispute:
    await sandbox.announce(made.events)
    return made.told


def _refused(request: AnyRequest, refused: SandboxRefused) -> Response[str] | Response[Problem]:
    """A page for a person at the hosted checkout or the provider's own side, a code for everyone else."""
    is_page = "/checkout/" in request.url.path or "/provider/" in request.url.path
    if is_page and wants_html(request):
        return page("notice.html", status=refused.status, detail=refused.detail)
    return Response(Problem(refused.code, refused.detail), status_code=refused.status)
