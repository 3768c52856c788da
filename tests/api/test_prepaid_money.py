"""Money for credits that come later, in the figures of each month: deferred as soon as it is paid, to the cent."""

from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from api import sandbox_returns as returns
from api.exports import export_month, read_month
from engine.jobs import Jobs
from engine.rules.finance import RollForward
from engine.rules.periods import period_start
from engine.store.database import Database
from tests.api.subscriber import Subscriber
from tests.engine.support import DAY_0, FakeClock
from tests.engine.test_finance import table
from tests.flows.test_commits import commit, monthly
from tests.flows.world import open_world


def month(n: int) -> str:
    return period_start(DAY_0, n).isoformat()


def figures(db: Database, out: Path, count: int) -> list[RollForward]:
    """Of each calendar month from the first: what it opened with is what the one before closed with, and the journal
    of each transaction sums up to zero and to what is deferred."""
    found: list[RollForward] = []
    deferred = closing = 0
    for n in range(count):
        made = export_month(db, read_month(f"{2026 + (n + 10) // 12}-{(n + 10) % 12 + 1:02d}"), out)
        found.append(made.figures.get("USD", RollForward()))
        assert found[-1].opening == closing
        closing = found[-1].closing
        sums: dict[str, int] = defaultdict(int)
        for row in table(made, "journal"):
            amount = int(row["debitMinor"]) - int(row["creditMinor"])
            sums[row["transactionId"]] += amount
            deferred -= amount if row["ledgerAccount"] == "deferred_revenue" else 0
        assert set(sums.values()) <= {0}
        assert sum(int(row["closingMinor"]) for row in table(made, "cost-basis")) == deferred == closing
    return found


def test_a_year_is_deferred_when_it_is_paid_and_earned_month_by_month(mira: Subscriber, tmp_path: Path) -> None:
    mira.subscribe("base", "year")
    assert mira.host.spend(mira.path, 1_600).status_code == 201
    for n in range(1, 14):
        mira.wait_until(month(n))
    told = figures(mira.runtime.db, tmp_path, 14)
    assert told[0] == RollForward(sold=19_000, recognised=791)
    assert told[1] == RollForward(opening=18_209, breakage=792)
    assert [each.sold for each in told] == [19_000] + [0] * 13
    assert sum(each.breakage for each in told) == 19_000 - 791 and told[-1].closing == 0


def test_a_month_that_nobody_granted_in_time_is_earned_when_it_is_granted(mira: Subscriber, tmp_path: Path) -> None:
    mira.subscribe("base", "year")
    mira.wait_until(month(3), days=5)
    told = figures(mira.runtime.db, tmp_path, 4)
    assert [each.closing for each in told] == [19_000, 19_000, 19_000, 19_000 * 9 // 12]


def test_a_year_that_goes_back_leaves_nothing_deferred(mira: Subscriber, tmp_path: Path) -> None:
    mira.subscribe("base", "year")
    assert mira.host.spend(mira.path, 1_600).status_code == 201
    mira.wait(days=20)
    mira.refund_payment(mira.payments()[0]["providerReference"])
    mira.wait_until(month(2))
    told = figures(mira.runtime.db, tmp_path, 4)
    assert told[0] == RollForward(sold=19_000, refunded=19_000)
    assert told[1:] == [RollForward()] * 3


def test_what_goes_back_when_nothing_is_to_come_leaves_what_the_year_had_earned(
    mira: Subscriber, tmp_path: Path
) -> None:
    mira.subscribe("base", "year")
    for n in range(1, 12):
        mira.wait_until(month(n))
    mira.refund_payment(mira.payments()[0]["providerReference"], 9_500)
    mira.wait_until(month(13))
    told = figures(mira.runtime.db, tmp_path, 14)
    assert (sum(each.refunded for each in told), told[-1].closing) == (9_500, 0)
    assert sum(each.recognised + each.breakage for each in told) == 19_000 - 9_500


def test_a_half_that_goes_back_takes_half_of_what_is_to_come(mira: Subscriber, tmp_path: Path) -> None:
    mira.subscribe("base", "year")
    mira.wait_until(month(2))
    payment = mira.payments()[0]
    mira.refund_payment(payment["providerReference"], 9_500)
    for n in range(3, 14):
        mira.wait_until(month(n))
    told = figures(mira.runtime.db, tmp_path, 14)
    assert (told[2].refunded, told[2].closing) == (9_500, 19_000 * 10 // 12 + 1 - 9_500)
    assert {each.refunded for each in told[3:11]} == {0}, "the months that follow lose no money again"
    assert 0 <= 9_500 - sum(each.refunded for each in told) <= 2, "credits are rounded down"
    assert told[-1].closing == 0 and sum(each.sold for each in told) == 19_000


@pytest.mark.parametrize(("outcome", "earned"), [("won", 19_000), ("lost", 0)])
def test_a_disputed_year_stays_deferred_until_it_is_decided(
    mira: Subscriber, tmp_path: Path, outcome: str, earned: int
) -> None:
    mira.subscribe("base", "year")
    mira.wait_until(month(1))
    payment = mira.payments()[0]["providerReference"]
    mira.tell(*mira.sandbox.keep(lambda session, now: returns.open_dispute(session, payment, now)).events)
    mira.wait_until(month(3))
    mira.tell(*mira.sandbox.keep(lambda session, now: returns.close_dispute(session, payment, outcome, now)).events)
    for n in range(4, 14):
        mira.wait_until(month(n))
    told = figures(mira.runtime.db, tmp_path, 14)
    assert [each.closing for each in told[:3]] == [19_000, 19_000 - 1_583, 19_000 - 1_583]
    assert (sum(each.breakage for each in told), told[-1].closing) == (earned, 0)
    assert sum(each.refunded for each in told) == 19_000 - earned


def test_a_refund_that_fails_after_all_leaves_the_year_as_it_was(mira: Subscriber, tmp_path: Path) -> None:
    mira.subscribe("base", "year")
    payment = mira.payments()[0]["providerReference"]
    made = mira.sandbox.keep(lambda session, now: returns.refund_outside(session, payment, 4_000, now))
    mira.tell(*made.events)
    mira.wait_until(month(2))
    mira.tell(*mira.sandbox.keep(lambda session, now: returns.fail_refund(session, made.told.id, now)).events)
    for n in range(3, 14):
        mira.wait_until(month(n))
    told = figures(mira.runtime.db, tmp_path, 14)
    assert (sum(each.sold for each in told), told[-1].closing) == (19_000, 0)
    assert abs(sum(each.refunded for each in told)) <= 2, "each time that credits move they are rounded"


def test_an_upgrades_months_to_come_are_deferred_too(mira: Subscriber, tmp_path: Path) -> None:
    mira.subscribe("base", "year")
    mira.wait(days=5)
    mira.change("elite", "year")
    paid = sum(payment["amountMinor"] for payment in mira.payments())
    for n in range(1, 14):
        mira.wait_until(month(n))
    told = figures(mira.runtime.db, tmp_path, 14)
    assert told[0] == RollForward(sold=paid)
    assert sum(each.breakage for each in told) == paid and told[-1].closing == 0


def test_a_month_paid_by_the_month_is_sold_with_its_lot_alone(mira: Subscriber, tmp_path: Path) -> None:
    mira.subscribe("base")
    made = export_month(mira.runtime.db, read_month("2026-11"), tmp_path)
    assert made.figures == {"USD": RollForward(sold=1_900)}
    assert [row["lotId"][:4] for row in table(made, "cost-basis")] == ["lot_"]


def test_a_commit_plans_parts_to_come_are_deferred_too(db: Database, clock: FakeClock, tmp_path: Path) -> None:
    world = open_world(db, clock, "ecolink")
    try:
        world.runtime = replace(world.runtime, catalog=monthly(world.runtime.catalog))
        world.jobs = Jobs(world.runtime)
        bought = commit(world)
        world.deliver(world.pay(bought))
        for _ in range(14):
            world.clock.advance(timedelta(days=31))
            world.jobs.run_due()
        told = figures(db, tmp_path, 14)
        assert told[0] == RollForward(sold=bought.amount_minor)
        assert {each.closing for each in told} == {bought.amount_minor}, "nothing of it was used"
    finally:
        world.close()
