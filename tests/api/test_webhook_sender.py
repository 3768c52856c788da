"""Webhooks as they arrive: signed, tried again, never where they must not go. The receiver is a real one."""

import base64
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from sqlmodel import select
from standardwebhooks import Webhook

from api.webhook_sender import WebhookSender
from engine.flows import webhooks
from engine.jobs import Jobs
from engine.rules.webhooks import WAITS
from engine.store.database import reading
from engine.store.tables import WebhookDeliveryRow, WebhookEndpointRow
from tests.api.host import Host
from tests.api.receiver import Receiver, receiving, tls_pair

NAME = "hooks.example"


@pytest.fixture
def account(host: Host) -> str:
    return host.open("acme", plan="pro")


def add(host: Host, url: str, *events: str) -> tuple[WebhookEndpointRow, str]:
    return webhooks.add_endpoint(host.runtime, url, events, "", "admin:Andy")


def happen(host: Host, account: str) -> None:
    """Something that one event tells of, fanned out."""
    host.grant(account, "recharge", 100)
    Jobs(host.runtime).run_due()


def sender(host: Host, addresses: Sequence[str] = ("127.0.0.1",), **options: object) -> WebhookSender:
    """A sender that may call loopback, for which every name stands for these addresses."""

    async def resolve(name: str, port: int) -> Sequence[str]:
        return addresses

    settings: dict[str, object] = {"allows_loopback": True, "resolve": resolve} | options
    return WebhookSender(host.runtime, **settings)  # type: ignore[arg-type]


def rows(host: Host) -> list[WebhookDeliveryRow]:
    with reading(host.runtime.db) as session:
        return list(session.exec(select(WebhookDeliveryRow)).all())


def endpoint(host: Host) -> WebhookEndpointRow:
    with reading(host.runtime.db) as session:
        return session.exec(select(WebhookEndpointRow)).one()


def verified(secret: str, receiver: Receiver, number: int = -1) -> dict[str, object]:
    """The body of a webhook that the library of the standard accepts under this secret."""
    got = receiver.received[number]
    return dict(Webhook(secret).verify(got.body, dict(got.headers)))


def test_an_event_arrives_signed_and_once(host: Host, account: str) -> None:
    with receiving() as receiver:
        _, secret = add(host, f"http://{NAME}:{receiver.port}/in?x=1")
        happen(host, account)
        assert sender(host).send_due() == 1
        assert sender(host).send_due() == 0
    body = verified(secret, receiver)
    assert set(body) == {"type", "timestamp", "data"} and body["type"] == "credits.granted"
    data = body["data"]
    assert isinstance(data, dict) and (data["accountId"], data["seq"], data["balanceAfter"]) == ("acme", 1, "100")
    [got] = receiver.received
    assert got.path == "/in?x=1" and got.headers["host"] == f"{NAME}:{receiver.port}"
    assert got.headers["content-type"] == "application/json"
    [row] = rows(host)
    assert (row.status, row.attempts, row.response_code) == ("delivered", 1, 200)
    assert got.headers["webhook-id"] == row.event_id


def test_a_failure_is_tried_again_with_the_same_id_after_each_wait(host: Host, account: str) -> None:
    with receiving() as receiver:
        _, secret = add(host, f"http://{NAME}:{receiver.port}/")
        happen(host, account)
        receiver.answers = [500, 302, 429]
        for wait in WAITS[:3]:
            assert sender(host).send_due() == 1
            host.clock.advance(wait - timedelta(milliseconds=1))
            assert sender(host).send_due() == 0, "not before its time"
            host.clock.advance(timedelta(milliseconds=1))
        assert sender(host).send_due() == 1
    assert len({got.headers["webhook-id"] for got in receiver.received}) == 1 and len(receiver.received) == 4
    assert verified(secret, receiver)["type"] == "credits.granted"
    [row] = rows(host)
    assert (row.status, row.attempts, row.response_code, row.problem) == ("delivered", 4, 200, None)


def test_after_three_days_it_has_failed_and_the_endpoint_says_so(host: Host, account: str) -> None:
    with receiving() as receiver:
        add(host, f"http://{NAME}:{receiver.port}/")
        happen(host, account)
        receiver.answers = [503] * 20
        for _ in range(len(WAITS) + 3):
            sender(host).send_due()
            host.wait(days=1)
    [row] = rows(host)
    assert (row.status, row.attempts, row.response_code) == ("failed", len(WAITS) + 1, 503)
    assert row.problem == "the receiver answered 503" and row.ended_at is not None
    assert endpoint(host).failed_at is not None and endpoint(host).is_enabled


def test_gone_disables_the_endpoint(host: Host, account: str) -> None:
    with receiving() as receiver:
        add(host, f"http://{NAME}:{receiver.port}/")
        happen(host, account)
        receiver.answers = [410]
        sender(host).send_due()
        happen(host, account)
        host.wait(days=1)
        assert sender(host).send_due() == 0
    assert not endpoint(host).is_enabled and endpoint(host).disabled_reason == "the receiver answered 410 Gone"
    assert [row.status for row in rows(host)] == ["failed"]


def test_a_redirect_is_not_followed(host: Host, account: str) -> None:
    with receiving() as receiver:
        add(host, f"http://{NAME}:{receiver.port}/")
        receiver.location = f"http://127.0.0.1:{receiver.port}/elsewhere"
        receiver.answers = [307]
        happen(host, account)
        sender(host).send_due()
    assert [got.path for got in receiver.received] == ["/"]
    assert rows(host)[0].response_code == 307 and rows(host)[0].status == "pending"


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["10.0.0.5"], ["169.254.169.254"], ["::ffff:127.0.0.1"], ["fd00::1"], ["1.1.1.1", "127.0.0.1"], []],
)
def test_a_name_that_leads_inside_is_never_called(host: Host, account: str, addresses: list[str]) -> None:
    with receiving() as receiver:
        add(host, f"https://{NAME}:{receiver.port}/")
        happen(host, account)
        assert sender(host, addresses, allows_loopback=False).send_due() == 1
    assert receiver.received == []
    [row] = rows(host)
    assert row.status == "pending" and row.response_code is None and row.problem is not None
    assert "address" in row.problem


def test_real_names_are_resolved_and_checked(host: Host, account: str) -> None:
    """No look-up of a test's own: `localhost` is what this machine says it is."""
    with receiving() as receiver:
        add(host, f"http://localhost:{receiver.port}/")
        happen(host, account)
        assert WebhookSender(host.runtime).send_due() == 1
        assert receiver.received == [] and rows(host)[0].status == "pending"
        host.wait(minutes=1)
        assert WebhookSender(host.runtime, allows_loopback=True).send_due() == 1
    assert len(receiver.received) == 1 and rows(host)[0].status == "delivered"


def test_tls_goes_to_the_checked_address_and_proves_the_name(host: Host, account: str, tmp_path: Path) -> None:
    server, client = tls_pair(tmp_path, NAME)
    with receiving(server) as receiver:
        _, secret = add(host, f"https://{NAME}:{receiver.port}/")
        add(host, f"https://other.example:{receiver.port}/")
        happen(host, account)
        assert sender(host, tls=client).send_due() == 2
    assert sorted(map(str, receiver.names)) == [NAME, "other.example"]
    assert verified(secret, receiver)["type"] == "credits.granted" and len(receiver.received) == 1
    problems = [row.problem or "" for row in rows(host) if row.status == "pending"]
    assert len(problems) == 1 and "certificate" in problems[0].lower()


def test_a_receiver_that_is_slow_or_talks_for_ever_costs_only_its_time(host: Host, account: str) -> None:
    with receiving() as slow, receiving() as loud:
        add(host, f"http://slow.example:{slow.port}/")
        add(host, f"http://loud.example:{loud.port}/")
        slow.wait_seconds = 2
        loud.body = b"x" * 30_000_000
        happen(host, account)
        started = time.monotonic()
        assert sender(host, seconds_max=0.7).send_due() == 2
        assert time.monotonic() - started < 1.9
    states = {row.endpoint_id: (row.status, row.problem) for row in rows(host)}
    assert sorted(states.values(), key=str) == [
        ("delivered", None),
        ("pending", "no answer within 0.7 seconds"),
    ]


def test_nobody_listening_at_the_port_is_a_failure_like_others(host: Host, account: str) -> None:
    with receiving() as receiver:
        port = receiver.port
    add(host, f"http://{NAME}:{port}/")
    happen(host, account)
    assert sender(host).send_due() == 1
    [row] = rows(host)
    assert row.status == "pending" and "ConnectError" in (row.problem or "")


def test_for_a_day_after_a_rotation_both_secrets_sign(host: Host, account: str) -> None:
    with receiving() as receiver:
        made, old = add(host, f"http://{NAME}:{receiver.port}/")
        _, new = webhooks.rotate_secret(host.runtime, made.endpoint_id, "admin:Andy")
        happen(host, account)
        sender(host).send_due()
        assert verified(old, receiver) == verified(new, receiver)
        assert len(receiver.received[0].headers["webhook-signature"].split()) == 2
        host.wait(hours=24)
        happen(host, account)
        sender(host).send_due()
    [signature] = receiver.received[1].headers["webhook-signature"].split()
    assert verified(new, receiver) and signature.startswith("v1,")
    assert len(base64.b64decode(old.removeprefix("whsec_"))) == 32


def test_two_senders_share_the_work_and_a_dead_ones_comes_back(host: Host, account: str) -> None:
    with receiving() as receiver:
        made, _ = add(host, f"http://{NAME}:{receiver.port}/")
        happen(host, account)
        [taken] = webhooks.take_due(host.runtime, made.endpoint_id, 10)
        assert sender(host).send_due() == 0, "leased by another"
        host.clock.advance(webhooks.LEASE)
        assert sender(host).send_due() == 1
        webhooks.end_attempt(host.runtime, taken, webhooks.Result(500, "too late"))
    [row] = rows(host)
    assert (row.status, row.attempts, row.response_code) == ("delivered", 1, 200)
    assert msgspec.json.decode(taken.payload)["type"] == "credits.granted"


def test_the_thread_sends_what_falls_due_and_a_slow_endpoint_keeps_no_other_waiting(host: Host, account: str) -> None:
    with receiving() as slow, receiving() as quick:
        slow.wait_seconds = 5
        add(host, f"http://slow.example:{slow.port}/")
        add(host, f"http://quick.example:{quick.port}/")
        running = sender(host)
        running.start()
        happen(host, account)
        wait_for(slow, 1)
        for _ in range(3):
            happen(host, account)
        wait_for(quick, 4)
        assert len(slow.received) == 1, "it is still busy with the first"
        running.stop()
    by_status = [row.status for row in rows(host)]
    assert by_status.count("delivered") == 5 and by_status.count("pending") == 3


def wait_for(receiver: Receiver, count: int) -> None:
    ends = time.monotonic() + 10
    while len(receiver.received) < count and time.monotonic() < ends:
        time.sleep(0.02)
    assert len(receiver.received) == count
