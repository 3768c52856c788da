"""What a plan lets roll over: capped, once, as its own lot, with a warning before the cap clips something."""

from typing import Any

from msgspec.structs import replace

from engine.store.database import Database
from tests.api.plan_terms import Open, month
from tests.api.subscriber import Subscriber, subscriber
from tests.engine.support import FakeClock


def renew_at(mira: Subscriber, n: int) -> int:
    mira.wait_until(month(n))
    mira.play("renew")
    return mira.monthly()


def test_up_to_the_cap_lives_one_period_on_and_never_a_second_one(open_with: Open) -> None:
    mira = open_with(1_000, 1)
    mira.host.spend(mira.path, 100)
    mira.subscribe("base")
    mira.host.spend(mira.path, 500)
    assert renew_at(mira, 1) == 3_000 + 1_000
    assert mira.rows()[-4:] == [
        ("debit", -500),
        ("expiry", -2_500),
        ("monthly_credit", 1_000),
        ("monthly_credit", 3_000),
    ]
    mira.host.spend(mira.path, 700)
    assert renew_at(mira, 2) == 3_000 + 1_000, "what rolled over was spent first, the rest of it does not roll again"
    mira.host.spend(mira.path, 3_700)
    assert renew_at(mira, 3) == 3_000 + 300
    assert mira.is_clean()


def test_what_is_repeated_rolls_nothing_twice(open_with: Open) -> None:
    mira = open_with(1_000, 1)
    mira.subscribe("base")
    mira.wait_until(month(1))
    events = mira.play("renew")
    ledger = mira.rows()
    mira.tell(*[event.__class__(f"{event.id}again", event.type, event.object) for event in events])
    mira.wait(hours=2)
    assert mira.rows() == ledger


def test_it_may_live_for_several_periods(open_with: Open) -> None:
    mira = open_with(400, 2)
    mira.subscribe("base")
    assert [renew_at(mira, n) for n in (1, 2, 3, 4)] == [3_400, 3_800, 3_800, 3_800]
    assert mira.is_clean()


def test_a_year_rolls_over_month_by_month(open_with: Open) -> None:
    mira = open_with(1_000, 1)
    mira.subscribe("base", "year")
    for n in (1, 2, 3):
        mira.wait_until(month(n))
        assert mira.monthly() == 4_000
    assert mira.payments()[0]["creditsGranted"] == "12000"
    assert mira.is_clean()


def test_a_month_that_was_upgraded_rolls_over_as_far_as_the_higher_plan_says(db: Database, clock: FakeClock) -> None:
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
        mira.wait(days=26)
        (told,) = [row for row in mira.outbox("notice") if row["notice"] == "rolloverClipped"]
        assert told["clippedCredits"] == str(100 + 3_000 + 37_000 * 28 // 30 - 20_000)
        for n in (1, 2):
            mira.wait_until(month(n))
            assert mira.monthly() == 20_000 + 40_000
        mira.refund_payment(mira.payments()[0]["providerReference"])
        mira.wait_until(month(3))
        assert mira.monthly() == 500 + 3_000, "what was refunded raises the cap no more"
        assert mira.is_clean()
    finally:
        mira.runtime.group.close()


def test_a_renewal_paid_early_rolls_over_when_its_period_begins(open_with: Open) -> None:
    mira = open_with(1_000, 1)
    mira.subscribe("base")
    mira.wait(days=29)
    mira.play("renew")
    assert mira.monthly() == 6_100
    mira.wait_until(month(1))
    assert mira.monthly() == 4_000


def test_the_cap_is_told_before_it_clips_once_a_period(open_with: Open) -> None:
    mira = open_with(1_000, 1)
    mira.subscribe("base")
    mira.host.spend(mira.path, 100)
    mira.wait(days=26)
    assert "rolloverClipped" not in mira.notices()
    mira.wait(days=1)
    mira.wait(days=1)
    (told,) = [row for row in mira.outbox("notice") if row["notice"] == "rolloverClipped"]
    assert (told["clippedCredits"], told["periodEnd"]) == ("2000", "2026-12-02T09:30:00Z")


def test_the_first_plans_own_months_roll_over_too(open_with: Open) -> None:
    mira = open_with(60, 1)
    mira.host.spend(mira.path, 10)
    for n in (1, 2):
        mira.wait_until(month(n))
        assert mira.monthly() == 160
    assert mira.rows()[-3:] == [("expiry", -100), ("monthly_credit", 60), ("monthly_credit", 100)]
    assert mira.is_clean()
