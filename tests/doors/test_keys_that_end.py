"""Keys with an end or with scopes, and staff sessions that work no longer than the key they were opened with."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from litestar.testing import TestClient

from api.app import create_app
from api.auth import create_key
from api.pages import page_handlers
from engine.store import credentials
from engine.store.database import reading
from receipts.render import Renderer
from tests.api.host import Host, assert_problem


@pytest.fixture
def pages(host: Host) -> "Iterator[TestClient]":  # type: ignore[type-arg]
    with Renderer() as renderer:
        app = create_app(host.runtime, host.site.settings, page_handlers(renderer))
        host.site = app.state["site"]
        with TestClient(app) as client:
            yield client


def test_an_account_key_works_until_its_end(host: Host) -> None:
    path = host.open("a")
    ends = (host.clock.now() + timedelta(minutes=10)).isoformat()
    made = host.post(f"{path}/api-keys", {"name": "trial", "expiresAt": ends}, key="k").json()
    assert made["expiresAt"] is not None and len(made["scopes"]) == 3
    assert host.get("/v1/billing/balance", bearer=made["key"]).status_code == 200
    host.wait(minutes=9, seconds=59)
    assert host.get("/v1/billing/balance", bearer=made["key"]).status_code == 200
    assert host.post("/v1/api-keys/verify", {"key": made["key"]}, key=None).status_code == 200
    host.wait(seconds=1)
    assert_problem(host.get("/v1/billing/balance", bearer=made["key"]), 401, "AUTH-001")
    assert_problem(host.post("/v1/api-keys/verify", {"key": made["key"]}, key=None), 404, "NOT-FOUND")
    assert host.get(f"{path}/api-keys").json()["apiKeys"] == []
    past = {"name": "x", "expiresAt": ends}
    assert_problem(host.post(f"{path}/api-keys", past), 400, "INVALID", field="expiresAt")
    for wrong in ("2099-01-01", "2099-01-01T00:00:00", "9999-12-31T23:59:59-14:00", 1, ""):
        refused = host.post(f"{path}/api-keys", {"name": "x", "expiresAt": wrong})
        assert_problem(refused, 400, "INVALID", field="expiresAt")


def test_a_keys_scopes_narrow_it_and_never_widen_it(host: Host) -> None:
    path = host.open("a")
    made = host.post(f"{path}/api-keys", {"name": "reader", "scopes": ["read"]}, key="k").json()
    assert made["scopes"] == ["read"]
    assert host.get("/v1/billing/balance", bearer=made["key"]).status_code == 200
    assert_problem(host.get("/v1/billing/limits", bearer=made["key"]), 403, "AUTH-002")
    assert_problem(host.post("/v1/billing/coupons/redeem", {"code": "x"}, bearer=made["key"]), 403, "AUTH-002")
    assert host.post("/v1/api-keys/verify", {"key": made["key"]}, key=None).json()["scopes"] == ["read"]
    again = host.post(f"{path}/api-keys", {"name": "reader", "scopes": ["read"]}, key="k")
    assert (again.json()["key"], again.headers["idempotency-replayed"]) == (made["key"], "true")
    assert_problem(host.post(f"{path}/api-keys", {"name": "reader"}, key="k"), 422, "IDEMPOTENCY-002")
    for scopes in (["wallet"], ["admin"], [], "read"):
        assert_problem(host.post(f"{path}/api-keys", {"name": "x", "scopes": scopes}), 400, "INVALID")


def test_a_service_key_may_be_made_for_less(host: Host) -> None:
    path = host.open("a")
    ends = host.clock.now() + timedelta(days=1)
    key = create_key(host.runtime, "service", "dashboard", scopes=("read",), expires_at=ends)
    assert host.get(f"{path}/balance", bearer=key).status_code == 200
    assert_problem(host.post(f"{path}/spends", {"amountCredits": "1"}, bearer=key), 403, "AUTH-002")
    host.wait(days=1)
    assert_problem(host.get(f"{path}/balance", bearer=key), 401, "AUTH-001")
    with pytest.raises(ValueError, match="scopes"):
        create_key(host.runtime, "service", "x", scopes=("admin",))


def _sign_in(pages: "TestClient", key: str) -> int:  # type: ignore[type-arg]
    headers = {"origin": "http://testserver.local"}
    return pages.post("/support/sign-in", data={"key": key}, headers=headers, follow_redirects=False).status_code


def test_a_staff_session_ends_with_the_key_it_was_opened_with(host: Host, pages: "TestClient") -> None:  # type: ignore[type-arg]
    key, other = host.new_key("support"), host.new_key("support", name="Lee")
    assert _sign_in(pages, key) == 303
    assert pages.get("/support").status_code == 200
    with reading(host.runtime.db) as session:
        from api.keys import hashes_of

        row = credentials.find_credential(session, hashes_of(key, host.runtime.secrets), host.clock.now())
    assert row is not None and host.site.keyring.revoke(row.credential_id)
    assert pages.get("/support").status_code == 401
    assert _sign_in(pages, key) == 401
    assert _sign_in(pages, other) == 303
    assert pages.get("/support").status_code == 200


def test_a_staff_session_ends_when_its_key_does(host: Host, pages: "TestClient") -> None:  # type: ignore[type-arg]
    key = create_key(host.runtime, "approver", "Ben", expires_at=host.clock.now() + timedelta(hours=1))
    assert _sign_in(pages, key) == 303
    assert pages.get("/support").status_code == 200
    host.wait(hours=1)
    host.site.keyring.forget()
    assert pages.get("/support").status_code == 401
