"""A subscription at Paddle through its life: begun, renewed, failed and recovered, changed, cancelled, refunded."""

from collections.abc import Iterator

import msgspec
import pytest

from engine.rules.catalog import Catalog
from engine.store.database import Database
from tests.api.host import assert_problem
from tests.engine.support import FakeClock
from tests.psp.fake_paddle import FakePaddle
from tests.psp.paddle_orders import a_rail
from tests.psp.paddle_subscriber import PaddleCustomer, open_customer


@pytest.fixture
def fake(clock: FakeClock) -> Iterator[FakePaddle]:
    with FakePaddle(now=clock.now) as started:
        yield started


@pytest.fixture
def mira(db: Database, clock: FakeClock, fake: FakePaddle) -> Iterator[PaddleCustomer]:
    made = open_customer(db, clock, fake, a_rail(fake))
    yield made
    assert made.is_clean()
    made.runtime.group.close()


def test_a_paid_checkout_begins_the_plan_with_its_credits_and_a_payment(mira: PaddleCustomer) -> None:
    now = mira.begin("pro")
    assert (now["plan"], now["status"], now["provider"]) == ("pro", "active", "paddle")
    assert now["currentPeriodEnd"] == "2026-12-02T09:30:00Z"
    assert mira.monthly() == 10_100
    (payment,) = mira.payments()
    assert (payment["amountMinor"], payment["status"], payment["creditsGranted"]) == (4_900, "completed", "10000")


def test_each_renewal_is_paid_and_granted_once(mira: PaddleCustomer) -> None:
    mira.begin("pro")
    mira.wait(days=31)
    assert mira.monthly() == 10_000 and mira.subscription()["currentPeriodEnd"] == "2027-01-02T09:30:00Z"
    mira.bring_anew(mira.fake.events, "again")
    mira.bring_anew(reversed(mira.fake.events), "back")
    assert mira.monthly() == 10_000 and [p["amountMinor"] for p in mira.payments()] == [4_900, 4_900]


def test_a_year_is_paid_once_and_granted_by_the_month(mira: PaddleCustomer) -> None:
    assert mira.begin("base", "year")["interval"] == "year"
    for _ in range(3):
        mira.wait(days=31)
        assert mira.monthly() == 3_000
    assert [p["amountMinor"] for p in mira.payments()] == [19_000]


def test_a_declined_renewal_is_past_due_without_credits_until_it_is_paid(mira: PaddleCustomer) -> None:
    mira.begin("pro")
    mira.fake.card_declines = True
    mira.wait(days=31)
    assert (mira.subscription()["status"], mira.monthly()) == ("past_due", 0)
    assert "subscriptionPastDue" in mira.notices()
    mira.fake.card_declines = False
    mira.fake.pay_overdue(mira.reference)
    mira.hear()
    assert (mira.subscription()["status"], mira.monthly(), len(mira.payments())) == ("active", 10_000, 2)


def test_nobody_who_never_pays_keeps_the_plan(mira: PaddleCustomer) -> None:
    mira.begin("pro")
    mira.fake.card_declines = True
    mira.wait(days=31)
    mira.wait(days=4)
    mira.fake.end(mira.reference)
    mira.hear()
    assert mira.subscription()["plan"] == "free"
    assert {"subscriptionPastDue", "subscriptionEnded"} <= set(mira.notices())


@pytest.mark.parametrize(("days", "seconds", "late"), [(0, 0, 0), (7, 1_234.567891, 300), (28, 85_000.25, 899)])
def test_an_upgrade_costs_what_its_preview_said_to_the_cent(
    mira: PaddleCustomer, days: int, seconds: float, late: int
) -> None:
    mira.begin("base")
    mira.wait(days=days, seconds=seconds)
    before = mira.monthly()
    shown = mira.preview("pro")
    mira.wait(seconds=late)
    now = mira.change("pro")
    assert (now["plan"], now["currentPeriodEnd"]) == ("pro", "2026-12-02T09:30:00Z")
    assert sorted(p["amountMinor"] for p in mira.payments()) == sorted([1_900, shown["dueNowMinor"]])
    assert mira.monthly() == before + int(shown["monthlyCreditsNow"])
    mira.wait(days=31 - days)
    assert mira.monthly() == 10_000 and mira.payments()[0]["amountMinor"] == shown["nextAmountMinor"] == 4_900


def test_an_upgrade_within_the_second_of_the_start_gives_its_credits(mira: PaddleCustomer) -> None:
    mira.wait(seconds=0.734561)
    mira.begin("base")
    mira.wait(seconds=0.1)
    shown = mira.preview("pro")
    assert (shown["dueNowMinor"], shown["monthlyCreditsNow"]) == (3_000, "7000")
    assert mira.change("pro")["plan"] == "pro" and mira.monthly() == 10_100


def test_an_upgrade_that_is_too_cheap_to_charge_costs_nothing_and_says_so(mira: PaddleCustomer) -> None:
    mira.begin("base")
    mira.wait(days=29, hours=18)
    before, shown = mira.monthly(), mira.preview("pro")
    assert (shown["dueNowMinor"], shown["nextAmountMinor"], int(shown["monthlyCreditsNow"]) > 0) == (0, 4_900, True)
    assert mira.change("pro")["plan"] == "pro"
    assert mira.monthly() == before + int(shown["monthlyCreditsNow"]) and len(mira.payments()) == 1
    mira.bring_anew(mira.fake.events, "again")
    assert mira.monthly() == before + int(shown["monthlyCreditsNow"])


def test_an_upgrade_that_the_bank_declines_changes_nothing(mira: PaddleCustomer) -> None:
    mira.begin("base")
    mira.act("cancel")
    mira.fake.card_declines = True
    answer = mira.host.post(f"{mira.path}/subscription/change", {"plan": "pro"})
    assert_problem(answer, 503, "UNAVAILABLE")
    mira.hear()
    now = mira.subscription()
    assert (now["plan"], now["cancelAtPeriodEnd"], mira.monthly(), len(mira.payments())) == ("base", True, 3_100, 1)


@pytest.mark.parametrize(("plan", "interval", "monthly"), [("base", "month", 3_000), ("pro", "year", 10_000)])
def test_a_lower_plan_and_another_interval_come_with_the_next_period(
    mira: PaddleCustomer, plan: str, interval: str, monthly: int
) -> None:
    mira.begin("pro")
    now = mira.change(plan, interval)
    assert (now["plan"], now["interval"], now["pendingPlan"]) == ("pro", "month", plan)
    assert now["currentPeriodEnd"] == "2026-12-02T09:30:00Z" and len(mira.payments()) == 1
    mira.wait(days=31)
    now = mira.subscription()
    assert (now["plan"], now["interval"], now["pendingPlan"]) == (plan, interval, None)
    assert mira.monthly() == monthly
    assert mira.change("elite", interval)["plan"] == "elite"


def test_what_is_planned_can_be_planned_anew_and_taken_back(mira: PaddleCustomer) -> None:
    mira.begin("elite")
    assert mira.change("pro")["pendingPlan"] == "pro"
    assert mira.change("base", "year")["pendingPlan"] == "base"
    assert mira.change("elite", "month")["pendingPlan"] is None
    mira.wait(days=31)
    assert (mira.subscription()["plan"], mira.monthly()) == ("elite", 40_000)
    assert mira.payments()[0]["amountMinor"] == mira.payments()[1]["amountMinor"]


def test_an_upgrade_takes_the_place_of_what_was_planned(mira: PaddleCustomer) -> None:
    mira.begin("pro")
    mira.wait(days=10)
    assert mira.change("base", "year")["pendingPlan"] == "base"
    shown = mira.preview("elite", "month")
    now = mira.change("elite", "month")
    assert (now["plan"], now["interval"], now["pendingPlan"]) == ("elite", "month", None)
    assert now["currentPeriodEnd"] == "2026-12-02T09:30:00Z"
    assert mira.payments()[0]["amountMinor"] == shown["dueNowMinor"] > 0


def test_a_cancelled_plan_ends_with_its_period_unless_it_is_taken_back(mira: PaddleCustomer) -> None:
    mira.begin("pro")
    assert mira.change("base")["pendingPlan"] == "base"
    now = mira.act("cancel")
    assert (now["cancelAtPeriodEnd"], now["pendingPlan"]) == (True, None)
    assert mira.act("reactivate")["cancelAtPeriodEnd"] is False
    assert mira.act("cancel")["cancelAtPeriodEnd"] is True
    mira.wait(days=31)
    assert mira.subscription()["plan"] == "free" and len(mira.payments()) == 1


def test_a_lower_plan_that_waits_is_taken_back_by_reactivating(mira: PaddleCustomer) -> None:
    mira.begin("pro")
    mira.change("base")
    assert mira.act("reactivate")["pendingPlan"] is None
    mira.wait(days=31)
    assert (mira.subscription()["plan"], mira.payments()[0]["amountMinor"]) == ("pro", 4_900)


def test_a_paused_plan_stands_while_it_is_paid_and_begins_anew_when_resumed(mira: PaddleCustomer) -> None:
    mira.begin("pro")
    assert mira.act("pause")["status"] == "paused"
    assert mira.act("resume")["status"] == "active"
    assert len(mira.payments()) == 1, "resumed within what is paid costs nothing"
    mira.act("pause")
    mira.wait(days=31)
    mira.wait(days=40)
    now = mira.subscription()
    assert (now["plan"], now["status"], mira.host.buckets(mira.path)["monthly"]) == ("free", "paused", 100)
    now = mira.act("resume")
    assert (now["plan"], now["status"], len(mira.payments())) == ("pro", "active", 2)
    assert now["currentPeriodStart"] == "2027-01-12T09:30:00Z"


def test_a_paused_plan_is_resumed_before_it_is_changed(mira: PaddleCustomer) -> None:
    mira.begin("base")
    mira.wait(days=10)
    mira.change("pro")
    now = mira.act("pause")
    assert (now["status"], now["currentPeriodStart"]) == ("paused", "2026-11-02T09:30:00Z")
    paused = mira.host.post(f"{mira.path}/subscription/change", {"plan": "elite"})
    assert_problem(paused, 503, "UNAVAILABLE")
    mira.wait(days=21)
    assert mira.subscription()["plan"] == "free" and len(mira.payments()) == 2


def test_a_trial_costs_nothing_and_gives_its_own_credits(db: Database, clock: FakeClock, fake: FakePaddle) -> None:
    def with_trial(catalog: Catalog) -> Catalog:
        plans = [
            msgspec.structs.replace(plan, trial_days=14, trial_credits=500) if plan.id == "base" else plan
            for plan in catalog.plans
        ]
        return msgspec.structs.replace(catalog, plans=tuple(plans))

    mira = open_customer(db, clock, fake, a_rail(fake), change=with_trial)
    assert mira.begin("base")["status"] == "trialing"
    assert (mira.monthly(), mira.payments()) == (600, [])
    now = mira.change("pro")
    assert (now["plan"], now["status"], mira.monthly(), mira.payments()) == ("pro", "trialing", 600, [])
    mira.wait(days=14)
    assert (mira.subscription()["status"], mira.monthly()) == ("active", 10_100)
    assert [p["amountMinor"] for p in mira.payments()] == [4_900]
    assert mira.is_clean()
    mira.runtime.group.close()


def test_of_two_checkouts_that_were_paid_one_renews(mira: PaddleCustomer) -> None:
    base, pro = (mira.change(plan, "month")["checkoutUrl"].rpartition("=")[2] for plan in ("base", "pro"))
    mira.fake.subscribe(base)
    name = mira.fake.subscribe(pro)
    mira.hear()
    assert mira.subscription()["plan"] == "pro" and mira.monthly() == 13_100
    mira.wait(days=31)
    assert sorted(payment["amountMinor"] for payment in mira.payments()) == [1_900, 4_900, 4_900]
    assert (mira.monthly(), mira.subscription()["reference"]) == (10_000, name)
    mira.fake.card_declines = True
    mira.wait(days=31)
    assert_problem(mira.host.post(f"{mira.path}/subscription/change", {"plan": "elite"}), 409, "PLAN-003")
