from collections.abc import Iterator

import pytest

from engine.audit import audit
from engine.store.database import Database
from tests.engine.support import FakeClock
from tests.flows.cards import EcoWorld
from tests.flows.world import World, open_world


@pytest.fixture
def world(db: Database, clock: FakeClock) -> Iterator[World]:
    """acn on a clean database: one bucket, bonus tiers, anyone may top up."""
    opened = open_world(db, clock)
    yield opened
    opened.close()


@pytest.fixture
def eco(db: Database, clock: FakeClock) -> Iterator[EcoWorld]:
    """EcoLink's customer with a card to save; its books are clean at the end."""
    opened = EcoWorld(db, clock)
    yield opened
    report = audit(db, opened.world.runtime.secrets.all_for("ledger chain"))
    opened.world.close()
    assert report.findings == []
