"""A store's subscription as the store told it: one paid period of it, priced by the catalogue and told as facts."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from engine.rules.catalog import Catalog
from engine.rules.facts import InvoiceFact, SubscriptionFact, SubscriptionState
from engine.rules.money import Money
from engine.rules.store_products import PlanProduct
from engine.rules.subscriptions import terms_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """`reference` names the subscription for good, `object_id` this one payment of it.

    `state` is the subscription's, `None` where the store told of a payment alone. `next_product_id` is what it renews
    into. `version` is the store's own time.
    """

    reference: str
    object_id: str
    product_id: str
    version: int
    live: bool
    token: str | None
    period_start: datetime
    period_end: datetime
    kind: Literal["create", "renewal", "trial"]
    state: SubscriptionState | None
    is_refunded: bool = False
    cancels: bool = False
    next_product_id: str | None = None


def renewal_facts(
    catalog: Catalog, provider: str, renewal: Renewal, account_id: str | None
) -> tuple[SubscriptionFact | InvoiceFact, ...]:
    """The payment, and the subscription where the store said how it stands; empty for a product that is not sold.

    What the customer paid in their own currency is the store's to decide: the payment counts as the plan's price.
    """
    sold = _product(catalog, provider, renewal.product_id)
    if sold is None:
        return ()
    price = Money(terms_of(catalog, sold.plan, sold.interval).price_minor, catalog.pricing.currency)
    comes = _product(catalog, provider, renewal.next_product_id)
    if comes is not None and (comes.plan, comes.interval) == (sold.plan, sold.interval):
        comes = None
    invoice = InvoiceFact(
        object_id=renewal.object_id,
        provider_subscription_id=renewal.reference,
        kind=renewal.kind,
        state="refunded" if renewal.is_refunded else "paid",
        amount=Money(0, price.currency) if renewal.kind == "trial" else price,
        version=renewal.version,
        live=renewal.live,
        plan=sold.plan,
        interval=sold.interval,
        period_start=renewal.period_start,
        period_end=renewal.period_end,
        account_id=account_id,
    )
    if renewal.state is None:
        return (invoice,)
    subscription = SubscriptionFact(
        object_id=renewal.reference,
        state=renewal.state,
        version=renewal.version,
        live=renewal.live,
        plan=sold.plan,
        interval=sold.interval,
        price=price,
        anchor_at=renewal.period_start,
        period_start=renewal.period_start,
        period_end=renewal.period_end,
        cancel_at_period_end=renewal.cancels,
        pending_plan=comes.plan if comes and not renewal.cancels else None,
        pending_interval=comes.interval if comes and not renewal.cancels else None,
        account_id=account_id,
    )
    return (subscription, invoice)


def _product(catalog: Catalog, provider: str, product_id: str | None) -> PlanProduct | None:
    found = (each for each in catalog.plan_products if (each.provider, each.product_id) == (provider, product_id))
    return next(found, None)
