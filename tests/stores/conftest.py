"""A shop with both app stores, on a clean database: the API, its jobs, and the stores' own sides on loopback."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.store.database import Database
from tests.engine.support import FakeClock
from tests.stores.apple_world import AppleWorld
from tests.stores.fake_apple import FakeApple
from tests.stores.fake_google import FakeGoogle
from tests.stores.shop import Shop, open_shop


@pytest.fixture
def apple(clock: FakeClock) -> Iterator[FakeApple]:
    with FakeApple(AppleWorld(clock)) as started:
        yield started


@pytest.fixture
def google(clock: FakeClock) -> Iterator[FakeGoogle]:
    with FakeGoogle(clock) as started:
        yield started


@pytest.fixture
def shop(db: Database, clock: FakeClock, apple: FakeApple, google: FakeGoogle, tmp_path: Path) -> Iterator[Shop]:
    with open_shop(db, clock, apple, google, tmp_path) as opened:
        yield opened
