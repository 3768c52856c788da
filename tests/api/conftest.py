"""The API on a clean database, with the catalogue a test asks for (`alphio` where it does not say)."""

from collections.abc import Iterator
from typing import Any

import pytest
from litestar.testing import TestClient
from msgspec.structs import replace

from engine.store.database import Database
from tests.api.host import Host, new_app, new_runtime
from tests.api.plan_terms import Open
from tests.api.subscriber import Subscriber, subscriber
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


@pytest.fixture
def mira(db: Database, clock: FakeClock) -> Iterator[Subscriber]:
    """A customer who subscribes for herself."""
    made = subscriber(db, clock)
    yield made
    made.runtime.group.close()


@pytest.fixture
def open_with(db: Database, clock: FakeClock) -> Iterator[Open]:
    """Opens subscribers of plans that let so much roll over for so many periods."""
    opened: list[Subscriber] = []

    def open_one(rollover_max: int, rollover_periods: int) -> Subscriber:
        def change(catalog: Any) -> Any:
            plans = tuple(
                replace(plan, rollover_max=min(rollover_max, plan.monthly_credits), rollover_periods=rollover_periods)
                for plan in catalog.plans
            )
            return replace(catalog, plans=plans)

        opened.append(subscriber(db, clock, change))
        return opened[-1]

    yield open_one
    for each in opened:
        each.runtime.group.close()
