"""Subscriptions: what a change costs and gives, which months an invoice pays for, and whether a plan stands now.

A paid invoice pays for months of credits, each a lot that ends with its month. Everything here is a function of
values: what was granted before is the caller's to know, and nothing is granted twice because each month has a key.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Literal

import msgspec

from engine.rules.catalog import Catalog
from engine.rules.errors import Invalid, PlanElsewhere
from engine.rules.fields import PROVIDER_NAMES, Interval
from engine.rules.money import Share, proration_down, share_down
from engine.rules.periods import period_at, period_start
from engine.rules.plans import Plan

LAG = timedelta(hours=1)
"""Providers charge a renewal up to an hour late: a shorter silence after a period's end is no news."""

PREVIEW_MINUTES = 15
"""How long a preview is held: a change that follows within it is reckoned from the same instant."""

MONTHS: dict[str, int] = {"month": 1, "year": 12}

Act = Literal["cancel", "reactivate", "pause", "resume"]
Status = Literal["incomplete", "trialing", "active", "past_due", "paused", "ended"]


@dataclass(frozen=True, slots=True)
class Abilities:
    """What can be asked of a provider's subscriptions from here; `manage_url` is where a store wants it done."""

    may: frozenset[str]
    manage_url: str | None = None

    def check(self, provider: str, act: str) -> None:
        if act not in self.may:
            raise PlanElsewhere(PROVIDER_NAMES[provider], act, self.manage_url)


_ALL = frozenset({"start", "change", "cancel", "reactivate", "pause", "resume"})
ABILITIES: dict[str, Abilities] = {
    "sandbox": Abilities(_ALL),
    "stripe": Abilities(_ALL),
    "paddle": Abilities(_ALL),
    "apple": Abilities(frozenset(), "https://apps.apple.com/account/subscriptions"),
    "google": Abilities(frozenset(), "https://play.google.com/store/account/subscriptions"),
    "moonpay": Abilities(frozenset()),
}
"""Per provider; stores sell and change their subscriptions in the store alone."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What a subscription was sold under: the plan as the catalogue had it, by which interval, for how much."""

    plan: Plan
    interval: Interval
    price_minor: int


def terms_of(catalog: Catalog, plan_id: str, interval: str | None) -> Terms:
    """What the catalogue sells now under this name; `Invalid` if it does not."""
    plan = next((plan for plan in catalog.plans if plan.id == plan_id), None)
    if plan is None:
        raise Invalid("plan", "The catalogue has no such plan.")
    if not plan.prices:
        raise Invalid("plan", "This plan is not sold: cancel the subscription to be back on it.")
    if interval not in MONTHS:
        raise Invalid("interval", "The interval is month or year.")
    price = plan.price_minor(interval)
    if price is None:
        raise Invalid("interval", "The plan is not sold by this interval.")
    return Terms(plan=plan, interval="year" if interval == "year" else "month", price_minor=price)


def level_of(terms: Terms, *, is_trial: bool) -> int:
    """What each month gives that is paid for under these terms; a trial gives its own credits once."""
    return terms.plan.trial_credits if is_trial else terms.plan.monthly_credits


@dataclass(frozen=True, slots=True)
class Period:
    """`[start, end)`."""

    start: datetime
    end: datetime

    def left(self, at: datetime) -> tuple[int, int]:
        """The time from `at` to the end, and the whole, in microseconds."""
        return _micros(self.end - min(max(at, self.start), self.end)), _micros(self.end - self.start)


def _micros(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


def next_period(anchor: datetime, start: datetime, interval: str) -> Period:
    """The period that begins at `start`, counted from the anchor where `start` lies on it."""
    n = period_at(anchor, start) if start >= anchor else 0
    base, n = (anchor, n) if start >= anchor and period_start(anchor, n) == start else (start, 0)
    return Period(start, period_start(base, n + MONTHS[interval]))


def credit_months(anchor: datetime, paid: Period) -> tuple[Period, ...]:
    """The months of credits in a paid period: one for a month, twelve for a year, one for any shorter time.

    Months are counted from the anchor where the period begins on it; together they are exactly the period.
    """
    n = period_at(anchor, paid.start) if paid.start >= anchor else 0
    aligned = paid.start >= anchor and period_start(anchor, n) == paid.start
    base, first = (anchor, n) if aligned else (paid.start, 0)
    ends = []
    month = 1
    while (end := period_start(base, first + month)) < paid.end:
        ends.append(end)
        month += 1
    if ends and paid.end - ends[-1] < timedelta(days=27):
        ends.pop()  # a period of a month and some days is one month, not two
    bounds = [paid.start, *ends, paid.end]
    return tuple(Period(start, end) for start, end in pairwise(bounds))


def upgrade_credits(old_monthly: int, new_monthly: int, month: Period, at: datetime) -> int:
    """⌊(new − old) × time left ÷ period⌋: what an upgrade adds to the month it happens in; a downgrade adds nothing."""
    left, whole = month.left(at)
    return share_down(max(0, new_monthly - old_monthly), left, whole)


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A change to a higher plan: since when, and the monthly credits of that plan."""

    at: datetime
    monthly_credits: int


def upgrade_parts(level: int, upgrades: Sequence[Upgrade], month: Period) -> tuple[int, ...]:
    """What each of a period's upgrades adds to one of its months, in the order of their instants.

    Each is measured against the level before its own instant, for that is what its price was reckoned from: `level`
    is the period's own, and none lowers it.
    """
    parts = []
    for upgrade in upgrades:
        parts.append(upgrade_credits(level, upgrade.monthly_credits, month, upgrade.at))
        level = max(level, upgrade.monthly_credits)
    return tuple(parts)


@dataclass(frozen=True, slots=True)
class Change:
    """What a change does: how, what is charged or credited now, and what comes next. Money in minor units."""

    how: Literal["start", "now", "period_end"]
    due_now_minor: int
    credit_now_minor: int
    next_amount_minor: int
    next_at: datetime
    effective_at: datetime
    credits_now: int


def first_change(terms: Terms, now: datetime, *, has_trial: bool) -> Change:
    """The start of a subscription: its trial where there is one, else its first period."""
    if has_trial:
        ends = now + timedelta(days=terms.plan.trial_days)
        return Change("start", 0, 0, terms.price_minor, ends, now, terms.plan.trial_credits)
    ends = period_start(now, MONTHS[terms.interval])
    return Change("start", terms.price_minor, 0, terms.price_minor, ends, now, terms.plan.monthly_credits)


def is_upgrade(old: Terms, new: Terms) -> bool:
    """Whether a change takes effect now: a higher plan by the same interval.

    Anything else waits for the period's end: two intervals share no period over which a price could be split.
    """
    return new.interval == old.interval and new.plan.rank > old.plan.rank


def plan_change(
    old: Terms, new: Terms, paid: Period, month: Period, level: int, at: datetime, *, is_trial: bool
) -> Change:
    """An upgrade now, with money and credits for the time left; anything else at the end of what is paid.

    `month` is the month of credits that `at` lies in and `level` the monthly credits it was granted for. In a trial
    nothing was paid, so nothing is charged and no credits are added.
    """
    if not is_upgrade(old, new):
        return Change("period_end", 0, 0, new.price_minor, paid.end, paid.end, 0)
    if is_trial:
        return Change("now", 0, 0, new.price_minor, paid.end, at, 0)
    left, whole = paid.left(at)
    due = proration_down(Share(new.price_minor, left, whole), Share(old.price_minor, left, whole))
    credits = upgrade_credits(level, new.plan.monthly_credits, month, at)
    credit = max(0, -due)
    return Change("now", max(0, due), credit, max(0, new.price_minor - credit), paid.end, at, credits)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a subscription stands at an instant: what is shown, whether its plan counts, when to look again."""

    status: Status
    holds_plan: bool
    next_at: datetime | None


def standing(
    state: str,
    paid_until: datetime,
    now: datetime,
    *,
    grace: timedelta,
    cancels_at_end: bool = False,
) -> Standing:
    """A plan stands while it is paid for, and `grace` longer while nobody has said that it ended.

    `paid_until` is the end of the last period that was paid. One that cancels ends with it; a paused one keeps its
    plan until then and waits.
    """
    lapses = paid_until + grace
    if state == "incomplete":
        return Standing("incomplete", False, None)
    if state == "ended" or (cancels_at_end and now >= paid_until):
        return Standing("ended", False, None)
    if state == "paused":
        return Standing("paused", now < paid_until, paid_until if now < paid_until else None)
    if now >= lapses:
        return Standing("ended", False, None)
    if state == "past_due":
        return Standing("past_due", True, paid_until if cancels_at_end else lapses)
    overdue = min(paid_until + LAG, lapses)
    if now >= overdue:
        return Standing("past_due", True, lapses)
    next_at = paid_until if now < paid_until else overdue
    return Standing("trialing" if state == "trialing" else "active", True, next_at)


def mark_of_end(ends_at: datetime) -> str:
    """What the ledger row of a month's credits that were granted after its end carries, to say which month's."""
    return msgspec.json.encode({"monthEndedAt": ends_at.astimezone(UTC).isoformat()}).decode()


@dataclass(frozen=True, slots=True)
class Ending:
    """A lot of an ending month, as far as rollover cares: what of it left unspent at its end (or is still there)."""

    unspent_credits: int
    was_rolled_over: bool


def rolled_over(plan: Plan, lots: Sequence[Ending]) -> int:
    """Of a period's unspent monthly credits, what lives on: up to the plan's cap, nothing a second time."""
    if plan.rollover_periods == 0:
        return 0
    return min(plan.rollover_max, sum(lot.unspent_credits for lot in lots if not lot.was_rolled_over))


def clipped(plan: Plan, lots: Sequence[Ending]) -> int:
    """What the cap would clip if the period ended now."""
    if plan.rollover_periods == 0:
        return 0
    return max(0, sum(lot.unspent_credits for lot in lots if not lot.was_rolled_over) - plan.rollover_max)
