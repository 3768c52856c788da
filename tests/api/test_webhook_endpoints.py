"""Webhook endpoints over HTTP: who may set them, what is refused, secrets shown once, deliveries and replays."""

from typing import Any

import msgspec
import pytest
from httpx import Response
from sqlmodel import select

from engine.flows import webhooks
from engine.jobs import Jobs
from engine.rules.outgoing import EVENT_TYPES
from engine.store.database import reading
from engine.store.tables import AuditRow, OutboxRow, WebhookEndpointRow
from tests.api.host import Host, assert_problem

BASE = "/v1/webhook-endpoints"
HOOK = "https://93.184.216.34/hook"


@pytest.fixture
def admin(host: Host) -> str:
    return host.new_key("admin", name="Andy")


def put(host: Host, path: str, body: object, bearer: str) -> Response:
    return host.client.put(path, json=body, headers={"Authorization": f"Bearer {bearer}"})


def add(host: Host, admin: str, **body: object) -> dict[str, Any]:
    answer = host.post(BASE, {"url": HOOK} | body, bearer=admin)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def deliveries(host: Host, admin: str, endpoint: str, **query: object) -> list[dict[str, Any]]:
    answer = host.get(f"{BASE}/{endpoint}/deliveries", bearer=admin, **query)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["deliveries"])


def run_jobs(host: Host) -> None:
    Jobs(host.runtime).run_due()


def test_a_secret_is_shown_once_and_never_kept(host: Host, admin: str) -> None:
    made = add(host, admin, description="books")
    assert made["secret"].startswith("whsec_") and len(made["secret"]) == 50
    assert (made["events"], made["enabled"], made["description"]) == ("all", True, "books")
    listed = host.get(BASE, bearer=admin).json()
    shown = {name: value for name, value in made.items() if name != "secret"}
    assert listed == {"webhookEndpoints": [shown], "pagination": {"page": 1, "limit": 20, "total": 1}}
    assert host.get(f"{BASE}/{made['id']}", bearer=admin).json() == shown
    with reading(host.runtime.db) as session:
        row = session.exec(select(WebhookEndpointRow)).one()
        [act] = session.exec(select(AuditRow).where(AuditRow.action == "webhook_endpoint.added")).all()
    kept = msgspec.json.encode(row.model_dump()).decode()
    assert made["secret"].removeprefix("whsec_")[:20] not in kept
    assert (act.actor, act.object_id) == ("admin:Andy", made["id"])


@pytest.mark.parametrize("role", ["service", "support", "approver", "auditor"])
def test_endpoints_are_the_administrators(host: Host, admin: str, role: Any) -> None:
    made = add(host, admin)
    key = host.new_key(role)
    assert_problem(host.post(BASE, {"url": HOOK}, bearer=key), 403, "AUTH-002")
    assert_problem(host.get(BASE, bearer=key), 403, "AUTH-002")
    assert_problem(host.get(f"{BASE}/{made['id']}/deliveries", bearer=key), 403, "AUTH-002")
    assert_problem(host.post(f"{BASE}/{made['id']}/rotate-secret", bearer=key), 403, "AUTH-002")


@pytest.mark.parametrize(
    "url",
    """
    http://93.184.216.34/ https://127.0.0.1/ https://localhost/ https://10.0.0.8/ https://169.254.169.254/latest/
    https://[::1]/ https://[fd00::1]/ https://[::ffff:127.0.0.1]/ https://2130706433/ https://0x7f000001/
    https://192.168.0.1:8443/ https://0/ https://100.64.0.1/ http://localhost:9000/ ftp://93.184.216.34/ nonsense
    https://user:pass@93.184.216.34/ https://93.184.216.34/#part
    """.split(),
)
def test_a_url_that_leads_inside_is_refused(host: Host, admin: str, url: str) -> None:
    assert_problem(host.post(BASE, {"url": url}, bearer=admin), 400, "INVALID", field="url")
    made = add(host, admin)
    assert_problem(put(host, f"{BASE}/{made['id']}", {"url": url}, admin), 400, "INVALID", field="url")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"events": ["credits.lost"]}, "events[0]"),
        ({"events": []}, "events"),
        ({"events": "some"}, "events"),
        ({"event": "all"}, "event"),
        ({"description": "a\nb"}, "description"),
    ],
)
def test_what_is_malformed_names_its_field(host: Host, admin: str, body: dict[str, object], field: str) -> None:
    assert_problem(host.post(BASE, {"url": HOOK} | body, bearer=admin), 400, "INVALID", field=field)


def test_an_endpoint_is_changed_and_deleted(host: Host, admin: str) -> None:
    path = f"{BASE}/{add(host, admin)['id']}"
    changed = put(host, path, {"events": ["balance.low", "balance.low"], "enabled": False}, admin).json()
    assert (changed["events"], changed["enabled"]) == (["balance.low"], False)
    assert changed["disabledReason"] == "by an administrator"
    assert put(host, path, {"events": list(EVENT_TYPES)}, admin).json()["events"] == list(EVENT_TYPES)
    again = put(host, path, {"enabled": True, "events": "all"}, admin).json()
    assert (again["events"], again["enabled"], again["disabledReason"]) == ("all", True, None)
    assert_problem(put(host, path, {"secret": "x"}, admin), 400, "INVALID", field="secret")
    headers = {"Authorization": f"Bearer {admin}"}
    assert host.client.delete(path, headers=headers).status_code == 204
    for answer in (host.get(path, bearer=admin), host.client.delete(path, headers=headers)):
        assert_problem(answer, 404, "NOT-FOUND")
    assert_problem(host.post(f"{path}/rotate-secret", bearer=admin), 404, "NOT-FOUND")


def test_rotating_shows_another_secret(host: Host, admin: str) -> None:
    made = add(host, admin)
    rotated = host.post(f"{BASE}/{made['id']}/rotate-secret", bearer=admin).json()
    assert rotated["id"] == made["id"] and rotated["secret"] not in ("", made["secret"])


def test_each_event_is_on_its_way_once_to_whoever_listens(host: Host, admin: str) -> None:
    every, low = add(host, admin), add(host, admin, events=["balance.low"])
    path = host.open("acme", plan="pro")
    host.grant(path, "recharge", 100)
    host.spend(path, 30)
    for _ in range(2):
        run_jobs(host)
    kinds = [each["eventType"] for each in deliveries(host, admin, every["id"])]
    assert sorted(kinds) == ["credits.granted", "credits.spent"]
    assert deliveries(host, admin, low["id"]) == []
    [one] = deliveries(host, admin, every["id"], limit=1)
    assert (one["status"], one["attempts"], one["lastResponseCode"], one["accountId"]) == ("pending", 0, None, "acme")


def test_spends_cost_no_row_while_nobody_listens(host: Host, admin: str) -> None:
    path = host.open("acme", plan="pro")
    host.grant(path, "recharge", 100)
    wanted = host.runtime.terms.wanted
    assert wanted.events == frozenset()
    made = add(host, admin, events=["credits.spent"])
    assert wanted.events == {"credits.spent"}
    host.spend(path, 30)
    put(host, f"{BASE}/{made['id']}", {"enabled": False}, admin)
    assert wanted.events == frozenset()
    host.spend(path, 30)
    with reading(host.runtime.db) as session:
        rows = session.exec(select(OutboxRow).where(OutboxRow.kind == "event")).all()
    assert sum('"credits.spent"' in row.payload for row in rows) == 1


def test_what_happened_before_an_endpoint_comes_by_replay(host: Host, admin: str) -> None:
    path = host.open("acme", plan="pro")
    host.grant(path, "recharge", 100)
    since = host.wait(minutes=1)
    host.grant(path, "recharge", 50)
    run_jobs(host)
    host.wait(minutes=1)
    made = add(host, admin)
    assert deliveries(host, admin, made["id"]) == []
    replay = f"{BASE}/{made['id']}/replay"
    assert host.post(replay, {"since": since.isoformat()}, bearer=admin).json() == {"replayed": 1}
    assert host.post(replay, {"since": "2020-01-01T00:00:00Z"}, bearer=admin).json() == {"replayed": 2}
    assert len(deliveries(host, admin, made["id"])) == 2, "what is on its way is not doubled"
    assert_problem(host.post(replay, {"since": "yesterday"}, bearer=admin), 400, "INVALID", field="since")
    assert_problem(host.post(replay, {"since": "2026-01-01T00:00:00"}, bearer=admin), 400, "INVALID", field="since")


def test_one_delivery_is_replayed(host: Host, admin: str) -> None:
    made = add(host, admin)
    host.grant(host.open("acme", plan="pro"), "recharge", 100)
    run_jobs(host)
    [attempt] = webhooks.take_due(host.runtime, made["id"], 10)
    webhooks.end_attempt(host.runtime, attempt, webhooks.Result(204))
    [one] = deliveries(host, admin, made["id"], status="delivered")
    assert (one["attempts"], one["lastResponseCode"], one["nextAttemptAt"]) == (1, 204, None)
    path = f"{BASE}/{made['id']}/deliveries/{one['id']}/replay"
    again = host.post(path, bearer=admin).json()
    assert (again["status"], again["attempts"], again["id"]) == ("pending", 0, one["id"])
    assert [each.row.event_id for each in webhooks.take_due(host.runtime, made["id"], 10)] == [one["eventId"]]
    assert_problem(host.post(f"{BASE}/{made['id']}/deliveries/none/replay", bearer=admin), 404, "NOT-FOUND")
