"""What an attacker meets: the API on a clean database, its desk, and a shop of the app stores."""

import pytest

from tests.api.conftest import catalog, host
from tests.api.desk import Desk, open_desk
from tests.api.host import Host
from tests.stores.conftest import apple, google, shop

__all__ = ["apple", "catalog", "desk", "google", "host", "shop"]


@pytest.fixture
def desk(host: Host) -> Desk:
    return open_desk(host)
