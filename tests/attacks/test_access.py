"""Attacks on what belongs to others: ids in every path, fields that nobody offered, forged cursors, odd text."""

from typing import Any

import pytest

from api.app import RESOURCES
from api.openapi import openapi
from engine.catalogs import load_catalog
from tests.api.desk import Desk
from tests.api.host import Host, assert_problem

DOCUMENT: Any = openapi(RESOURCES, load_catalog("alphio"))
ODD_TEXTS = ("\x00", "a\x00b", "\ud800", "\udfff\ud800")
HARMLESS_TEXTS = (
    "\u202emoc.live",
    "e\u0301" * 20,
    "\U0001f4b8",
    "ﷺ",
    "\u200b\u200d",
    "</script>",
    "'; DROP TABLE lots; --",
    "{{7*7}}",
)


def _own_objects(desk: Desk, path: str, account_id: str) -> dict[str, str]:
    """One object of every kind that an account may have, by its name in paths."""
    host = desk.host
    host.grant(path, "recharge", 1_000)
    purchase = desk.buy(path, 2_000)
    spend = host.spend(path, 10).json()["transaction"]["id"]
    hold = host.post(f"{path}/holds", {"amountCredits": "5"}).json()["holdId"]
    key = host.post(f"{path}/api-keys", {"name": "k"}).json()["id"]
    headers = {"Authorization": f"Bearer {host.service_key}"}
    person = {"issuer": "https://id.example", "subject": account_id}
    identity = host.client.put(f"{path}/identities", json=person, headers=headers).json()["id"]
    return {
        "transactionId": spend,
        "holdId": hold,
        "keyId": key,
        "identityId": identity,
        "purchaseId": purchase,
    }


BODIES: dict[str, dict[str, object]] = {
    "capture": {"amountCredits": "1"},
    "extend": {"amountCredits": "1"},
}


def test_another_accounts_ids_are_ids_of_nothing(desk: Desk) -> None:
    host = desk.host
    mine, theirs = host.open("a", "pro"), host.open("b", "pro")
    _own_objects(desk, mine, "a")
    foreign = _own_objects(desk, theirs, "b")
    before = host.balance(theirs)
    asked = set()
    for url, methods in DOCUMENT["paths"].items():
        names = [name for name in foreign if f"{{{name}}}" in url]
        if not url.startswith("/v1/accounts/{accountId}/") or not names:
            continue
        (name,) = names
        for method in methods:
            body = {} if method in ("get", "delete") else {"json": BODIES.get(url.rsplit("/", 1)[-1], {})}
            seen = []
            for value in (foreign[name], foreign[name][:-1] + ("0" if foreign[name][-1] != "0" else "1")):
                path = url.replace("{accountId}", "a").replace(f"{{{name}}}", value)
                headers = {"Authorization": f"Bearer {host.service_key}", "Idempotency-Key": f"idor-{len(asked)}"}
                answer = host.client.request(method.upper(), path, headers=headers, **body)
                assert_problem(answer, 404, "NOT-FOUND")
                seen.append(answer.json())
            assert seen[0] == seen[1]
            asked.add((method, url))
    assert len(asked) >= 7, asked
    assert host.balance(theirs) == before
    assert host.get(f"{theirs}/api-keys").json()["pagination"]["total"] == 1
    assert_problem(host.post(f"{mine}/spends", {"amountCredits": "1", "apiKeyId": foreign["keyId"]}), 404, "NOT-FOUND")
    assert_problem(host.get(f"{mine}/payments/{foreign['purchaseId']}"), 404, "NOT-FOUND")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/accounts", {"email": "x@y.example", "balanceCredits": "5"}),
        ("/v1/accounts", {"email": "x@y.example", "role": "admin"}),
        ("/v1/accounts/a/spends", {"amountCredits": "1", "accountId": "b"}),
        ("/v1/accounts/a/spends", {"amountCredits": "1", "createdAt": "2020-01-01T00:00:00Z"}),
        ("/v1/accounts/a/spends", {"amountCredits": "1", "actor": "service:other"}),
        ("/v1/accounts/a/grants", {"bucket": "recharge", "amountCredits": "1", "source": "promo", "lotId": "x"}),
        ("/v1/accounts/a/grants", {"bucket": "recharge", "amountCredits": "1", "source": "promo", "costMinor": 1}),
        ("/v1/accounts/a/holds", {"amountCredits": "1", "status": "captured"}),
        ("/v1/accounts/a/api-keys", {"name": "k", "role": "service"}),
        ("/v1/accounts/a/api-keys", {"name": "k", "accountId": "b"}),
        ("/v1/accounts/a/checkout", {"amountUsdCents": 2000, "creditsToReceive": "1000000"}),
        ("/v1/accounts/a/checkout", {"amountUsdCents": 2000, "accountId": "b"}),
        ("/v1/accounts/a/coupons/redeem", {"code": "WELCOME100", "credits": 5}),
        ("/v1/accounts/a/portal-sessions", {"role": "admin"}),
    ],
)  # fmt: skip
def test_a_field_that_nobody_offered_is_refused_by_name(host: Host, path: str, body: dict[str, object]) -> None:
    host.open("a")
    problem = assert_problem(host.post(path, body), 400, "INVALID")
    assert problem["field"] == list(body)[-1]


def test_an_account_cannot_lift_itself(host: Host) -> None:
    path = host.open("a")
    headers = {"Authorization": f"Bearer {host.service_key}"}
    for body in ({"plan": "elite"}, {"status": "active"}, {"accountId": "b"}, {"balanceCredits": "1"}, {"role": "x"}):
        answer = host.client.put(f"{path}/profile", json=body, headers=headers)
        assert_problem(answer, 400, "INVALID", field=next(iter(body)))


def test_a_forged_cursor_shows_nothing_of_others(host: Host) -> None:
    mine, theirs = host.open("a", "pro"), host.open("b", "pro")
    for path in (mine, theirs):
        for _ in range(3):
            host.grant(path, "recharge", 5)
    cursor = host.get(f"{theirs}/transactions", limit=1).json()["nextCursor"]
    own = {row["id"] for row in host.get(f"{mine}/transactions", limit=100).json()["transactions"]}
    for foreign in (cursor, "1" * 18, "MTAw"):
        answer = host.get(f"{mine}/transactions", cursor=foreign)
        assert answer.status_code in (200, 400)
        assert {row["id"] for row in answer.json().get("transactions", [])} <= own
    for wrong in ("x", "-1", "0 OR 1=1", cursor + "!", "\x00", "٣", "../../b"):
        assert_problem(host.get(f"{mine}/transactions", cursor=wrong), 400, "INVALID")


def _text_fields() -> list[tuple[str, str, dict[str, object], str]]:
    """Every text field of every account-scoped JSON body, with the other fields that it needs."""
    schemas = DOCUMENT["components"]["schemas"]
    found = []
    for url, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is None or url.startswith("/v1/billing/"):
                continue
            shape = schemas[content["schema"]["$ref"].rpartition("/")[2]]
            for name, kind in shape.get("properties", {}).items():
                kinds = [kind, *kind.get("anyOf", [])]
                if any(one.get("type") == "string" and "enum" not in one for one in kinds):
                    found.append((method.upper(), url, shape, name))
    return found


def test_no_text_field_takes_what_no_database_keeps(desk: Desk) -> None:
    """A NUL or half a surrogate pair is refused by the field's name, in whatever field it comes; other odd text is
    text: it is kept, or refused for another reason, and never breaks anything."""
    host = desk.host
    host.open("a")
    fields = _text_fields()
    assert len(fields) > 40
    for method, url, _, name in fields:
        path = url.replace("{accountId}", "a")
        while "{" in path:
            path = path[: path.index("{")] + "nothing" + path[path.index("}") + 1 :]
        bearer = desk.admin if path.startswith(("/v1/admin", "/v1/support", "/v1/webhook")) else host.service_key
        headers = {"Authorization": f"Bearer {bearer}", "Idempotency-Key": "odd", "Content-Type": "application/json"}
        for text in ODD_TEXTS:
            escaped = "".join(f"\\u{ord(c):04x}" for c in text)
            raw = f'{{"{name}": "{escaped}"}}'
            answer = host.client.request(method, path, content=raw, headers=headers)
            assert_problem(answer, 400, "INVALID", field=name)
        for text in HARMLESS_TEXTS:
            answer = host.client.request(method, path, json={name: text}, headers=headers)
            assert answer.status_code < 500, (method, path, name, text, answer.text)


def test_no_query_takes_a_nul(host: Host) -> None:
    path = host.open("a")
    admin = host.new_key("admin")
    assert_problem(host.get(f"{path}/transactions", type="a\x00b"), 400, "INVALID")
    assert_problem(host.get("/v1/support/search", bearer=admin, q="a\x00b"), 400, "INVALID", field="q")
    for odd in HARMLESS_TEXTS:
        assert host.get("/v1/support/search", bearer=admin, q=odd + "xx").status_code == 200


@pytest.mark.parametrize("catalog", ["acn"])
def test_guessing_coupons_from_many_addresses_and_keys_ends_at_twenty(host: Host) -> None:
    path = host.open("a")
    keys = [host.new_key("account", "a", name=f"k{n}") for n in range(5)]
    for n in range(20):
        headers = {
            "Authorization": f"Bearer {keys[n % 5]}",
            "X-Forwarded-For": f"203.0.113.{n}",
            "X-Real-IP": "1.1.1.1",
        }
        answer = host.client.post("/v1/billing/coupons/redeem", json={"code": f"GUESS{n}"}, headers=headers)
        assert answer.status_code == 404
    for bearer in (keys[0], host.service_key):
        for code in ("ANOTHER", "LAUNCH50"):
            refused = host.post(f"{path}/coupons/redeem", {"code": code}, bearer=bearer)
            assert (refused.status_code, refused.json()["code"]) == (429, "ACN-RATE-001")
            assert int(refused.headers["retry-after"]) > 0
    other = host.open("b")
    assert host.post(f"{other}/coupons/redeem", {"code": "LAUNCH50"}).status_code == 201
