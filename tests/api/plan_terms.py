"""Subscribers of plans with another rollover than the catalogue's: `open_with(most, periods)`."""

from collections.abc import Callable

from engine.rules.periods import period_start
from tests.api.subscriber import Subscriber
from tests.engine.support import DAY_0

Open = Callable[[int, int], Subscriber]


def month(n: int) -> str:
    return period_start(DAY_0, n).isoformat()
