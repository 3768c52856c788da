"""The stores in a Purser that runs: made from settings, asked outside transactions, and answered by key."""

import itertools
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from api.environ import SettingsError
from api.server import providers_of
from api.settings import read_settings
from engine.flows.reconcile import reconcile
from engine.payments import can_be_polled
from engine.recurring import SubscriptionStore
from engine.rules.errors import Refusal
from engine.store import books, stores
from engine.store.database import reading, transact
from psp.apple import Apple
from psp.google import Google
from tests.api.host import SECRET, assert_problem
from tests.engine.support import DAY_0
from tests.stores.apple_chain import Chain, private_pem
from tests.stores.apple_world import APP_ID, BUNDLE, AppleWorld
from tests.stores.fake_apple import ISSUER, KEY_ID, FakeApple
from tests.stores.fake_google import PACKAGE, FakeGoogle
from tests.stores.shop import Shop

BASE = {"PURSER_SECRET_KEY": SECRET}
APPLE = BASE | {
    "PURSER_APPLE_BUNDLE_ID": BUNDLE,
    "PURSER_APPLE_APP_APPLE_ID": str(APP_ID),
    "PURSER_APPLE_ENVIRONMENT": "Sandbox",
}
GOOGLE = BASE | {
    "PURSER_GOOGLE_PACKAGE_NAME": PACKAGE,
    "PURSER_GOOGLE_PUSH_EMAIL": "push@example.iam.gserviceaccount.com",
    "PURSER_GOOGLE_PUSH_AUDIENCE": "https://wallet.example",
}


def test_serve_speaks_to_apple_with_the_operators_roots_and_key(apple: FakeApple, tmp_path: Path) -> None:
    apple.world.environment = "Sandbox"
    root, key = tmp_path / "root.cer", tmp_path / "key.p8"
    root.write_bytes(apple.world.chain.root_der)
    key.write_text(private_pem(apple.world.api_key))
    settings = read_settings(
        APPLE
        | {
            "PURSER_APPLE_ROOT_CERTIFICATES": str(root),
            "PURSER_APPLE_ISSUER_ID": ISSUER,
            "PURSER_APPLE_KEY_ID": KEY_ID,
            "PURSER_APPLE_PRIVATE_KEY_FILE": str(key),
            "PURSER_APPLE_API_BASE": apple.base_url,
        }
    )
    rail = providers_of(settings)["apple"]
    assert isinstance(rail, Apple) and isinstance(rail, SubscriptionStore)
    assert (rail.is_live, rail.can_refund, rail.merchant_of_record) == (False, False, "Apple")
    number = apple.world.buy()
    seen = rail.transaction(number)
    assert seen is not None and (seen.object_id, seen.mode) == (number, "test")


def test_serve_speaks_to_google_as_the_service_account(google: FakeGoogle, tmp_path: Path) -> None:
    account = google.service_account(tmp_path)
    settings = read_settings(
        GOOGLE
        | {
            "PURSER_GOOGLE_SERVICE_ACCOUNT": str(account),
            "PURSER_GOOGLE_API_BASE": google.base_url,
            "PURSER_GOOGLE_JWKS_URL": f"{google.base_url}/certs",
        }
    )
    rail = providers_of(settings)["google"]
    assert isinstance(rail, Google) and isinstance(rail, SubscriptionStore) and can_be_polled(rail)
    assert (rail.can_refund, rail.needs_finish, rail.merchant_of_record) == (True, True, "Google")
    token = google.buy(quantity=2)
    assert rail.posted({"purchaseToken": token, "productId": "credits_1000"}).quantity == 2
    rail.close()


def test_files_that_are_no_keys_are_refused_by_name(tmp_path: Path) -> None:
    junk = tmp_path / "junk"
    junk.write_text("{}")
    with pytest.raises(SettingsError, match="PURSER_APPLE_ROOT_CERTIFICATES"):
        providers_of(read_settings(APPLE | {"PURSER_APPLE_ROOT_CERTIFICATES": str(junk)}))
    with pytest.raises(SettingsError, match="PURSER_GOOGLE_SERVICE_ACCOUNT"):
        providers_of(read_settings(GOOGLE | {"PURSER_GOOGLE_SERVICE_ACCOUNT": str(junk)}))
    keyed = {"PURSER_APPLE_ISSUER_ID": "i", "PURSER_APPLE_KEY_ID": "k", "PURSER_APPLE_PRIVATE_KEY": "junk"}
    with pytest.raises(SettingsError, match="_PRIVATE_KEY"):
        providers_of(read_settings(APPLE | keyed))


def test_a_store_that_is_off_is_not_there(shop: Shop) -> None:
    shop.host.runtime.providers.pop("apple")  # type: ignore[attr-defined]
    assert_problem(shop.post_apple("x"), 404, "NOT-FOUND")
    assert_problem(shop.host.client.post("/webhooks/apple", json={}), 404, "NOT-FOUND")


def test_no_store_is_asked_inside_a_transaction(shop: Shop) -> None:
    """While a store answers, the same wallet can be locked by somebody else at once."""
    runtime = shop.host.runtime
    waited: list[str] = []

    def lock() -> None:
        waited.append("locked")
        transact(runtime.db, lambda session: books.lock_wallets(session, ["mira"], DAY_0))

    shop.google.meanwhile = shop.apple.meanwhile = lock
    shop.host.client.put(
        f"{shop.mira}/purchases/store-consent",
        json={"consumptionConsent": True},
        headers={"Authorization": f"Bearer {shop.host.service_key}"},
    )
    told = shop.post_google(shop.google.buy(shop.token())).json()
    shop.jobs.run_due()
    support = shop.host.new_key("support")
    shop.host.post(f"/v1/support/purchases/{told['id']}/reversals", {"reason": "asked"}, bearer=support)
    shop.jobs.run_due()
    number = shop.apple.world.buy(shop.token())
    shop.post_apple(shop.apple.world.signed(number))
    shop.notify_apple(shop.apple.world.notify("CONSUMPTION_REQUEST", number))
    member = shop.host.open("nora")
    token = shop.google.play.subscribe(shop.token(member))
    shop.push_google({"subscriptionNotification": {"notificationType": 4, "purchaseToken": token}})
    shop.push_google({"subscriptionNotification": {"notificationType": 4, "purchaseToken": token}})
    shop.post_google(shop.google.play.replace(token, "elite", "CHARGE_FULL_PRICE"), "elite", member)
    shop.host.wait(minutes=61)
    shop.jobs.run_due()
    assert len(shop.google.play.acknowledged) == 2
    shop.host.wait(days=32)
    shop.jobs.run_due()
    assert shop.apple.consumption and shop.google.refunded and shop.google.consumed
    assert len(waited) == len(shop.google.requests) + len(shop.apple.requests) >= 8


def test_a_key_answers_the_same_purchase_and_no_other(shop: Shop) -> None:
    world, path = shop.apple.world, f"{shop.mira}/purchases/apple"
    first, other = world.signed(world.buy(shop.token())), world.signed(world.buy(shop.token()))
    told = shop.host.post(path, {"signedTransaction": first}, key="k1")
    again = shop.host.post(path, {"signedTransaction": first}, key="k1")
    assert again.json() == told.json() and again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in told.headers
    assert_problem(shop.host.post(path, {"signedTransaction": other}, key="k1"), 422, "IDEMPOTENCY-002")
    assert shop.recharge() == 1_000
    assert_problem(shop.host.post(path, {"signedTransaction": "x"}, key="k2"), 400, "INVALID")
    assert shop.host.post(path, {"signedTransaction": other}, key="k2").status_code == 200


def test_bodies_that_are_not_the_contracts_are_refused(shop: Shop) -> None:
    for store, body in (
        ("apple", {}),
        ("apple", {"signedTransaction": ""}),
        ("apple", {"signedTransaction": 7}),
        ("apple", {"signedTransaction": "x", "productId": "y"}),
        ("google", {"productId": "p"}),
        ("google", {"productId": "p", "purchaseToken": ""}),
        ("google", {"productId": "p", "purchaseToken": "a b"}),
        ("google", {"productId": "p/../q\n", "purchaseToken": "t"}),
    ):
        assert_problem(shop.host.post(f"{shop.mira}/purchases/{store}", body), 400, "INVALID")
    unknown = shop.host.post("/v1/accounts/nobody/purchases/google", {"productId": "p", "purchaseToken": "t"})
    assert unknown.status_code in (400, 404)
    member = shop.host.new_key("support")
    refused = shop.host.post(f"{shop.mira}/purchases/apple", {"signedTransaction": "x"}, bearer=member)
    assert_problem(refused, 403, "AUTH-002")


def test_a_poll_that_is_repeated_brings_nothing_twice(shop: Shop) -> None:
    """As after a crash between storing a page and moving the cursor."""
    world, runtime = shop.apple.world, shop.host.runtime
    number = world.buy(shop.token())
    world.undelivered = [world.notify("ONE_TIME_CHARGE", number)["signedPayload"]]
    rail = runtime.providers["apple"]
    assert can_be_polled(rail)
    shop.host.wait(hours=1)
    report = reconcile(runtime, rail)
    assert (report.missed, [found.kind for found in report.findings]) == (1, ["paid_not_granted"])
    assert [reconcile(runtime, rail).missed for _ in range(2)] == [0, 0]
    shop.jobs.run_due()
    assert reconcile(runtime, rail).is_clean and shop.recharge() == 1_000


def _life(world: AppleWorld, number: str) -> list[dict[str, object]]:
    """What Apple says of one purchase, in the order of its life: the last word is a quarter refunded."""
    told = [world.notify("ONE_TIME_CHARGE", number)]
    world.refund(number)
    told.append(world.notify("REFUND", number))
    world.undo_refund(number)
    told.append(world.notify("REFUND_REVERSED", number))
    told.append(world.notify("REFUND_DECLINED", number))
    world.refund(number, 25_000)
    told.append(world.notify("REFUND", number))
    return told


@pytest.mark.parametrize("seed", range(8))
def test_in_whatever_order_and_however_often_the_books_end_the_same(shop: Shop, seed: int) -> None:
    chance = random.Random(seed)
    number = shop.apple.world.buy(shop.token() if seed % 2 else None)
    posted = shop.apple.world.signed(number)
    said = _life(shop.apple.world, number)
    order = list(itertools.chain(said, chance.sample(said, 3)))
    chance.shuffle(order)
    when = chance.randrange(len(order))
    for place, body in enumerate(order):
        if place == when:
            assert shop.post_apple(posted).status_code == 200
        shop.notify_apple(body)
    assert shop.recharge() == 750 and shop.payment()["status"] == "partially_refunded"
    shop.check_books()


def test_a_chain_that_is_not_ours_is_another_error_than_a_bug(shop: Shop) -> None:
    store = shop.host.runtime.providers["apple"]
    assert isinstance(store, Apple)
    with pytest.raises(Refusal):
        store.posted({"signedTransaction": Chain().sign({"a": 1})})


def test_a_refund_that_arrives_while_its_purchase_is_being_claimed_is_not_missed(shop: Shop) -> None:
    """The notification names nobody and the app shows the transaction as it was: whoever is first, both count."""
    world = shop.apple.world
    for _ in range(6):
        number = world.buy(None)
        before = world.signed(number)
        world.refund(number)
        body = world.notify("REFUND", number)
        with ThreadPoolExecutor(2) as pool:
            shown = pool.submit(shop.post_apple, before)
            told = pool.submit(shop.notify_apple, body)
            assert shown.result().status_code == 200
            told.result()
    shop.host.wait(minutes=10)
    shop.jobs.run_due()
    assert {payment["status"] for payment in shop.payments()} == {"refunded"} and len(shop.payments()) == 6
    assert shop.recharge() == 0
    with reading(shop.host.runtime.db) as session:
        assert stores.unclaimed(session, 10) == []
    shop.check_books()
