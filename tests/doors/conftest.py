"""The API's host, for tests of its doors."""

from tests.api.conftest import catalog, host

__all__ = ["catalog", "host"]
