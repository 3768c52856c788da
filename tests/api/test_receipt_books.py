"""A month of documents for the operator: every one of the seller's month, in the order of the series, signed."""

import csv
import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from api import receipt_books
from api.cli import main
from api.demo import CLOCK
from api.receipt_books import write_month
from engine.rules.documents import read
from engine.store.database import Database, open_database, transact
from engine.store.tables import DemoClockRow
from receipts.render import Renderer
from tests.e2e.served import environment
from tests.engine.support import FakeClock
from tests.flows.test_documents import PROFILE, set_profile, stored
from tests.flows.world import ACCOUNT, World, open_world

BERLIN = "Europe/Berlin"


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with Renderer() as made:
        yield made


@pytest.fixture
def world(db: Database, clock: FakeClock) -> Iterator[World]:
    opened = open_world(db, clock, "alphio", "pro")
    yield opened
    opened.close()


def until(world: World, instant: str) -> None:
    world.clock.advance(datetime.fromisoformat(instant) - world.clock.now())


def sell(world: World) -> None:
    """November: two receipts, a refund, its failure, an invoice; December begins an hour early in Berlin."""
    first = world.buy(30_000)
    world.deliver(world.pay(first))
    world.clock.advance(timedelta(days=1))
    world.deliver(world.refund_elsewhere(first, "re_1", 10_000))
    world.clock.advance(timedelta(days=1))
    world.deliver(world.refund_elsewhere(first, "re_1", 10_000, "failed"))
    world.deliver(world.pay(world.buy(2_000)))
    set_profile(world, PROFILE, "IE")
    until(world, "2026-11-30T22:59:59Z")
    world.deliver(world.pay(world.buy(4_000)))
    until(world, "2026-11-30T23:00:00Z")
    world.deliver(world.pay(world.buy(5_000)))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_month_is_one_table_whose_columns_sum_up(world: World, tmp_path: Path) -> None:
    sell(world)
    seen: list[int] = []
    written = write_month(world.db, "2026-11", BERLIN, tmp_path, progress=seen.append)
    assert written.files == (tmp_path / "2026-11-receipts.csv",) and seen == [1, 2, 3, 4, 5]
    rows = table(written.files[0])
    assert [row["number"] for row in rows] == [
        "ALPC26-0000001", "ALPI26-0000001", "ALPR26-0000001", "ALPR26-0000002", "ALPR26-0000003"
    ]  # fmt: skip
    assert {row["accountId"] for row in rows} == {ACCOUNT}
    assert [row["total"] for row in rows] == ["-100.00", "40.00", "300.00", "100.00", "20.00"]
    assert sum(Decimal(row["total"]) for row in rows) == Decimal(360), "what is with the seller"
    correction = rows[3]
    assert (correction["cancelsNumber"], correction["kind"]) == ("ALPC26-0000001", "receipt")
    assert (rows[1]["taxCategory"], rows[1]["taxId"]) == ("AE", "IE6433435F")
    assert [row["number"] for row in table(write_month(world.db, "2026-12", BERLIN, tmp_path).files[0])] == [
        "ALPI26-0000002"
    ]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("20")) == [
        "2026-11-receipts.csv", "2026-12-receipts.csv"
    ]  # fmt: skip


def test_a_long_month_is_read_in_parts(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sell(world)
    whole = write_month(world.db, "2026-11", BERLIN, tmp_path).files[0].read_bytes()
    for chunk in (1, 2, 5):
        monkeypatch.setattr(receipt_books, "CHUNK", chunk)
        assert write_month(world.db, "2026-11", BERLIN, tmp_path).files[0].read_bytes() == whole


def test_the_pdfs_are_those_that_documents_have(world: World, tmp_path: Path, renderer: Renderer) -> None:
    world.deliver(world.pay(world.buy(2_000)))
    written = write_month(world.db, "2026-11", BERLIN, tmp_path, renderer)
    [row] = stored(world)
    assert written.files[1].name == f"{row.number}.pdf"
    made = renderer.submit(read(row.data.encode())).result()
    assert hashlib.sha256(written.files[1].read_bytes()).digest() == hashlib.sha256(made).digest()


def export(env: dict[str, str], *words: str) -> Result:
    return CliRunner().invoke(main, ["receipts", "export", *words], env=env)


def test_the_command_writes_the_month_and_refuses_what_is_none(
    sqlite_url: str, tmp_path: Path, clock: FakeClock
) -> None:
    db = open_database(sqlite_url)
    world = open_world(db, clock, "alphio", "pro")
    world.deliver(world.pay(world.buy(2_000)))
    month = f"{world.clock.now():%Y-%m}"
    world.close()
    db.close()
    env = environment(sqlite_url, tmp_path, PURSER_CATALOG="alphio")
    out = tmp_path / "books"
    told = export(env, "--month", month, "--out", str(out), "--pdfs", "--json")
    assert told.exit_code == 0, told.stderr
    assert json.loads(told.stdout) == {"month": month, "documents": 1, "file": str(out / f"{month}-receipts.csv")}
    assert sorted(path.name for path in out.iterdir()) == [f"{month}-receipts.csv", "ALPR26-0000001.pdf"]
    said = export(env, "--month", month, "--out", str(out))
    assert said.stdout == f"{out / f'{month}-receipts.csv'}. Documents: 1\n"
    for bad in ("2026-13", "26-1", "2999-01", ""):
        refused = export(env, "--month", bad)
        assert refused.exit_code == 2 and "--month" in refused.stderr


@pytest.mark.parametrize("words", [("receipts", "export"), ("export",)])
def test_a_month_has_begun_when_a_demos_clock_has_reached_it(
    sqlite_url: str, tmp_path: Path, words: tuple[str, ...]
) -> None:
    def told(days: int) -> Result:
        month = f"{datetime.now(UTC) + timedelta(days=days):%Y-%m}"
        env = environment(sqlite_url, tmp_path, PURSER_CATALOG="alphio")
        return CliRunner().invoke(main, [*words, "--month", month, "--out", str(tmp_path / "books")], env=env)

    assert told(100).exit_code == 2 and "this month has not begun" in told(100).stderr
    db = open_database(sqlite_url)
    transact(db, lambda session: session.add(DemoClockRow(name=CLOCK, offset_seconds=100 * 86_400)))
    db.close()
    assert told(100).exit_code == 0
    assert told(200).exit_code == 2 and "this month has not begun" in told(200).stderr
