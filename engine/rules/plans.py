"""Plans: what a subscription tier costs, gives each month and allows; and credits paid for months ahead."""

from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engine.rules.fields import Count, Identifier, Interval, Positive, Text, check_decimal, check_unique

CUSTOM_CREDITS = "custom_credits"
"""The entitlement that is the right to top up (SPEC §11)."""


class PlanPrice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one interval of a plan costs, in minor units of the catalogue's currency."""

    interval: Interval
    amount_minor: Positive


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A subscription tier. A higher `rank` is an upgrade; a plan without prices costs nothing.

    Of a period's unspent monthly credits up to `rollover_max` live on for `rollover_periods` more; 0 means none.
    Entitlements are flags and numbers that the host asks for by name. A first subscription begins with `trial_days`
    free days and `trial_credits` for them.
    """

    id: Identifier
    name: Text
    rank: Count
    monthly_credits: Count
    prices: tuple[PlanPrice, ...] = ()
    entitlements: dict[str, bool | Count] = {}
    rollover_max: Count = 0
    rollover_periods: Count = 0
    trial_days: Annotated[int, Meta(ge=0, le=365)] = 0
    trial_credits: Count = 0

    def __post_init__(self) -> None:
        check_unique("interval", (price.interval for price in self.prices))
        if (self.rollover_max > 0) != (self.rollover_periods > 0):
            raise ValueError("rollover_max and rollover_periods are set together or not at all")
        if self.rollover_max > self.monthly_credits:
            raise ValueError("rollover_max is above monthly_credits")
        if self.trial_credits > 0 and self.trial_days == 0:
            raise ValueError("trial_credits need trial_days")
        if self.trial_days > 0 and not self.prices:
            raise ValueError("a plan without prices has no trial")

    def price_minor(self, interval: str) -> int | None:
        """What one interval costs; `None` where the plan is not sold by it."""
        return next((price.amount_minor for price in self.prices if price.interval == interval), None)


class SubscriptionRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a plan stays when a period ends without a payment, without credits; and how many days before a
    period's end a customer is told that a rollover's cap will clip something."""

    grace_days: Annotated[int, Meta(ge=0, le=60)] = 3
    rollover_notice_days: Annotated[int, Meta(ge=1, le=28)] = 3


class CommitPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Months paid upfront at once: `months × monthly_minor` buys credits at the base rate plus `bonus_percent`.

    They are granted at once, or in a part each month from the payment on.
    """

    id: Identifier
    name: Text
    months: Positive
    monthly_minor: Positive
    bonus_percent: Decimal = Decimal(0)
    granted: Literal["at_once", "monthly"] = "at_once"

    def __post_init__(self) -> None:
        check_decimal("bonus_percent", self.bonus_percent, 1_000)

    @property
    def amount_minor(self) -> int:
        """What is paid upfront."""
        return self.months * self.monthly_minor


def check_plans(plans: tuple[Plan, ...]) -> None:
    """What must hold between plans: one order, a first plan that costs nothing, the same entitlements on each."""
    check_unique("plan id", (plan.id for plan in plans))
    check_unique("plan rank", (plan.rank for plan in plans))
    if not plans:
        return
    first = min(plans, key=lambda plan: plan.rank)
    if first.prices:
        raise ValueError(f"plan {first.id!r} has the lowest rank, so accounts start on it: it must have no prices")
    for plan in plans:
        odd = sorted(_entitlement_kinds(plan) ^ _entitlement_kinds(first))
        if odd:
            raise ValueError(f"plans {first.id!r} and {plan.id!r} differ in the entitlement {odd[0][0]!r}")


def _entitlement_kinds(plan: Plan) -> set[tuple[str, str]]:
    return {(name, type(value).__name__) for name, value in plan.entitlements.items()}
