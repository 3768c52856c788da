"""The balance: every bucket, lots in spend order, nothing expired, and as it was."""

from datetime import timedelta

import pytest

from tests.api.host import Host, assert_problem


def test_a_balance_has_every_field_of_the_contract(host: Host) -> None:
    path = host.open("a", plan="pro")
    assert host.balance(path) == {
        "balanceCredits": "0",
        "balanceUsdc": None,
        "heldCredits": "0",
        "debtCredits": "0",
        "dailySpentCredits": "0",
        "dailySpentUsdc": None,
        "dailySpendLimitCredits": None,
        "perCallLimitCredits": None,
        "lowBalanceAlertThreshold": None,
        "status": "active",
        "nextDraw": None,
        "buckets": [
            {"bucket": bucket, "availableCredits": "0", "heldCredits": "0", "nextExpiryAt": None, "lots": []}
            for bucket in ("limited_time", "monthly", "recharge")
        ],
        "expiring": [],
    }


def test_lots_stand_in_spend_order_with_what_is_drawn_next(host: Host) -> None:
    path = host.open("a", plan="pro")
    now = host.clock.now()
    first = host.grant(path, "recharge", 10)
    later = host.grant(path, "limited_time", 20, now + timedelta(days=2))
    sooner = host.grant(path, "limited_time", 30, now + timedelta(days=1))
    never = host.grant(path, "limited_time", 40)
    host.spend(path, 35)
    body = host.balance(path)
    limited, _, recharge = body["buckets"]
    assert [(lot["lotId"], lot["availableCredits"]) for lot in limited["lots"]] == [(later, "15"), (never, "40")]
    assert limited["nextExpiryAt"] == "2026-11-04T09:30:00Z"
    assert recharge["lots"] == [
        {
            "lotId": first,
            "source": "promo",
            "grantedCredits": "10",
            "availableCredits": "10",
            "heldCredits": "0",
            "expiresAt": None,
            "purchaseId": None,
            "createdAt": "2026-11-02T09:30:00Z",
        }
    ]
    assert body["nextDraw"] == {"lotId": later, "bucket": "limited_time"}
    assert (body["balanceCredits"], body["dailySpentCredits"]) == ("65", "35")
    assert sooner not in str(body)


@pytest.mark.parametrize("catalog", ["acn"])
def test_credits_that_are_worth_dollars_say_so(host: Host) -> None:
    path = host.open("a")
    host.grant(path, "recharge", 12_345_678)
    host.spend(path, 345_678)
    body = host.balance(path)
    assert (body["balanceUsdc"], body["dailySpentUsdc"]) == ("12.000000", "0.345678")
    assert [bucket["bucket"] for bucket in body["buckets"]] == ["recharge"]
    row = host.get(f"{path}/transactions").json()["transactions"][0]
    assert (row["amountCredits"], row["amountUsdc"]) == ("-345678", "-0.345678")


def test_what_has_expired_is_never_shown_and_leaves_with_its_row(host: Host) -> None:
    path = host.open("a", plan="pro")
    host.grant(path, "limited_time", 30, host.clock.now() + timedelta(hours=1))
    host.grant(path, "recharge", 5)
    host.wait(minutes=59, seconds=59)
    assert host.balance(path)["balanceCredits"] == "35"
    host.wait(seconds=1)
    assert host.balance(path)["balanceCredits"] == "5"
    newest = host.get(f"{path}/transactions", limit=1).json()["transactions"][0]
    assert (newest["type"], newest["amountCredits"], newest["balanceAfter"]) == ("expiry", "-30", "5")
    assert host.balance(path)["balanceCredits"] == "5"
    assert host.get(f"{path}/transactions").json()["pagination"]["total"] == 3


def test_a_statement_read_after_an_expiry_shows_it(host: Host) -> None:
    path = host.open("a", plan="pro")
    host.grant(path, "limited_time", 30, host.clock.now() + timedelta(hours=1))
    host.wait(hours=2)
    found = host.get(f"{path}/transactions").json()["transactions"]
    assert [row["type"] for row in found] == ["expiry", "promo_credit"]


def test_a_bucket_shows_its_first_hundred_lots_and_all_its_credits(host: Host) -> None:
    path = host.open("a", plan="pro")
    for number in range(103):
        host.grant(path, "recharge", number + 1)
    recharge = host.balance(path)["buckets"][2]
    assert [lot["availableCredits"] for lot in recharge["lots"]] == [str(n + 1) for n in range(100)]
    assert recharge["availableCredits"] == str(103 * 104 // 2)


def test_the_balance_as_it_was_at_every_moment_of_a_history(host: Host) -> None:
    path = host.open("a", plan="pro")
    seen = []

    def see() -> None:
        seen.append((host.clock.now(), host.balance(path)))
        host.wait(minutes=10)

    see()
    host.grant(path, "limited_time", 100, host.clock.now() + timedelta(hours=3))
    see()
    host.grant(path, "recharge", 1_000)
    see()
    spent = host.spend(path, 450).json()["transaction"]["id"]
    see()
    host.post(f"{path}/spends/{spent}/reversal", {"amountCredits": "400"})
    see()
    host.wait(hours=4)
    see()
    host.spend(path, 5)
    see()
    host.wait(days=1)
    host.spend(path, 7)
    for at, then in seen:
        assert host.balance(path, at=at.isoformat()) == then
        assert host.balance(path, at=(at + timedelta(minutes=9)).isoformat()) == then
    assert host.balance(path, at="2026-01-01T00:00:00Z")["balanceCredits"] == "0"
    assert host.balance(path, at=host.clock.now().isoformat()) == host.balance(path)


def test_what_had_expired_by_then_was_gone_whenever_its_row_was_written(host: Host) -> None:
    path = host.open("a", plan="pro")
    host.grant(path, "limited_time", 100, host.clock.now() + timedelta(hours=1))
    expired = host.clock.now() + timedelta(hours=2)
    host.wait(days=3)
    host.balance(path)
    assert host.balance(path, at=expired.isoformat())["balanceCredits"] == "0"
    assert host.balance(path, at=(expired - timedelta(hours=2)).isoformat())["balanceCredits"] == "100"


def test_a_hold_that_was_over_by_then_was_released_whenever_its_row_was_written(host: Host) -> None:
    path = host.open("a", plan="pro")
    start = host.clock.now()
    host.grant(path, "limited_time", 20, start + timedelta(minutes=10))
    host.grant(path, "recharge", 100)
    host.post(f"{path}/holds", {"amountCredits": "5", "expiresInSeconds": 300})
    lasting = host.post(f"{path}/holds", {"amountCredits": "1", "expiresInSeconds": 7_200}).json()["holdId"]
    host.wait(hours=1)

    def then(minutes: float) -> tuple[str, str, str]:
        found = host.balance(path, at=(start + timedelta(minutes=minutes)).isoformat())
        return found["balanceCredits"], found["heldCredits"], found["dailySpentCredits"]

    expected = {4.9: ("114", "6", "6"), 5: ("119", "1", "1"), 9.9: ("119", "1", "1"), 10: ("100", "1", "1")}
    for touch in (host.balance, lambda _: host.post(f"{path}/holds/{lasting}/void"), lambda _: None):
        assert {minutes: then(minutes) for minutes in expected} == expected, "written or not"
        touch(path)
    assert host.balance(path)["balanceCredits"] == "100"


@pytest.mark.parametrize(
    "at", ["2026-11-02T09:30:01Z", "2030-01-01", "yesterday", "2026-11-02T09:30:00", "\x00", "1", "2026-W01-1"]
)
def test_a_moment_to_come_or_none_at_all_is_refused(host: Host, at: str) -> None:
    path = host.open("a")
    assert_problem(host.get(f"{path}/balance", at=at), 400, "INVALID", field="at")


def test_an_unknown_account_has_no_balance(host: Host) -> None:
    for resource in ("balance", "transactions"):
        assert_problem(host.get(f"/v1/accounts/nobody/{resource}"), 404, "NOT-FOUND")
        assert_problem(host.get(f"/v1/accounts/%00/{resource}"), 404, "NOT-FOUND")


def test_the_calendar_says_what_expires_when_the_soonest_first(host: Host) -> None:
    path = host.open("a", plan="pro")
    start = host.clock.now()
    in_days = {days: start + timedelta(days=days) for days in (1, 20, 60, 61)}
    host.grant(path, "monthly", 40, in_days[20])
    host.grant(path, "limited_time", 10, in_days[20])
    host.grant(path, "limited_time", 5, in_days[20])
    host.grant(path, "limited_time", 7, in_days[1])
    host.grant(path, "limited_time", 100, in_days[60])
    host.grant(path, "limited_time", 100, in_days[61])
    host.grant(path, "recharge", 1_000)
    assert host.spend(path, 9).status_code == 201
    calendar = [
        {"expiresAt": "2026-11-22T09:30:00Z", "credits": "13", "bucket": "limited_time"},
        {"expiresAt": "2026-11-22T09:30:00Z", "credits": "40", "bucket": "monthly"},
        {"expiresAt": "2027-01-01T09:30:00Z", "credits": "100", "bucket": "limited_time"},
    ]
    assert host.balance(path)["expiring"] == calendar
    later = host.wait(days=20)
    beyond = {"expiresAt": "2027-01-02T09:30:00Z", "credits": "100", "bucket": "limited_time"}
    assert host.balance(path)["expiring"] == [calendar[2], beyond], "from its expiry on, nothing expires any more"
    past = (later - timedelta(seconds=1)).isoformat()
    assert host.balance(path, at=past)["expiring"] == [*calendar, beyond]


def test_the_calendar_has_at_most_fifty_entries(host: Host) -> None:
    path = host.open("a", plan="pro")
    start = host.clock.now()
    for hours in range(52, 0, -1):
        host.grant(path, "limited_time", hours, start + timedelta(hours=hours))
    assert [each["credits"] for each in host.balance(path)["expiring"]] == [str(n) for n in range(1, 51)]
    host.wait(seconds=1)
    past = start.isoformat()
    assert host.balance(path, at=past)["expiring"] == host.balance(path)["expiring"]
