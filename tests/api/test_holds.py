"""Holds over HTTP: reserved, taken, given back, extended, over by themselves."""

import pytest

from tests.api.host import Host, assert_problem


@pytest.fixture
def acme(host: Host) -> str:
    """An account with 5 limited-time and 20 recharge credits."""
    path = host.open("acme", plan="pro")
    host.grant(path, "recharge", 20)
    host.grant(path, "limited_time", 5, host.clock.now().replace(day=29))
    return path


def hold(host: Host, path: str, credits: int, **more: object) -> str:
    answer = host.post(f"{path}/holds", {"amountCredits": str(credits)} | more)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["holdId"])


def total(host: Host, path: str) -> tuple[str, str]:
    balance = host.balance(path)
    return balance["balanceCredits"], balance["heldCredits"]


def test_a_hold_reserves_in_spend_order_and_shows_in_the_balance(host: Host, acme: str) -> None:
    answer = host.post(f"{acme}/holds", {"amountCredits": "8", "expiresInSeconds": 60, "description": "GPU hour"})
    body = answer.json()
    assert answer.status_code == 201
    assert [(d["bucket"], d["amountCredits"]) for d in body["draws"]] == [("limited_time", "5"), ("recharge", "3")]
    assert (body["amountCredits"], body["status"], body["balanceAfter"]) == ("8", "open", "17")
    assert body["expiresAt"] == "2026-11-02T09:31:00Z"
    balance = host.balance(acme)
    assert {b["bucket"]: (b["availableCredits"], b["heldCredits"]) for b in balance["buckets"]} == {
        "limited_time": ("0", "5"),
        "monthly": ("0", "0"),
        "recharge": ("17", "3"),
    }
    assert [lot["heldCredits"] for b in balance["buckets"] for lot in b["lots"]] == ["5", "3"]
    assert (balance["heldCredits"], balance["dailySpentCredits"]) == ("8", "8")
    [row, *_] = host.get(f"{acme}/transactions").json()["transactions"]
    assert (row["type"], row["amountCredits"], row["description"]) == ("hold", "-8", "GPU hour")
    assert (row["referenceType"], row["referenceId"]) == ("hold", body["holdId"])


def test_a_capture_takes_what_was_held_first_and_releases_the_rest(host: Host, acme: str) -> None:
    held = hold(host, acme, 8, providerId="gpu", callId="job-7", metadata={"node": 3})
    answer = host.post(f"{acme}/holds/{held}/capture", {"amountCredits": "6"})
    body = answer.json()
    assert answer.status_code == 200
    assert (body["holdId"], body["status"], body["balanceAfter"]) == (held, "captured", "19")
    assert (body["capturedCredits"], body["releasedCredits"]) == ("6", "2")
    assert [(d["bucket"], d["amountCredits"]) for d in body["draws"]] == [("limited_time", "5"), ("recharge", "1")]
    row = body["transaction"]
    assert (row["type"], row["amountCredits"], row["providerId"], row["callId"]) == ("debit", "-6", "gpu", "job-7")
    assert row["metadata"] == {"node": 3}
    rows = host.get(f"{acme}/transactions").json()["transactions"][:3]
    assert [(r["type"], r["amountCredits"], r["balanceAfter"]) for r in rows] == [
        ("debit", "-6", "19"),
        ("hold_release", "8", "25"),
        ("hold", "-8", "17"),
    ]
    assert total(host, acme) == ("19", "0")
    undone = host.post(f"{acme}/spends/{row['id']}/reversal")
    assert (undone.status_code, undone.json()["balanceAfter"]) == (201, "25")


def test_a_void_gives_all_back(host: Host, acme: str) -> None:
    held = hold(host, acme, 8)
    body = host.post(f"{acme}/holds/{held}/void").json()
    assert (body["capturedCredits"], body["releasedCredits"], body["status"]) == ("0", "8", "voided")
    assert (body["transaction"]["type"], body["draws"], body["balanceAfter"]) == ("hold_release", [], "25")
    assert_problem(host.post(f"{acme}/holds/{held}/void"), 409, "HOLD-001", holdStatus="voided")
    assert_problem(host.post(f"{acme}/holds/{held}/capture", {"amountCredits": "1"}), 409, "HOLD-001")


def test_a_capture_of_nothing_is_a_void(host: Host, acme: str) -> None:
    held = hold(host, acme, 8)
    body = host.post(f"{acme}/holds/{held}/capture", {"amountCredits": "0"}).json()
    assert (body["status"], body["transaction"]["type"], body["balanceAfter"]) == ("voided", "hold_release", "25")


def test_no_more_is_captured_than_is_held(host: Host, acme: str) -> None:
    held = hold(host, acme, 8)
    facts = {"requestedCredits": "9", "heldCredits": "8"}
    assert_problem(host.post(f"{acme}/holds/{held}/capture", {"amountCredits": "9"}), 409, "HOLD-003", **facts)
    assert total(host, acme) == ("17", "8")


def test_the_same_key_is_answered_the_first_answer_again(host: Host, acme: str) -> None:
    asked = {"amountCredits": "8"}
    first = host.post(f"{acme}/holds", asked, key="h")
    held = first.json()["holdId"]
    host.post(f"{acme}/holds/{held}/extend", {"expiresInSeconds": 7_200})
    again = host.post(f"{acme}/holds", asked, key="h")
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    path = f"{acme}/holds/{held}/capture"
    captured = host.post(path, {"amountCredits": "5"}, key="c")
    host.spend(acme, 1)
    assert host.post(path, {"amountCredits": "5"}, key="c").json() == captured.json()
    assert_problem(host.post(path, {"amountCredits": "6"}, key="c"), 422, "IDEMPOTENCY-002")
    assert_problem(host.post(path, {"amountCredits": "5"}, key="other"), 409, "HOLD-001", holdStatus="captured")
    assert total(host, acme) == ("19", "0")


@pytest.mark.parametrize("action", ["", "/x/capture", "/x/void"])
def test_holds_captures_and_voids_need_a_key(host: Host, acme: str, action: str) -> None:
    assert_problem(host.post(f"{acme}/holds{action}", {"amountCredits": "1"}, key=None), 400, "IDEMPOTENCY-001")


def test_a_hold_is_over_at_its_end(host: Host, acme: str) -> None:
    held = hold(host, acme, 8, expiresInSeconds=60)
    host.wait(seconds=59)
    assert total(host, acme) == ("17", "8")
    host.wait(seconds=1)
    assert total(host, acme) == ("25", "0")
    seen = host.get(f"{acme}/holds/{held}").json()
    assert (seen["status"], seen["endedAt"]) == ("expired", "2026-11-02T09:31:00Z")
    assert_problem(host.post(f"{acme}/holds/{held}/capture", {"amountCredits": "8"}), 409, "HOLD-002")
    assert_problem(host.post(f"{acme}/holds/{held}/void"), 409, "HOLD-002")
    types = [row["type"] for row in host.get(f"{acme}/transactions").json()["transactions"]]
    assert types[:2] == ["hold_release", "hold"]


def test_an_extension_adds_credits_and_time(host: Host, acme: str) -> None:
    held = hold(host, acme, 4, expiresInSeconds=60)
    body = host.post(f"{acme}/holds/{held}/extend", {"amountCredits": "3", "expiresInSeconds": 120}, key="e").json()
    assert (body["amountCredits"], body["expiresAt"], body["balanceAfter"]) == ("7", "2026-11-02T09:32:00Z", "18")
    assert [d["amountCredits"] for d in body["draws"]] == ["1", "2"]
    host.wait(seconds=90)
    later = host.post(f"{acme}/holds/{held}/extend", {"expiresInSeconds": 120}, key=None).json()
    assert (later["amountCredits"], later["expiresAt"]) == ("7", "2026-11-02T09:33:30Z")
    row = host.get(f"{acme}/transactions").json()["transactions"][0]
    assert (row["type"], row["amountCredits"], row["entries"]) == ("hold", "0", [])
    again = host.post(f"{acme}/holds/{held}/extend", {"amountCredits": "3", "expiresInSeconds": 120}, key="e")
    assert (again.json(), again.headers["idempotency-replayed"]) == (body, "true")
    assert_problem(host.post(f"{acme}/holds/{held}/extend", {"amountCredits": "19"}), 402, "CREDIT-001")
    assert_problem(host.post(f"{acme}/holds/{held}/extend", {}), 400, "INVALID")
    assert_problem(host.post(f"{acme}/holds/{held}/extend", {"expiresInSeconds": 10**8}), 400, "INVALID")
    assert total(host, acme) == ("18", "7")
    assert [d["amountCredits"] for d in host.get(f"{acme}/holds/{held}").json()["draws"]] == ["5", "2"]


def test_holds_are_listed_newest_first(host: Host, acme: str) -> None:
    first = hold(host, acme, 1)
    host.wait(seconds=1)
    second = hold(host, acme, 2)
    host.post(f"{acme}/holds/{first}/capture", {"amountCredits": "1"})
    body = host.get(f"{acme}/holds", limit=1).json()
    assert body["pagination"] == {"page": 1, "limit": 1, "total": 2}
    assert [h["holdId"] for h in body["holds"]] == [second]
    [older] = host.get(f"{acme}/holds", limit=1, page=2).json()["holds"]
    assert (older["holdId"], older["status"], older["capturedCredits"]) == (first, "captured", "1")


def test_another_accounts_hold_is_not_there(host: Host, acme: str) -> None:
    held = hold(host, acme, 1)
    other = host.open("other", plan="pro")
    assert_problem(host.get(f"{other}/holds/{held}"), 404, "NOT-FOUND")
    assert_problem(host.post(f"{other}/holds/{held}/void"), 404, "NOT-FOUND")
    assert_problem(host.post(f"{acme}/holds/hold_none/void"), 404, "NOT-FOUND")


def test_only_the_host_holds(host: Host, acme: str) -> None:
    key = host.new_key("account", "acme")
    held = hold(host, acme, 1)
    assert_problem(host.post("/v1/billing/holds", {"amountCredits": "1"}, bearer=key), 403, "AUTH-002")
    assert host.get(f"/v1/billing/holds/{held}", bearer=key).json()["holdId"] == held


def test_the_balance_of_the_past_shows_what_was_held_then(host: Host, acme: str) -> None:
    held = hold(host, acme, 8)
    then = host.wait(seconds=1)
    host.wait(seconds=1)
    host.post(f"{acme}/holds/{held}/capture", {"amountCredits": "6"})
    past = host.balance(acme, at=then.isoformat())
    assert (past["balanceCredits"], past["heldCredits"], past["dailySpentCredits"]) == ("17", "8", "8")
    now = host.balance(acme, at=host.clock.now().isoformat())
    assert (now["balanceCredits"], now["heldCredits"], now["dailySpentCredits"]) == ("19", "0", "6")
    assert host.balance(acme)["dailySpentCredits"] == "6"
