"""Every operation of the OpenAPI, every role, an account of one's own and another's: allowed or refused as SPEC §10.

What is expected stands here in the words of the contract's table, by the operation's path, and not in the code's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from litestar.testing import TestClient

from api.app import RESOURCES
from api.auth import Role
from api.openapi import openapi
from api.receipts import resources as receipt_resources
from engine.store import identities
from engine.store.credentials import KeyRole
from engine.store.database import transact
from receipts.render import Renderer
from tests.api.host import Host, new_app
from tests.doors.issuer import Issuer

STAFF = {"support", "approver", "admin"}
ACCOUNTS = {"account", "owner", "member"}
ALL_READ = ACCOUNTS | STAFF | {"service", "auditor"}
HOST_ONLY = {"service"}
PUBLIC = "everybody"

BY_PREFIX: tuple[tuple[str, str, set[str]], ...] = (
    # method (or *), path without its base, who may
    ("*", "balance", ALL_READ),
    ("*", "quote", ALL_READ),
    ("*", "payments", ALL_READ),
    ("*", "transactions", ALL_READ),
    ("*", "usage", ALL_READ),
    ("GET", "receipts", ALL_READ),
    ("POST", "receipts", {"owner", "service"}),
    ("*", "entitlements", ALL_READ),
    ("GET", "holds", ALL_READ),
    ("POST", "checkout", {"account", "owner", "service"}),
    ("POST", "coupons/redeem", {"account", "owner", "service"}),
    ("POST", "purchases/", {"account", "owner", "service"}),
    ("GET", "purchases/store-token", {"account", "owner", "service"}),
    *(
        (method, name, who)
        for name in (
            *("limits", "alerts", "profile", "api-keys", "subscription", "purchases/store-consent"),
            *("auto-recharge", "payment-methods", "provider-portal"),
        )
        for method, who in (("GET", ACCOUNTS | HOST_ONLY), ("*", {"owner", "service"}))
    ),
    ("*", "spends", HOST_ONLY),
    ("*", "holds", HOST_ONLY),
    ("*", "grants", HOST_ONLY),
    ("*", "portal-sessions", HOST_ONLY),
    ("*", "entitlement-overrides", HOST_ONLY),
    ("*", "identities", HOST_ONLY),
)
WHOLE: tuple[tuple[str, str, set[str] | str], ...] = (
    ("GET", "/v1/accounts/{accountId}", ALL_READ),
    ("*", "/v1/accounts", HOST_ONLY),
    ("*", "/v1/spends/batch", HOST_ONLY),
    ("*", "/v1/api-keys/verify", HOST_ONLY),
    ("*", "/v1/support/reversals/{reversalId}/approve", {"approver", "admin"}),
    ("*", "/v1/support/reversals/{reversalId}/reject", {"approver", "admin"}),
    ("*", "/v1/support/", STAFF),
    ("GET", "/v1/admin/audit-log", {"admin", "auditor"}),
    ("*", "/v1/admin/", {"admin"}),
    ("*", "/v1/webhook-endpoints", {"admin"}),
    ("*", "/webhooks/", PUBLIC),
    ("*", "/portal/", PUBLIC),
    ("*", "/healthz", PUBLIC),
    ("*", "/readyz", PUBLIC),
)
ROLES: tuple[Role, ...] = ("account", "owner", "member", "service", "support", "approver", "admin", "auditor")


def expected(method: str, path: str) -> set[str] | str:
    """Who may, by the first line of the tables that speaks of this operation."""
    for base in ("/v1/billing/", "/v1/accounts/{accountId}/"):
        if path.startswith(base):
            rest = path.removeprefix(base)
            found = [who for m, prefix, who in BY_PREFIX if m in (method, "*") and rest.startswith(prefix)]
            assert found, f"no line speaks of {method} {path}"
            return found[0]
    found_whole = [
        who
        for m, start, who in WHOLE
        if m in (method, "*") and (path == start or path.startswith(start + "/" * (start[-1] != "/")))
    ]
    assert found_whole, f"no line speaks of {method} {path}"
    return found_whole[0]


@dataclass
class Gate:
    """A host with accounts `a` and `b`, and one credential of every role; accounts' ones belong to `a`."""

    host: Host
    shown: dict[Role, dict[str, str]]
    operations: list[tuple[str, str]]

    def ask(self, role: Role | None, method: str, path: str, account_id: str) -> int:
        url = path.replace("{accountId}", account_id)
        for name in ("{feature}", "{file}", "{token}", "{provider}"):
            url = url.replace(name, "nothing")
        while "{" in url:
            url = url[: url.index("{")] + "nothing" + url[url.index("}") + 1 :]
        headers = {"Idempotency-Key": "m"} | ({} if role is None else self.shown[role])
        body: dict[str, Any] = {} if method in ("GET", "DELETE") else {"json": {"nonsense": 1}}
        return self.host.client.request(method, url, headers=headers, follow_redirects=False, **body).status_code


@pytest.fixture
def gate(host: Host) -> Iterator[Gate]:
    host.open("a")
    host.open("b")
    with Renderer() as renderer, Issuer() as issuer:
        extra = receipt_resources(renderer)
        app = new_app(host.runtime, extra, issuer.environ | {"PURSER_RATE_LIMIT": "0"})
        with TestClient(app) as client:
            host.client, host.site = client, app.state["site"]
            document: Any = openapi([*RESOURCES, *extra], host.runtime.catalog)
            operations = [(m.upper(), path) for path, methods in document["paths"].items() for m in methods]
            yield Gate(host, _credentials(host, issuer), operations)


def _credentials(host: Host, issuer: Issuer) -> dict[Role, dict[str, str]]:
    shown: dict[Role, str] = {"account": host.new_key("account", "a"), "service": host.service_key}
    staff: tuple[KeyRole, ...] = ("support", "approver", "admin", "auditor")
    for role in staff:
        shown[role] = host.new_key(role)
    for number, role in enumerate(("owner", "member")):
        made = identities.Identity(issuer.base_url, role, f"idn_{number}", "a", role, host.clock.now())
        transact(host.runtime.db, lambda session, made=made: identities.add_identity(session, made))
        shown[role] = issuer.token(role)
    return {role: {"Authorization": f"Bearer {secret}"} for role, secret in shown.items()}


def test_every_role_may_exactly_what_the_contract_says(gate: Gate) -> None:
    wrong = []
    asked = 0
    for method, path in gate.operations:
        who = expected(method, path)
        for role in ROLES:
            asked += 1
            code = gate.ask(role, method, path, "a")
            may = who == PUBLIC or role in who
            has_account = not path.startswith("/v1/billing/") or role in ACCOUNTS
            if (code == 403) != (who != PUBLIC and not (may and has_account)) or code in (401, 500):
                wrong.append((method, path, role, code))
    assert not wrong, wrong
    assert asked == len(gate.operations) * len(ROLES) > 900


def test_another_accounts_objects_are_as_if_they_did_not_exist(gate: Gate) -> None:
    wrong = []
    asked = 0
    for method, path in gate.operations:
        if not path.startswith("/v1/accounts/{accountId}"):
            continue
        for role in ("account", "owner", "member"):
            asked += 1
            there, nowhere = (gate.ask(role, method, path, account_id) for account_id in ("b", "nobody"))
            if (there, nowhere) != (404, 404):
                wrong.append((method, path, role, there, nowhere))
    assert not wrong, wrong
    assert asked >= 150


def test_nobody_is_let_in_without_a_credential(gate: Gate) -> None:
    for method, path in gate.operations:
        code = gate.ask(None, method, path, "a")
        assert (code == 401) == (expected(method, path) != PUBLIC), (method, path, code)
