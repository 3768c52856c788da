"""The sandbox provider's subscriptions over HTTP: its API, and the doors by which a script plays its own side."""

from collections.abc import Callable
from datetime import datetime

from litestar import Response, get, post
from litestar.params import FromPath
from sqlmodel import Session

from api import sandbox_subscriptions as books
from api.sandbox_calls import asked, check_call
from api.sandbox_page import AnyRequest, Server, checkout_url
from api.sandbox_server import SandboxServer
from api.sandbox_sessions import SandboxRefused, payment_told
from psp.sandbox_subscription_wire import Asked, Invoice, NewSubscription, NewTerms, Told
from psp.sandbox_wire import Payment, Webhook
from psp.sandbox_wire import Session as CheckoutSession

PLAYS: dict[str, Callable[[Session, str, datetime], tuple[Webhook, ...]]] = {
    "renew": books.renew,
    "payment-failed": books.fail_payment,
    "cancel": books.cancel,
}


@post("/api/subscriptions")
async def post_subscription(request: AnyRequest, sandbox: Server) -> Response[CheckoutSession]:
    key = check_call(request, sandbox, is_keyed=True)
    wanted = await asked(request, NewSubscription)
    row = await sandbox.keep(lambda session, now: books.create(session, wanted, key, now))
    made = CheckoutSession(id=row.session_id, url=checkout_url(sandbox, row), expires_at=row.expires_at)
    return Response(made, status_code=201)


@post("/api/sessions/{session_id:str}/expire", status_code=200)
async def post_expire(request: AnyRequest, session_id: FromPath[str], sandbox: Server) -> Payment:
    """End the checkout of a subscription."""
    check_call(request, sandbox, is_keyed=True)
    return await sandbox.keep(lambda session, now: payment_told(books.end_checkout(session, session_id, now)))


@get("/api/subscriptions/{reference:str}")
async def read_subscription(request: AnyRequest, reference: FromPath[str], sandbox: Server) -> Told:
    check_call(request, sandbox)
    return await _told(sandbox, reference)


@get("/api/invoices/{invoice_id:str}")
async def read_invoice(request: AnyRequest, invoice_id: FromPath[str], sandbox: Server) -> Invoice:
    check_call(request, sandbox)
    return await sandbox.keep(lambda session, now: books.find_invoice(session, invoice_id))


@post("/api/subscriptions/{reference:str}/terms", status_code=200)
async def post_terms(request: AnyRequest, reference: FromPath[str], sandbox: Server) -> Told:
    """The answer does not wait for the webhooks: Purser waits for the answer."""
    key = check_call(request, sandbox, is_keyed=True)
    wanted = await asked(request, NewTerms)
    sandbox.send(await sandbox.keep(lambda session, now: books.set_terms(session, reference, wanted, key, now)))
    return await _told(sandbox, reference)


@post("/api/subscriptions/{reference:str}/act", status_code=200)
async def post_act(request: AnyRequest, reference: FromPath[str], sandbox: Server) -> Told:
    key = check_call(request, sandbox, is_keyed=True)
    wanted = await asked(request, Asked)
    sandbox.send(await sandbox.keep(lambda session, now: books.do(session, reference, wanted, key, now)))
    return await _told(sandbox, reference)


@post("/subscriptions/{reference:str}/{play:str}", status_code=200)
async def play_subscription(reference: FromPath[str], play: FromPath[str], sandbox: Server) -> Told:
    """What the provider does by itself: `renew`, `payment-failed`, `cancel`. Waits until Purser has heard of it."""
    if play not in PLAYS:
        raise SandboxRefused(404, "action_unknown", "There is no such door.")
    await sandbox.announce(await sandbox.keep(lambda session, now: PLAYS[play](session, reference, now)))
    return await _told(sandbox, reference)


async def _told(sandbox: SandboxServer, reference: str) -> Told:
    return await sandbox.keep(lambda session, now: books.told(session, books.find(session, reference)))


HANDLERS = (post_subscription, post_expire, read_subscription, read_invoice, post_terms, post_act, play_subscription)
