"""Portal sessions: a link that works once, a cookie that is the customer, and no changes from other sites."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlsplit

import pytest
from httpx import Response
from litestar.testing import TestClient

from api.body import Body
from api.portal import is_own_path, new_link
from api.scope import Answer, Call, Resource
from engine.clock import real_now
from engine.rules.errors import NotFound
from tests.api.host import BASE_URL, Host, assert_problem, new_app, new_runtime
from tests.engine.support import FakeClock


def path_of(url: str) -> str:
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def follow(host: Host, url: str) -> Response:
    return host.client.get(path_of(url), follow_redirects=False)


def session_of(host: Host, account_id: str) -> dict[str, str]:
    """The headers of a customer's signed-in browser."""
    url, _ = new_link(host.runtime, account_id)
    return {"Cookie": follow(host, url).headers["set-cookie"].partition(";")[0]}


def test_a_link_opens_one_session_for_twelve_hours(host: Host) -> None:
    path = host.open("a")
    made = host.post(f"{path}/portal-sessions", key=None)
    assert made.status_code == 201
    url = made.json()["url"]
    assert url.startswith(f"{BASE_URL}/portal/")
    left = datetime.fromisoformat(made.json()["expiresAt"]) - real_now()
    assert timedelta(minutes=9) < left <= timedelta(minutes=10)
    answer = follow(host, url)
    assert (answer.status_code, answer.headers["location"]) == (303, "/top-up-credits")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("purser=") and "Secure" not in cookie
    for part in ("HttpOnly", "SameSite=lax", "Path=/", "Max-Age=43200"):
        assert part in cookie
    again = follow(host, url)
    assert (again.status_code, "set-cookie" in again.headers) == (410, False)
    bearer = {"Cookie": cookie.partition(";")[0]}
    own = host.client.get("/v1/billing/balance", headers=bearer)
    assert (own.status_code, own.json()) == (200, host.balance(path))
    assert_problem(host.client.get("/v1/accounts/b/balance", headers=bearer), 404, "NOT-FOUND")


def test_a_session_that_is_remembered_is_no_bearer_key(host: Host) -> None:
    host.open("a")
    session = session_of(host, "a")
    assert host.client.get("/v1/billing/balance", headers=session).status_code == 200
    shown = {"Authorization": f"Bearer {session['Cookie'].partition('=')[2]}"}
    assert_problem(host.client.get("/v1/billing/balance", headers=shown), 401, "AUTH-001")


def test_a_glance_at_a_link_does_not_spend_it(host: Host) -> None:
    url = host.post(f"{host.open('a')}/portal-sessions").json()["url"]
    assert host.client.head(url, follow_redirects=False).status_code == 405
    assert follow(host, url).status_code in (302, 303, 307)


def test_links_and_sessions_end_by_real_time(host: Host) -> None:
    path = host.open("a")
    url = host.post(f"{path}/portal-sessions").json()["url"]
    session = session_of(host, "a")
    host.wait(days=300)
    assert host.client.get("/v1/billing/balance", headers=session).status_code == 200
    _age(host, minutes=11)
    assert follow(host, url).status_code == 410
    assert host.client.get("/v1/billing/balance", headers=session).status_code == 200
    _age(host, hours=12)
    assert_problem(host.client.get("/v1/billing/balance", headers=session), 401, "AUTH-001")


def _age(host: Host, **span: float) -> None:
    """Make every link and session older than it is."""
    host.site.keyring.forget()
    with host.runtime.db.writer.begin() as connection:
        table = "portal_sessions"
        rows = connection.exec_driver_sql(f"SELECT token_hash, expires_at FROM {table}").fetchall()
        for token_hash, ends in rows:
            instant = datetime.fromisoformat(str(ends)).replace(tzinfo=timezone.utc) - timedelta(**span)
            text = instant.strftime("%Y-%m-%d %H:%M:%S.%f")
            text += "" if host.runtime.db.is_sqlite else "+00"
            connection.exec_driver_sql(f"UPDATE {table} SET expires_at = '{text}' WHERE token_hash = '{token_hash}'")


@pytest.mark.parametrize("token", ["x", "A" * 43, "a" * 64, "%00", "..%2f.."])
def test_an_unknown_link_is_gone_or_not_there(host: Host, token: str) -> None:
    assert host.client.get(f"/portal/{token}", follow_redirects=False).status_code in (404, 410)


def test_a_link_lands_on_one_of_our_own_paths_only(host: Host) -> None:
    path = host.open("a")
    url = host.post(f"{path}/portal-sessions", {"returnTo": "/account/usage?days=30"}).json()["url"]
    assert follow(host, url).headers["location"] == "/account/usage?days=30"
    evil = host.post(f"{path}/portal-sessions").json()["url"] + "?returnTo=//evil.example/"
    assert follow(host, evil).headers["location"] == "/top-up-credits"
    for target in ("https://evil.example", "//evil.example", "/\\evil.example", "/a\r\nSet-Cookie: x", "account", ""):
        assert not is_own_path(target)
        if target:
            refused = host.post(f"{path}/portal-sessions", {"returnTo": target})
            assert_problem(refused, 400, "INVALID", field="returnTo")


def test_an_unknown_account_has_no_portal(host: Host) -> None:
    assert_problem(host.post("/v1/accounts/nobody/portal-sessions"), 404, "NOT-FOUND")
    with pytest.raises(NotFound):
        new_link(host.runtime, "nobody")


def test_a_session_is_not_allowed_what_the_host_is(host: Host) -> None:
    path = host.open("a")
    headers = session_of(host, "a") | {"Origin": BASE_URL, "Idempotency-Key": "k"}
    for resource, body in (("spends", {"amountCredits": "1"}), ("portal-sessions", {})):
        assert_problem(host.client.post(f"{path}/{resource}", json=body, headers=headers), 403, "AUTH-002")
    assert host.balance(path)["balanceCredits"] == "100"


class Wish(Body, frozen=True, kw_only=True):
    wish: str = ""


def take_wish(call: Call[Wish]) -> Answer:
    return Answer({"account": call.account_id, "actor": call.actor, "wish": call.ask.wish})


WISHES: Resource[Wish] = Resource(method="POST", path="wishes", may="settings.write", handler=take_wish, asks=Wish)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": BASE_URL}, 200),
        ({"Referer": f"{BASE_URL}/account/settings"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": f"{BASE_URL}.evil.example"}, 403),
        ({"Origin": f"{BASE_URL}:8443"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://testserver.local"}, 403),
        ({"Origin": "http://evil.example", "Referer": BASE_URL}, 403),
        ({"Referer": "http://testserver.local@evil.example/"}, 403),
        ({}, 403),
    ],
)
def test_a_browser_changes_things_only_from_our_own_pages(host: Host, headers: dict[str, str], status: int) -> None:
    host.open("a")
    app = new_app(host.runtime, [WISHES])
    with TestClient(app) as client:
        session = session_of(host, "a")
        answer = client.post("/v1/billing/wishes", json={"wish": "x"}, headers=session | headers)
        assert answer.status_code == status
        if status == 200:
            body: dict[str, Any] = answer.json()
            assert (body["account"], body["wish"]) == ("a", "x") and body["actor"].startswith("owner:portal-")
        else:
            assert_problem(answer, 403, "AUTH-002")
        bearer = {"Authorization": f"Bearer {host.service_key}"}
        assert client.post("/v1/accounts/a/wishes", json={}, headers=bearer).status_code == 200


def test_over_https_the_cookie_is_bound_to_the_host(sqlite: Any, clock: FakeClock) -> None:
    runtime = new_runtime(sqlite, clock, "alphio", "https://wallet.example")
    try:
        with TestClient(new_app(runtime), base_url="https://wallet.example") as client:
            host = Host(client, runtime, replace(client.app.state["site"]), clock, "")
            host.service_key = host.new_key("service")
            host.open("a")
            cookie = follow(host, new_link(runtime, "a")[0]).headers["set-cookie"]
        assert cookie.startswith("__Host-purser=") and "Secure" in cookie and "Domain" not in cookie
    finally:
        runtime.group.close()
