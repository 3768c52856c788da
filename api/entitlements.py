"""Entitlements over HTTP: what an account may do, one feature with why not, and what is set for one account alone."""

from typing import Annotated, Any

from msgspec import Meta

from api.body import Body
from api.scope import Answer, Call, Resource
from api.transactions import View
from engine.flows import entitlements
from engine.rules.entitlements import Entitlements
from engine.rules.errors import FeatureNotInPlan, Invalid, NotFound
from engine.rules.money import CREDITS_MAX

Number = Annotated[int, Meta(ge=0, le=CREDITS_MAX)]


class EntitlementsAnswer(View, frozen=True, kw_only=True):
    """`features` are all of them by name; `limits` those that are numbers; `addOns` names what was set for the
    account beyond its plan."""

    plan: str | None
    features: dict[str, bool | int]
    add_ons: tuple[str, ...]
    limits: dict[str, int]


class FeatureAnswer(View, frozen=True, kw_only=True):
    """An allowed feature; `value` is true, or the number that is its limit."""

    feature: str
    allowed: bool
    value: bool | int
    plan: str | None


class OverridesBody(Body, frozen=True, kw_only=True):
    """Features to set for the account, upwards or downwards; null takes one back."""

    features: dict[str, bool | Number | None]


class OverridesAnswer(View, frozen=True, kw_only=True):
    features: dict[str, bool | int]


def get_entitlements(call: Call[None]) -> Answer:
    """Everything the account may do, now."""
    return Answer(shown(entitlements.entitlements(call.runtime, call.account_id)))


def get_feature(call: Call[None]) -> Answer:
    """One feature: allowed, or the problem that says why not and what would allow it."""
    feature = call.path["feature"]
    value, held = entitlements.allow(call.runtime, call.account_id, feature)
    return Answer(FeatureAnswer(feature=feature, allowed=True, value=value, plan=held.plan))


def get_overrides(call: Call[None]) -> Answer:
    """What is set for this account alone."""
    return Answer(OverridesAnswer(features=entitlements.overrides(call.runtime, call.account_id)))


def put_overrides(call: Call[OverridesBody]) -> Answer:
    """Set or take back; what is not named stays."""
    for name in call.ask.features:
        if not (0 < len(name) <= 64 and name.isascii() and name.replace("_", "").replace("-", "").isalnum()):
            raise Invalid("features", "A feature's name is 1 to 64 of A-Z, a-z, 0-9, _ and -.")
    changed = entitlements.set_overrides(call.runtime, call.account_id, call.actor, call.ask.features)
    return Answer(OverridesAnswer(features=changed))


def shown(held: Entitlements) -> EntitlementsAnswer:
    return EntitlementsAnswer(
        plan=held.plan, features=dict(held.features), add_ons=held.add_ons, limits=dict(held.limits)
    )


RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="GET",
        path="entitlements",
        may="read",
        handler=get_entitlements,
        answers=EntitlementsAnswer,
        refuses=(NotFound,),
        summary="What the account may do.",
    ),
    Resource(
        method="GET",
        path="entitlements/{feature:str}",
        may="read",
        handler=get_feature,
        answers=FeatureAnswer,
        refuses=(NotFound, FeatureNotInPlan),
        summary="Whether the account may use a feature.",
    ),
    Resource(
        method="GET",
        path="entitlement-overrides",
        may="wallet",
        handler=get_overrides,
        answers=OverridesAnswer,
        refuses=(NotFound,),
        summary="What is set for this account alone.",
    ),
    Resource(
        method="PUT",
        path="entitlement-overrides",
        may="wallet",
        handler=put_overrides,
        asks=OverridesBody,
        answers=OverridesAnswer,
        refuses=(NotFound,),
        summary="Set features for this account alone, upwards or downwards.",
    ),
)
