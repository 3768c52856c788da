"""Spending over HTTP: order, keys, refusals, reversals."""

import pytest

from tests.api.host import Host, assert_problem


@pytest.fixture
def acme(host: Host) -> str:
    """An account with 200 limited-time, 5,000 monthly and 3,000 recharge credits (SPEC §2.2)."""
    path = host.open("acme", plan="pro")
    host.grant(path, "recharge", 3_000)
    host.grant(path, "monthly", 5_000, host.clock.now().replace(day=28))
    host.grant(path, "limited_time", 200, host.clock.now().replace(day=29))
    return path


def test_a_spend_draws_limited_time_then_monthly_then_recharge(host: Host, acme: str) -> None:
    answer = host.spend(acme, 800, description="Signal", providerId="openai", callId="c-1", metadata={"b": 1, "a": [2]})
    assert answer.status_code == 201
    body = answer.json()
    assert [(d["bucket"], d["amountCredits"]) for d in body["draws"]] == [("limited_time", "200"), ("monthly", "600")]
    assert body["balanceAfter"] == "7400"
    row = body["transaction"]
    assert (row["type"], row["amountCredits"], row["balanceAfter"]) == ("debit", "-800", "7400")
    assert (row["description"], row["providerId"], row["callId"]) == ("Signal", "openai", "c-1")
    assert row["metadata"] == {"a": [2], "b": 1}
    assert host.buckets(acme) == {"limited_time": 0, "monthly": 4_400, "recharge": 3_000}


def test_a_large_spend_reaches_the_recharge_credits(host: Host, acme: str) -> None:
    assert host.spend(acme, 6_000).json()["balanceAfter"] == "2200"
    assert host.buckets(acme) == {"limited_time": 0, "monthly": 0, "recharge": 2_200}


def test_more_than_there_is_changes_nothing(host: Host, acme: str) -> None:
    facts = {"neededCredits": "8201", "availableCredits": "8200", "shortfallCredits": "1"}
    assert_problem(host.spend(acme, 8_201), 402, "CREDIT-001", **facts)
    assert host.buckets(acme) == {"limited_time": 200, "monthly": 5_000, "recharge": 3_000}
    assert host.get(f"{acme}/transactions").json()["pagination"]["total"] == 3


def test_the_same_key_and_request_give_the_first_answer_again(host: Host, acme: str) -> None:
    first = host.post(f"{acme}/spends", {"amountCredits": "800"}, key="k1")
    host.spend(acme, 100)
    again = host.post(f"{acme}/spends", {"amountCredits": 800}, key="k1")
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert host.balance(acme)["balanceCredits"] == "7300"


def test_the_same_key_for_another_request_is_refused(host: Host, acme: str) -> None:
    host.post(f"{acme}/spends", {"amountCredits": "800"}, key="k1")
    assert_problem(host.post(f"{acme}/spends", {"amountCredits": "801"}, key="k1"), 422, "IDEMPOTENCY-002")


def test_a_refusal_leaves_no_trace_of_its_key(host: Host, acme: str) -> None:
    assert host.post(f"{acme}/spends", {"amountCredits": "9000"}, key="k1").status_code == 402
    host.grant(acme, "recharge", 1_000)
    assert host.post(f"{acme}/spends", {"amountCredits": "9000"}, key="k1").status_code == 201


@pytest.mark.parametrize("key", [None, "k" * 256])
def test_a_spend_needs_a_well_formed_key(host: Host, acme: str, key: str | None) -> None:
    assert_problem(host.post(f"{acme}/spends", {"amountCredits": "1"}, key=key), 400, "IDEMPOTENCY-001")


def test_a_key_is_up_to_255_characters_of_ascii(host: Host, acme: str) -> None:
    assert host.post(f"{acme}/spends", {"amountCredits": "1"}, key="k" * 255).status_code == 201
    odd = {b"Authorization": f"Bearer {host.service_key}".encode(), b"Idempotency-Key": "clé".encode()}
    assert_problem(host.client.post(f"{acme}/spends", json={"amountCredits": "1"}, headers=odd), 400, "IDEMPOTENCY-001")


def test_a_dry_run_says_what_would_be_drawn_and_keeps_nothing(host: Host, acme: str) -> None:
    answer = host.post(f"{acme}/spends", {"amountCredits": "800", "dryRun": True}, key=None)
    assert (answer.status_code, answer.json()["transaction"], answer.json()["balanceAfter"]) == (200, None, "7400")
    assert [d["amountCredits"] for d in answer.json()["draws"]] == ["200", "600"]
    assert host.balance(acme)["balanceCredits"] == "8200"
    body = {"amountCredits": "1", "dryRun": True}
    assert host.post(f"{acme}/spends", body, key="dry").status_code == 200
    assert host.post(f"{acme}/spends", {"amountCredits": "2"}, key="dry").status_code == 201


def test_a_reversal_gives_back_to_the_very_lots(host: Host, acme: str) -> None:
    spent = host.spend(acme, 800, description="Signal").json()["transaction"]["id"]
    part = host.post(f"{acme}/spends/{spent}/reversal", {"amountCredits": "100", "reason": "half"}, key="r1")
    assert (part.status_code, part.json()["balanceAfter"]) == (201, "7500")
    row = part.json()["transaction"]
    assert (row["type"], row["reversesId"], row["amountCredits"]) == ("debit_reversal", spent, "100")
    assert (row["description"], row["metadata"]) == ("Reversed: Signal", {"reason": "half"})
    assert [e["bucket"] for e in row["entries"]] == ["monthly"]
    again = host.post(f"{acme}/spends/{spent}/reversal", {"amountCredits": "100", "reason": "half"}, key="r1")
    assert (again.json(), again.headers["idempotency-replayed"]) == (part.json(), "true")
    whole = host.post(f"{acme}/spends/{spent}/reversal")
    assert [e["amountCredits"] for e in whole.json()["transaction"]["entries"]] == ["500", "200"]
    assert host.buckets(acme) == {"limited_time": 200, "monthly": 5_000, "recharge": 3_000}
    over = host.post(f"{acme}/spends/{spent}/reversal")
    assert_problem(over, 409, "SPEND-001", reversibleCredits="0")


def test_another_accounts_spend_is_not_there_to_be_reversed(host: Host, acme: str) -> None:
    spent = host.spend(acme, 800).json()["transaction"]["id"]
    other = host.open("other")
    assert_problem(host.post(f"{other}/spends/{spent}/reversal"), 404, "NOT-FOUND")
    assert_problem(host.post(f"{acme}/spends/txn_unknown/reversal"), 404, "NOT-FOUND")
    assert_problem(host.post(f"{acme}/spends/%00/reversal"), 404, "NOT-FOUND")


def test_an_unknown_account_cannot_spend(host: Host) -> None:
    assert_problem(host.spend("/v1/accounts/nobody", 1), 404, "NOT-FOUND")
    assert_problem(host.spend("/v1/accounts/no%00body", 1), 404, "NOT-FOUND")


BAD_CREDITS = [
    "1e3", "+5", " 5", "5 ", "-5", "0", "", "٣", "５", "0x10", "1_000", "1000000000000001", "9" * 29, "5.0", "800\n",
    5.0, 0, -1, True, None, [5], {"a": 5}, 10**15 + 1, 10**40,
]  # fmt: skip


@pytest.mark.parametrize("credits", BAD_CREDITS)
def test_what_is_no_amount_of_credits_is_refused_by_name(host: Host, acme: str, credits: object) -> None:
    answer = host.post(f"{acme}/spends", {"amountCredits": credits})
    assert_problem(answer, 400, "INVALID", field="amountCredits")
    assert host.balance(acme)["balanceCredits"] == "8200"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "amountCredits"),
        ({"amountCredits": "1", "amuontCredits": "1"}, "amuontCredits"),
        ({"amountCredits": "1", "description": "x" * 501}, "description"),
        ({"amountCredits": "1", "description": 5}, "description"),
        ({"amountCredits": "1", "callId": "a\x00b"}, "callId"),
        ({"amountCredits": "1", "callId": "x" * 201}, "callId"),
        ({"amountCredits": "1", "metadata": ["a"]}, "metadata"),
        ({"amountCredits": "1", "metadata": {"a": {"b": "\x00"}}}, "metadata.a.b"),
        ({"amountCredits": "1", "metadata": {"a": "x" * 4_096}}, "metadata"),
        ({"amountCredits": "1", "dryRun": "yes"}, "dryRun"),
        ([], "body"),
        ("800", "body"),
    ],
)
def test_a_malformed_spend_names_its_field(host: Host, acme: str, body: object, field: str) -> None:
    assert_problem(host.post(f"{acme}/spends", body), 400, "INVALID", field=field)


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b'{"amountCredits":"1","amountCredits":"2"}', "amountCredits"),
        (b'{"amountCredits":"1","metadata":{"a":1,"a":2}}', "a"),
        (b'{"amountCredits":"1","callId":"\\ud800"}', "callId"),
        (b'{"amountCredits":"1","metadata":{"\\u0000":1}}', "metadata"),
        (b'{"amountCredits":NaN}', "body"),
        (b'{"amountCredits":"1","metadata":{"a":Infinity}}', "body"),
        (b'{"amountCredits":"1","metadata":{"a":1e999}}', "body"),
        (b'{"amountCredits":"1","callId":"\xff"}', "body"),
        (b'{"amountCredits":"1"', "body"),
        (b"\xef\xbb\xbf{}", "body"),
        (b"[" * 5_000 + b"]" * 5_000, "body"),
        (b'{"amountCredits":"1","metadata":{"a":' + b"[" * 40 + b"]" * 40 + b"}}", "body"),
        (b'{"amountCredits":' + b"9" * 10_000 + b"}", "body"),
    ],
)
def test_what_is_no_strict_json_is_refused(host: Host, acme: str, raw: bytes, field: str) -> None:
    assert_problem(host.post_raw(f"{acme}/spends", raw), 400, "INVALID", field=field)
    assert host.balance(acme)["balanceCredits"] == "8200"


def test_only_json_is_read_and_not_too_much_of_it(host: Host, acme: str) -> None:
    spend = b'{"amountCredits":"1"}'
    assert_problem(host.post_raw(f"{acme}/spends", spend, "text/plain"), 400, "INVALID", field="body")
    assert_problem(host.post_raw(f"{acme}/spends", spend, "application/json; charset=utf-16"), 400, "INVALID")
    assert_problem(host.post_raw(f"{acme}/spends", spend + b" " * 65_536), 413, "INVALID")
    assert host.post_raw(f"{acme}/spends", spend, 'application/json; charset="UTF-8"').status_code == 201


def test_every_path_answers_in_the_same_form(host: Host) -> None:
    assert_problem(host.get("/v1/nothing/here"), 404, "NOT-FOUND")
    assert_problem(host.client.delete("/v1/spends/batch"), 405, "INVALID")
