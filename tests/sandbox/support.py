"""What tests of the sandbox share: its server on a real port, and a receiver that keeps the webhooks it is sent."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import httpx
import uvicorn
from litestar import Litestar, Request, Response, post
from litestar.datastructures import State

from api.demo_pages import PAGE_HANDLERS
from api.sandbox import sandbox_router
from api.sandbox_server import SandboxServer, sandbox_keys
from engine.clock import Clock, monotonic, real_now, sleep
from engine.payments import CheckoutRequest, Event, Fact
from engine.rules.errors import WebhookRefused
from engine.rules.money import Money
from engine.runtime import Secrets
from engine.store.database import Database
from psp.sandbox import Sandbox

SECRETS = Secrets(("the secret key of the sandbox's tests",))
SHOP = "http://127.0.0.1:9/shop"


@dataclass
class Receiver:
    """Purser's webhook endpoint, as far as the sandbox sees it: verifies, keeps, and answers what it is told to."""

    provider: Sandbox | None = None
    events: list[Event] = field(default_factory=list)
    refused: list[WebhookRefused] = field(default_factory=list)
    failures_left: int = 0
    """How many of the next webhooks are answered 503 before one is taken."""

    def take(self, headers: dict[str, str], body: bytes) -> int:
        assert self.provider is not None
        if self.failures_left > 0:
            self.failures_left -= 1
            return 503
        try:
            self.events.append(self.provider.verify(headers, body, real_now()))
        except WebhookRefused as refused:
            self.refused.append(refused)
            return 400
        return 200

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.events]

    def wait_for(self, count: int, seconds: float = 5) -> list[str]:
        """The types of the events so far, once there are `count`."""
        ends = monotonic() + seconds
        while len(self.events) < count and monotonic() < ends:
            sleep(0.01)
        return self.types


@dataclass
class World:
    """A sandbox that runs, the adapter that Purser would use, a browser, and the receiver."""

    base_url: str
    clock: Clock
    provider: Sandbox
    receiver: Receiver
    server: SandboxServer
    browser: httpx.Client
    settled: list[int]

    def start(self, number: int = 1, amount_minor: int = 2_500) -> str:
        """Start a checkout as Purser does; its session id."""
        return self.provider.start_checkout(self.order(number, amount_minor)).session_id

    def order(self, number: int = 1, amount_minor: int = 2_500) -> CheckoutRequest:
        return CheckoutRequest(
            account_id=f"acc_{number}",
            purchase_id=f"pay_{number}",
            amount=Money(amount_minor, "USD"),
            description="Credit top-up: $25.00",
            email="mira@customer.example",
            locale="en",
            success_url=f"{SHOP}?status=success&purchase=pay_{number}&session_id={{CHECKOUT_SESSION_ID}}",
            cancel_url=f"{SHOP}?status=cancelled&purchase=pay_{number}",
            expires_at=self.clock.now() + timedelta(minutes=30),
            idempotency_key=f"checkout:pay_{number}",
        )

    def press(self, session_id: str, action: str, **form: str) -> httpx.Response:
        return self.browser.post(f"/sandbox/checkout/{session_id}/{action}", data=form)

    def play(self, payment_id: str, act: str, body: object = None) -> httpx.Response:
        return self.browser.post(f"/sandbox/payments/{payment_id}/{act}", json=body)

    def payment(self, session_id: str) -> Fact:
        (fact,) = self.provider.payment(session_id)
        return fact

    def paid(self, number: int = 1, amount_minor: int = 2_500) -> str:
        """A payment that was made; its id. The webhooks of it are forgotten."""
        session_id = self.start(number, amount_minor)
        assert self.press(session_id, "pay").status_code == 303
        self.receiver.events.clear()
        return self.payment(session_id).object_id

    def fact_of(self, event: Event) -> Fact:
        (fact,) = self.provider.facts(event)
        return fact


@contextmanager
def served(app: Litestar) -> Iterator[str]:
    """The app on a free port of loopback; its base URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        ends = monotonic() + 10
        while not server.started and monotonic() < ends:
            sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def running(db: Database, late_seconds: float = 0.3) -> Iterator[World]:
    """The sandbox on a real port with its books in `db`."""
    receiver = Receiver()

    @post("/webhooks/sandbox", status_code=200)
    async def webhook(request: Request[object, object, State]) -> Response[None]:
        return Response(None, status_code=receiver.take(dict(request.headers), await request.body()))

    app = Litestar([webhook, *PAGE_HANDLERS], openapi_config=None, logging_config=None)
    clock = Clock()
    settled: list[int] = []
    with served(app) as base_url:
        server = SandboxServer(db, clock, SECRETS, base_url, lambda: settled.append(len(receiver.events)), late_seconds)
        app.register(sandbox_router(server))
        provider = Sandbox(base_url, *sandbox_keys(SECRETS))
        receiver.provider = provider
        server.start()
        with httpx.Client(base_url=base_url, trust_env=False, timeout=20) as browser:
            yield World(base_url, clock, provider, receiver, server, browser, settled)
        server.stop()
        provider.close()
