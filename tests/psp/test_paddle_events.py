"""Only Paddle's signed word of now is an event; anything else is refused, whatever its shape or the environment."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from paddle_billing.Notifications import Secret, Verifier

from engine.payments import Event
from engine.rules.errors import WebhookRefused
from psp.paddle import Paddle
from tests.psp.fake_paddle import paddle_header

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
TS = int(NOW.timestamp())
OLD, NEW = "pdl_ntfset_old", "pdl_ntfset_new"
RAIL = Paddle("pdl_sdbx_apikey_fake", [OLD, NEW])
TOLD = {
    "event_id": "evt_01hv8x2acma2gz7he8kg2s0hna",
    "event_type": "transaction.completed",
    "occurred_at": "2026-11-20T12:00:00.000000Z",
    "data": {"id": "txn_01hv8wptq8987qeep44cyrewp9", "status": "completed", "name": "Zoë"},
}


def bytes_of(told: object) -> bytes:
    return json.dumps(told, indent=1, ensure_ascii=False).encode()


def verify(body: bytes, header: str | None = None) -> Event:
    signature = paddle_header(body, TS, NEW) if header is None else header
    return RAIL.verify({"paddle-signature": signature}, body, NOW)


def test_a_signed_event_is_its_id_its_type_and_the_bytes_it_came_as() -> None:
    body = bytes_of(TOLD)
    assert verify(body) == Event("evt_01hv8x2acma2gz7he8kg2s0hna", "transaction.completed", body)


def test_the_signature_is_the_one_that_the_sdk_knows() -> None:
    request = SimpleNamespace(headers={"Paddle-Signature": GOOD}, body=bytes_of(TOLD))
    assert Verifier(0).verify(request, Secret(NEW))


@pytest.mark.parametrize("secret", [OLD, NEW])
def test_both_secrets_hold_during_a_rotation(secret: str) -> None:
    body = bytes_of(TOLD)
    assert verify(body, paddle_header(body, TS, secret)).type == "transaction.completed"


def test_one_good_signature_among_several_is_enough() -> None:
    body = bytes_of(TOLD)
    assert verify(body, paddle_header(body, TS, "pdl_ntfset_other", NEW)).type == "transaction.completed"


@pytest.mark.parametrize("mode", ["0", "1"])
@pytest.mark.parametrize(
    ("age", "is_taken"), [(301, False), (300, True), (6, True), (-60, True), (-61, False), (31_536_000, False)]
)
def test_a_timestamp_may_lie_300_seconds_back_and_60_ahead_whatever_test_mode_says(
    monkeypatch: pytest.MonkeyPatch, mode: str, age: int, is_taken: bool
) -> None:
    monkeypatch.setenv("TEST_MODE", mode)
    body = bytes_of(TOLD)
    header = paddle_header(body, TS - age, NEW)
    if is_taken:
        assert verify(body, header).type == "transaction.completed"
    else:
        with pytest.raises(WebhookRefused):
            verify(body, header)


GOOD = paddle_header(bytes_of(TOLD), TS, NEW)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "junk",
        GOOD.upper(),
        GOOD.replace("ts=", "t="),
        GOOD.replace(f"ts={TS};", ""),
        f"ts={TS}",
        f"ts={TS};h1=",
        f"{GOOD};h2=aa",
        f"ts={TS};{GOOD}",
        f" {GOOD}",
        f"{GOOD};",
        GOOD.replace(f"ts={TS}", f"ts={TS + 1}"),
        GOOD.replace(f"ts={TS}", "ts=٣"),
        paddle_header(bytes_of(TOLD), TS, "pdl_ntfset_other"),
        paddle_header(bytes_of(TOLD), TS, ""),
    ],
)
def test_a_header_that_is_not_exactly_paddles_is_refused(header: str) -> None:
    with pytest.raises(WebhookRefused):
        verify(bytes_of(TOLD), header)


def test_a_body_written_anew_is_refused() -> None:
    with pytest.raises(WebhookRefused):
        RAIL.verify({"paddle-signature": GOOD}, json.dumps(TOLD).encode(), NOW)


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe",
        b"",
        b"[]",
        b"null",
        b"[" * 100_000,
        bytes_of([TOLD]),
        bytes_of(TOLD | {"event_id": None}),
        bytes_of(TOLD | {"event_id": "../events"}),
        bytes_of(TOLD | {"event_type": 7}),
        bytes_of(TOLD | {"event_type": ""}),
        bytes_of({"event_type": "transaction.completed"}),
    ],
)
def test_signed_bytes_that_are_no_event_are_refused(body: bytes) -> None:
    with pytest.raises(WebhookRefused):
        verify(body)


@pytest.mark.parametrize("data", [None, [], {}, {"id": 7}, {"id": "txn_1/../customers"}, {"id": "txn_É"}])
@pytest.mark.parametrize("event_type", ["transaction.paid", "adjustment.created"])
def test_a_followed_event_that_names_no_transaction_is_refused(data: Any, event_type: str) -> None:
    with pytest.raises(WebhookRefused):
        verify(bytes_of(TOLD | {"event_type": event_type, "data": data}))


@pytest.mark.parametrize("data", [None, [], {}, {"id": 7}, {"id": "sub_1/../customers"}])
def test_an_event_of_a_subscription_that_names_none_is_refused(data: Any) -> None:
    with pytest.raises(WebhookRefused):
        verify(bytes_of(TOLD | {"event_type": "subscription.updated", "data": data}))


def test_a_type_we_do_not_follow_is_an_event_about_nothing() -> None:
    event = verify(bytes_of({"event_id": "evt_1", "event_type": "customer.created", "data": {"id": "ctm_1"}}))
    assert RAIL.facts(event) == ()


@pytest.mark.parametrize("secrets", [[], [""], ["good", " "], "pdl_ntfset_as_text"])
def test_a_rail_without_secrets_is_not_made(secrets: Any) -> None:
    with pytest.raises(ValueError, match="webhook secret"):
        Paddle("pdl_sdbx_apikey_fake", secrets)


@pytest.mark.parametrize(
    ("key", "base", "is_live"),
    [
        ("pdl_live_apikey_1", None, True),
        ("pdl_sdbx_apikey_1", None, False),
        ("pdl_live_apikey_1", "https://api.paddle.com", True),
        ("an_old_key", "https://api.paddle.com", True),
        ("an_old_key", "https://sandbox-api.paddle.com", False),
    ],
)
def test_the_mode_is_what_the_key_or_the_address_says(key: str, base: str | None, is_live: bool) -> None:
    assert Paddle(key, [NEW], base).is_live is is_live


@pytest.mark.parametrize(
    ("key", "base"),
    [
        ("pdl_live_apikey_1", "https://sandbox-api.paddle.com"),
        ("pdl_sdbx_apikey_1", "https://api.paddle.com"),
        (" ", None),
    ],
)
def test_a_key_of_the_other_mode_is_refused(key: str, base: str | None) -> None:
    with pytest.raises(ValueError, match="Paddle key"):
        Paddle(key, [NEW], base)
