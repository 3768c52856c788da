"""The catalogue: everything priced, counted or limited, as one frozen value read from a TOML file.

A `Catalog` that exists is sound: unknown keys, wrong types and rules that contradict each other are refused when
it is read, with the place and the problem. Its tables that say more live beside their rules (`pricing`, `plans`,
`sellers`, `descriptions`) and are named here too, so that readers import one module.
"""

import tomllib
import unicodedata
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engine.rules.descriptions import Descriptions, describe, money_label
from engine.rules.fields import (
    PROVIDER_NAMES,
    Count,
    Country,
    Identifier,
    Minutes,
    Platform,
    Positive,
    Provider,
    Text,
    check_unique,
)
from engine.rules.holds import HoldRules
from engine.rules.lots import BUCKETS, Bucket
from engine.rules.money import CREDITS_MAX, share_down
from engine.rules.plans import CUSTOM_CREDITS, CommitPlan, Plan, PlanPrice, SubscriptionRules, check_plans
from engine.rules.pricing import Pricing, Tier, base_at_most, exact_credits, major_unit
from engine.rules.sellers import Address, Demo, Seller, Tax, TaxRate
from engine.rules.store_products import PlanProduct, StoreProduct, check_plan_products, check_store_products

__all__ = [
    "CUSTOM_CREDITS",
    "PROVIDER_NAMES",
    "Address",
    "AutoRecharge",
    "Catalog",
    "CatalogError",
    "CommitPlan",
    "Coupon",
    "Demo",
    "Descriptions",
    "HoldRules",
    "Plan",
    "PlanPrice",
    "Pricing",
    "Rail",
    "Refunds",
    "Seller",
    "StoreProduct",
    "SubscriptionRules",
    "Tax",
    "TaxRate",
    "Tier",
    "Unit",
    "coupon_key",
    "describe",
    "money_label",
    "read_catalog",
]

SOLD_BY_SELLER = frozenset({"stripe", "moonpay"})
"""Rails on which the operator is the seller; the others' owners are merchants of record (the sandbox plays either)."""


COUPON_PERCENT_MAX = 1_000
"""The most that a coupon adds to a top-up, in percent of its base credits."""


class CatalogError(ValueError):
    """A catalogue that cannot be used: where (`pricing.tiers[1].from_minor`) and what is wrong there."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class Unit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a credit is called, what it is worth in US dollars if anything, and which of the two is shown."""

    singular: Text
    plural: Text
    credits_per_usd: Positive | None = None
    display: Literal["credits", "usd"] = "credits"

    def __post_init__(self) -> None:
        if self.display == "usd" and self.credits_per_usd is None:
            raise ValueError("display usd needs credits_per_usd")


class Rail(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A provider as offered: on these platforms, to customers in these countries (none named: everywhere)."""

    name: Provider
    platforms: Annotated[tuple[Platform, ...], Meta(min_length=1)]
    regions: tuple[Country, ...] = ()

    def __post_init__(self) -> None:
        check_unique("platform", self.platforms)
        check_unique("region", self.regions)


class Refunds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The policy for other refunds, the hours in which an untouched purchase is reversed, and the amount of money
    (minor units) above which a second person must approve. `grant_approval_above` is the same limit for an
    administrator's grants and debits, in credits; without it they need no second person. An issuer's early warning of
    fraud freezes what is unspent of the purchase, or is only noted."""

    policy: Literal["none", "unused_part", "manual"]
    approval_above: Count
    grant_approval_above: Count | None = None
    window_hours: Positive = 24
    early_fraud_warnings: Literal["ignore", "freeze"] = "ignore"


class Coupon(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A code for `credits`, or for `percent` more of what a top-up buys: exactly one of the two.

    Credits land in a bucket at once: limited-time ones end `expires_after_days` after redemption, recharge ones never.
    A percentage is given with a top-up, of its base credits, rounded down, and lands where the top-up does.

    It may be used until `ends_at`, by `max_redemptions` accounts together, once each; by those that have topped
    up before (`first_top_up_required`), on these `plans`, in these `countries` (none named: all).
    """

    code: Text
    description: Text
    credits: Positive | None = None
    percent: Annotated[int, Meta(ge=1, le=COUPON_PERCENT_MAX)] | None = None
    bucket: Bucket | None = None
    expires_after_days: Annotated[int, Meta(ge=1, le=3_650)] | None = None
    ends_at: Annotated[datetime, Meta(tz=True)] | None = None
    max_redemptions: Positive | None = None
    first_top_up_required: bool = False
    plans: tuple[str, ...] = ()
    countries: tuple[Country, ...] = ()

    def __post_init__(self) -> None:
        check_unique("plan", self.plans)
        check_unique("country", self.countries)
        if not coupon_key(self.code):
            raise ValueError("code is blank")
        if (self.credits is None) == (self.percent is None):
            raise ValueError(f"coupon {self.code!r} gives credits or a percent of a top-up: exactly one of the two")
        if (self.bucket is None) != (self.credits is None):
            raise ValueError("bucket stands on coupons for credits, and only there: a percent lands with its top-up")
        if self.bucket == "monthly":
            raise ValueError("monthly credits come from plans only: the bucket is limited_time or recharge")
        if (self.bucket == "limited_time") != (self.expires_after_days is not None):
            raise ValueError("expires_after_days stands on limited_time coupons, and only there")


class AutoRecharge(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The bounds within which a customer may set an auto-recharge, and how often one may fire."""

    threshold_min_credits: Count
    threshold_max_credits: Count
    amount_min_minor: Positive
    amount_max_minor: Positive
    cooldown_minutes: Minutes
    max_per_day: Positive

    def __post_init__(self) -> None:
        if self.threshold_min_credits > self.threshold_max_credits:
            raise ValueError("threshold_min_credits is above threshold_max_credits")
        if self.amount_min_minor > self.amount_max_minor:
            raise ValueError("amount_min_minor is above amount_max_minor")


class Catalog(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One deployment's offer. `top_up_from` is the least plan that may top up; `None` means that anyone may."""

    id: Identifier
    name: Text
    error_prefix: Annotated[str, Meta(pattern=r"\A([A-Z]{2,8}-)?\Z")] = ""
    key_prefix: Annotated[str, Meta(pattern=r"\A[a-z]{2,8}_sk_\Z")]
    buckets: tuple[Bucket, ...]
    unit: Unit
    pricing: Pricing
    quote_ttl_minutes: Minutes = 15
    checkout_ttl_minutes: Minutes = 30
    providers: tuple[Rail, ...]
    plans: tuple[Plan, ...] = ()
    subscriptions: SubscriptionRules = msgspec.field(default_factory=SubscriptionRules)
    top_up_from: str | None = None
    commit_plans: tuple[CommitPlan, ...] = ()
    auto_recharge: AutoRecharge | None = None
    refunds: Refunds
    holds: HoldRules = msgspec.field(default_factory=HoldRules)
    coupons: tuple[Coupon, ...] = ()
    store_products: tuple[StoreProduct, ...] = ()
    plan_products: tuple[PlanProduct, ...] = ()
    descriptions: Descriptions = msgspec.field(default_factory=Descriptions)
    seller: Seller
    tax: Tax
    demo: Demo

    def __post_init__(self) -> None:
        _check_buckets(self)
        _check_rails(self)
        _check_tax(self)
        check_plans(self.plans)
        _check_top_up(self)
        _check_coupons(self)
        check_store_products(self.store_products, (rail.name for rail in self.providers), self.pricing)
        check_plan_products(self.plan_products, (rail.name for rail in self.providers), self.plans)
        _check_commit_plans(self)
        _check_auto_recharge(self)

    @property
    def saves_cards(self) -> bool:
        """Whether a checkout may save its card: only where auto-recharge can use it."""
        return self.auto_recharge is not None

    def commit_plan(self, plan_id: str) -> CommitPlan | None:
        """The commit plan of that id, if there is one."""
        return next((plan for plan in self.commit_plans if plan.id == plan_id), None)

    def plan(self, plan_id: str) -> Plan:
        """The plan of that id; `KeyError` if there is none."""
        for plan in self.plans:
            if plan.id == plan_id:
                return plan
        raise KeyError(plan_id)

    def coupon(self, code: str) -> Coupon | None:
        """The coupon that this text names, in whatever spelling."""
        key = coupon_key(code)
        return next((coupon for coupon in self.coupons if coupon_key(coupon.code) == key), None)

    @property
    def first_plan(self) -> Plan | None:
        """The plan of the lowest rank, on which accounts start; `None` where there are no plans."""
        return min(self.plans, key=lambda plan: plan.rank, default=None)

    def may_top_up(self, plan_id: str | None) -> bool:
        """Whether that plan includes top-ups. A plan that the catalogue no longer has does not."""
        if self.top_up_from is None:
            return True
        least = self.plan(self.top_up_from).rank
        return any(plan.id == plan_id and plan.rank >= least for plan in self.plans)


def read_catalog(text: str) -> Catalog:
    """The catalogue in this TOML text; `CatalogError` says where it is wrong and what."""
    try:
        tree = tomllib.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as error:
        raise CatalogError("catalogue", f"is not TOML: {error}") from error
    try:
        return msgspec.convert(tree, Catalog, strict=True)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).rpartition(" - at `$")
        if not problem:
            raise CatalogError("catalogue", place) from error
        raise CatalogError(place.rstrip("`").lstrip("."), problem) from error


def coupon_key(code: str) -> str:
    """The form in which two spellings of a coupon code are the same: trimmed, normalised (NFKC), without case."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", code).strip().casefold())


def _check_buckets(catalog: Catalog) -> None:
    if list(catalog.buckets) != [bucket for bucket in BUCKETS if bucket in catalog.buckets]:
        raise ValueError(f"buckets must stand in spend order ({', '.join(BUCKETS)}), each once")
    if "recharge" not in catalog.buckets:
        raise ValueError("buckets must hold recharge: purchases land there")
    if "monthly" not in catalog.buckets and any(plan.monthly_credits for plan in catalog.plans):
        raise ValueError("buckets must hold monthly: plans grant monthly credits")


def _check_rails(catalog: Catalog) -> None:
    check_unique("provider", (rail.name for rail in catalog.providers))
    offered = {rail.name for rail in catalog.providers}
    for tier in catalog.pricing.tiers:
        for provider in tier.providers:
            if provider not in offered:
                raise ValueError(f"tier {tier.name!r} names {provider}, which providers does not offer")


def _check_tax(catalog: Catalog) -> None:
    """A document states the tax that was paid: on top of the price only a merchant of record adds it by itself."""
    tax = catalog.tax
    own = [rail.name for rail in catalog.providers if rail.name in SOLD_BY_SELLER]
    if own and not tax.prices_include_tax and (tax.default_percent > 0 or any(rate.percent > 0 for rate in tax.rates)):
        raise ValueError(f"tax must be part of the price (prices_include_tax): {own[0]} adds none on top")


def _check_top_up(catalog: Catalog) -> None:
    """`top_up_from` is a plan, and the entitlement that says the same thing agrees with it."""
    if catalog.top_up_from is not None and catalog.top_up_from not in {plan.id for plan in catalog.plans}:
        raise ValueError(f"top_up_from names {catalog.top_up_from!r}, which is not a plan")
    for plan in catalog.plans:
        flag = plan.entitlements.get(CUSTOM_CREDITS)
        if flag is not None and flag is not catalog.may_top_up(plan.id):
            raise ValueError(f"plan {plan.id!r}: {CUSTOM_CREDITS} and top_up_from contradict each other")


def _check_coupons(catalog: Catalog) -> None:
    check_unique("coupon code", (coupon_key(coupon.code) for coupon in catalog.coupons))
    for coupon in catalog.coupons:
        if coupon.bucket is not None and coupon.bucket not in catalog.buckets:
            raise ValueError(f"coupon {coupon.code!r} grants {coupon.bucket}, which is not in buckets")
        for plan_id in coupon.plans:
            if plan_id not in {plan.id for plan in catalog.plans}:
                raise ValueError(f"coupon {coupon.code!r} names the plan {plan_id!r}, which is not in plans")
        most = exact_credits(catalog.pricing, catalog.pricing.max_minor, None)
        if most + base_at_most(catalog.pricing) * (coupon.percent or 0) / 100 > CREDITS_MAX:
            raise ValueError(f"coupon {coupon.code!r}: with it max_minor buys more than {CREDITS_MAX} credits")


def _check_commit_plans(catalog: Catalog) -> None:
    check_unique("commit plan id", (plan.id for plan in catalog.commit_plans))
    unit = major_unit(catalog.pricing)
    for plan in catalog.commit_plans:
        base = share_down(plan.amount_minor, catalog.pricing.credits_per_unit, unit)
        if base * (1 + plan.bonus_percent / 100) > CREDITS_MAX:
            raise ValueError(f"commit plan {plan.id!r} gives more than {CREDITS_MAX} credits, bonus included")


def _check_auto_recharge(catalog: Catalog) -> None:
    rules, pricing = catalog.auto_recharge, catalog.pricing
    if rules is None:
        return
    if rules.amount_min_minor < pricing.min_minor or rules.amount_max_minor > pricing.max_minor:
        raise ValueError("auto_recharge buys outside min_minor and max_minor of pricing")
