"""A Stripe account on loopback whose clock only the test moves, and our rail to it."""

from collections.abc import Iterator

import pytest

from psp.stripe import Stripe
from tests.engine.support import FakeClock
from tests.psp.fake_stripe import FakeStripe
from tests.psp.stripe_orders import a_rail


@pytest.fixture
def fake(clock: FakeClock) -> Iterator[FakeStripe]:
    with FakeStripe(now=clock.now) as started:
        yield started


@pytest.fixture
def rail(fake: FakeStripe) -> Stripe:
    return a_rail(fake)
