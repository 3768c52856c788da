"""Metrics: what is counted in the process, what is read from the database, and that nothing names an account."""

import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from litestar.testing import TestClient
from prometheus_client import CollectorRegistry, generate_latest

from api.metrics import Meters, collected, metered, serving_metrics, watched
from api.settings import Settings, SettingsError, read_settings
from engine.nightly import Nightly
from engine.payments import ProviderUnreachable
from engine.store.database import Database, writing
from engine.store.outbox import enqueue
from tests.api.host import SECRET, Host, new_app, new_runtime
from tests.e2e.served import environment, free_port, make_keys, serving, wait_until
from tests.engine.support import FakeClock
from tests.flows.world import BookProvider


@pytest.fixture
def meters() -> Meters:
    return Meters(CollectorRegistry())


@pytest.fixture
def host(db: Database, clock: FakeClock, meters: Meters) -> Iterator[Host]:
    runtime = new_runtime(db, clock, "acn")
    runtime.group.measure(meters)
    app = new_app(runtime)
    from api.auth import create_key

    with TestClient(metered(app, meters)) as client:  # type: ignore[type-var]
        yield Host(client, runtime, app.state.site, clock, create_key(runtime, "service", "backend"))  # type: ignore[arg-type]
    runtime.group.close()


def lines(registry: CollectorRegistry) -> dict[str, float]:
    """Every sample by its name and labels, as a scraper reads it."""
    text = generate_latest(registry).decode()
    found = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in found}


def test_commands_and_batches_are_counted_by_what_became_of_them(host: Host, meters: Meters) -> None:
    path = host.open("a")
    host.grant(path, "recharge", 100)
    host.post(f"{path}/spends", {"amountCredits": "30"}, key="k")
    host.post(f"{path}/spends", {"amountCredits": "30"}, key="k")
    host.spend(path, 300)
    host.post(f"{path}/holds", {"amountCredits": "5"})
    last = 'purser_commands_total{operation="hold",outcome="done"}'
    while last not in (seen := lines(meters.registry)):  # a batch is counted after its answers are given
        time.sleep(0.01)
    assert seen['purser_commands_total{operation="spend",outcome="done"}'] == 1
    assert seen['purser_commands_total{operation="spend",outcome="replayed"}'] == 1
    assert seen['purser_commands_total{operation="spend",outcome="CREDIT-001"}'] == 1
    assert seen['purser_commands_total{operation="hold",outcome="done"}'] == 1
    assert seen["purser_batch_size_count"] == seen["purser_commit_seconds_count"] == 5
    assert seen["purser_batch_size_sum"] == 5 and seen["purser_commit_queue"] == 0


def test_requests_are_counted_by_route_and_never_by_account(host: Host, meters: Meters) -> None:
    path = host.open("the-account-of-mira")
    host.balance(path)
    host.spend(path, 1)
    host.get("/nowhere/the-account-of-mira")
    host.client.request("BREW", f"{path}/balance")
    seen = lines(meters.registry)
    route = "/v1/accounts/{account_id}/balance"
    named = {name for name in seen if "balance" in name}
    assert any(f'route="{route}"' in name or 'route="/v1/accounts/{account_id:str}/balance"' in name for name in named)
    assert any('status="402"' in name and "spends" in name for name in seen)
    assert not any("mira" in name for name in seen)
    assert sum(value for name, value in seen.items() if name.startswith("purser_http_requests_total")) == 5


def test_the_database_tells_backlogs_debts_and_the_last_audit(db: Database, clock: FakeClock, meters: Meters) -> None:
    runtime = new_runtime(db, clock, "acn")
    try:
        assert Nightly(runtime).run("2026-11-02") is not None
        with writing(db) as session:
            enqueue(session, "a", "notice", {"notice": "depleted"}, clock.now())
        seen = lines(collected(db, meters))
    finally:
        runtime.group.close()
    assert seen['purser_outbox_waiting{kind="notice"}'] == 1
    assert seen['purser_outbox_oldest_seconds{kind="notice"}'] >= 0
    assert (seen["purser_audit_clean"], seen["purser_audit_problems"], seen["purser_audit_entries"]) == (1, 0, 0)
    assert seen["purser_audit_ended_timestamp_seconds"] == clock.now().timestamp()
    assert seen["purser_wallets_in_debt"] == 0


def test_failing_calls_of_a_provider_are_counted_and_still_fail(meters: Meters) -> None:
    provider = BookProvider()
    (seen,) = watched({"stripe": provider}, meters).values()
    assert (seen.name, seen.can_refund, seen.payment("cs_1")) == ("stripe", True, ())
    provider.is_down = True
    with pytest.raises(ProviderUnreachable):
        seen.payment("cs_1")
    assert (
        lines(meters.registry)['purser_provider_failures_total{call="payment",kind="unreachable",provider="stripe"}']
        == 1
    )


def settings_with(**more: str) -> Settings:
    return read_settings({"PURSER_SECRET_KEY": SECRET, **more})


def test_no_port_no_metrics_and_a_busy_one_is_refused_by_name(db: Database, meters: Meters) -> None:
    assert settings_with().metrics_port is None
    with pytest.raises(SettingsError, match="PURSER_METRICS_PORT"):
        settings_with(PURSER_METRICS_PORT="0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = settings_with(PURSER_METRICS_PORT=str(taken.getsockname()[1]))
        with pytest.raises(SettingsError, match="PURSER_METRICS_PORT"), serving_metrics(settings, db, meters):
            raise AssertionError("nothing can be served there")


def scraped(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return str(answer.read().decode())


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_serves_what_all_its_processes_counted(postgresql_url: str, tmp_path: Path, workers: int) -> None:
    port = free_port()
    env = environment(postgresql_url, tmp_path, PURSER_METRICS_PORT=str(port))
    keys = make_keys(env)
    with serving(env, keys, "--workers", str(workers)) as served:
        made = served.call("service", "POST", "/v1/accounts", json={"accountId": "mira", "email": "m@c.example"})
        assert made.status_code == 201
        for number in range(20):
            body = {"bucket": "recharge", "amountCredits": "5", "source": "promo"}
            assert served.call("service", "POST", "/v1/accounts/mira/grants", key=f"k{number}", json=body).is_success
        wait_until(lambda: 'purser_commands_total{operation="host_grant",outcome="done"} 20.0' in scraped(port), 10)
        assert "mira" not in scraped(port)
