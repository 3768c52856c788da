"""Entitlements: what an account may do by its plan and by what was set for it alone, and why not.

A plan gives flags and numbers by name. An override replaces the plan's value for one account, upwards or downwards;
`custom_credits` is the right to top up and is known even where a plan does not name it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from engine.rules.catalog import Catalog
from engine.rules.errors import FeatureNotInPlan, NotFound
from engine.rules.plans import CUSTOM_CREDITS, Plan

Value = bool | int
Overrides = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Entitlements:
    """Every feature by name, with its value for this account; `add_ons` names what an override gives beyond the plan.

    `limits` are the features that are numbers.
    """

    plan: str | None
    features: Mapping[str, Value]
    add_ons: tuple[str, ...]
    limits: Mapping[str, int]


def entitlements_of(catalog: Catalog, plan_id: str | None, sold: Plan | None, overrides: Overrides) -> Entitlements:
    """What holds for an account: of the plan as it was sold (`sold`), else as the catalogue has it now."""
    given = plan_features(catalog, plan_id, sold)
    features = {**given, **overrides}
    add_ons = tuple(sorted(name for name, value in overrides.items() if is_more(value, given.get(name, False))))
    limits = {name: value for name, value in features.items() if not isinstance(value, bool)}
    return Entitlements(plan_id, features, add_ons, limits)


def plan_features(catalog: Catalog, plan_id: str | None, sold: Plan | None = None) -> dict[str, Value]:
    """A plan's own features. Without a plan, or with one that the catalogue no longer has, all of them are off."""
    plan = sold or next((plan for plan in catalog.plans if plan.id == plan_id), None)
    if plan is None:
        off: dict[str, Value] = {
            name: _none_of(value) for each in catalog.plans for name, value in each.entitlements.items()
        }
        return {**off, CUSTOM_CREDITS: catalog.top_up_from is None}
    return {CUSTOM_CREDITS: catalog.may_top_up(plan.id), **plan.entitlements}


def is_more(value: Value, than: Value) -> bool:
    """Whether a value allows more than another: on than off, a higher number than a lower."""
    return int(value) > int(than)


def is_allowed(value: Value) -> bool:
    """A flag that is on, a number above none."""
    return value is not False and value != 0


def check_feature(catalog: Catalog, held: Entitlements, feature: str, upgrade_url: str, overrides: Overrides) -> Value:
    """The feature's value if it is allowed; `FeatureNotInPlan` says why not and which plan has it.

    `NotFound` for a feature that neither the catalogue nor an override knows.
    """
    value = held.features.get(feature)
    if value is None:
        raise NotFound("feature")
    if is_allowed(value):
        return value
    reason = "override" if feature in overrides else "plan"
    least = required_plan(catalog, feature)
    raise FeatureNotInPlan(
        feature, held.plan, least.id if least else None, least.name if least else None, upgrade_url, reason
    )


def required_plan(catalog: Catalog, feature: str) -> Plan | None:
    """The lowest plan that allows the feature, if any does."""
    plans = sorted(catalog.plans, key=lambda plan: plan.rank)
    return next((plan for plan in plans if is_allowed(plan_features(catalog, plan.id).get(feature, False))), None)


def _none_of(value: Value) -> Value:
    return False if isinstance(value, bool) else 0
