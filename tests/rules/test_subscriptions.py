"""Subscriptions as rules: months, what an upgrade adds and costs, where a plan stands, what rolls over."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.catalogs import load_catalog
from engine.rules.errors import Invalid, PlanElsewhere
from engine.rules.money import Share, nth_part, proration_down
from engine.rules.periods import period_start
from engine.rules.plans import Plan
from engine.rules.subscriptions import (
    ABILITIES,
    LAG,
    Ending,
    Period,
    Terms,
    Upgrade,
    clipped,
    credit_months,
    first_change,
    is_upgrade,
    next_period,
    plan_change,
    rolled_over,
    standing,
    terms_of,
    upgrade_credits,
    upgrade_parts,
)

ALPHIO = load_catalog("alphio")
DAY = timedelta(days=1)
START = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
anchors = st.integers(0, 5 * 365 * 86_400).map(lambda n: datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=n))
amounts = st.integers(0, 10**9)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_periods_from_the_31st_come_back_to_it() -> None:
    ends = [period_start(START, n).strftime("%m-%d") for n in range(1, 14)]
    assert ends == "02-28 03-31 04-30 05-31 06-30 07-31 08-31 09-30 10-31 11-30 12-31 01-31 02-28".split()
    assert next_period(START, period_start(START, 1), "month").end == period_start(START, 2)
    assert period_start(at("2027-11-30"), 3) == at("2028-02-29")


@given(anchors, st.integers(0, 30), st.sampled_from(["month", "year"]))
def test_periods_follow_each_other_and_their_months_are_exactly_they(anchor: datetime, n: int, interval: str) -> None:
    period = next_period(anchor, period_start(anchor, n), interval)
    assert period.end == period_start(anchor, n + (12 if interval == "year" else 1))
    months = credit_months(anchor, period)
    assert len(months) == (12 if interval == "year" else 1)
    assert (months[0].start, months[-1].end) == (period.start, period.end)
    assert all(one.end == other.start for one, other in pairwise(months))
    assert all(timedelta(days=27) < month.end - month.start < timedelta(days=32) for month in months)


@given(anchors, st.integers(1, 40 * 86_400))
def test_any_paid_time_is_months_without_a_gap(start: datetime, seconds: int) -> None:
    months = credit_months(start, Period(start, start + timedelta(seconds=seconds)))
    assert months[0].start == start and months[-1].end == start + timedelta(seconds=seconds)
    assert all(month.start < month.end for month in months)


@given(amounts, amounts, st.integers(0, 86_400 * 31), st.integers(0, 86_400 * 31))
def test_an_upgrade_gives_no_more_than_the_difference_and_in_two_steps_no_more_than_in_one(
    old: int, new: int, first: int, second: int
) -> None:
    month = Period(START, START + 31 * DAY)
    early, late = START + timedelta(seconds=min(first, second)), START + timedelta(seconds=max(first, second))
    given_early, given_late = (upgrade_credits(old, new, month, when) for when in (early, late))
    assert 0 <= given_late <= given_early <= max(0, new - old)
    assert upgrade_credits(old, new, month, month.start) == max(0, new - old)
    assert upgrade_credits(old, new, month, month.end) == 0
    middle = (old + max(old, new)) // 2
    steps = upgrade_credits(old, middle, month, early) + upgrade_credits(middle, new, month, early)
    assert given_early - 1 <= steps <= given_early, "rounded down once a step, never invented"


@given(amounts, st.lists(st.tuples(st.integers(-40 * 86_400, 31 * 86_400), amounts), max_size=5))
def test_upgrades_of_a_month_give_together_no_more_than_the_highest_would_alone(
    level: int, raises: list[tuple[int, int]]
) -> None:
    month = Period(START, START + 31 * DAY)
    upgrades = [Upgrade(START + timedelta(seconds=at), credits) for at, credits in sorted(raises)]
    parts = upgrade_parts(level, upgrades, month)
    highest = max([level, *(upgrade.monthly_credits for upgrade in upgrades)])
    assert len(parts) == len(upgrades) and min(parts, default=0) >= 0
    assert sum(parts) <= highest - level
    if all(upgrade.at <= month.start for upgrade in upgrades):
        assert sum(parts) == highest - level


@given(amounts, amounts, st.integers(0, 10**7), st.integers(1, 10**7))
def test_a_proration_is_the_difference_for_the_time_left_to_less_than_a_cent(
    new: int, old: int, left: int, more: int
) -> None:
    whole = left + more
    due = proration_down(Share(new, left, whole), Share(old, left, whole))
    assert 0 <= (new - old) * left - due * whole < whole
    back = proration_down(Share(old, left, whole), Share(new, left, whole))
    assert -1 <= due + back <= 0, "there and back never costs more than nothing, nor gains a cent"


@given(amounts, st.integers(1, 60))
def test_parts_of_a_price_are_together_the_price(price: int, parts: int) -> None:
    each = [nth_part(price, n, parts) for n in range(parts)]
    assert sum(each) == price and max(each) - min(each) <= 1


def terms(plan: str, interval: str = "month") -> Terms:
    return terms_of(ALPHIO, plan, interval)


def test_an_upgrade_is_a_higher_plan_by_the_same_interval() -> None:
    assert is_upgrade(terms("base"), terms("pro")) and is_upgrade(terms("base", "year"), terms("elite", "year"))
    for old, new in (("pro", "base"), ("pro", "pro")):
        assert not is_upgrade(terms(old), terms(new))
    assert not is_upgrade(terms("base"), terms("elite", "year"))


def test_a_preview_of_an_upgrade_half_way() -> None:
    month = Period(at("2026-11-01"), at("2026-12-01"))
    change = plan_change(terms("base"), terms("pro"), month, month, 3_000, at("2026-11-16"), is_trial=False)
    assert (change.due_now_minor, change.credit_now_minor, change.credits_now) == (1_500, 0, 3_500)
    assert (change.how, change.next_amount_minor, change.next_at) == ("now", 4_900, month.end)
    free = plan_change(terms("base"), terms("pro"), month, month, 3_000, at("2026-11-16"), is_trial=True)
    assert (free.due_now_minor, free.credits_now, free.next_amount_minor) == (0, 0, 4_900)


def test_a_cheaper_higher_plan_gives_money_back_with_the_next_invoice() -> None:
    cheap = Terms(plan=terms("pro").plan, interval="month", price_minor=900)
    month = Period(at("2026-11-01"), at("2026-12-01"))
    change = plan_change(terms("base"), cheap, month, month, 3_000, at("2026-11-16"), is_trial=False)
    assert (change.due_now_minor, change.credit_now_minor, change.next_amount_minor) == (0, 500, 400)


def test_the_first_change_is_a_trial_where_there_is_one() -> None:
    plan = Plan(id="pro", name="Pro", rank=2, monthly_credits=10_000, prices=terms("pro").plan.prices, trial_days=14)
    trial = first_change(Terms(plan=plan, interval="month", price_minor=4_900), START, has_trial=True)
    assert (trial.due_now_minor, trial.next_amount_minor, trial.next_at, trial.credits_now) == (
        0,
        4_900,
        START + 14 * DAY,
        0,
    )


STANDINGS = """
active      -1d   -      active    yes
active      0d    -      active    yes
active      2h    -      past_due  yes
active      3d    -      ended     no
active      0d    ends   ended     no
trialing    -1d   -      trialing  yes
past_due    -1d   -      past_due  yes
past_due    1d    -      past_due  yes
past_due    3d    -      ended     no
past_due    1d    ends   ended     no
paused      -1d   -      paused    yes
paused      0d    -      paused    no
paused      9d    -      paused    no
ended       -9d   -      ended     no
incomplete  -9d   -      incomplete no
"""


@pytest.mark.parametrize("line", STANDINGS.strip().splitlines())
def test_where_a_subscription_stands(line: str) -> None:
    state, since, ends, status, holds = line.split()
    span = timedelta(hours=int(since[:-1])) if since.endswith("h") else int(since[:-1]) * DAY
    stands = standing(state, START, START + span, grace=3 * DAY, cancels_at_end=ends == "ends")
    assert (stands.status, stands.holds_plan) == (status, holds == "yes")
    assert stands.next_at is None or stands.next_at > START + span, "it never asks to be looked at again at once"


@given(
    st.sampled_from(["active", "trialing", "past_due", "paused"]),
    st.integers(-100, 400),
    st.integers(0, 10),
    st.booleans(),
)
def test_between_two_looks_nothing_changes(state: str, hours: int, grace: int, ends: bool) -> None:
    now = START + timedelta(hours=hours)
    stands = standing(state, START, now, grace=grace * DAY, cancels_at_end=ends)
    until = stands.next_at or now + 999 * DAY
    just_before = until - timedelta(microseconds=1)
    again = standing(state, START, just_before, grace=grace * DAY, cancels_at_end=ends)
    assert (again.status, again.holds_plan) == (stands.status, stands.holds_plan)
    assert LAG < DAY


def test_stores_say_where_their_subscriptions_are_changed() -> None:
    for store in ("apple", "google"):
        with pytest.raises(PlanElsewhere) as refused:
            ABILITIES[store].check(store, "change")
        assert str(refused.value.facts["manageUrl"]).startswith("https://")
    ABILITIES["sandbox"].check("sandbox", "pause")


@pytest.mark.parametrize(("plan", "interval"), [("gold", "month"), ("free", "month"), ("pro", "week"), ("pro", None)])
def test_what_is_not_sold_is_refused(plan: str, interval: str | None) -> None:
    with pytest.raises(Invalid):
        terms_of(ALPHIO, plan, interval)


def test_what_rolls_over_is_capped_and_rolls_once() -> None:
    plan = Plan(id="x", name="X", rank=1, monthly_credits=1_000, rollover_max=400, rollover_periods=1)
    lots = (Ending(300, False), Ending(250, False), Ending(400, True))
    assert (rolled_over(plan, lots), clipped(plan, lots)) == (400, 150)
    assert (rolled_over(plan, lots[:1]), clipped(plan, lots[:1])) == (300, 0)
    none = Plan(id="x", name="X", rank=1, monthly_credits=1_000)
    assert (rolled_over(none, lots), clipped(none, lots)) == (0, 0)
