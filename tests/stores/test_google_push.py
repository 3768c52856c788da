"""Pushes that Google did not send on our own account's behalf are refused, and its keys are not asked for in vain."""

import json
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest

from psp.google_push import PushKeys
from tests.api.host import assert_problem
from tests.stores.fake_google import FakeGoogle, rsa_key
from tests.stores.shop import Shop

NOW = int(datetime.now(UTC).timestamp())
TEST = {"testNotification": {"version": "1.0"}}

FORGED_CLAIMS: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://accounts.example"},
    "no issuer": {"iss": None},
    "another audience": {"aud": "https://other.example/webhooks/google"},
    "several audiences": {"aud": ["https://wallet.example/webhooks/google", "x"]},
    "no audience": {"aud": None},
    "another service account": {"email": "other@alphio.iam.gserviceaccount.com"},
    "no e-mail": {"email": None},
    "an e-mail nobody verified": {"email_verified": False},
    "an e-mail verified in words": {"email_verified": "true"},
    "a token that has ended": {"exp": NOW - 120, "iat": NOW - 3_720},
    "a token of tomorrow": {"iat": NOW + 86_400, "exp": NOW + 90_000},
    "a token without an end": {"exp": None},
    "a key of one's own": {"key": rsa_key(7)},
    "a key Google does not have": {"key_id": "key-9", "key": rsa_key(7)},
}
sqlite_only = pytest.mark.parametrize("kind", ["sqlite"])


def delivered(shop: Shop, body: bytes, headers: dict[str, str]) -> Any:
    return shop.host.client.post("/webhooks/google", content=body, headers=headers)


@sqlite_only
@pytest.mark.parametrize("claims", FORGED_CLAIMS.values(), ids=FORGED_CLAIMS.keys())
def test_a_forged_push_is_refused(shop: Shop, claims: dict[str, Any]) -> None:
    body, headers = shop.google.push(TEST, **claims)
    assert_problem(delivered(shop, body, headers), 400, "WEBHOOK-001")
    assert shop.events("google") == {}


@sqlite_only
def test_a_good_push_is_taken_and_a_clock_may_be_a_little_off(shop: Shop) -> None:
    now = int(datetime.now(UTC).timestamp())
    for change in ({}, {"iss": "accounts.google.com"}, {"iat": now + 20}, {"exp": now - 5, "iat": now - 3_605}):
        body, headers = shop.google.push(TEST, **change)
        assert delivered(shop, body, headers).status_code == 200
    assert shop.events("google").keys() == {"test"}


@sqlite_only
def test_tokens_that_are_no_tokens_of_googles_are_refused(shop: Shop) -> None:
    body, headers = shop.google.push(TEST)
    claims = jwt.decode(headers["Authorization"].split()[1], options={"verify_signature": False})
    unsigned = jwt.encode(claims, None, "none", {"kid": "key-1"})
    by_secret = jwt.encode(claims, "x" * 32, "HS256", {"kid": "key-1"})
    unnamed = jwt.encode(claims, rsa_key(1), "RS256")
    for shown in ("", "Bearer", "Bearer ", "Basic eA==", "Bearer a.b.c", f"Bearer {unsigned}", f"Bearer {by_secret}"):
        assert_problem(delivered(shop, body, {"Authorization": shown}), 400, "WEBHOOK-001")
    assert_problem(delivered(shop, body, {"Authorization": f"Bearer {unnamed}"}), 400, "WEBHOOK-001")
    assert_problem(delivered(shop, body, {}), 400, "WEBHOOK-001")


def _message(data: bytes, message_id: str = "1") -> bytes:
    return json.dumps({"message": {"data": b64encode(data).decode(), "messageId": message_id}}).encode()


BODIES: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "not UTF-8": lambda: b"\xff\xfe",
    "a list": lambda: b"[]",
    "no message": lambda: b"{}",
    "no id": lambda: json.dumps({"message": {"data": ""}}).encode(),
    "an empty id": lambda: _message(b'{"packageName":"x"}', ""),
    "data that is no base64": lambda: json.dumps({"message": {"data": "ö", "messageId": "1"}}).encode(),
    "data that is no JSON": lambda: _message(b"\xff"),
    "a notification of nothing": lambda: _message(b"{}"),
}


@sqlite_only
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_a_well_signed_body_that_is_no_push_is_refused(shop: Shop, body: Callable[[], bytes]) -> None:
    _, headers = shop.google.push(TEST)
    assert_problem(delivered(shop, body(), headers), 400, "WEBHOOK-001")


@sqlite_only
def test_while_the_keys_cannot_be_read_google_is_asked_to_come_again(shop: Shop) -> None:
    body, headers = shop.google.push(TEST)
    shop.google.trouble["certs"] = [500]
    assert_problem(delivered(shop, body, headers), 503, "UNAVAILABLE")
    assert delivered(shop, body, headers).status_code == 200


def test_keys_are_fetched_once_and_for_a_new_one_not_too_often(google: FakeGoogle) -> None:
    keys = PushKeys(f"{google.base_url}/certs")
    assert keys.key("key-1") is not None
    for _ in range(20):
        assert keys.key("key-1") is not None and keys.key("forged") is None
    assert google.requests == [("GET", "/certs")]
    google.keys["key-2"] = rsa_key(2)
    keys._fetched_at = (keys._fetched_at or 0) - 31
    assert keys.key("key-2") is not None, "a key that Google has turned to since is learnt"
    assert len(google.requests) == 2
    keys.close()
