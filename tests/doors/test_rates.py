"""Rate limits, the headers that tell of them, and the headers that keep browsers safe on every answer."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from litestar.testing import TestClient

from api.app import create_app
from api.environ import SettingsError
from api.keys import new_key, new_token
from api.plain import PlainRequest
from api.rates import REMEMBERED_MAX, Buckets, Policy, RateSettings, address_of
from api.settings import read_settings
from tests.api.host import BASE_URL, SECRET, Host, assert_problem

LIMITS = {"PURSER_RATE_LIMIT": "5", "PURSER_RATE_LIMIT_FAILURES": "3", "PURSER_TRUSTED_PROXIES": "1"}


@pytest.fixture
def door(host: Host) -> Iterator[Host]:
    """A host that allows little, behind one proxy, with an account `a`."""
    settings = read_settings({"PURSER_SECRET_KEY": SECRET, "PURSER_BASE_URL": BASE_URL} | LIMITS)
    app = create_app(host.runtime, settings)
    with TestClient(app) as client:
        made = replace(host, client=client, site=app.state["site"])
        made.open("a")
        yield made


def test_a_bucket_holds_a_minutes_quota_and_fills_evenly() -> None:
    now = [100.0]
    buckets = Buckets(Policy("account", 3), lambda: now[0])
    assert [buckets.take("a").remaining for _ in range(3)] == [2, 1, 0]
    room = buckets.take("a")
    assert (room.wait_seconds, room.remaining, room.full_in_seconds) == (20, 0, 60)
    assert buckets.take("b").wait_seconds == 0
    now[0] += 19
    assert buckets.take("a").wait_seconds == 1
    now[0] += 1
    assert buckets.take("a").wait_seconds == 0
    assert buckets.take("a").wait_seconds == 20
    buckets.give_back("a")
    assert buckets.take("a").wait_seconds == 0
    now[0] += 3_600
    assert [buckets.take("a").wait_seconds for _ in range(4)] == [0, 0, 0, 20]


def test_buckets_forget_the_longest_unused_and_never_grow_without_end() -> None:
    buckets = Buckets(Policy("failures", 1), lambda: 0.0)
    for n in range(REMEMBERED_MAX + 10):
        buckets.take(str(n))
    assert len(buckets._full_at) == REMEMBERED_MAX
    assert buckets.take(str(REMEMBERED_MAX + 9)).wait_seconds == 60


def test_an_accounts_key_is_told_its_rate_and_stopped_above_it(door: Host) -> None:
    key, other = door.new_key("account", "a"), door.new_key("account", "a")
    for left in (4, 3, 2, 1, 0):
        answer = door.get("/v1/billing/balance" if left % 2 else "/v1/billing/profile", bearer=key)
        assert answer.status_code == 200
        assert answer.headers["ratelimit-policy"] == '"account";q=5;w=60'
        assert answer.headers["ratelimit"].startswith(f'"account";r={left};t=')
    for path in ("/v1/billing/balance", "/v1/billing/profile"):
        refused = door.get(path, bearer=key)
        body = assert_problem(refused, 429, "RATE-001")
        assert refused.headers["retry-after"] == str(body["retryAfterSeconds"]) and body["retryAfterSeconds"] <= 12
        assert refused.headers["ratelimit"].startswith('"account";r=0;t=')
    assert door.get("/v1/billing/balance", bearer=other).status_code == 200


def test_the_hosts_own_keys_have_no_limit_unless_one_is_set(door: Host) -> None:
    for _ in range(20):
        answer = door.get("/v1/accounts/a/balance")
        assert answer.status_code == 200 and "ratelimit" not in answer.headers
    settings = replace(door.site.settings, rates=RateSettings(services=2))
    with TestClient(create_app(door.runtime, settings)) as client:
        limited = replace(door, client=client)
        assert [limited.get("/v1/accounts/a/balance").status_code for _ in range(3)] == [200, 200, 429]


def test_a_portal_session_counts_as_one(door: Host) -> None:
    url = door.post("/v1/accounts/a/portal-sessions", {}).json()["url"]
    door.client.get(url, follow_redirects=False)
    codes = [door.client.get("/v1/billing/balance").status_code for _ in range(6)]
    assert codes == [200] * 5 + [429]


def test_an_address_that_keeps_failing_is_stopped_and_others_are_not(door: Host) -> None:
    def ask(address: str, bearer: str) -> int:
        headers = {"Authorization": f"Bearer {bearer}", "X-Forwarded-For": f"10.9.9.9, {address}"}
        return door.client.get("/v1/accounts", headers=headers).status_code

    assert ask("203.0.113.7", door.service_key) == 200
    assert [ask("203.0.113.7", new_key("purser_svc_")) for _ in range(4)] == [401, 401, 401, 429]
    assert ask("203.0.113.7", door.service_key) == 200, "a key that was right here goes on working"
    fresh = door.new_key("service", name="second")
    assert ask("203.0.113.7", fresh) == 429
    assert ask("203.0.113.8", fresh) == 200
    assert ask("203.0.113.7", fresh) == 200
    cookie = {"Cookie": f"purser={new_token()}", "X-Forwarded-For": "203.0.113.9"}
    codes = [door.client.get("/v1/billing/balance", headers=cookie).status_code for _ in range(4)]
    assert codes == [401, 401, 401, 429]


def test_right_keys_never_use_an_addresss_tries_up(door: Host) -> None:
    for n in range(10):
        assert door.get("/v1/accounts", bearer=door.new_key("service", name=f"k{n}")).status_code == 200


@pytest.mark.parametrize(
    ("forwarded", "proxies", "address"),
    [
        ([], 0, "198.51.100.1"),
        (["1.1.1.1"], 0, "198.51.100.1"),
        ([], 1, "198.51.100.1"),
        (["1.1.1.1"], 1, "1.1.1.1"),
        (["6.6.6.6, 1.1.1.1"], 1, "1.1.1.1"),
        (["6.6.6.6", "1.1.1.1, 2.2.2.2"], 2, "1.1.1.1"),
        (["1.1.1.1"], 2, "198.51.100.1"),
        (["2001:db8:1:2:3:4:5:6"], 1, "2001:db8:1:2::/64"),
    ],
)
def test_whose_address_counts(forwarded: list[str], proxies: int, address: str) -> None:
    scope = {
        "type": "http",
        "method": "GET",
        "headers": [(b"x-forwarded-for", value.encode()) for value in forwarded],
        "client": ("198.51.100.1", 4_711),
    }
    request = PlainRequest(scope, None, {})  # type: ignore[arg-type]
    assert address_of(request, proxies) == address


@pytest.mark.parametrize("name", ["RATE_LIMIT", "RATE_LIMIT_SERVICE", "RATE_LIMIT_FAILURES", "TRUSTED_PROXIES"])
def test_settings_of_rates_are_numbers_and_0_is_none(name: str) -> None:
    secret = {"PURSER_SECRET_KEY": SECRET}
    with pytest.raises(SettingsError, match=name):
        read_settings(secret | {f"PURSER_{name}": "-1"})
    rates = read_settings(secret | {f"PURSER_{name}": "0"}).rates
    assert 0 in (rates.proxies,) if name == "TRUSTED_PROXIES" else None in (rates.accounts, rates.services)


@pytest.mark.parametrize(
    "path", ["/v1/billing/balance", "/v1/accounts/a/balance", "/v1/accounts", "/nothing", "/schema", "/healthz"]
)
def test_every_answer_keeps_browsers_from_guessing(host: Host, path: str) -> None:
    host.open("a")
    for bearer in (host.service_key, "nonsense"):
        answer = host.client.get(path, headers={"Authorization": f"Bearer {bearer}"})
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "strict-transport-security" not in answer.headers
        assert len(answer.headers.get_list("x-content-type-options")) == 1


def test_over_tls_browsers_are_told_to_stay_there(host: Host) -> None:
    runtime = replace(host.runtime, base_url="https://wallet.example")
    settings = read_settings({"PURSER_SECRET_KEY": SECRET, "PURSER_BASE_URL": "https://wallet.example"})
    with TestClient(create_app(runtime, settings)) as client:
        assert client.get("/healthz").headers["strict-transport-security"].startswith("max-age=")
