"""What Apple did not sign for this app and environment is refused, whoever made it and however well."""

import hashlib
import threading
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from appstoreserverlibrary.signed_data_verifier import SignedDataVerifier, VerificationException, VerificationStatus
from cryptography.hazmat.primitives.asymmetric import ec

from engine.clock import monotonic
from engine.rules.errors import Unavailable
from psp.apple_signed import ONLINE_AT_ONCE, NotGenuine, SignedData
from tests.api.host import assert_problem
from tests.engine.support import FakeClock
from tests.stores.apple_chain import Chain, der
from tests.stores.apple_world import APP_ID, BUNDLE, AppleWorld, Json
from tests.stores.shop import Shop

RESOURCES = Path(__file__).resolve().parents[3] / "shared" / "contracts" / "apple" / "resources"
absent = pytest.mark.skipif(not RESOURCES.is_dir(), reason="Apple's samples are not at hand")


@pytest.fixture
def world(clock: FakeClock) -> AppleWorld:
    return AppleWorld(clock)


def signed_data(world: AppleWorld) -> SignedData:
    return SignedData(BUNDLE, APP_ID, "Production", [world.chain.root_der])


def payload(world: AppleWorld, **change: object) -> Json:
    number = world.buy()
    return world.transactions[number] | {"signedDate": world.millis()} | change


def resigned(**wrong: object) -> Callable[[AppleWorld], str]:
    """A transaction under the trusted root, in a chain that is not Apple's kind."""

    def make(world: AppleWorld) -> str:
        bad = Chain(**wrong)  # type: ignore[arg-type]
        world.chain = bad
        return bad.sign(payload(world))

    return make


def other_key(world: AppleWorld) -> str:
    return world.chain.sign(payload(world), key=ec.generate_private_key(ec.SECP256R1()))


def tampered(world: AppleWorld) -> str:
    head, _, tail = world.chain.sign(payload(world)).split(".")
    body = urlsafe_b64encode(b'{"transactionId":"1","bundleId":"%s"}' % BUNDLE.encode()).rstrip(b"=").decode()
    return f"{head}.{body}.{tail}"


def self_made(world: AppleWorld) -> str:
    return Chain().sign(payload(world))


def without_a_chain(world: AppleWorld) -> str:
    return world.chain.sign(payload(world), x5c=[])


def with_two_certificates(world: AppleWorld) -> str:
    return world.chain.sign(payload(world), x5c=world.chain.x5c[:2])


def with_a_foreign_leaf(world: AppleWorld) -> str:
    foreign = Chain()
    return foreign.sign(payload(world), x5c=[foreign.x5c[0], *world.chain.x5c[1:]])


def with_our_root_on_a_foreign_chain(world: AppleWorld) -> str:
    foreign = Chain()
    return foreign.sign(payload(world), x5c=[*foreign.x5c[:2], world.chain.x5c[2]])


def with_certificates_that_are_none(world: AppleWorld) -> str:
    return world.chain.sign(payload(world), x5c=[b64encode(b"no certificate").decode()] * 3)


FORGERIES: dict[str, Callable[[AppleWorld], str]] = {
    "signed by another key": other_key,
    "changed after it was signed": tampered,
    "a whole chain of one's own": self_made,
    "no chain": without_a_chain,
    "two certificates": with_two_certificates,
    "a leaf of another chain": with_a_foreign_leaf,
    "a foreign chain that ends in our root": with_our_root_on_a_foreign_chain,
    "certificates that are none": with_certificates_that_are_none,
    "a leaf without Apple's mark": resigned(leaf_mark=None),
    "an intermediate without Apple's mark": resigned(intermediate_mark=None),
    "a leaf that had ended": resigned(leaf_ends=datetime(2025, 1, 1, tzinfo=UTC)),
    "an intermediate that may not sign": resigned(is_intermediate_ca=False),
    "HMAC": lambda world: world.chain.sign(payload(world), algorithm="HS256"),
    "no signature": lambda world: world.chain.sign(payload(world), algorithm="none"),
    "another app": lambda world: world.chain.sign(payload(world, bundleId="com.other.app")),
    "no app": lambda world: world.chain.sign(payload(world, bundleId=None)),
    "the sandbox": lambda world: world.chain.sign(payload(world, environment="Sandbox")),
    "Xcode": lambda world: world.chain.sign(payload(world, environment="Xcode")),
    "a local test": lambda world: world.chain.sign(payload(world, environment="LocalTesting")),
    "junk": lambda _: "a.b.c",
    "not ASCII": lambda _: "ä.ö.ü",
    "nothing": lambda _: ".",
}


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES.keys())
def test_a_forged_transaction_is_refused(world: AppleWorld, forge: Callable[[AppleWorld], str]) -> None:
    told = forge(world)
    with pytest.raises(NotGenuine):
        signed_data(world).transaction(told)


def test_the_chain_that_the_forgeries_bend_is_good(world: AppleWorld) -> None:
    number = world.buy()
    assert signed_data(world).transaction(world.signed(number)).transactionId == number
    assert SignedData(BUNDLE, APP_ID, "Production", [world.chain.root_pem]).transaction(world.signed(number))


@pytest.mark.parametrize("name", ["Xcode", "LocalTesting", "production", ""])
def test_there_is_no_environment_in_which_nothing_is_checked(name: str) -> None:
    with pytest.raises(ValueError, match="Production or Sandbox"):
        SignedData(BUNDLE, APP_ID, name)  # type: ignore[arg-type]


def test_a_root_that_is_no_certificate_is_refused_at_the_start() -> None:
    with pytest.raises(ValueError):
        SignedData(BUNDLE, APP_ID, "Production", [b"no certificate"])


def test_without_roots_of_the_operators_only_apples_own_is_believed(world: AppleWorld) -> None:
    told = world.signed(world.buy())
    with pytest.raises(NotGenuine, match="Apple's root"):
        SignedData(BUNDLE, APP_ID, "Production").transaction(told)
    print_of_root = hashlib.sha256(der(world.chain.root)).hexdigest()
    pinned = SignedData(BUNDLE, APP_ID, "Production", pinned_root=print_of_root)
    assert pinned.transaction(told).transactionId
    for forge in (self_made, with_our_root_on_a_foreign_chain, without_a_chain, other_key):
        with pytest.raises(NotGenuine):
            pinned.transaction(forge(world))


class _Revoker:
    """Apple's answer about its certificates: none, then good."""

    def __init__(self) -> None:
        self.answers = [VerificationStatus.RETRYABLE_VERIFICATION_FAILURE]
        self.asked = 0

    def __call__(self, *_: object) -> None:
        self.asked += 1
        if self.answers:
            raise VerificationException(self.answers.pop(0))


def test_what_is_new_is_held_up_while_apple_cannot_be_asked(world: AppleWorld) -> None:
    print_of_root = hashlib.sha256(der(world.chain.root)).hexdigest()
    data = SignedData(BUNDLE, APP_ID, "Production", pinned_root=print_of_root)
    told = world.signed(world.buy())
    revoker = _Revoker()
    with pytest.raises(NotGenuine):
        data.transaction(told, is_new=True)  # our certificates name nobody who could be asked
    verifier: SignedDataVerifier = data._verifiers[True]
    verifier._chain_verifier.check_ocsp_status = revoker
    with pytest.raises(Unavailable):
        data.transaction(told, is_new=True)
    assert data.transaction(told, is_new=True).transactionId and revoker.asked == 3
    assert data.transaction(told).transactionId and revoker.asked == 3, "what is stored is not asked about again"


def test_apple_that_hangs_holds_nobody_up_for_longer_than_our_own_time(world: AppleWorld) -> None:
    print_of_root = hashlib.sha256(der(world.chain.root)).hexdigest()
    data = SignedData(BUNDLE, APP_ID, "Production", pinned_root=print_of_root, online_seconds=0.2)
    told = world.signed(world.buy())
    with pytest.raises(NotGenuine):
        data.transaction(told, is_new=True)
    answered, asked = threading.Event(), []

    def hang(*_: object) -> None:
        asked.append(threading.current_thread())
        assert answered.wait(30)

    data._verifiers[True]._chain_verifier.check_ocsp_status = hang
    begun = monotonic()
    for _ in range(ONLINE_AT_ONCE + 3):
        with pytest.raises(Unavailable, match="send it again"):
            data.transaction(told, is_new=True)
    assert monotonic() - begun < 0.2 * (ONLINE_AT_ONCE + 3) + 2
    assert len(asked) == ONLINE_AT_ONCE, "no more wait for it than may"
    assert data.transaction(told).transactionId, "what needs no answer is not held up"
    answered.set()
    for thread in asked:
        thread.join(5)
    assert data.transaction(told, is_new=True).transactionId


@absent
def test_apples_own_sample_of_xcode_is_refused() -> None:
    sample = (RESOURCES / "xcode" / "xcode-signed-transaction").read_text().strip()
    for environment in ("Production", "Sandbox"):
        data = SignedData("com.example.naturelab.backyardbirds.example", 1, environment)  # type: ignore[arg-type]
        with pytest.raises(NotGenuine):
            data.transaction(sample)


@absent
@pytest.mark.parametrize("name", ["wrongBundleId", "missingX5CHeaderClaim", "legacyTransaction", "transactionInfo"])
def test_apples_own_samples_of_what_is_wrong_are_refused(name: str) -> None:
    root = (RESOURCES / "certs" / "testCA.der").read_bytes()
    sample = (RESOURCES / "mock_signed_data" / name).read_text().strip()
    with pytest.raises(NotGenuine):
        SignedData("com.example", 1234, "Production", [root]).transaction(sample)


NOTIFICATIONS: dict[str, Callable[[AppleWorld], object]] = {
    "another app's id": lambda w: w.notify("TEST", appAppleId=1),
    "another bundle": lambda w: w.notify("TEST", bundleId="com.other.app"),
    "the sandbox": lambda w: w.notify("TEST", environment="Sandbox"),
    "a forged transaction inside": lambda w: w.notify("REFUND", signedTransactionInfo=self_made(w)),
    "another app's transaction inside": lambda w: w.notify(
        "REFUND", signedTransactionInfo=w.chain.sign(payload(w, bundleId="com.other.app"))
    ),
    "a self-made chain": lambda w: {"signedPayload": Chain().sign({"notificationType": "TEST"})},
    "a list that is signed": lambda w: {"signedPayload": w.chain.sign(payload(w)).replace(".", "..", 1)},
    "no data": lambda w: {"signedPayload": w.chain.sign({"notificationType": "TEST", "notificationUUID": "1"})},
    "signed tomorrow": lambda w: {
        "signedPayload": w.chain.sign(
            {
                "notificationType": "TEST",
                "notificationUUID": "1",
                "signedDate": 1_893_000_000_000,
                "data": {"appAppleId": APP_ID, "bundleId": BUNDLE, "environment": "Production"},
            }
        )
    },
    "no id": lambda w: {
        "signedPayload": w.chain.sign(
            {
                "notificationType": "TEST",
                "signedDate": w.millis(),
                "data": {"appAppleId": APP_ID, "bundleId": BUNDLE, "environment": "Production"},
            }
        )
    },
    "a number for its payload": lambda _: {"signedPayload": 7},
    "no payload": lambda _: {},
    "a list": lambda _: [],
    "a transaction in its place": lambda w: {"signedPayload": w.signed(w.buy())},
}


@pytest.mark.parametrize("forge", NOTIFICATIONS.values(), ids=NOTIFICATIONS.keys())
@pytest.mark.parametrize("kind", ["sqlite"])
def test_a_forged_notification_is_refused(shop: Shop, forge: Callable[[AppleWorld], object]) -> None:
    answer = shop.host.client.post("/webhooks/apple", json=forge(shop.apple.world))
    assert_problem(answer, 400, "WEBHOOK-001")
    assert shop.events("apple") == {}


@pytest.mark.parametrize("kind", ["sqlite"])
def test_bytes_that_are_no_notification_are_refused(shop: Shop) -> None:
    for body in (b"", b"\xff\xfe", b"{", b'{"signedPayload":"\xff"}', b"null"):
        assert_problem(shop.host.client.post("/webhooks/apple", content=body), 400, "WEBHOOK-001")
    body, headers = shop.google.push({"testNotification": {"version": "1.0"}})
    assert_problem(shop.host.client.post("/webhooks/apple", content=body, headers=headers), 400, "WEBHOOK-001")
    too_much = shop.host.client.post("/webhooks/apple", content=b"x" * (1024 * 1024 + 1))
    assert too_much.status_code == 413


@pytest.mark.parametrize("kind", ["sqlite"])
def test_a_sandbox_purchase_is_never_credited_in_production(shop: Shop) -> None:
    shop.apple.world.environment = "Sandbox"
    number = shop.apple.world.buy(shop.token())
    answer = shop.post_apple(shop.apple.world.signed(number))
    assert_problem(answer, 400, "INVALID", field="signedTransaction")
    refused = shop.host.client.post("/webhooks/apple", json=shop.apple.world.notify("ONE_TIME_CHARGE", number))
    assert_problem(refused, 400, "WEBHOOK-001")
    assert shop.payments() == []
