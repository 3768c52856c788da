"""Idempotency keys on every resource that takes one: which are keys at all, and what a key stands for."""

import asyncio
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from api.app import RESOURCES
from api.auth import MATRIX
from api.scope import Resource
from tests.api.host import Host, assert_problem

KEYED = [resource for resource in RESOURCES if resource.key != "none"]
PATHS = [(resource, path) for resource in KEYED for path in resource.paths]
ODD: dict[str, list[bytes]] = {
    "empty": [b""],
    "too long": [b"k" * 256],
    "not ASCII": ["schlüssel".encode()],
    "an emoji": ["🔑".encode()],
    "latin": [b"cl\xe9"],
    "NUL": [b"a\x00b"],
    "a control character": [b"a\x1fb"],
    "a tab": [b"a\tb"],
    "DEL": [b"a\x7fb"],
    "doubled": [b"one", b"two"],
    "the same twice": [b"one", b"one"],
}


def bearer_for(host: Host, resource: Resource[Any], path: str, account_id: str) -> str:
    """A key that may: the account's own where the path names no account."""
    assert resource.may is not None
    roles = MATRIX[resource.may]
    if path.startswith("/v1/billing/"):
        return host.new_key("account", account_id) if "account" in roles else host.service_key
    if "service" in roles:
        return host.service_key
    return host.new_key("admin" if "admin" in roles else "approver")


def send(host: Host, resource: Resource[Any], path: str, bearer: str, keys: list[bytes]) -> tuple[int, dict[str, Any]]:
    """The request as the server gets it: a client of ours would join or refuse what is odd."""
    filled = re.sub(r"\{\w+:str\}", "x", path.replace("{account_id:str}", "a"))
    headers = [(b"host", b"testserver.local"), (b"content-type", b"application/json")]
    headers += [(b"authorization", f"Bearer {bearer}".encode()), *((b"idempotency-key", key) for key in keys)]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": resource.method,
        "scheme": "http",
        "path": filled,
        "raw_path": filled.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    messages: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def answer(message: dict[str, Any]) -> None:
        messages.append(message)

    app: Any = host.client.app
    asyncio.run(app(scope, receive, answer))
    body = b"".join(message.get("body", b"") for message in messages[1:])
    told = json.loads(body) if body else {}
    return messages[0]["status"], told if isinstance(told, dict) else {}


def test_there_are_resources_with_keys() -> None:
    assert len(KEYED) >= 12 and sum(resource.key == "required" for resource in KEYED) >= 6


def test_what_is_no_key_is_refused_before_anything_is_looked_at(host: Host) -> None:
    host.open("a")
    checked = 0
    for resource, path in PATHS:
        bearer = bearer_for(host, resource, path, "a")
        where = f"{resource.method} {path}"
        status, _ = send(host, resource, path, bearer, [b"k" * 255])
        if status in (401, 403):
            continue  # no account has this one under its own credential
        checked += 1
        wrong = {**ODD, **({"missing": []} if resource.key == "required" else {})}
        for what, keys in wrong.items():
            status, told = send(host, resource, path, bearer, keys)
            assert (status, told["code"]) == (400, "IDEMPOTENCY-001"), (where, what, told)
        for fine in (b"k" * 255, b" ", b"~!@#$%^&*()_+{}|:<>? "):
            _, told = send(host, resource, path, bearer, [fine])
            assert told.get("code") != "IDEMPOTENCY-001", (where, fine, told)
    assert checked >= len(KEYED)


@dataclass(frozen=True)
class Deed:
    """Something done under a key: where, with which body, and one that asks for something else."""

    where: Callable[[Host, str], str]
    body: dict[str, object]
    other: dict[str, object]
    status: int = 201
    role: str = "service"


def new_hold(host: Host, path: str) -> str:
    return str(host.post(f"{path}/holds", {"amountCredits": "10"}).json()["holdId"])


def new_spend(host: Host, path: str) -> str:
    return str(host.spend(path, 10).json()["transaction"]["id"])


def admin_path(path: str, what: str) -> str:
    return f"{path.replace('/v1/accounts/', '/v1/admin/accounts/')}/{what}"


GRANT = {"bucket": "recharge", "amountCredits": "5", "source": "promo"}
REASON = {"reason": "asked for"}
DEEDS = {
    "spend": Deed(lambda host, path: f"{path}/spends", {"amountCredits": "5"}, {"amountCredits": "6"}),
    "hold": Deed(lambda host, path: f"{path}/holds", {"amountCredits": "5"}, {"amountCredits": "6"}),
    "capture": Deed(
        lambda host, path: f"{path}/holds/{new_hold(host, path)}/capture",
        {"amountCredits": "5"},
        {"amountCredits": "6"},
        200,
    ),
    "extend": Deed(
        lambda host, path: f"{path}/holds/{new_hold(host, path)}/extend",
        {"amountCredits": "5"},
        {"amountCredits": "6"},
        200,
    ),
    "reversal": Deed(lambda host, path: f"{path}/spends/{new_spend(host, path)}/reversal", {}, {"amountCredits": "3"}),
    "grant": Deed(lambda host, path: f"{path}/grants", GRANT, GRANT | {"amountCredits": "6"}),
    "admin grant": Deed(
        lambda host, path: admin_path(path, "grants"),
        {"bucket": "recharge", "amountCredits": "5", **REASON},
        {"bucket": "recharge", "amountCredits": "6", **REASON},
        role="admin",
    ),
    "admin debit": Deed(
        lambda host, path: admin_path(path, "debits"),
        {"amountCredits": "5", **REASON},
        {"amountCredits": "6", **REASON},
        role="admin",
    ),
    "suspend": Deed(lambda host, path: admin_path(path, "suspend"), REASON, {"reason": "another"}, 200, "admin"),
    "coupon": Deed(lambda host, path: f"{path}/coupons/redeem", {"code": "welcome100"}, {"code": "nothing"}),
}
KEY = "the same key " + "k" * 242


def ready(host: Host, account_id: str) -> str:
    path = host.open(account_id, plan="pro")
    host.grant(path, "recharge", 1_000)
    return path


@pytest.mark.parametrize("name", DEEDS)
def test_a_key_is_one_deed_for_good_and_another_accounts_is_another(host: Host, name: str) -> None:
    deed = DEEDS[name]
    path, elsewhere = ready(host, "a"), ready(host, "b")
    bearer = host.new_key("admin") if deed.role == "admin" else host.service_key
    assert len(KEY) == 255
    where = deed.where(host, path)
    first = host.post(where, deed.body, key=KEY, bearer=bearer)
    assert first.status_code == deed.status and "idempotency-replayed" not in first.headers, first.text
    host.wait(hours=1)
    again = host.post(where, deed.body, key=KEY, bearer=bearer)
    assert again.status_code == deed.status and again.headers["idempotency-replayed"] == "true"
    assert again.json() == first.json()
    assert_problem(host.post(where, deed.other, key=KEY, bearer=bearer), 422, "IDEMPOTENCY-002")
    there = host.post(deed.where(host, elsewhere), deed.body, key=KEY, bearer=bearer)
    assert there.status_code == deed.status and "idempotency-replayed" not in there.headers, there.text


def test_one_key_serves_every_operation_once(host: Host) -> None:
    path = ready(host, "a")
    for name, deed in DEEDS.items():
        if name == "suspend":
            continue
        bearer = host.new_key("admin") if deed.role == "admin" else host.service_key
        answer = host.post(deed.where(host, path), deed.body, key=KEY, bearer=bearer)
        assert answer.status_code == deed.status and "idempotency-replayed" not in answer.headers, (name, answer.text)


@pytest.mark.parametrize("what", ["spends", "holds"])
def test_a_refusal_leaves_no_trace_of_its_key(host: Host, what: str) -> None:
    path = host.open("a", plan="pro")
    rows = host.get(f"{path}/transactions").json()
    assert_problem(host.post(f"{path}/{what}", {"amountCredits": "20"}, key="k"), 402, "CREDIT-001")
    assert host.get(f"{path}/transactions").json() == rows
    host.grant(path, "recharge", 30)
    assert host.post(f"{path}/{what}", {"amountCredits": "21"}, key="k").status_code == 201
    assert_problem(host.post(f"{path}/{what}", {"amountCredits": "20"}, key="k"), 422, "IDEMPOTENCY-002")


def test_the_path_is_part_of_what_a_key_stands_for(host: Host) -> None:
    path = ready(host, "a")
    first, second = new_hold(host, path), new_hold(host, path)
    assert host.post(f"{path}/holds/{first}/void", key="k").status_code == 200
    assert_problem(host.post(f"{path}/holds/{second}/void", key="k"), 422, "IDEMPOTENCY-002")
