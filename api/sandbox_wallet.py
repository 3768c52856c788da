"""The sandbox provider's saved cards over HTTP: its API, and the page where a customer sees and removes them."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from litestar import Response, get, post
from litestar.params import FromPath

from api.demo_pages import page
from api.sandbox_cards import (
    BEHAVIOURS,
    cancel_payment,
    cards_of,
    charge_card,
    detach_card,
    events_since,
    make_customer,
    payment_of_purchase,
    set_behaviour,
)
from api.sandbox_page import AnyRequest, Server
from api.sandbox_server import SandboxServer
from api.sandbox_sessions import SandboxRefused, find_payment
from psp.sandbox_wire import CardTold, Customer, Listed, NewCharge, NewCustomer, Payment


@post("/api/customers")
async def post_customer(request: AnyRequest, sandbox: Server) -> Response[Customer]:
    key = check_call(request, sandbox, is_keyed=True)
    asked = msgspec.json.decode(await request.body(), type=NewCustomer)
    made = await sandbox.keep(lambda session, now: make_customer(session, asked, key, now))
    return Response(Customer(id=made), status_code=201)


@post("/api/charges")
async def post_charge(request: AnyRequest, sandbox: Server) -> Response[Payment]:
    """The answer does not wait for the webhook: Purser may be waiting for the answer."""
    key = check_call(request, sandbox, is_keyed=True)
    asked = msgspec.json.decode(await request.body(), type=NewCharge)
    told, events = await sandbox.keep(lambda session, now: charge_card(session, asked, key, now))
    sandbox.send(events)
    if told.state == "processing" and events:
        sandbox.confirm_later(told.session_id)
    return Response(told, status_code=201)


@get("/api/charges/{purchase_id:str}")
async def read_charge(request: AnyRequest, purchase_id: FromPath[str], sandbox: Server) -> Payment:
    check_call(request, sandbox)
    return await sandbox.keep(lambda session, now: payment_of_purchase(session, purchase_id))


@post("/api/payments/{payment_id:str}/cancel")
async def post_cancel(request: AnyRequest, payment_id: FromPath[str], sandbox: Server) -> Response[Payment]:
    check_call(request, sandbox)
    told, events = await sandbox.keep(
        lambda session, now: cancel_payment(session, find_payment(session, payment_id, now), now)
    )
    sandbox.send(events)
    return Response(told, status_code=201)


@post("/api/cards/{card_id:str}/detach")
async def post_detach(request: AnyRequest, card_id: FromPath[str], sandbox: Server) -> Response[CardTold]:
    check_call(request, sandbox)
    told, events = await sandbox.keep(lambda session, now: detach_card(session, card_id, now))
    sandbox.send(events)
    return Response(told, status_code=201)


@get("/api/events")
async def list_sandbox_events(request: AnyRequest, sandbox: Server) -> Listed:
    """`?since=` Unix seconds, by the engine's clock."""
    check_call(request, sandbox)
    since = request.query_params.get("since", "0")
    if not since.isdigit():
        raise SandboxRefused(400, "since_invalid", "It is a number of seconds.")
    return await sandbox.keep(lambda session, now: events_since(session, datetime.fromtimestamp(int(since), UTC)))


@get("/portal/{customer_id:str}")
async def show_portal(customer_id: FromPath[str], sandbox: Server) -> Response[str]:
    """The cards of a customer, each with what its bank will say and a way to remove it."""
    cards = await sandbox.keep(lambda session, now: cards_of(session, customer_id))
    base = f"{sandbox.base_url}/sandbox/cards"
    return page("portal.html", base=base, cards=cards, behaviours=BEHAVIOURS, back=sandbox.base_url)


@post("/cards/{card_id:str}/{action:str}")
async def post_card(card_id: FromPath[str], action: FromPath[str], sandbox: Server) -> Response[Any]:
    """One button of the page: a behaviour, or `detach`; no cookie and no token, as at the checkout."""
    if action == "detach":
        told, events = await sandbox.keep(lambda session, now: detach_card(session, card_id, now))
        await sandbox.announce(events)
        customer_id = told.customer_id
    else:
        customer_id = await sandbox.keep(lambda session, now: set_behaviour(session, card_id, action))
    where = f"{sandbox.base_url}/sandbox/portal/{customer_id}"
    return Response(None, status_code=303, headers={"Location": where, "Cache-Control": "no-store"})


def check_call(request: AnyRequest, sandbox: SandboxServer, *, is_keyed: bool = False) -> str:
    """Refuse a call without the API key; the idempotency key of one that must have it."""
    if not sandbox.is_key(request.headers.get("authorization", "")):
        raise SandboxRefused(401, "key_invalid", "The API key is missing or wrong.")
    key = request.headers.get("idempotency-key", "")
    if is_keyed and not key:
        raise SandboxRefused(400, "idempotency_key_missing", "This call needs an Idempotency-Key.")
    return key


WALLET_HANDLERS = (
    post_customer,
    post_charge,
    read_charge,
    post_cancel,
    post_detach,
    list_sandbox_events,
    show_portal,
    post_card,
)
