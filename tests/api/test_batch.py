"""A batch of spends: each its own outcome, none stopped by another."""

import json
from typing import Any, cast

import pytest

from tests.api.host import Host, assert_problem

BATCH = "/v1/spends/batch"


def spent(account_id: str, credits: object, key: str | None = None, **more: object) -> dict[str, object]:
    item = {"accountId": account_id, "amountCredits": credits, **more}
    return item if key is None else item | {"idempotencyKey": key}


def results(host: Host, *items: object) -> list[dict[str, Any]]:
    answer = host.post_raw(BATCH, json.dumps({"spends": items}).encode())
    assert answer.status_code == 200, answer.text
    return cast(list[dict[str, Any]], answer.json()["results"])


def test_each_spend_of_a_batch_has_its_own_outcome_in_order(host: Host) -> None:
    for name in ("a", "b"):
        host.grant(host.open(name, plan="pro"), "recharge", 1_000)
    found = results(
        host,
        spent("a", "400", "k1"),
        spent("b", 1_001, "k1"),
        spent("nobody", "1", "k1"),
        spent("a", "1.5", "k2"),
        spent("a", "1", None),
        spent("a", "1", "k3", colour="red"),
        spent("a", "1", "k4", callId="\x00"),
        "nonsense",
        spent("a", "400", "k1"),
        spent("a", "500", "k1"),
        spent("b", "7", None, dryRun=True),
        spent("b", "1000", "k5", description="all"),
    )
    assert [r["status"] for r in found] == [201, 402, 404, 400, 400, 400, 400, 400, 201, 422, 200, 201]
    codes = [r.get("code") for r in found]
    assert codes[1:8] == ["CREDIT-001", "NOT-FOUND", "INVALID", "IDEMPOTENCY-001", "INVALID", "INVALID", "INVALID"]
    assert (codes[9], found[1]["shortfallCredits"], found[3]["field"]) == ("IDEMPOTENCY-002", "1", "amountCredits")
    assert (found[5]["field"], found[6]["field"]) == ("colour", "callId")
    assert found[8] == found[0] | {"replayed": True} and "replayed" not in found[0]
    assert (found[0]["balanceAfter"], found[0]["draws"][0]["amountCredits"]) == ("600", "400")
    assert (found[10]["balanceAfter"], found[11]["transaction"]["description"]) == ("993", "all")
    assert host.balance("/v1/accounts/a")["balanceCredits"] == "600"
    assert host.balance("/v1/accounts/b")["balanceCredits"] == "0"


def test_a_key_that_is_none_is_refused_as_a_key_whatever_is_wrong_with_it(host: Host) -> None:
    host.grant(host.open("a", plan="pro"), "recharge", 1_000)
    keys = ("", None, "k" * 256, "schlüssel", "n\0l", "\ud800", "a\x7fb", 7, 1.5, True, ["k"], {"k": 1})
    items = [{**spent("a", "1"), "idempotencyKey": key} for key in keys]
    worse = [item | {"amountCredits": "1.5", "colour": "red"} for item in items if item["idempotencyKey"] is not None]
    found = results(host, *items, *worse, *(item | {"dryRun": True} for item in worse))
    assert {(r["status"], r["code"]) for r in found} == {(400, "IDEMPOTENCY-001")}
    assert results(host, {**spent("a", "1", dryRun=True), "idempotencyKey": None})[0]["status"] == 200
    assert host.balance("/v1/accounts/a")["balanceCredits"] == "1000"


def test_the_header_key_is_ignored_and_a_whole_batch_may_be_sent_again(host: Host) -> None:
    host.grant(host.open("a", plan="pro"), "recharge", 1_000)
    items = [spent("a", "10", f"k{n}") for n in range(20)]
    first = host.post(BATCH, {"spends": items}, key="whatever").json()["results"]
    again = host.post(BATCH, {"spends": items}, key="whatever").json()["results"]
    assert [r | {"replayed": True} for r in first] == again
    assert host.balance("/v1/accounts/a")["balanceCredits"] == "800"


def test_a_thousand_spends_fit_and_one_more_does_not(host: Host) -> None:
    host.grant(host.open("a", plan="pro"), "recharge", 10_000)
    items = [spent("a", "1", f"k{n}") for n in range(1_000)]
    assert {r["status"] for r in results(host, *items)} == {201}
    assert host.balance("/v1/accounts/a")["balanceCredits"] == "9000"
    over = host.post(BATCH, {"spends": [*items, spent("a", "1", "more")]})
    assert_problem(over, 400, "INVALID", field="spends")
    assert results(host) == []


def test_a_thousand_spends_fit_with_all_that_each_may_say(host: Host) -> None:
    host.grant(host.open("a", plan="pro"), "recharge", 1_000)
    long = dict.fromkeys(("providerId", "providerName", "capabilityId", "outcome", "callId"), "ü" * 200)
    says = {**long, "description": "ü" * 500, "metadata": {"note": "m" * 4_085}}
    found = results(host, *(spent("a", "1", f"k{n:0>254}", **says) for n in range(1_000)))
    assert {r["status"] for r in found} == {201} and found[-1]["balanceAfter"] == "0"


DEEP = b'{"metadata":{"a":' + b"[" * 13 + b"]" * 13 + b"}}"


@pytest.mark.parametrize(
    ("item", "field"),
    [
        (b'{"accountId":"a","accountId":"b"}', "spends[1].accountId"),
        (b'{"metadata":{"a":{"b":1,"b":2}}}', "spends[1].b"),
        (b'{"metadata":{"a":1e999}}', "spends[1]"),
        (DEEP.replace(b"[]", b"[[]]"), "spends[1]"),
        (b'"\xff"', "spends[1]"),
        (b'{"metadata":NaN}', "body"),
        (b"[" * 10_000 + b"]" * 10_000, "body"),
        (b"{", "body"),
    ],
)
def test_an_item_that_cannot_be_parsed_is_named_by_its_place(host: Host, item: bytes, field: str) -> None:
    sent = b'{"spends":[%b,%b,{"a":1,"a":2}]}' % (DEEP, item)
    assert_problem(host.post_raw(BATCH, sent), 400, "INVALID", field=field)


def test_a_field_twice_beside_the_items_is_named_as_it_is(host: Host) -> None:
    assert_problem(host.post_raw(BATCH, b'{"spends":[],"spends":[]}'), 400, "INVALID", field="spends")
    assert_problem(host.post_raw(BATCH, b'{"spends":[],"a":{"b":1,"b":1}}'), 400, "INVALID", field="b")


def test_an_account_key_may_not_spend(host: Host) -> None:
    path = host.open("a")
    key = host.new_key("account", "a")
    assert_problem(host.post(BATCH, {"spends": []}, bearer=key), 403, "AUTH-002")
    assert_problem(host.post(f"{path}/spends", {"amountCredits": "1"}, bearer=key), 403, "AUTH-002")
