"""The app stores end to end: a real server with Apple's and Google's settings, killed before it could finish."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.e2e.served import Served, environment, make_keys, purser, serving, wait_until
from tests.engine.support import FakeClock
from tests.stores.apple_world import APP_ID, BUNDLE, AppleWorld
from tests.stores.fake_google import AUDIENCE, EMAIL, PACKAGE, FakeGoogle

MIRA = "/v1/accounts/mira"


def settings(world: AppleWorld, google: FakeGoogle, folder: Path) -> dict[str, str]:
    """Apple in production, only listening, under a root of the operator's; Google called at a stand-in."""
    root = folder / "root.pem"
    root.write_bytes(world.chain.root_pem)
    return {
        "PURSER_CATALOG": "alphio",
        "PURSER_APPLE_BUNDLE_ID": BUNDLE,
        "PURSER_APPLE_APP_APPLE_ID": str(APP_ID),
        "PURSER_APPLE_ENVIRONMENT": "Production",
        "PURSER_APPLE_ROOT_CERTIFICATES": str(root),
        "PURSER_GOOGLE_PACKAGE_NAME": PACKAGE,
        "PURSER_GOOGLE_PUSH_EMAIL": EMAIL,
        "PURSER_GOOGLE_PUSH_AUDIENCE": AUDIENCE,
        "PURSER_GOOGLE_JWKS_URL": f"{google.base_url}/certs",
        "PURSER_GOOGLE_API_BASE": google.base_url,
        "PURSER_GOOGLE_SERVICE_ACCOUNT": str(google.service_account(folder)),
    }


def recharge(served: Served) -> int:
    buckets = served.call("service", "GET", f"{MIRA}/balance").json()["buckets"]
    return next(int(bucket["availableCredits"]) for bucket in buckets if bucket["bucket"] == "recharge")


def test_a_purchase_is_credited_once_and_consumed_after_the_server_was_killed(tmp_path: Path) -> None:
    clock = FakeClock(datetime.now(UTC) - timedelta(hours=1))
    world = AppleWorld(clock)
    with FakeGoogle(clock) as google:
        google.trouble["consume"] = [503] * 1_000
        env = environment(f"sqlite:///{tmp_path / 'purser.sqlite3'}", tmp_path, **settings(world, google, tmp_path))
        purser(env, "db", "upgrade")
        keys = make_keys(env)
        with serving(env, keys) as served:
            opened = {"accountId": "mira", "email": "mira@customer.example"}
            assert served.call("service", "POST", "/v1/accounts", json=opened).status_code == 201
            token = served.call("service", "GET", f"{MIRA}/purchases/store-token").json()
            number = world.buy(token["appAccountToken"])
            signed = {"signedTransaction": world.signed(number)}
            bought = google.buy(token["obfuscatedAccountId"])
            shown = {"productId": "credits_1000", "purchaseToken": bought}
            for _ in range(2):
                assert served.call("service", "POST", f"{MIRA}/purchases/apple", json=signed).status_code == 200
                assert served.call("service", "POST", f"{MIRA}/purchases/google", json=shown).status_code == 200
            served.kill()
        google.trouble.clear()
        with serving(env, keys) as served:
            wait_until(lambda: google.consumed == [bought], seconds=100)  # whoever was killed at it has a lease
            assert served.call("service", "POST", f"{MIRA}/purchases/google", json=shown).status_code == 200
            world.refund(number)
            assert served.http.post("/webhooks/apple", json=world.notify("REFUND", number)).status_code == 200
            wait_until(lambda: recharge(served) == 1_000)
            body, headers = google.push({"oneTimeProductNotification": {"purchaseToken": bought}})
            assert served.http.post("/webhooks/google", content=body, headers=headers).status_code == 200
        assert google.consumed == [bought]
        purser(env, "audit")
