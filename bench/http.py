"""HTTP: a spend, a quote and a balance against a hello-world JSON route of the same server.

One worker serves the real application (SQLite, full durability, one key a spend) with one route added that answers a
fixed JSON text. Keep-alive connections of this process ask each route in turn, round by round, so that both sides of a
ratio meet the same machine. A batch of spends is held against single spends from as many connections as there are at
most. Run: `python -m bench.http [--seconds S] [--rounds N]`.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import uvloop
from litestar import get as route_get
from litestar.response.base import ASGIResponse
from sqlmodel import Session

from api import server as purser
from api.app import create_app
from api.auth import create_key
from api.settings import read_settings
from engine import book
from engine.clock import Clock
from engine.rules.commands import Grant
from engine.runtime import Runtime
from engine.store import books
from engine.store.bulk import insert_rows
from engine.store.database import transact
from engine.store.migrations import upgrade

WALLETS = 1_000
CONNECTIONS = (32, 256)
BATCH = 1_000
BATCH_CONNECTIONS = 2
SECRET = "a secret key for benches and never for money"
Maker = Callable[[], bytes]


class Caller(asyncio.Protocol):
    """One keep-alive connection that asks again as soon as it is answered."""

    def __init__(self, make: Maker, until: float) -> None:
        self.make = make
        self.until = until
        self.times: list[float] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.buffer = b""
        self.began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._ask()

    def _ask(self) -> None:
        self.began = time.perf_counter()
        self.transport.write(self.make())

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lower = head.lower()
        start = lower.index(b"content-length:") + 15
        if len(body) < int(lower[start : lower.find(b"\r", start) if b"\r" in lower[start:] else None]):
            return
        assert head.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")), self.buffer[:600]
        self.buffer = b""
        now = time.perf_counter()
        self.times.append(now - self.began)
        if now < self.until:
            self._ask()
        else:
            self.transport.close()
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server hung up"))


async def ask(port: int, make: Maker, seconds: float, connections: int) -> tuple[float, float]:
    """(answers per second, median milliseconds) of one route."""
    began = time.perf_counter()
    callers = []
    for _ in range(connections):
        _, caller = await asyncio.get_running_loop().create_connection(
            lambda: Caller(make, began + seconds), "127.0.0.1", port
        )
        callers.append(caller)
    await asyncio.gather(*(caller.done for caller in callers))
    times = [t for caller in callers for t in caller.times]
    return len(times) / (time.perf_counter() - began), statistics.median(times) * 1_000


def get(path: str, key: str) -> Maker:
    text = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
    return lambda: text


def spend(key: str) -> Maker:
    """Spends of one credit over all wallets, each with a key of its own."""
    numbers = itertools.count()
    run = time.time_ns()
    body = b'{"amountCredits":"1","description":"bench"}'

    def make() -> bytes:
        n = next(numbers)
        return (
            f"POST /v1/accounts/w{n * 7919 % WALLETS}/spends HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {key}\r\nIdempotency-Key: {run}-{n}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    return make


def batch(key: str) -> Maker:
    """Batches of such spends."""
    numbers = itertools.count()
    run = time.time_ns()

    def make() -> bytes:
        spends = [
            {"accountId": f"w{n * 7919 % WALLETS}", "amountCredits": "1", "idempotencyKey": f"{run}b{n}"}
            for n in itertools.islice(numbers, BATCH)
        ]
        body = json.dumps({"spends": spends}).encode()
        return (
            f"POST /v1/spends/batch HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    return make


@contextlib.contextmanager
def server() -> Iterator[tuple[int, str]]:
    """The application in a process of its own: its port and a service key."""
    with tempfile.TemporaryDirectory(prefix="purser-bench-") as folder:
        process = subprocess.Popen([sys.executable, "-m", "bench.http", "--serve", folder], stdout=subprocess.PIPE)
        assert process.stdout is not None
        try:
            ready = json.loads(process.stdout.readline())
            yield ready["port"], ready["key"]
        finally:
            process.terminate()
            process.wait(30)
            process.stdout.close()


def serve(folder: str) -> None:
    """The child: the real application and a hello route."""

    @route_get("/hello", include_in_schema=False)
    async def hello() -> ASGIResponse:
        return ASGIResponse(body=b'{"hello":"world"}', headers={"content-type": "application/json"})

    settings = read_settings(
        {
            "PURSER_DATABASE_URL": f"sqlite:///{Path(folder) / 'bench.sqlite3'}",
            "PURSER_DATA_DIR": folder,
            "PURSER_SECRET_KEY": SECRET,
            "PURSER_BASE_URL": "http://127.0.0.1:8000",
            "PURSER_CATALOG": "acn",
        }
    )
    purser.end_by_signal()
    with purser.opened(settings) as db:
        upgrade(db)
        with purser.assembled(settings, db, Clock(), {}, serves=True) as parts:
            transact(db, lambda session: fill(session, parts.runtime))
            key = create_key(parts.runtime, "service", "bench")
            app = create_app(parts.runtime, settings, [*parts.resources, hello])
            listener = purser.listen("127.0.0.1", 0)
            port = listener.getsockname()[1]
            purser.run_app(
                app,
                parts.runtime,
                settings,
                listener,
                lambda: print(json.dumps({"port": port, "key": key}), flush=True),
            )


def fill(session: Session, runtime: Runtime) -> None:
    """Accounts `w0`, `w1` …, each with more credits than a bench can spend."""
    now = runtime.clock.now()
    ids = [f"w{n}" for n in range(WALLETS)]
    columns = ("account_id", "locale", "profile", "anchor_at", "created_at")
    insert_rows(session, "accounts", columns, [(a, "en", "{}", now, now) for a in ids])
    insert_rows(session, "wallets", books.WALLET, [books.new_wallet_row(a, now) for a in ids])
    grants = [
        Grant(
            account_id=a,
            actor="bench",
            type="promo_credit",
            source="promo",
            bucket="recharge",
            credits=10**9,
            description="bench",
        )
        for a in ids
    ]
    book.post(session, grants, runtime.terms, now)


async def measure(port: int, key: str, seconds: float, rounds: int) -> None:
    routes: dict[str, Maker] = {
        "hello (floor)": get("/hello", key),
        "balance": get("/v1/accounts/w1/balance", key),
        "quote": get("/v1/accounts/w1/quote?amountUsdCents=29000", key),
        "spend": spend(key),
    }
    many = batch(key)
    print(f"HTTP, one worker, SQLite FULL, medians of {rounds} rounds of {seconds:g} s")
    rates: dict[tuple[str, int], list[float]] = {(name, count): [] for count in CONNECTIONS for name in routes}
    alone: dict[str, list[float]] = {name: [] for name in routes}
    batches: list[float] = []
    for make in (*routes.values(), many):
        await ask(port, make, 0.3, BATCH_CONNECTIONS)
    for _ in range(rounds):
        for (name, count), found in rates.items():
            found.append((await ask(port, routes[name], seconds, count))[0])
        for name, make in routes.items():
            alone[name].append((await ask(port, make, seconds / 4, 1))[1])
        batches.append((await ask(port, many, seconds, BATCH_CONNECTIONS))[0] * BATCH)
    show(rates, alone, batches)


def show(rates: dict[tuple[str, int], list[float]], alone: dict[str, list[float]], batches: list[float]) -> None:
    """The table: each route's rate beside that of hello from as many connections."""
    print(f"{'route':<16}{'connections':>13}{'per s':>9}{'ratio to hello':>16}{'p50 ms, alone':>15}")
    floor = {count: statistics.median(found) for (name, count), found in rates.items() if name.startswith("hello")}
    for (name, count), found in rates.items():
        rate = statistics.median(found)
        p50 = f"{statistics.median(alone[name]):.2f}" if count == CONNECTIONS[0] else ""
        print(f"{name:<16}{count:>13}{rate:>9,.0f}{rate / floor[count]:>16.2f}{p50:>15}")
    whole, single = statistics.median(batches), statistics.median(rates["spend", CONNECTIONS[-1]])
    print(f"spends/batch of {BATCH:,}: {whole:,.0f} spends per s, {whole / single:.2f} x single spends")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", metavar="FOLDER", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    with server() as (port, key):
        uvloop.run(measure(port, key, options.seconds, options.rounds))


if __name__ == "__main__":
    main()
