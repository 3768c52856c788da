"""The command line, each command in a process of its own: what it prints, where, and its exit code."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from api.cli import main
from engine.clock import monotonic, sleep
from tests.sandbox.processes import PURSER, ROOT, SECONDS, bare_environ, purser

SECRET = "a secret key for these tests and long enough"


def settings_of(folder: Path, **more: str) -> dict[str, str]:
    return {"PURSER_DATA_DIR": str(folder), "PURSER_SECRET_KEY": SECRET, **more}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory whose database has this version's schema."""
    path = tmp_path_factory.mktemp("data")
    told = purser("db", "upgrade", **settings_of(path))
    assert (told.returncode, told.stdout, told.stderr) == (0, "The schema is this version's.\n", "")
    return path


@contextmanager
def server(folder: Path, *words: str, **more: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`purser serve` on a free port, once it is ready; ended by SIGINT if the test has not."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    environ = bare_environ(**settings_of(folder, PURSER_PORT=str(port), **more))
    with subprocess.Popen(
        [*PURSER, "serve", *words], env=environ, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            base = f"http://127.0.0.1:{port}"
            ends = monotonic() + SECONDS
            while not _is_ready(base) and process.poll() is None and monotonic() < ends:
                sleep(0.05)
            yield base, process
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=SECONDS)


def _is_ready(base: str) -> bool:
    try:
        return httpx.get(f"{base}/readyz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_a_catalogue_is_checked_by_name_or_file(tmp_path: Path) -> None:
    told = CliRunner().invoke(main, ["catalog", "check", "acn"])
    assert (told.exit_code, told.stdout) == (0, "ACN: 4 tiers, no plans; stripe, sandbox.\n")
    text = (ROOT / "engine/catalogs/alphio.toml").read_text()
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text(text)
    bad.write_text(text.replace("min_minor = 1_000\n", "min_minor = -1\n"))
    assert CliRunner().invoke(main, ["catalog", "check", str(good)]).exit_code == 0
    told = CliRunner().invoke(main, ["catalog", "check", str(bad)])
    assert (told.exit_code, told.stdout) == (2, "") and "pricing.min_minor" in told.stderr
    assert len(told.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({}, "PURSER_SECRET_KEY is missing"),
        ({"PURSER_SECRET_KEY": "short"}, "at least 32 characters"),
        ({"PURSER_SECRET_KEY": SECRET, "PURSER_CATALOG": "nowhere"}, "neither a shipped catalogue"),
        ({"PURSER_SECRET_KEY": SECRET, "PURSER_DATABASE_URL": "mysql://here"}, "is not a database Purser knows"),
        ({"PURSER_SECRET_KEY": SECRET, "PURSER_DATABASE_URL": "::"}, "PURSER_DATABASE_URL can't be used"),
        (
            {"PURSER_SECRET_KEY": SECRET, "PURSER_DATABASE_URL": "postgresql://u:hush@127.0.0.1:1/x"},
            "The database does not answer",
        ),
        (
            {
                "PURSER_SECRET_KEY": SECRET,
                "PURSER_PADDLE_API_KEY": "pdl_sdbx_apikey_1",
                "PURSER_PADDLE_WEBHOOK_SECRETS": "s",
                "PURSER_PADDLE_API_BASE": "https://api.paddle.com",
            },
            "The Paddle key is of one mode",
        ),
    ],
)
def test_what_an_operator_can_mend_is_one_line_and_exit_code_2(
    tmp_path: Path, settings: dict[str, str], complaint: str
) -> None:
    told = purser("serve", PURSER_DATA_DIR=str(tmp_path / "data"), PURSER_PORT="0", **settings)
    assert (told.returncode, told.stdout) == (2, "")
    assert complaint in told.stderr and len(told.stderr.splitlines()) == 1
    assert "hush" not in told.stderr


def test_serve_refuses_a_database_without_this_versions_schema(tmp_path: Path) -> None:
    checked = purser("db", "check", **settings_of(tmp_path))
    assert (checked.returncode, checked.stderr) == (1, "") and "purser db upgrade" in checked.stdout
    served = purser("serve", **settings_of(tmp_path, PURSER_PORT="0"))
    assert served.returncode == 2 and "run `purser db upgrade` first" in served.stderr


def test_the_schema_is_found_right_after_the_upgrade_and_upgrading_again_is_fine(folder: Path) -> None:
    assert purser("db", "check", **settings_of(folder)).returncode == 0
    assert purser("db", "upgrade", **settings_of(folder)).returncode == 0


def test_several_workers_are_refused_on_sqlite(folder: Path) -> None:
    told = purser("serve", "--workers", "2", **settings_of(folder, PURSER_PORT="0"))
    assert told.returncode == 2 and "--workers needs PostgreSQL" in told.stderr


def test_a_key_is_printed_once_and_works(folder: Path) -> None:
    told = purser("keys", "create", "--role", "service", "--name", "host", "--json", **settings_of(folder))
    assert told.returncode == 0 and list(json.loads(told.stdout)) == ["key"]
    plain = purser("keys", "create", "--role", "auditor", "--name", "Ann", **settings_of(folder))
    assert plain.stdout.startswith("purser_aud_") and len(plain.stdout.splitlines()) == 1
    with server(folder) as (base, _), httpx.Client(base_url=base, trust_env=False) as http:
        headers = {"authorization": f"Bearer {json.loads(told.stdout)['key']}"}
        assert http.post("/v1/accounts", json={"email": "a@b.example"}, headers=headers).status_code == 201


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--role", "account", "--name", "x"), "needs --account"),
        (("--role", "service", "--name", "x", "--account", "acc_1"), "needs --account"),
        (("--role", "account", "--name", "x", "--account", "acc_nobody"), "There is no such account."),
        (("--role", "king", "--name", "x"), "'king' is not one of"),
        (("--role", "service", "--name", "a\nb"), "printable characters"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused(folder: Path, words: tuple[str, ...], complaint: str) -> None:
    told = purser("keys", "create", *words, **settings_of(folder))
    assert (told.returncode, told.stdout) == (2, "") and complaint in told.stderr


def test_serve_ends_cleanly_holds_its_database_and_has_none_of_the_demos_doors(folder: Path) -> None:
    with server(folder) as (base, process), httpx.Client(base_url=base, trust_env=False) as http:
        for path in ("/", "/demo/clock", "/demo/mailbox", "/demo/events", "/sandbox/checkout/x"):
            assert http.get(path).status_code == 404
        for path in ("/demo/clock", "/sandbox/checkout/x/pay", "/sandbox/payments/x/refund", "/webhooks/sandbox"):
            assert http.post(path, json={}).status_code == 404
        told = purser("reconcile", **settings_of(folder))
        assert told.returncode == 2 and "in use by another Purser process" in told.stderr
        process.send_signal(signal.SIGTERM)
        out, log = process.communicate(timeout=SECONDS)
        assert (process.returncode, out) == (0, "") and "Traceback" not in log
        assert json.loads(log.splitlines()[0])["event"] == "purser serves"


def test_what_only_reads_works_beside_a_server(folder: Path) -> None:
    with server(folder):
        told = purser("audit", "--processes", "2", **settings_of(folder))
        assert told.returncode == 0 and "The books add up" in told.stdout
        for words in (("export",), ("receipts", "export")):
            told = purser(*words, "--month", "2026-01", "--out", str(folder), **settings_of(folder))
            assert told.returncode == 0, told.stderr
        told = purser("receipts", "verify", **settings_of(folder))
        assert told.returncode == 0, told.stderr


def test_the_audit_says_that_the_books_add_up_or_where_they_do_not(folder: Path) -> None:
    key = json.loads(
        purser("keys", "create", "--role", "service", "--name", "h", "--json", **settings_of(folder)).stdout
    )
    headers = {"authorization": f"Bearer {key['key']}"}
    with server(folder) as (base, _), httpx.Client(base_url=base, trust_env=False) as http:
        account = http.post("/v1/accounts", json={"accountId": "acc_audit", "email": "a@b.example"}, headers=headers)
        assert account.status_code == 201, account.text
    clean = purser("audit", "--json", **settings_of(folder))
    report = json.loads(clean.stdout)
    assert clean.returncode == 0 and report["clean"] and report["rows"] >= 1 and report["findings"] == []
    with closing(sqlite3.connect(folder / "purser.sqlite3")) as database, database:
        changed = database.execute("UPDATE transactions SET description = 'x' WHERE account_id = 'acc_audit'")
        assert changed.rowcount == 1
    broken = purser("audit", "--json", **settings_of(folder))
    findings = json.loads(broken.stdout)["findings"]
    assert broken.returncode == 1 and findings[0]["where"] == "acc_audit/1"
    told = purser("audit", **settings_of(folder))
    assert told.returncode == 1 and "The books do not add up" in told.stdout and "acc_audit/1" in told.stdout


def test_workers_share_one_port_and_one_that_dies_is_replaced(postgresql_url: str, tmp_path: Path) -> None:
    with server(tmp_path, "--workers", "2", PURSER_DATABASE_URL=postgresql_url) as (base, process):
        assert _is_ready(base)
        before = _workers(process.pid)
        assert len(before) == 2
        os.kill(before[0], signal.SIGKILL)
        ends = monotonic() + SECONDS
        while len(after := _workers(process.pid)) < 2 or before[0] in after:
            assert monotonic() < ends
            sleep(0.1)
        assert _is_ready(base)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=SECONDS)
        assert process.returncode == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in after), "all end with the first"


def _workers(parent: int) -> list[int]:
    """The parent's spawned processes, the resource tracker aside."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    lines = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children}
    return [pid for pid, line in lines.items() if b"spawn_main" in line]


def test_a_worker_process_ends_when_told(postgresql_url: str, tmp_path: Path) -> None:
    environ = bare_environ(**settings_of(tmp_path, PURSER_DATABASE_URL=postgresql_url))
    with subprocess.Popen([*PURSER, "worker"], env=environ, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert json.loads(process.stderr.readline())["event"] == "purser works on jobs"
        process.terminate()
        try:
            assert process.wait(SECONDS) == 0
        finally:
            process.kill()


def test_a_month_is_exported_as_files_and_a_month_that_is_none_is_refused(folder: Path, tmp_path: Path) -> None:
    told = purser("export", "--month", "2026-01", "--out", str(tmp_path), "--json", **settings_of(folder))
    assert told.returncode == 0, told.stderr
    answer = json.loads(told.stdout)
    assert (answer["month"], answer["minor"]) == ("2026-01", {})
    assert sorted(answer["files"]) == sorted(map(str, tmp_path.iterdir())) and len(answer["files"]) == 5
    for month in ("2026-13", "2999-01"):
        refused = purser("export", "--month", month, "--out", str(tmp_path), **settings_of(folder))
        assert (refused.returncode, refused.stdout) == (2, "") and "--month" in refused.stderr


def test_documents_are_rendered_again_and_compared(folder: Path) -> None:
    told = purser("receipts", "verify", "--json", **settings_of(folder))
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout) == {"documents": 0, "same": 0, "older": 0, "unmade": 0, "findings": []}
    with closing(sqlite3.connect(folder / "purser.sqlite3")) as database, database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(documents)")]
        values = dict.fromkeys(columns) | {
            "account_id": "acc_none", "document_id": "doc_1", "purchase_id": "pay_1", "kind": "receipt",
            "cause": "payment", "series": "ALPR26", "number_in_series": 1, "number": "ALPR26-0000001",
            "amount_minor": 1, "tax_minor": 0, "currency": "USD", "data": "{}", "digest": "x",
            "issued_at": "2026-11-20 12:00:00.000000",
        }  # fmt: skip
        database.execute(f"INSERT INTO documents VALUES ({', '.join('?' * len(columns))})", list(values.values()))
    try:
        told = purser("receipts", "verify", **settings_of(folder))
        assert told.returncode == 1
        assert "1 documents" in told.stdout and "ALPR26-0000001: its frozen data is no document" in told.stdout
    finally:
        with closing(sqlite3.connect(folder / "purser.sqlite3")) as database, database:
            database.execute("DELETE FROM documents")
