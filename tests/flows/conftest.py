from collections.abc import Iterator

import pytest

from engine.store.database import Database
from tests.engine.support import FakeClock
from tests.flows.world import World, open_world


@pytest.fixture
def world(db: Database, clock: FakeClock) -> Iterator[World]:
    """acn on a clean database: one bucket, bonus tiers, anyone may top up."""
    opened = open_world(db, clock)
    yield opened
    opened.close()
