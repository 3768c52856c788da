"""Which bytes are a webhook of the sandbox's, and which are refused: never anything else than a refusal."""

import hmac
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from engine.rules.errors import WebhookRefused
from psp.sandbox import Sandbox
from psp.sandbox_wire import FUTURE_SECONDS, PAST_SECONDS, SIGNATURE_HEADER, Pointed, Webhook, sign

NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
SECRET = "the webhook secret"
BODY = msgspec.json.encode(Webhook("sbxevt_1", "payment.succeeded", Pointed("payment", "sbxpay_1")))
PROVIDER = Sandbox("http://127.0.0.1:9", "the api key", SECRET)


def verify(header: str, body: bytes = BODY) -> None:
    PROVIDER.verify({SIGNATURE_HEADER: header}, body, NOW)


def test_a_signed_webhook_of_now_is_taken_with_its_raw_bytes() -> None:
    event = PROVIDER.verify({SIGNATURE_HEADER: sign(SECRET, BODY, NOW)}, BODY, NOW)
    assert (event.event_id, event.type, event.payload) == ("sbxevt_1", "payment.succeeded", BODY)


@pytest.mark.parametrize("age_seconds", [-FUTURE_SECONDS, 0, PAST_SECONDS])
def test_a_signature_within_the_tolerance_is_taken(age_seconds: int) -> None:
    verify(sign(SECRET, BODY, NOW - timedelta(seconds=age_seconds)))


@pytest.mark.parametrize("age_seconds", [-FUTURE_SECONDS - 1, PAST_SECONDS + 1, -(10**9)])
def test_a_signature_that_is_too_old_or_of_the_future_is_refused(age_seconds: int) -> None:
    with pytest.raises(WebhookRefused, match="too old"):
        verify(sign(SECRET, BODY, NOW - timedelta(seconds=age_seconds)))


def test_a_wrong_secret_is_refused() -> None:
    with pytest.raises(WebhookRefused, match="no signature made with our secret"):
        verify(sign("another secret", BODY, NOW))


def test_a_changed_body_is_refused() -> None:
    with pytest.raises(WebhookRefused, match="no signature made with our secret"):
        verify(sign(SECRET, BODY, NOW), BODY.replace(b"sbxpay_1", b"sbxpay_2"))


def test_a_changed_time_is_refused() -> None:
    signed = sign(SECRET, BODY, NOW - timedelta(seconds=1000))
    fresh = f"t={int(NOW.timestamp())},{signed.partition(',')[2]}"
    with pytest.raises(WebhookRefused, match="no signature made with our secret"):
        verify(fresh)


GOOD = sign(SECRET, BODY, NOW)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "v1=" + "0" * 64,
        "t=1,v1=",
        "t=,v1=" + "0" * 64,
        GOOD + ",v1=" + "0" * 64,
        GOOD + "\n",
        " " + GOOD,
        GOOD.upper(),
        GOOD.replace("t=", "t=-"),
        GOOD.replace("v1", "v0"),
        "t=" + "9" * 400 + ",v1=" + "0" * 64,
        "t=١,v1=" + "0" * 64,
        "é",
    ],
)
def test_a_junk_header_is_refused(header: str) -> None:
    with pytest.raises(WebhookRefused, match="missing or malformed"):
        verify(header)


def test_a_missing_header_is_refused() -> None:
    with pytest.raises(WebhookRefused, match="missing or malformed"):
        PROVIDER.verify({}, BODY, NOW)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b'"\xed\xa0\x80"',
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        b'{"id": 1, "type": "payment.succeeded", "object": {"kind": "payment", "id": "p"}}',
        b'{"id": "e", "type": "", "object": {"kind": "payment", "id": "p"}}',
        b'{"id": "", "type": "t", "object": {"kind": "payment", "id": "p"}}',
        b'{"id": "e", "type": "t", "object": {"kind": "payment", "id": "../sessions"}}',
        b'{"id": "e", "type": "t", "object": {"kind": "payment"}}',
        b'{"id": "e", "type": "t", "object": "p"}',
    ],
)
def test_junk_that_is_signed_is_refused(body: bytes) -> None:
    with pytest.raises(WebhookRefused, match="event"):
        verify(sign(SECRET, body, NOW), body)


def test_a_webhook_of_another_kind_has_no_facts() -> None:
    body = msgspec.json.encode(Webhook("sbxevt_1", "mandate.created", Pointed("mandate", "sbxman_1")))
    event = PROVIDER.verify({SIGNATURE_HEADER: sign(SECRET, body, NOW)}, body, NOW)
    assert PROVIDER.facts(event) == ()


def test_the_signature_is_the_hmac_that_is_documented() -> None:
    stamp = str(int(NOW.timestamp()))
    digest = hmac.new(SECRET.encode(), f"{stamp}.".encode() + BODY, "sha256").hexdigest()
    assert f"t={stamp},v1={digest}" == GOOD


@pytest.mark.parametrize(("key", "secret"), [("", "s"), ("k", " ")])
def test_a_blank_key_or_secret_is_refused_at_the_start(key: str, secret: str) -> None:
    with pytest.raises(ValueError, match="needs an API key"):
        Sandbox("http://127.0.0.1:9", key, secret)
