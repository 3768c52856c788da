"""Commit plans: what months paid upfront give, and in which parts it lands."""

from datetime import datetime
from fractions import Fraction

from engine.rules.money import share_down
from engine.rules.periods import period_start
from engine.rules.plans import CommitPlan
from engine.rules.pricing import Pricing, major_unit


def commit_credits(plan: CommitPlan, pricing: Pricing) -> tuple[int, int]:
    """Base and bonus credits of the whole plan, each rounded down once."""
    base = share_down(plan.amount_minor, pricing.credits_per_unit, major_unit(pricing))
    return base, int(base * Fraction(plan.bonus_percent) / 100)


def parts_of(plan: CommitPlan) -> int:
    """How many parts the credits land in: one, or one a month."""
    return plan.months if plan.granted == "monthly" else 1


def landed_of(whole: int, landed: int, parts: int) -> int:
    """How much of `whole` the first `landed` of `parts` are: what a part loses in rounding, a later one has."""
    return share_down(whole, landed, parts)


def part_of(whole: int, number: int, parts: int) -> int:
    """The part of that number, counted from one."""
    return landed_of(whole, number, parts) - landed_of(whole, number - 1, parts)


def next_part_at(landed_at: datetime, landed: int, parts: int, is_refunded: bool) -> datetime | None:
    """When the next part lands: a month after another from the payment on, and none once the money is back."""
    return None if is_refunded or landed >= parts else period_start(landed_at, landed)
