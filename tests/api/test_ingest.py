"""A thousand signed webhooks at once: every one is answered 2xx soon while spends go on, and every one is processed."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import msgspec
import uvicorn
from sqlalchemy import event
from sqlmodel import func, select

from api.auth import create_key
from engine.clock import monotonic, real_now, sleep
from engine.flows import topups
from engine.ingest import Ingest
from engine.jobs import Jobs
from engine.payments import Event, Fact
from engine.rules.money import Money
from engine.runtime import Runtime
from engine.store.database import Database, reading
from engine.store.tables import ProviderEventRow, PurchaseRow
from psp.sandbox_wire import check_signature, sign
from tests.api.host import new_app, new_runtime
from tests.engine.support import FakeClock, create_accounts, gift
from tests.flows.world import BookProvider

EVENTS = 1_000
PURCHASES = 50
SECRET = "the secret that signs webhooks in these tests"
SECONDS_MAX = 2.0
FLOORS_MAX = 4.0
"""How long the slowest answer may take: two seconds, or on a busy machine four times what the same crowd waits for an
answer that costs nothing."""


class SignedBook(BookProvider):
    """A provider whose webhooks are signed and tell their own facts."""

    def verify(self, headers: dict[str, str], body: bytes, now: object) -> Event:  # type: ignore[override]
        check_signature(SECRET, headers, body, real_now())
        told = msgspec.json.decode(body, type=tuple[str, Fact])
        return Event(told[0], "payment.paid", msgspec.json.encode(told[1]))


@dataclass
class Served:
    url: str
    runtime: Runtime
    key: str


@contextmanager
def served(runtime: Runtime) -> Iterator[Served]:
    app = new_app(runtime)
    config = uvicorn.Config(app, port=0, log_level="error", access_log=False, lifespan="off", backlog=2_048)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    ends = monotonic() + 20
    while not server.started and monotonic() < ends:
        sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Served(f"http://127.0.0.1:{port}", runtime, create_key(runtime, "service", "host"))
    finally:
        server.should_exit = True
        thread.join()


def webhooks(provider: SignedBook, runtime: Runtime) -> list[bytes]:
    """A thousand events about fifty payments: each tells the same, as repeated and reordered deliveries do."""
    bodies = []
    for number in range(PURCHASES):
        order = topups.CheckoutOrder(account_id=f"acc_{number}", actor="account:test", amount=Money(1_000, "USD"))
        purchase = topups.start_checkout(runtime, order).purchase
        request = provider.requests[f"cs_{purchase.purchase_id}"]
        fact = provider.say("payment", f"pi_{purchase.purchase_id}", "paid", 1_000, request=request)
        bodies += [msgspec.json.encode((f"evt_{number}_{n}", fact)) for n in range(EVENTS // PURCHASES)]
    return bodies


async def glances(place: Served) -> float:
    """Seconds until the last of so many is answered who ask for nothing: what the crowd alone costs."""
    limits = httpx.Limits(max_connections=EVENTS + 20)
    async with httpx.AsyncClient(base_url=place.url, limits=limits, timeout=60, trust_env=False) as client:
        started = monotonic()
        answers = await asyncio.gather(*(client.get("/healthz") for _ in range(EVENTS)))
        assert {answer.status_code for answer in answers} == {200}
        return monotonic() - started


async def storm(place: Served, bodies: list[bytes]) -> tuple[list[tuple[int, float]], list[int]]:
    """Post them all at once, and spend meanwhile; status and seconds of each webhook, statuses of the spends."""
    limits = httpx.Limits(max_connections=EVENTS + 20, max_keepalive_connections=EVENTS + 20)
    async with httpx.AsyncClient(base_url=place.url, limits=limits, timeout=60, trust_env=False) as client:

        async def tell(body: bytes) -> tuple[int, float]:
            headers = {"Sandbox-Signature": sign(SECRET, body, real_now())}
            started = monotonic()
            answer = await client.post("/webhooks/stripe", content=body, headers=headers)
            return answer.status_code, monotonic() - started

        async def spend(number: int) -> int:
            headers = {"Authorization": f"Bearer {place.key}", "Idempotency-Key": f"spend-{number}"}
            answer = await client.post("/v1/accounts/acc_spender/spends", json={"amountCredits": "1"}, headers=headers)
            return answer.status_code

        told, spent = await asyncio.gather(
            asyncio.gather(*(tell(body) for body in bodies)), asyncio.gather(*(spend(n) for n in range(50)))
        )
    return list(told), list(spent)


def test_a_thousand_webhooks_at_once_are_answered_and_processed(db: Database, clock: FakeClock) -> None:
    runtime = new_runtime(db, clock, "acn")
    provider = SignedBook()
    runtime.providers["stripe"] = provider  # type: ignore[index]
    create_accounts(db, "acc_spender", *(f"acc_{n}" for n in range(PURCHASES)))
    runtime.group.submit(gift("acc_spender", 1_000)).result(20)
    bodies = webhooks(provider, runtime)
    with served(runtime) as place:
        floor_seconds = asyncio.run(glances(place))
        told, spent = asyncio.run(storm(place, bodies))
    assert [status for status, _ in told] == [200] * EVENTS
    assert spent == [201] * 50
    slowest = max(seconds for _, seconds in told)
    assert slowest < max(SECONDS_MAX, FLOORS_MAX * floor_seconds), f"{slowest:.1f} s, {floor_seconds:.1f} s the floor"
    with reading(db) as session:
        assert session.exec(select(func.count()).select_from(ProviderEventRow)).one() == EVENTS
    jobs = Jobs(runtime)
    jobs.run_due()
    with reading(db) as session:
        left = session.exec(
            select(func.count()).select_from(ProviderEventRow).where(ProviderEventRow.status != "done")
        ).one()
        landed = session.exec(select(func.count()).select_from(PurchaseRow).where(PurchaseRow.status == "paid")).one()
    runtime.group.close()
    assert (left, landed) == (0, PURCHASES)


def test_events_that_come_together_share_few_commits_and_each_hears_whether_it_is_new(db: Database) -> None:
    ingest = Ingest()
    at = real_now()
    commits = []

    def count(*_: object) -> None:
        commits.append(1)

    event.listen(db.writer, "commit", count)
    try:
        futures = [ingest.keep(db, "stripe", Event(f"evt_{n % 600}", "x", b"{}"), at) for n in range(EVENTS)]
        new = [future.result(30) for future in futures]
    finally:
        event.remove(db.writer, "commit", count)
    assert sum(new) == 600 and all(new[:600])
    assert len(commits) <= EVENTS // 20


def test_an_event_the_database_refuses_stands_alone(db: Database) -> None:
    ingest = Ingest()
    bad: object = None
    events = [Event(f"evt_{n}", "x", b"{}") for n in range(20)]
    events[7] = Event("evt_bad", bad, b"{}")  # type: ignore[arg-type]
    futures = [ingest.keep(db, "stripe", each, real_now()) for each in events]
    outcomes = [future.exception(30) is None for future in futures]
    assert outcomes == [n != 7 for n in range(20)]
