"""Only Stripe's signed word of now is an event; anything else is refused, whatever its shape."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import stripe

from engine.payments import Event
from engine.rules.errors import WebhookRefused
from psp.stripe import Stripe

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
OLD, NEW = "whsec_old", "whsec_new"
RAIL = Stripe("sk_test_fake", [OLD, NEW])
TOLD = {
    "id": "evt_1",
    "object": "event",
    "type": "checkout.session.completed",
    "data": {"object": {"id": "cs_1", "object": "checkout.session"}},
}


def bytes_of(told: object) -> bytes:
    return json.dumps(told, indent=2).encode()


def header(body: bytes, secret: str = NEW, at: datetime = NOW) -> str:
    return stripe.WebhookSignature.generate_signature_header(body.decode(), secret, int(at.timestamp()))


def verify(body: bytes, signature: str | None = None, now: datetime = NOW) -> Event:
    return RAIL.verify({"stripe-signature": header(body) if signature is None else signature}, body, now)


def test_a_signed_event_is_its_id_its_type_and_the_bytes_it_came_as() -> None:
    body = bytes_of(TOLD)
    assert verify(body) == Event("evt_1", "checkout.session.completed", body)


def test_a_thin_event_is_taken_too() -> None:
    told = {
        "id": "evt_2",
        "object": "v2.core.event",
        "type": "v1.charge.refunded",
        "related_object": {"id": "ch_1", "type": "charge", "url": "/v1/charges/ch_1"},
    }
    assert verify(bytes_of(told)).type == "v1.charge.refunded"


def test_an_unknown_type_is_an_event_all_the_same() -> None:
    assert verify(bytes_of({"id": "evt_3", "object": "event", "type": "planet.discovered"})).event_id == "evt_3"


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_both_secrets_hold_during_a_rotation(secret: str) -> None:
    body = bytes_of(TOLD)
    assert verify(body, header(body, secret)).event_id == "evt_1"


def test_one_good_signature_among_several_is_enough() -> None:
    body = bytes_of(TOLD)
    other = header(body, "whsec_other").split(",")[1]
    assert verify(body, f"{header(body)},{other},v0=aa").event_id == "evt_1"


@pytest.mark.parametrize(
    ("seconds", "is_taken"), [(-301, False), (-300, True), (0, True), (60, True), (61, False), (3600, False)]
)
def test_a_timestamp_may_lie_300_seconds_back_and_60_ahead(seconds: int, is_taken: bool) -> None:
    body = bytes_of(TOLD)
    signature = header(body, at=NOW + timedelta(seconds=seconds))
    if is_taken:
        assert verify(body, signature).event_id == "evt_1"
    else:
        with pytest.raises(WebhookRefused):
            verify(body, signature)


def test_the_secret_of_another_endpoint_is_refused() -> None:
    body = bytes_of(TOLD)
    with pytest.raises(WebhookRefused):
        verify(body, header(body, "whsec_other"))


def test_a_body_written_anew_is_refused() -> None:
    body = bytes_of(TOLD)
    with pytest.raises(WebhookRefused):
        verify(json.dumps(TOLD).encode(), header(body))


def doubled(signature: str) -> str:
    return f"{signature}, {signature}"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda signature: "",
        lambda signature: "junk",
        lambda signature: "t=,v1=",
        lambda signature: "=,=,=",
        lambda signature: signature.replace("v1=", "v0="),
        lambda signature: signature.replace("v1=", "v1=ü"),
        lambda signature: signature.split(",")[0],
        lambda signature: signature.split(",")[1],
        lambda signature: signature.replace("t=", "t=-"),
        lambda signature: signature.replace("t=", "t=١"),
        lambda signature: "t=" + "9" * 5000 + "," + signature.split(",")[1],
        lambda signature: f"t=1,{signature}",
        lambda signature: signature.upper(),
        doubled,
    ],
)
def test_a_junk_or_doubled_signature_header_is_refused(spoil: Any) -> None:
    body = bytes_of(TOLD)
    spoilt = spoil(header(body))
    assert spoilt != header(body)
    with pytest.raises(WebhookRefused):
        verify(body, spoilt)


def test_a_missing_header_is_refused() -> None:
    with pytest.raises(WebhookRefused):
        RAIL.verify({}, bytes_of(TOLD), NOW)


def test_bytes_that_are_not_text_are_refused() -> None:
    with pytest.raises(WebhookRefused, match="UTF-8"):
        verify(b"\xff\xfe{}", header(bytes_of(TOLD)))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b'"text"',
        b"[" * 100_000,
        b"1" * 10_000,
        b"\xef\xbb\xbf{}",
        bytes_of({"id": "evt_1", "object": "charge", "type": "x"}),
        bytes_of({"object": "event", "type": "x"}),
        bytes_of({"id": 7, "object": "event", "type": "x"}),
        bytes_of({"id": "", "object": "event", "type": "x"}),
        bytes_of({"id": "evt_1 ", "object": "event", "type": "x"}),
        bytes_of({"id": "e" * 256, "object": "event", "type": "x"}),
        bytes_of({"id": "evt_1", "object": "event"}),
        bytes_of({"id": "evt_1", "object": "event", "type": ["x"]}),
        bytes_of({"id": "evt_1", "object": "event", "type": ""}),
        bytes_of({"id": "evt_1", "object": ["event"], "type": "x"}),
        bytes_of(TOLD | {"data": None}),
        bytes_of(TOLD | {"data": []}),
        bytes_of(TOLD | {"data": {"object": "cs_1"}}),
        bytes_of(TOLD | {"data": {"object": {}}}),
        bytes_of(TOLD | {"data": {"object": {"id": "../refunds"}}}),
        bytes_of(TOLD | {"object": "v2.core.event"}),
    ],
)
def test_a_valid_signature_over_something_else_than_an_event_is_refused(body: bytes) -> None:
    with pytest.raises(WebhookRefused):
        verify(body)


@pytest.mark.parametrize("secrets", [[], [""], ["  \t"], ["whsec_1", ""], "whsec_1"])
def test_blank_or_missing_secrets_are_refused_at_the_start(secrets: Any) -> None:
    with pytest.raises(ValueError, match="secret"):
        Stripe("sk_test_fake", secrets)


@pytest.mark.parametrize("key", ["", "pk_live_1", "whsec_1", "sk_live_", "sk_test_1\n", "sk_staging_1"])
def test_a_key_of_unknown_kind_is_refused_at_the_start(key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        Stripe(key, [NEW])


@pytest.mark.parametrize(
    ("key", "is_live"), [("sk_live_1", True), ("rk_live_1", True), ("sk_test_1", False), ("rk_test_1", False)]
)
def test_the_key_says_whether_money_is_real(key: str, is_live: bool) -> None:
    assert Stripe(key, [NEW]).is_live is is_live
