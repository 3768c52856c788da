"""Who may do what: keys, the matrix of SPEC §10, and accounts that do not see each other."""

import re
from dataclasses import replace
from typing import get_args

import pytest
from litestar.testing import TestClient
from sqlalchemy import select

from api.auth import MATRIX, Action, Principal, Role, create_key
from api.keys import hashes_of, is_key, new_key
from engine.rules.errors import Forbidden
from engine.runtime import Secrets
from engine.store.credentials import KeyRole
from engine.store.tables import CredentialRow
from tests.api.host import SECRET, Host, assert_problem, new_app

MAY: dict[Action, set[Role]] = {
    "read": {"account", "owner", "member", "service", "support", "approver", "admin", "auditor"},
    "buy": {"account", "owner", "service"},
    "settings.read": {"account", "owner", "member", "service"},
    "settings.write": {"owner", "service"},
    "wallet": {"service"},
    "support": {"support", "approver", "admin"},
    "approve": {"approver", "admin"},
    "admin": {"admin"},
    "audit": {"admin", "auditor"},
}


@pytest.mark.parametrize("action", get_args(Action))
@pytest.mark.parametrize("role", get_args(Role))
def test_the_matrix_is_the_contracts(action: Action, role: Role) -> None:
    principal = Principal(role, "key_1", "Kim", None)
    if role in MAY[action]:
        principal.check_may(action)
    else:
        with pytest.raises(Forbidden):
            principal.check_may(action)
    assert MATRIX.keys() == MAY.keys()


def test_keys_have_a_prefix_and_a_tail_that_catches_typing_errors() -> None:
    key = new_key("acn_sk_")
    assert re.fullmatch(r"acn_sk_[0-9A-Za-z]{33}", key) and is_key(key)
    assert len({new_key("acn_sk_") for _ in range(100)}) == 100
    for place in range(len(key)):
        other = "b" if key[place] != "b" else "c"
        assert not is_key(key[:place] + other + key[place + 1 :])
    assert not is_key(key + "x") and not is_key("") and not is_key(key[:-1])


@pytest.mark.parametrize(
    ("role", "prefix"),
    [
        ("service", "purser_svc_"),
        ("support", "purser_sup_"),
        ("approver", "purser_apr_"),
        ("admin", "purser_adm_"),
        ("auditor", "purser_aud_"),
        ("account", "alp_sk_"),
    ],
)
def test_keys_of_every_role_read_an_account_and_only_hashes_are_kept(host: Host, role: KeyRole, prefix: str) -> None:
    path = host.open("a")
    key = host.new_key(role, "a" if role == "account" else None)
    assert key.startswith(prefix)
    assert host.get(f"{path}/balance", bearer=key).status_code == 200
    with host.runtime.db.reader.connect() as connection:
        kept = [tuple(row) for row in connection.execute(select(CredentialRow.__table__))]  # type: ignore[attr-defined]
    assert key not in str(kept) and key[:-4] not in str(kept)
    assert hashes_of(key, host.runtime.secrets)[0] in str(kept)


def test_account_keys_need_an_account_and_no_other_has_one(host: Host) -> None:
    for role, account_id in (("account", None), ("service", "a")):
        with pytest.raises(ValueError, match="account keys"):
            create_key(host.runtime, role, "Kim", account_id)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="name"):
        create_key(host.runtime, "service", "")


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Basic abc", "purser_svc_x", "Bearer purser_svc_abc", "Bearer " + "x" * 5_000],
)
def test_without_a_key_of_ours_nothing_is_answered(host: Host, header: str | None) -> None:
    answer = host.client.get("/v1/accounts", headers={} if header is None else {"Authorization": header})
    assert_problem(answer, 401, "AUTH-001")
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_key_that_nobody_made_is_unknown(host: Host) -> None:
    assert_problem(host.get("/v1/accounts", bearer=new_key("purser_svc_")), 401, "AUTH-001")


@pytest.mark.parametrize("role", ["account", "support", "approver", "admin", "auditor"])
def test_only_the_host_opens_accounts_and_grants(host: Host, role: KeyRole) -> None:
    path = host.open("a")
    key = host.new_key(role, "a" if role == "account" else None)
    grant = {"bucket": "recharge", "amountCredits": "5", "source": "admin"}
    assert_problem(host.post(f"{path}/grants", grant, bearer=key), 403, "AUTH-002")
    assert_problem(host.post("/v1/accounts", {"email": "x@y.example"}, bearer=key), 403, "AUTH-002")
    assert_problem(host.get("/v1/accounts", bearer=key), 403, "AUTH-002")
    assert_problem(host.post(f"{path}/portal-sessions", bearer=key), 403, "AUTH-002")


def test_an_account_key_reads_its_own_account_by_either_path(host: Host) -> None:
    path = host.open("a")
    key = host.new_key("account", "a")
    own = host.get("/v1/billing/balance", bearer=key)
    assert (own.status_code, own.json()) == (200, host.balance(path))
    assert host.get(f"{path}/balance", bearer=key).json() == own.json()
    assert host.get(path, bearer=key).json()["accountId"] == "a"
    assert host.get("/v1/billing/transactions", bearer=key).json()["pagination"]["total"] == 1


def test_another_account_is_not_there(host: Host) -> None:
    host.open("a")
    host.open("b")
    key = host.new_key("account", "a")
    for resource in ("/balance", "/transactions", ""):
        other = host.get(f"/v1/accounts/b{resource}", bearer=key)
        nobody = host.get(f"/v1/accounts/nobody{resource}", bearer=key)
        assert_problem(other, 404, "NOT-FOUND")
        assert other.json() == nobody.json()
    for resource in ("spends", "holds", "grants", "api-keys", "portal-sessions", "holds/x/void"):
        assert_problem(host.post(f"/v1/accounts/b/{resource}", {}, bearer=key), 404, "NOT-FOUND")
        assert_problem(host.post(f"/v1/accounts/a/{resource}", {}, bearer=key), 403, "AUTH-002")
    put = host.client.put("/v1/accounts/b/limits", json={}, headers={"Authorization": f"Bearer {key}"})
    assert_problem(put, 404, "NOT-FOUND")
    assert_problem(host.get("/v1/support/accounts/b/timeline", bearer=key), 403, "AUTH-002")


@pytest.mark.parametrize("role", ["service", "support", "admin", "auditor"])
def test_credentials_without_an_account_must_name_one(host: Host, role: KeyRole) -> None:
    host.open("a")
    assert_problem(host.get("/v1/billing/balance", bearer=host.new_key(role)), 403, "AUTH-002")


def test_the_ledger_says_which_key_did_it(host: Host) -> None:
    path = host.open("a", plan="pro")
    host.grant(path, "recharge", 5)
    with host.runtime.db.reader.connect() as connection:
        assert connection.exec_driver_sql("SELECT actor FROM transactions").scalar() == "service:backend"


def test_a_revoked_key_is_refused_at_once(host: Host) -> None:
    host.open("a")
    key = host.new_key("account", "a")
    assert host.get("/v1/billing/balance", bearer=key).status_code == 200
    with host.runtime.db.reader.connect() as connection:
        statement = "SELECT credential_id FROM credentials WHERE role = 'account'"
        credential_id = str(connection.exec_driver_sql(statement).scalar())
    assert host.site.keyring.revoke(credential_id, "b") is False
    assert host.get("/v1/billing/balance", bearer=key).status_code == 200
    assert host.site.keyring.revoke(credential_id, "a") is True
    assert_problem(host.get("/v1/billing/balance", bearer=key), 401, "AUTH-001")
    assert host.site.keyring.revoke(credential_id, "a") is False


def test_a_key_made_under_an_older_secret_still_works(host: Host) -> None:
    path = host.open("a")
    rotated = replace(host.runtime, secrets=Secrets(("a newer secret of more than 32 characters", SECRET)))
    with TestClient(new_app(rotated)) as client:
        bearer = {"Authorization": f"Bearer {host.service_key}"}
        assert client.get(f"{path}/balance", headers=bearer).status_code == 200
    dropped = replace(host.runtime, secrets=Secrets(("a newer secret of more than 32 characters",)))
    with TestClient(new_app(dropped)) as client:
        assert_problem(client.get(f"{path}/balance", headers=bearer), 401, "AUTH-001")


def test_a_verified_key_costs_no_database_read_for_a_while(host: Host) -> None:
    host.open("a")
    key = host.new_key("account", "a")
    assert host.get("/v1/billing/balance", bearer=key).status_code == 200
    with host.runtime.db.writer.begin() as connection:
        connection.exec_driver_sql("DELETE FROM credentials WHERE role = 'account'")
    assert host.get("/v1/billing/balance", bearer=key).status_code == 200
    host.site.keyring.forget()
    assert_problem(host.get("/v1/billing/balance", bearer=key), 401, "AUTH-001")


def test_a_principal_bound_to_an_account_is_named_by_its_key() -> None:
    assert Principal("account", "key_1", "laptop", "a").actor == "account:key_1"
    assert Principal("support", "key_1", "Kim", None).actor == "support:Kim"
