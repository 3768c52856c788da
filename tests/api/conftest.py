"""The API on a clean database, with the catalogue a test asks for (`alphio` where it does not say)."""

from collections.abc import Iterator

import pytest
from litestar.testing import TestClient

from engine.store.database import Database
from tests.api.host import Host, new_app, new_runtime
from tests.engine.support import FakeClock


@pytest.fixture
def catalog() -> str:
    return "alphio"


@pytest.fixture
def host(db: Database, clock: FakeClock, catalog: str) -> Iterator[Host]:
    runtime = new_runtime(db, clock, catalog)
    app = new_app(runtime)
    with TestClient(app) as client:
        made = Host(client, runtime, app.state["site"], clock, service_key="")
        made.service_key = made.new_key("service", name="backend")
        yield made
    runtime.group.close()
