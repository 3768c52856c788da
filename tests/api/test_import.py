"""`purser import`: a file of opening balances is rehearsed, brought in once, and never in part of an account."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import text

import api.cli_import
from api.cli import main
from engine.audit import audit
from engine.runtime import Secrets
from engine.store.database import Database, open_database, reading
from tests.e2e.served import SECRET, environment

KEYS = Secrets((SECRET,)).all_for("ledger chain")
HEADER = "accountId,reference,credits,bucket,expiresAt,costMinor,description,email,plan\n"
GOOD = (
    HEADER + "acme,old-1,500,,,,,ops@acme.example,\n"
    "acme,old-2,2500,recharge,,2500,Bought in 2025,,\n"
    "bolt,old-1,70,limited_time,2099-01-01T00:00:00Z,,,it@bolt.example,pro\n"
)


@pytest.fixture
def env(db_url: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    yield environment(db_url, tmp_path, PURSER_CATALOG="alphio")


def bring(env: dict[str, str], file: str, *words: str) -> tuple[int, dict[str, Any]]:
    """The command on a file with this text: its exit code, and what it said."""
    path = Path(env["PURSER_DATA_DIR"]) / "opening.csv"
    path.write_text(file, encoding="utf-8")
    done = CliRunner().invoke(main, ["import", str(path), "--json", *words], env=env)
    assert done.exit_code in (0, 1), done.output
    return done.exit_code, json.loads(done.stdout)


def rows(env: dict[str, str], question: str) -> list[tuple[Any, ...]]:
    db = open_database(env["PURSER_DATABASE_URL"])
    try:
        with reading(db) as session:
            return [tuple(row) for row in session.execute(text(question))]
    finally:
        db.close()


def lots(env: dict[str, str]) -> list[tuple[Any, ...]]:
    return rows(env, "SELECT account_id, bucket, source, remaining_credits FROM lots ORDER BY 1, 2, 4")


BROUGHT = [
    ("acme", "monthly", "subscription", 100),  # without a plan an account starts on the first, with its month
    ("acme", "recharge", "admin", 500),
    ("acme", "recharge", "custom_credits", 2_500),
    ("bolt", "limited_time", "admin", 70),
]


def assert_books_add_up(env: dict[str, str]) -> None:
    db: Database = open_database(env["PURSER_DATABASE_URL"])
    try:
        report = audit(db, KEYS)
        assert report.is_clean and report.rows == len(BROUGHT), report.findings
    finally:
        db.close()


def test_a_rehearsal_says_what_would_be_and_writes_nothing(env: dict[str, str]) -> None:
    code, told = bring(env, GOOD)
    assert (code, told) == (
        0,
        {
            "applied": False, "lines": 3, "accountsOpened": 2, "lotsGranted": 3, "creditsGranted": "3070",
            "linesDoneBefore": 0, "problems": [],
        },
    )  # fmt: skip
    for table in ("accounts", "wallets", "lots", "transactions", "audit_log"):
        assert rows(env, f"SELECT * FROM {table}") == []


def test_what_is_applied_stands_once_and_adds_up_and_again_is_done_before(env: dict[str, str]) -> None:
    assert bring(env, GOOD, "--apply", "--reason", "Moved from the old shop")[1]["lotsGranted"] == 3
    assert lots(env) == BROUGHT
    again = bring(env, GOOD, "--apply")[1]
    assert (again["lotsGranted"], again["linesDoneBefore"], again["accountsOpened"]) == (0, 3, 0)
    assert lots(env) == BROUGHT
    assert rows(env, "SELECT plan, email FROM accounts ORDER BY account_id") == [
        ("free", "ops@acme.example"), ("pro", "it@bolt.example")
    ]  # fmt: skip
    assert rows(env, "SELECT cost_minor, cost_currency FROM lots WHERE source = 'custom_credits'") == [(2_500, "USD")]
    noted = rows(env, "SELECT account_id, actor, action, reason FROM audit_log ORDER BY account_id, audit_id")
    assert [row[0] for row in noted] == ["acme", "acme", "bolt"]
    assert {row[1:] for row in noted} == {("operator:import", "credits.brought_in", "Moved from the old shop")}
    assert_books_add_up(env)


def test_a_file_that_was_cut_short_is_brought_in_by_doing_it_again(
    env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.cli_import, "TOGETHER_MIN", 1)
    real, calls = api.cli_import.bring_in, []

    def dies_at_the_second_account(*args: Any, for_good: bool) -> Any:
        calls.append(for_good)
        if calls.count(True) == 2:
            raise KeyboardInterrupt
        return real(*args, for_good=for_good)

    monkeypatch.setattr(api.cli_import, "bring_in", dies_at_the_second_account)
    path = Path(env["PURSER_DATA_DIR"]) / "opening.csv"
    path.write_text(GOOD, encoding="utf-8")
    assert CliRunner().invoke(main, ["import", str(path), "--apply"], env=env).exit_code == 1
    assert lots(env) == BROUGHT[:3], "the first account is whole"
    monkeypatch.setattr(api.cli_import, "bring_in", real)
    assert bring(env, GOOD, "--apply")[1]["linesDoneBefore"] == 2
    assert lots(env) == BROUGHT
    assert_books_add_up(env)


def test_the_same_reference_with_other_credits_is_refused_and_nothing_is_written(env: dict[str, str]) -> None:
    bring(env, GOOD, "--apply")
    changed = GOOD.replace("acme,old-1,500", "acme,old-1,900") + "coil,old-1,5,,,,,a@coil.example,\n"
    code, told = bring(env, changed, "--apply")
    assert code == 1 and not told["applied"]
    assert [(each["line"], each["problem"][:15]) for each in told["problems"]] == [(2, "IDEMPOTENCY-002")]
    assert lots(env) == BROUGHT and len(rows(env, "SELECT account_id FROM accounts")) == 2


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("acme,a,0,,,,,a@b.example,", "credits: A lot has at least one credit."),
        ("acme,a,-5,,,,,a@b.example,", "credits: Expected digits"),
        ("acme,a,1.5,,,,,a@b.example,", "credits: Expected digits"),
        ("acme,a,1000000000000001,,,,,a@b.example,", "credits: Expected digits"),
        ("acme,a,,,,,,a@b.example,", "credits: Object missing required field"),
        ("a/b,a,5,,,,,a@b.example,", "accountId: "),
        ("acme,a b,5,,,,,a@b.example,", "reference: "),
        ("acme,a,5,gold,,,,a@b.example,", "bucket: "),
        ("acme,a,5,recharge,2099-01-01T00:00:00Z,,,a@b.example,", "expiresAt: Recharge credits never expire."),
        ("acme,a,5,limited_time,2099-01-01,,,a@b.example,", "expiresAt: "),
        ("acme,a,5,limited_time,2001-01-01T00:00:00Z,,,a@b.example,", "INVALID: The expiry must lie in the future."),
        ("acme,a,5,,,,,nobody,", "email: "),
        ("acme,a,5,,,,,,", "INVALID: There is no such account, and a new one needs an e-mail address."),
        ("acme,a,5,,,,,a@b.example,gold", "INVALID: The catalogue has no such plan."),
        ("acme,a,5,,,,,a@b.example", "line: It has more or fewer cells than the header."),
        ("bolt,old-1,9,,,,,a@b.example,", "reference: line 4 says it for this account already."),
    ],
)
def test_a_wrong_line_is_named_and_keeps_the_whole_file_out(env: dict[str, str], line: str, problem: str) -> None:
    code, told = bring(env, GOOD.replace("acme", "axle") + line + "\n", "--apply")
    assert code == 1 and not told["applied"] and told["lines"] >= 3
    assert [each["line"] for each in told["problems"]] == [5]
    assert told["problems"][0]["problem"].startswith(problem), told["problems"]
    assert lots(env) == [] and rows(env, "SELECT account_id FROM accounts") == []


@pytest.mark.parametrize(
    ("file", "complaint"),
    [
        ("accountId,credits\n", "The header has no column reference."),
        ("accountId,reference,credits,kredits\n", "a column 'kredits'"),
        ("accountId,reference,credits,credits\n", "the column credits twice"),
        ("", "The header has no column accountId."),
    ],
)
def test_a_file_that_is_none_is_refused_in_one_line(sqlite_url: str, tmp_path: Path, file: str, complaint: str) -> None:
    path = tmp_path / "opening.csv"
    path.write_text(file, encoding="utf-8")
    done = CliRunner().invoke(main, ["import", str(path)], env=environment(sqlite_url, tmp_path))
    assert done.exit_code == 2 and complaint in done.stderr and len(done.stderr.splitlines()) == 1
    gone = CliRunner().invoke(main, ["import", str(tmp_path / "none.csv")], env=environment(sqlite_url, tmp_path))
    assert gone.exit_code == 2 and "No such file" in gone.stderr


def test_nothing_is_imported_beside_a_process_that_holds_the_file(sqlite_url: str, tmp_path: Path) -> None:
    path = tmp_path / "opening.csv"
    path.write_text(GOOD, encoding="utf-8")
    env = environment(sqlite_url, tmp_path, PURSER_CATALOG="alphio")
    held = open_database(sqlite_url)
    done = CliRunner().invoke(main, ["import", str(path), "--apply"], env=env)
    held.close()
    assert done.exit_code == 2 and "in use by another Purser process" in done.stderr
    done = CliRunner().invoke(main, ["import", str(path), "--apply"], env=env)
    assert done.exit_code == 0 and "3 lots with 3070 credits, 2 accounts opened" in done.stdout
