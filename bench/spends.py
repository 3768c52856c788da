"""Spends per second, on 10,000 wallets and on one, beside the plainest debit the same database can do.

Ours has everything on: a key on every spend, lots drawn in order, one ledger row each with its hash, full durability.
The lanes may remember all of the wallets, as they do in a server that has spent from them lately.
The floor has none of it. PostgreSQL: one statement (`UPDATE … WHERE balance >= x` and one INSERT, in a CTE) from 32
connections of pgbench; SQLite: the same two statements in one FULL transaction, one by one. Ours and the floor take
turns in the same run, so a busy machine slows both; only the ratios carry to another machine.

    python -m bench.spends [--seconds 3] [--rounds 3] [--quick] [--only sqlite|postgresql] [--url postgresql://…]
"""

import argparse
import asyncio
import itertools
import sqlite3
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psycopg
import uvloop
from sqlalchemy import text

from api.answers import heard_here, outcome_of
from bench.common import SETTINGS, Measure, Series, pgbench, pgbench_path, private_postgresql, table
from engine.book import post
from engine.clock import Clock, new_id
from engine.group_commit import GroupCommit, tune_interpreter
from engine.lane_process import in_processes
from engine.rules.commands import Grant, Posted, Spend
from engine.rules.decisions import Terms
from engine.rules.ledger import first_broken_row
from engine.store import books
from engine.store.bulk import insert_rows, select_rows
from engine.store.database import Database, open_database, reading, transact, writing
from engine.store.migrations import upgrade

WALLETS = 10_000
CALLERS = (1, 32, 256)
BATCH = 1_000
FLOOR_CLIENTS = 32
WARM_UP_SECONDS = 2.0
CHAIN_KEY = b"k" * 32
CLOCK = Clock()
TERMS = Terms(new_id, CHAIN_KEY)
HEAD = ("database", "wallets", "callers", "through", "spends/s", "floor/s", "ratio", "p50 ms", "floor p50", "ratio p50")

DEBIT = """\
WITH debit AS (
    UPDATE floor_wallets SET balance = balance - 1 WHERE account_id = {account} AND balance >= 1
    RETURNING account_id, balance
)
INSERT INTO floor_log (account_id, credits, balance_after, created_at)
SELECT account_id, -1, balance, now() FROM debit
"""
FLOOR_TABLES = (
    "CREATE TABLE floor_wallets (account_id bigint PRIMARY KEY, balance bigint NOT NULL)",
    "CREATE TABLE floor_log (account_id bigint, credits bigint, balance_after bigint, created_at timestamptz)",
)


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table. `through` is how the callers wait: asyncio `tasks`, plain `futures`, or one caller for
    a `batch` of so many (`spends/batch`)."""

    wallets: int
    callers: int
    through: str


@dataclass(slots=True)
class Bench:
    """One database under test, its floor, and everything measured so far."""

    name: str
    db: Database
    floor: Callable[[int, int, float], Measure]
    floors: dict[tuple[int, int], Series] = field(default_factory=dict)
    ours: dict[Case, Series] = field(default_factory=dict)
    posted: int = 0
    numbers: Iterator[int] = field(default_factory=itertools.count)


CASES = tuple(
    Case(wallets, callers, through)
    for wallets in (WALLETS, 1)
    for callers, through in (*((n, "tasks") for n in CALLERS), (CALLERS[-1], "futures"), (BATCH, "batch"))
)


def main() -> None:
    options = _options()
    tune_interpreter()
    seconds, rounds = (1.0, 1) if options.quick else (options.seconds, options.rounds)
    if options.only != "postgresql":
        with tempfile.TemporaryDirectory(prefix="purser-bench-") as directory:
            bench = sqlite_bench(Path(directory))
            run(bench, seconds, rounds)
    if options.only != "sqlite":
        with _url(options.url) as url:
            run(postgresql_bench(url), seconds, rounds)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each case in each round")
    parser.add_argument("--rounds", type=int, default=3, help="medians are over these")
    parser.add_argument("--quick", action="store_true", help="one round of one second: a smoke test, not a figure")
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    parser.add_argument("--url", help="an EMPTY PostgreSQL database to use instead of a private server")
    return parser.parse_args()


@contextmanager
def _url(given: str | None) -> Iterator[str]:
    if given is not None:
        yield given
    else:
        with private_postgresql() as url:
            yield url


def run(bench: Bench, seconds: float, rounds: int) -> None:
    """Measure every case and its floors in each round, print the medians, check the books.

    First comes work that is not measured: SQLite's log grows to its full length once in a server's life, and a commit
    that makes the file longer waits twice as long for the disk.
    """
    group = in_processes(bench.db, TERMS, CLOCK)
    bench.posted += whole_batches(group, _commands(bench, WALLETS), BATCH, WARM_UP_SECONDS)[1]
    floor_clients = (1,) if bench.db.is_sqlite else (1, FLOOR_CLIENTS)
    try:
        for _ in range(rounds):
            for wallets in (WALLETS, 1):
                for clients in floor_clients:
                    measured = bench.floor(wallets, clients, seconds)
                    bench.floors.setdefault((wallets, clients), Series()).measures.append(measured)
                for case in (case for case in CASES if case.wallets == wallets):
                    bench.ours.setdefault(case, Series()).measures.append(spends(bench, group, case, seconds))
    finally:
        group.close()
    print(table(HEAD, [_line(bench, case, floor_clients[-1]) for case in CASES]))
    check(bench)
    bench.db.close()


def _line(bench: Bench, case: Case, clients: int) -> tuple[str, ...]:
    ours = bench.ours[case]
    floor = bench.floors[case.wallets, clients].per_second
    alone, ours_p50 = bench.floors[case.wallets, 1].p50, ours.p50
    p50s = ("" if ours_p50 is None else f"{ours_p50 * 1000:.3f}", "", "")
    if case.callers == 1 and alone is not None and ours_p50 is not None:
        p50s = (p50s[0], f"{alone * 1000:.3f}", f"{ours_p50 / alone:.2f}")
    return (
        bench.name,
        f"{case.wallets:,}",
        str(case.callers),
        case.through,
        f"{ours.per_second:,.0f}",
        f"{floor:,.0f}",
        f"{ours.per_second / floor:.2f}",
        *p50s,
    )


def spends(bench: Bench, group: GroupCommit, case: Case, seconds: float) -> Measure:
    """Spend one credit at a time for so long; every answer must be a posted spend."""
    measured, count = MEASURES[case.through](group, _commands(bench, case.wallets), case.callers, seconds)
    bench.posted += count
    return measured


def _commands(bench: Bench, wallets: int) -> Iterator[Spend]:
    random = Random(7)
    for number in bench.numbers:
        yield Spend(account_id=f"acc_{random.randrange(wallets)}", actor="bench", credits=1, key=f"key-{number:012d}")


def asyncio_tasks(group: GroupCommit, commands: Iterator[Spend], callers: int, seconds: float) -> tuple[Measure, int]:
    """Tasks of one event loop, each waiting for its answer before it asks again, as the HTTP server's do."""
    latencies: list[float] = []

    async def call(until: float) -> None:
        while (start := time.perf_counter()) < until:
            outcome = await outcome_of(group, next(commands))
            assert isinstance(outcome, Posted), outcome
            latencies.append(time.perf_counter() - start)

    async def all_callers() -> float:
        with heard_here(group):
            start = time.perf_counter()
            await asyncio.gather(*(call(start + seconds) for _ in range(callers)))
            return time.perf_counter() - start

    took = uvloop.run(all_callers())
    return Measure(len(latencies) / took, latencies), len(latencies)


def pipelined_futures(
    group: GroupCommit, commands: Iterator[Spend], callers: int, seconds: float
) -> tuple[Measure, int]:
    """One thread that keeps `callers` spends on their way and takes the answers in order."""
    start = time.perf_counter()
    waiting = deque(group.submit(next(commands)) for _ in range(callers))
    count = 0
    while waiting:
        outcome = waiting.popleft().result()
        assert isinstance(outcome, Posted), outcome
        count += 1
        if time.perf_counter() - start < seconds:
            waiting.append(group.submit(next(commands)))
    return Measure(count / (time.perf_counter() - start)), count


def whole_batches(group: GroupCommit, commands: Iterator[Spend], size: int, seconds: float) -> tuple[Measure, int]:
    """One caller that hands over `size` spends at once and waits for all of them."""
    start = time.perf_counter()
    count = 0
    while time.perf_counter() - start < seconds:
        answers = group.submit_batch([next(commands) for _ in range(size)]).result()
        assert all(isinstance(answer, Posted) for answer in answers)
        count += size
    return Measure(count / (time.perf_counter() - start)), count


MEASURES = {"tasks": asyncio_tasks, "futures": pipelined_futures, "batch": whole_batches}


def check(bench: Bench) -> None:
    """What was answered is in the books: a row a spend, and the hot wallet's chain unbroken."""
    with reading(bench.db) as session:
        rows = session.connection().execute(text("SELECT count(*) FROM transactions WHERE type = 'debit'")).scalar_one()
        hot = select_rows(session, "transactions", books.TRANSACTION, ("account_id",), [("acc_0",)])
    chain = sorted(map(books.transaction_of, hot), key=lambda row: row.seq)
    assert rows == bench.posted, f"{bench.posted} spends were answered, {rows} are in the ledger"
    assert first_broken_row([CHAIN_KEY], chain) is None and len(chain) == chain[-1].seq
    print(f"{bench.name}: {rows:,} spends answered, each in the ledger; the hot wallet's {len(chain):,} rows chain\n")


def _fill(db: Database) -> None:
    """10,000 wallets with one recharge lot each, through the book."""
    upgrade(db)
    now = CLOCK.now()
    ids = [f"acc_{n}" for n in range(WALLETS)]
    account = ("account_id", "locale", "profile", "anchor_at", "created_at")
    with writing(db) as session:
        insert_rows(session, "accounts", account, [(a, "en", "{}", now, now) for a in ids])
        insert_rows(session, "wallets", books.WALLET, [books.new_wallet_row(a, now) for a in ids])
    for start in range(0, WALLETS, 500):
        grants = [
            Grant(
                account_id=a,
                actor="bench",
                type="deposit",
                source="custom_credits",
                bucket="recharge",
                credits=10**12,
                description="",
            )
            for a in ids[start : start + 500]
        ]
        transact(db, lambda session, grants=grants: post(session, grants, TERMS, now))  # type: ignore[misc]


def sqlite_bench(directory: Path) -> Bench:
    db = open_database(f"sqlite:///{directory / 'purser.db'}")
    _fill(db)
    connection = sqlite3.connect(directory / "floor.db", isolation_level=None)
    for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", *FLOOR_TABLES):
        connection.execute(statement)
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO floor_wallets VALUES (?, ?)", [(n, 10**12) for n in range(WALLETS)])
    connection.execute("COMMIT")
    print("sqlite floor: UPDATE and INSERT in one transaction, one by one; WAL, synchronous FULL")
    return Bench("sqlite", db, lambda wallets, _, seconds: _sqlite_floor(connection, wallets, seconds))


def _sqlite_floor(connection: sqlite3.Connection, wallets: int, seconds: float) -> Measure:
    latencies: list[float] = []
    random = Random(7)
    begin = time.perf_counter()
    while (start := time.perf_counter()) < begin + seconds:
        account = random.randrange(wallets)
        connection.execute("BEGIN IMMEDIATE")
        row = connection.execute(
            "UPDATE floor_wallets SET balance = balance - 1 WHERE account_id = ? AND balance >= 1 RETURNING balance",
            (account,),
        ).fetchone()
        connection.execute("INSERT INTO floor_log VALUES (?, -1, ?, datetime('now'))", (account, row[0]))
        connection.execute("COMMIT")
        latencies.append(time.perf_counter() - start)
    return Measure(len(latencies) / (time.perf_counter() - begin), latencies)


def postgresql_bench(url: str) -> Bench:
    db = open_database(url)
    _fill(db)
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in FLOOR_TABLES:
            connection.execute(statement)
        connection.execute(
            "INSERT INTO floor_wallets SELECT n, 1000000000000 FROM generate_series(0, %s) n", (WALLETS - 1,)
        )
        connection.execute("VACUUM ANALYZE")
        shown = {name: connection.execute(f"SHOW {name}").fetchone() for name in ("server_version", *SETTINGS)}
    settings = ", ".join(f"{name} {value[0]}" for name, value in shown.items() if value)
    binary = pgbench_path()
    tool = "pgbench, prepared" if binary else "psycopg threads (no pgbench here: a lower floor)"
    print(f"postgresql floor: one statement, {FLOOR_CLIENTS} connections, through {tool}\n  {settings}")
    if binary is None:
        return Bench("postgresql", db, lambda wallets, clients, seconds: _psycopg_floor(url, wallets, clients, seconds))

    def floor(wallets: int, clients: int, seconds: float) -> Measure:
        script = f"\\set account random(0, {wallets - 1})\n{DEBIT.format(account=':account')};\n"
        return pgbench(binary, url, script, clients=clients, seconds=seconds)

    return Bench("postgresql", db, floor)


def _psycopg_floor(url: str, wallets: int, clients: int, seconds: float) -> Measure:
    begin = threading.Barrier(clients)

    def client(number: int) -> Sequence[float]:
        random = Random(number)
        latencies: list[float] = []
        with psycopg.connect(url, autocommit=True, prepare_threshold=0) as connection:
            begin.wait()
            until = time.perf_counter() + seconds
            while (start := time.perf_counter()) < until:
                connection.execute(DEBIT.format(account="%s::bigint"), (random.randrange(wallets),))
                latencies.append(time.perf_counter() - start)
        return latencies

    with ThreadPoolExecutor(clients) as pool:
        latencies = [latency for got in pool.map(client, range(clients)) for latency in got]
    return Measure(len(latencies) / seconds, latencies)


if __name__ == "__main__":
    main()
