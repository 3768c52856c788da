"""Months that were over before anybody granted them: what was paid for is granted, expires at once and rolls over."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from api import sandbox_returns as returns
from api import sandbox_subscriptions as books
from engine.flows.accounts import grant_due_months
from engine.rules.periods import period_start
from engine.store.database import Database
from psp.sandbox_wire import Webhook
from tests.api.plan_terms import Open, month
from tests.api.subscriber import Subscriber, subscriber
from tests.engine.support import DAY_0, FakeClock


def wait_unseen(mira: Subscriber, n: int) -> None:
    """Time passes, and no job runs."""
    mira.host.clock.advance(period_start(DAY_0, n) - mira.host.clock.now())


def renew_unheard(mira: Subscriber, n: int) -> tuple[Webhook, ...]:
    """The provider renews at month `n`, and nobody hears of it yet."""
    wait_unseen(mira, n)
    return mira.sandbox.keep(lambda session, now: books.renew(session, "sub1", now))


@pytest.mark.parametrize(("cap", "periods", "left"), [(0, 0, 3_000), (1_000, 1, 4_000), (400, 2, 3_800)])
def test_a_paid_year_reaches_the_present_as_if_its_jobs_had_run(
    open_with: Open, cap: int, periods: int, left: int
) -> None:
    mira = open_with(cap, periods)
    mira.subscribe("base", "year")
    mira.host.spend(mira.path, 600)
    mira.wait_until(month(4))
    assert mira.monthly() == left
    assert mira.payments()[0]["creditsGranted"] == "15000"
    ledger = mira.rows()
    assert ledger.count(("monthly_credit", 3_000)) == 5 and ledger.count(("expiry", -3_000)) == 3
    mira.wait(hours=2)
    assert mira.rows() == ledger and mira.is_clean()
    mira.wait_until(month(5))
    assert mira.monthly() == left, "the months that follow know nothing of it"


def test_the_ledger_says_which_month_was_granted_late(open_with: Open) -> None:
    mira = open_with(0, 0)
    mira.subscribe("base", "year")
    mira.wait_until(month(2))
    rows = mira.host.get(f"{mira.path}/transactions").json()["transactions"]
    assert [(row["description"], row["amountCredits"]) for row in rows[:3]] == [
        ("Monthly credits: Base", "3000"),
        ("Credits expired", "-3000"),
        ("Monthly credits: Base (month to 2027-01-02, granted late)", "3000"),
    ]


def test_an_upgrades_part_of_months_that_are_over_rolls_over_with_them(db: Database, clock: FakeClock) -> None:
    caps = {"base": 500, "elite": 20_000}

    def change(catalog: Any) -> Any:
        plans = [
            replace(plan, rollover_max=caps[plan.id], rollover_periods=1) if plan.id in caps else plan
            for plan in catalog.plans
        ]
        return replace(catalog, plans=tuple(plans))

    mira = subscriber(db, clock, change)
    try:
        mira.subscribe("base", "year")
        mira.wait(days=2)
        mira.change("elite", "year")
        mira.wait_until(month(3))
        assert mira.monthly() == 20_000 + 40_000
        assert mira.is_clean()
    finally:
        mira.runtime.group.close()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
@pytest.mark.parametrize(("cap", "periods", "left"), [(1_000, 1, 4_000), (400, 2, 3_800)])
def test_renewals_heard_of_late_and_in_any_order_end_the_same(
    open_with: Open, cap: int, periods: int, left: int, order: tuple[int, ...]
) -> None:
    mira = open_with(cap, periods)
    mira.subscribe("base")
    told = [renew_unheard(mira, n) for n in (1, 2, 3)]
    for n in order:
        mira.tell(*told[n])
    assert mira.monthly() == left
    assert [payment["creditsGranted"] for payment in mira.payments()] == ["3000"] * 4
    ledger = mira.rows()
    for events in told:
        mira.tell(*[event.__class__(f"{event.id}again", event.type, event.object) for event in events])
    assert mira.rows() == ledger and mira.is_clean()


def test_a_part_of_the_money_that_went_back_takes_its_share_of_a_month_that_was_over(open_with: Open) -> None:
    mira = open_with(3_000, 1)
    mira.subscribe("base", "year")
    payment = mira.payments()[0]
    mira.refund_payment(payment["providerReference"], payment["amountMinor"] // 2)
    mira.wait_until(month(2))
    rows = mira.rows()
    assert rows[-6:] == [
        ("monthly_credit", 3_000),
        ("refund", -1_500),
        ("expiry", -1_500),
        ("monthly_credit", 1_500),
        ("monthly_credit", 3_000),
        ("refund", -1_500),
    ]
    assert mira.monthly() == 3_000 and mira.is_clean()


def test_a_month_that_ended_in_a_dispute_is_granted_when_it_is_won(open_with: Open) -> None:
    mira = open_with(1_000, 1)
    mira.subscribe("base", "year")
    payment = mira.payments()[0]["providerReference"]
    mira.tell(*mira.sandbox.keep(lambda session, now: returns.open_dispute(session, payment, now)).events)
    for n in (1, 2, 3):
        mira.wait_until(month(n))
        assert mira.monthly() == 0
    mira.tell(*mira.sandbox.keep(lambda session, now: returns.close_dispute(session, payment, "won", now)).events)
    assert mira.monthly() == 4_000 and mira.payments()[0]["creditsGranted"] == "12000"
    assert mira.is_clean()


@pytest.mark.parametrize(("periods", "left"), [(1, 160), (2, 220)])
def test_the_first_plans_months_that_nobody_granted_roll_over_too(open_with: Open, periods: int, left: int) -> None:
    mira = open_with(60, periods)
    mira.wait_until(month(6))
    assert mira.monthly() == left
    ledger = mira.rows()
    assert ledger.count(("monthly_credit", 100)) == 1 + periods + 1, "what can't reach the present is not written"
    mira.wait(hours=1)
    assert mira.rows() == ledger and mira.is_clean()
    mira.wait_until(month(7))
    assert mira.monthly() == left


def test_the_first_plans_late_months_are_granted_once_however_many_run_at_once(open_with: Open) -> None:
    mira = open_with(60, 2)
    wait_unseen(mira, 4)
    runtime, now = mira.runtime, mira.host.clock.now()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: grant_due_months(runtime, now), range(4)))
    mira.host.clock.advance(timedelta(seconds=1))
    assert mira.monthly() == 220 and mira.is_clean()
    assert mira.rows().count(("monthly_credit", 100)) == 4
