"""Store products: what an app store sells for us, and the credits each of them stands for."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from engine.rules.fields import Identifier, Interval, Positive, Text, check_unique
from engine.rules.plans import Plan
from engine.rules.pricing import Pricing

StoreName = Literal["apple", "google"]


class StoreProduct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A consumable product as the store knows it, and its price in the catalogue's currency.

    Its credits are what the quote gives for that price on this rail, unless `credits` says how many. What a customer
    pays in their own currency is the store's to decide and changes neither.
    """

    provider: StoreName
    product_id: Text
    amount_minor: Positive
    credits: Positive | None = None


class PlanProduct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A subscription as the store knows it, and the plan by which interval it sells."""

    provider: StoreName
    product_id: Text
    plan: Identifier
    interval: Interval


def sells_plan(products: Iterable[PlanProduct], provider: str, product_id: str) -> bool:
    """Whether a store's product sells a plan, by any of its base plans."""
    mine = (product.product_id for product in products if product.provider == provider)
    return any(product_id in (name, name.partition(":")[0]) for name in mine)


def check_plan_products(products: Iterable[PlanProduct], offered: Iterable[str], plans: Iterable[Plan]) -> None:
    """Each stands there once, on a rail that is offered, and its plan is sold by its interval."""
    products, rails, by_id = tuple(products), set(offered), {plan.id: plan for plan in plans}
    check_unique("plan product", (f"{product.provider}:{product.product_id}" for product in products))
    for product in products:
        name = f"plan product {product.product_id!r}"
        if product.provider not in rails:
            raise ValueError(f"{name} is sold by {product.provider}, which providers does not offer")
        plan = by_id.get(product.plan)
        if plan is None or plan.price_minor(product.interval) is None:
            raise ValueError(f"{name} sells {product.plan!r} by {product.interval}, which no plan has a price for")


def check_store_products(products: Iterable[StoreProduct], offered: Iterable[str], pricing: Pricing) -> None:
    """Each product stands there once, on a rail that is offered; one without credits of its own can be quoted."""
    products, rails = tuple(products), set(offered)
    check_unique("store product", (f"{product.provider}:{product.product_id}" for product in products))
    for product in products:
        name = f"store product {product.product_id!r}"
        if product.provider not in rails:
            raise ValueError(f"{name} is sold by {product.provider}, which providers does not offer")
        if product.credits is None and not pricing.min_minor <= product.amount_minor <= pricing.max_minor:
            raise ValueError(f"{name} costs what can't be quoted: give it credits, or a price within the bounds")
