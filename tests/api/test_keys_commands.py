"""`purser keys`: the operator sees which keys work, never the keys, and ends one that leaked."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from api.cli import main
from engine.store.database import open_database
from tests.e2e.served import environment, serving


def keys(env: dict[str, str], *words: str) -> Result:
    return CliRunner().invoke(main, ["keys", *words], env=env)


def listed(env: dict[str, str]) -> list[dict[str, str]]:
    return list(json.loads(keys(env, "list", "--json").stdout)["keys"])


def test_keys_are_listed_without_what_is_secret_of_them_and_end_when_revoked(db_url: str, tmp_path: Path) -> None:
    env = environment(db_url, tmp_path)
    assert listed(env) == [] and keys(env, "list").stdout == ""
    made = [
        json.loads(keys(env, "create", "--role", role, "--name", name, "--json").stdout)["key"]
        for role, name in (("service", "backend"), ("support", "Sam"))
    ]
    assert {(each["role"], each["name"], each["hint"]) for each in listed(env)} == {
        ("service", "backend", made[0][-4:]), ("support", "Sam", made[1][-4:])
    }  # fmt: skip
    assert not any(key in keys(env, "list").stdout for key in made)
    (leaked,) = (each["id"] for each in listed(env) if each["role"] == "service")
    assert json.loads(keys(env, "revoke", leaked, "--json").stdout) == {"revoked": leaked}
    assert [each["name"] for each in listed(env)] == ["Sam"]
    again = keys(env, "revoke", leaked)
    assert again.exit_code == 2 and "There is no such key that works." in again.stderr
    with serving(env, {"service": made[0], "support": made[1]}) as served:
        assert served.call("service", "GET", "/v1/accounts").status_code == 401
        assert served.call("support", "GET", "/v1/support/search?q=nobody").status_code == 200


def test_keys_are_listed_beside_a_process_that_holds_the_file_and_revoked_only_without_it(
    sqlite_url: str, tmp_path: Path
) -> None:
    env = environment(sqlite_url, tmp_path)
    keys(env, "create", "--role", "service", "--name", "backend")
    held = open_database(sqlite_url)
    (key,) = listed(env)
    refused = keys(env, "revoke", key["id"])
    held.close()
    assert refused.exit_code == 2 and "in use by another Purser process" in refused.stderr
    assert len(listed(env)) == 1


def test_a_key_may_be_made_for_less_and_for_a_while(db_url: str, tmp_path: Path) -> None:
    env = environment(db_url, tmp_path)
    words = (
        "create",
        "--role",
        "service",
        "--name",
        "dashboard",
        "--scope",
        "read",
        "--expires",
        "2099-12-31",
        "--json",
    )
    key = json.loads(keys(env, *words).stdout)["key"]
    (one,) = listed(env)
    assert (one["scopes"], one["expiresAt"]) == (["read"], "2100-01-01T00:00:00Z")
    assert "until 2100-01-01T00:00:00Z, only read" in keys(env, "list").stdout
    ended = ("create", "--role", "service", "--name", "x", "--expires", "2099-12-31T10:00:00+02:00")
    keys(env, *ended)
    assert listed(env)[0]["expiresAt"] == "2099-12-31T08:00:00Z" and listed(env)[0]["scopes"] is None
    keys(env, *ended[:-1], "9999-12-31")
    assert listed(env)[0]["expiresAt"] == "9999-12-31T23:59:59.999999Z"
    with serving(env, {"service": key}) as served:
        assert served.call("service", "GET", "/v1/accounts").status_code == 403
        assert served.call("service", "GET", "/v1/accounts/nobody/balance").status_code == 404


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--expires", "2020-01-01", "It is over."),
        ("--expires", "2099-12-31T10:00:00", "an instant with its offset"),
        ("--expires", "tomorrow", "It is a day"),
        ("--expires", "2099-W01-1", "It is a day"),
        ("--scope", "admin", "scopes are among what its role may do"),
        ("--scope", "everything", "is not one of"),
    ],
)
def test_an_end_or_a_scope_that_cannot_be_is_refused(
    sqlite_url: str, tmp_path: Path, option: str, value: str, said: str
) -> None:
    env = environment(sqlite_url, tmp_path)
    refused = keys(env, "create", "--role", "service", "--name", "x", option, value)
    assert refused.exit_code == 2 and said in refused.stderr.replace("\n", " ")
    assert listed(env) == []
