"""`purser reconcile` as an operator runs it: what it prints and its exit code."""

import json
from pathlib import Path

from tests.psp.fake_stripe import FakeStripe
from tests.sandbox.processes import purser

SECRET = "a secret key for these tests and long enough"


def test_the_providers_lists_are_read_and_told_for_programs_and_for_people(tmp_path: Path) -> None:
    bare = {"PURSER_DATA_DIR": str(tmp_path), "PURSER_SECRET_KEY": SECRET}
    assert purser("db", "upgrade", **bare).returncode == 0
    none = purser("reconcile", **bare)
    assert (none.returncode, none.stdout) == (0, "No configured provider has a list to read.\n")
    refused = purser("reconcile", "--provider", "stripe", **bare)
    assert refused.returncode == 2 and "not configured" in refused.stderr
    with FakeStripe() as fake:
        settings = bare | {
            "PURSER_STRIPE_SECRET_KEY": fake.secret_key,
            "PURSER_STRIPE_WEBHOOK_SECRETS": fake.webhook_secret,
            "PURSER_STRIPE_API_BASE": fake.base_url,
        }
        told = purser("reconcile", "--json", **settings)
        assert told.returncode == 0, told.stderr
        clean = {"provider": "stripe", "listed": 0, "missed": 0, "clean": True, "findings": []}
        assert json.loads(told.stdout) == [clean]
        fake.fail(500, times=3)
        down = purser("reconcile", **settings)
        assert down.returncode == 2 and "could not be read" in down.stderr
