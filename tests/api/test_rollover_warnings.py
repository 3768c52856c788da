"""What is told before a month's end where a plan rolls over: what really leaves, and what the cap clips."""

from typing import Any

import msgspec
import pytest
from sqlmodel import select

from engine.rules.periods import period_start
from engine.store.database import reading
from engine.store.tables import OutboxRow
from tests.api.plan_terms import Open, month
from tests.api.subscriber import Subscriber
from tests.engine.support import DAY_0


def told(mira: Subscriber, notice: str) -> list[dict[str, Any]]:
    """This account's notices of a sort, oldest first."""
    account_id = mira.path.rpartition("/")[2]
    with reading(mira.runtime.db) as session:
        rows = session.exec(select(OutboxRow).where(OutboxRow.kind == "notice", OutboxRow.account_id == account_id))
        found = sorted(rows.all(), key=lambda row: (row.created_at, row.outbox_id))
    return [facts for row in found if (facts := msgspec.json.decode(row.payload))["notice"] == notice]


def clipped(mira: Subscriber) -> list[tuple[str, str]]:
    """Of each warning of a cap: the day on which the month ends, and credits."""
    return [(row["periodEnd"][5:10], row["clippedCredits"]) for row in told(mira, "rolloverClipped")]


def leaving(mira: Subscriber) -> list[list[tuple[str, str]]]:
    """Of each warning of expiry: the day and credits of what it names."""
    return [[(lot["expiresAt"][5:10], lot["credits"]) for lot in row["lots"]] for row in told(mira, "creditsExpiring")]


def until(mira: Subscriber, n: int, **before: float) -> None:
    """Let time pass until so long before the end of the n-th month, day by day."""
    end = period_start(DAY_0, n)
    while (left := end - mira.host.clock.now()).days > before.get("days", 0):
        mira.wait(days=min(1, left.days))


def granted_pro(mira: Subscriber) -> Subscriber:
    """The same host's customer on a plan that the host granted."""
    body = {"accountId": "host1", "email": "mira@customer.example", "plan": "pro", "grantMonthlyCredits": True}
    assert mira.host.post("/v1/accounts", body).status_code == 201
    return Subscriber(mira.host, mira.sandbox, mira.jobs, "/v1/accounts/host1")


def test_of_a_plan_that_the_host_granted_the_cap_is_told_once_a_month(open_with: Open) -> None:
    mira = granted_pro(open_with(4_000, 1))
    mira.host.spend(mira.path, 900)
    until(mira, 1, days=4)
    assert clipped(mira) == []
    until(mira, 1)
    assert clipped(mira) == [("12-02", "5100")]
    assert mira.monthly() == 4_000 + 10_000
    until(mira, 2)
    assert clipped(mira) == [("12-02", "5100"), ("01-02", "6000")]
    mira.host.spend(mira.path, 10_000)
    until(mira, 3)
    assert len(clipped(mira)) == 2, "4,000 are left and all of them roll over"
    assert mira.is_clean()


def test_so_it_is_on_the_first_plan(open_with: Open) -> None:
    mira = open_with(60, 1)
    mira.host.spend(mira.path, 10)
    until(mira, 1)
    assert clipped(mira) == [("12-02", "30")]


def test_several_workers_tell_of_the_cap_once(open_with: Open) -> None:
    mira = open_with(60, 1)
    until(mira, 1, days=3)
    for _ in range(2):
        type(mira.jobs)(mira.runtime).run_due()
    assert clipped(mira) == [("12-02", "40")]


def test_what_rolls_over_does_not_leave(open_with: Open) -> None:
    mira = granted_pro(open_with(4_000, 1))
    mira.host.spend(mira.path, 900)
    until(mira, 1, days=2)
    assert leaving(mira) == [[("12-02", "5100")]]
    [lot] = mira.host.balance(mira.path)["expiring"]
    assert lot["credits"] == "9100", "the calendar shows the lots as they are"
    mira.host.spend(mira.path, 5_100)
    until(mira, 1)
    assert len(leaving(mira)) == 1, "what is left rolls over, so there is nothing to warn of"
    assert mira.monthly() == 14_000
    until(mira, 2, days=6)
    assert leaving(mira)[1:] == [[("01-02", str(4_000 + 6_000))]], "what rolled over once does not do so again"


def test_lots_that_end_together_share_the_cap(open_with: Open) -> None:
    mira = open_with(1_000, 1)
    mira.subscribe("base")
    mira.host.grant(mira.path, "monthly", 50, until=period_start(DAY_0, 1))
    until(mira, 1, days=6)
    assert leaving(mira) == [[("12-02", "2150")]], "of 100 of the first plan, 3,000, and 50 that no plan gave"
    until(mira, 1, days=2)
    assert mira.host.post(f"{mira.path}/holds", {"amountCredits": "2500", "expiresInSeconds": 100_000}).is_success
    until(mira, 1)
    assert leaving(mira)[1:] == [[("12-02", "2550")]], "what is held does not roll over either"


@pytest.mark.parametrize("what", ["cancel", "pause"])
def test_where_no_month_may_follow_all_of_it_leaves(open_with: Open, what: str) -> None:
    mira = open_with(1_000, 1)
    mira.subscribe("base")
    mira.act(what)
    until(mira, 1)
    assert (leaving(mira), clipped(mira)) == ([[("12-02", "3100")]] * 2, [])


def test_a_subscription_that_goes_on_after_all_is_warned_of_its_cap(open_with: Open) -> None:
    mira = open_with(1_000, 1)
    mira.subscribe("base")
    mira.act("cancel")
    until(mira, 1, days=2)
    mira.act("reactivate")
    until(mira, 1)
    assert (leaving(mira), clipped(mira)) == ([[("12-02", "3100")], [("12-02", "2100")]], [("12-02", "2100")])


def test_a_month_that_is_paid_for_follows_also_where_the_year_is_the_last(open_with: Open) -> None:
    mira = open_with(1_000, 1)
    mira.subscribe("base", "year")
    mira.act("cancel")
    until(mira, 1)
    assert (leaving(mira), clipped(mira)) == ([[("12-02", "2100")]] * 2, [("12-02", "2100")])
    mira.wait_until(month(1))
    assert mira.monthly() == 4_000
