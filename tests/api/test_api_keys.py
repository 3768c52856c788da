"""An account's API keys over HTTP: shown once, listed, revoked at once, and checked by the host's gateway."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from httpx import Response
from litestar.testing import TestClient
from sqlalchemy import select

from api.keys import is_key, new_key
from engine.runtime import Secrets
from engine.store.credentials import KeyRole
from engine.store.tables import Base
from tests.api.host import SECRET, Host, assert_problem, new_app
from tests.api.test_portal import session_of

NAMES = {"name": "laptop"}


@pytest.fixture
def path(host: Host) -> str:
    return host.open("a")


def delete(host: Host, path: str, bearer: str | None = None) -> Response:
    return host.client.delete(path, headers={"Authorization": f"Bearer {bearer or host.service_key}"})


def verify(host: Host, key: str) -> Response:
    return host.post("/v1/api-keys/verify", {"key": key}, key=None)


def kept(host: Host) -> str:
    """Everything that the tables of keys and of first answers hold."""
    tables = (Base.metadata.tables[name] for name in ("credentials", "replies"))
    with host.runtime.db.reader.connect() as connection:
        return str([tuple(row) for table in tables for row in connection.execute(select(table))])


def test_a_key_is_shown_once_and_works(host: Host, path: str) -> None:
    answer = host.post(f"{path}/api-keys", NAMES, key="k")
    made = answer.json()
    assert answer.status_code == 201 and is_key(made["key"]) and made["key"].startswith("alp_sk_")
    assert made.keys() == {"id", "name", "hint", "limits", "scopes", "expiresAt", "createdAt", "lastUsedAt", "key"}
    assert (made["name"], made["hint"], made["lastUsedAt"]) == ("laptop", made["key"][-4:], None)
    assert made["key"] not in kept(host) and made["key"][:-4] not in kept(host)
    listed = host.get(f"{path}/api-keys").json()
    assert listed["pagination"] == {"page": 1, "limit": 20, "total": 1}
    assert listed["apiKeys"] == [{name: value for name, value in made.items() if name != "key"}]
    assert host.get("/v1/billing/balance", bearer=made["key"]).status_code == 200


def test_a_key_lists_when_it_was_last_used_to_the_minute(host: Host, path: str) -> None:
    key = host.post(f"{path}/api-keys", NAMES).json()["key"]
    first = host.wait(hours=1)
    for seconds in (0, 59, 1):
        at = host.wait(seconds=seconds)
        host.site.keyring.forget()
        assert host.get("/v1/billing/api-keys", bearer=key).status_code == 200
        (shown,) = host.get(f"{path}/api-keys").json()["apiKeys"]
        expected = first if seconds == 59 else at
        assert shown["lastUsedAt"] == expected.isoformat().replace("+00:00", "Z")


def test_a_key_that_is_verified_is_used(host: Host, path: str) -> None:
    key = host.post(f"{path}/api-keys", NAMES).json()["key"]
    assert verify(host, key).status_code == 200
    assert host.get(f"{path}/api-keys").json()["apiKeys"][0]["lastUsedAt"] == "2026-11-02T09:30:00Z"


def test_the_same_request_is_answered_by_the_same_key(host: Host, path: str) -> None:
    first = host.post(f"{path}/api-keys", NAMES, key="k")
    again = host.post(f"{path}/api-keys", NAMES, key="k")
    assert (again.status_code, again.json(), again.headers["idempotency-replayed"]) == (201, first.json(), "true")
    assert_problem(host.post(f"{path}/api-keys", {"name": "other"}, key="k"), 422, "IDEMPOTENCY-002")
    other = host.open("b")
    keys = {
        host.post(f"{other}/api-keys", NAMES, key="k").json()["key"],
        host.post(f"{path}/api-keys", NAMES, key="l").json()["key"],
        host.post(f"{path}/api-keys", NAMES, key=None).json()["key"],
        first.json()["key"],
    }
    assert len(keys) == 4
    rotated = replace(host.runtime, secrets=Secrets(("a newer secret of more than 32 characters", SECRET)))
    with TestClient(new_app(rotated)) as client:
        headers = {"Authorization": f"Bearer {host.service_key}", "Idempotency-Key": "k"}
        assert client.post(f"{path}/api-keys", json=NAMES, headers=headers).json() == first.json()


def test_one_request_sent_many_times_at_once_makes_one_key(host: Host, path: str) -> None:
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: host.post(f"{path}/api-keys", NAMES, key="k"), range(10)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["key"] for answer in answers}) == 1
    assert host.get(f"{path}/api-keys").json()["pagination"]["total"] == 1


def test_a_revoked_key_is_refused_at_once_and_not_listed(host: Host, path: str) -> None:
    made = host.post(f"{path}/api-keys", NAMES).json()
    assert host.get("/v1/billing/balance", bearer=made["key"]).status_code == 200
    assert verify(host, made["key"]).status_code == 200
    other = host.open("b")
    assert_problem(delete(host, f"{other}/api-keys/{made['id']}"), 404, "NOT-FOUND")
    assert host.get("/v1/billing/balance", bearer=made["key"]).status_code == 200
    gone = delete(host, f"{path}/api-keys/{made['id']}")
    assert (gone.status_code, gone.content) == (204, b"")
    assert_problem(host.get("/v1/billing/balance", bearer=made["key"]), 401, "AUTH-001")
    assert_problem(verify(host, made["key"]), 404, "NOT-FOUND")
    assert host.get(f"{path}/api-keys").json()["apiKeys"] == []
    assert_problem(delete(host, f"{path}/api-keys/{made['id']}"), 404, "NOT-FOUND")


def test_no_key_of_the_operators_is_revoked_through_an_account(host: Host, path: str) -> None:
    with host.runtime.db.reader.connect() as connection:
        found = connection.exec_driver_sql("SELECT credential_id FROM credentials WHERE role = 'service'").scalar()
    assert_problem(delete(host, f"{path}/api-keys/{found}"), 404, "NOT-FOUND")
    assert host.balance(path)["status"] == "active"


def test_the_gateway_learns_whose_key_it_is_and_what_it_may(host: Host, path: str) -> None:
    made = host.post(f"{path}/api-keys", NAMES).json()
    assert verify(host, made["key"]).json() == {
        "accountId": "a",
        "apiKeyId": made["id"],
        "scopes": ["buy", "read", "settings.read"],
        "limits": {"dailySpendLimitCredits": None, "perCallLimitCredits": None},
    }
    for key in (new_key("alp_sk_"), made["key"][:-1] + "~", "x", host.service_key, host.new_key("admin")):
        assert_problem(verify(host, key), 404, "NOT-FOUND")
    assert_problem(host.post("/v1/api-keys/verify", {}, key=None), 400, "INVALID", field="key")


def test_accounts_that_are_not_there(host: Host, path: str) -> None:
    assert_problem(host.get("/v1/accounts/nobody/api-keys"), 404, "NOT-FOUND")
    assert_problem(host.post("/v1/accounts/nobody/api-keys", NAMES), 404, "NOT-FOUND")
    own = host.post(f"{path}/api-keys", NAMES).json()["key"]
    host.open("b")
    assert_problem(host.get("/v1/accounts/b/api-keys", bearer=own), 404, "NOT-FOUND")


@pytest.mark.parametrize("name", ["", "x" * 101, "a\nb", 5, None])
def test_a_malformed_name_is_refused(host: Host, path: str, name: object) -> None:
    assert_problem(host.post(f"{path}/api-keys", {"name": name}), 400, "INVALID", field="name")


@pytest.mark.parametrize("role", ["account", "support", "approver", "admin", "auditor"])
def test_who_may_read_and_write_keys(host: Host, path: str, role: KeyRole) -> None:
    key = host.new_key(role, "a" if role == "account" else None)
    read = host.get(f"{path}/api-keys", bearer=key)
    if role == "account":
        assert read.status_code == 200
    else:
        assert_problem(read, 403, "AUTH-002")
    assert_problem(host.post(f"{path}/api-keys", NAMES, bearer=key), 403, "AUTH-002")
    assert_problem(delete(host, f"{path}/api-keys/key_1", bearer=key), 403, "AUTH-002")
    assert_problem(host.post("/v1/api-keys/verify", {"key": key}, bearer=key), 403, "AUTH-002")


def test_a_signed_in_owner_makes_and_revokes_keys(host: Host, path: str) -> None:
    browser = session_of(host, "a") | {"Origin": host.runtime.base_url}
    made = host.client.post("/v1/billing/api-keys", json=NAMES, headers=browser)
    assert made.status_code == 201
    assert host.client.delete(f"/v1/billing/api-keys/{made.json()['id']}", headers=browser).status_code == 204
