"""A store's subscription as the store told it: one paid period of it, priced by the catalogue and told as facts."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from engine.rules.catalog import Catalog
from engine.rules.facts import Fact, InvoiceFact, InvoiceKind, SubscriptionFact, SubscriptionState
from engine.rules.money import Money, Share, proration_down, share_down
from engine.rules.periods import period_start
from engine.rules.purchases import KnownFact
from engine.rules.store_products import PlanProduct
from engine.rules.subscriptions import MONTHS, Period, terms_of

DRIFT = timedelta(days=3)
"""How far the end of a store's month or year lies from ours: the 28th of February from the 31st of March at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """`reference` names the subscription for good, `object_id` this one payment of it, told at `version`.

    `state` is the subscription's at `state_version`, `None` where the store told of a payment alone; it runs until
    `runs_until`, where that is not the end of what was paid. Both versions are the store's own time. Of the payment,
    `refunded_parts` of `parts` went back; a store that says so for good never undoes it. `next_product_id` is what it
    renews into.
    """

    reference: str
    object_id: str
    product_id: str
    version: int
    live: bool
    token: str | None
    period_start: datetime
    period_end: datetime
    kind: InvoiceKind
    state: SubscriptionState | None
    state_version: int | None = None
    runs_until: datetime | None = None
    refunded_parts: int = 0
    parts: int = 1
    is_refund_final: bool = False
    cancels: bool = False
    next_product_id: str | None = None
    replaces: str | None = None
    """The subscription that this one took the place of, where the store gives each change a new name."""

    replaced_product_id: str | None = None
    is_replaced: bool = False
    """Another one took its place: how it stands is that one's to say."""

    ends_earlier: bool = False
    """What an earlier payment still pays for ends where this period begins: its time was turned into this one's."""

    returns_rest: bool = False
    """The store gave the money back for what is left of an earlier payment of another plan."""

    follows: str | None = None
    """A subscription of the same customer's that is over: whose this one is, where nothing else says it."""

    is_acknowledged: bool = True
    is_snapshot: bool = False
    """An app showed it, maybe as it was some time ago: it opens a subscription and says no more of one we know."""

    @property
    def mode(self) -> str:
        return "live" if self.live else "test"

    @property
    def is_refunded(self) -> bool:
        return self.refunded_parts >= self.parts

    @property
    def refund_id(self) -> str:
        """The one refund of a payment: it grows, and may be undone."""
        return f"{self.object_id}:refund"


def renewal_facts(
    catalog: Catalog, provider: str, renewal: Renewal, account_id: str | None
) -> tuple[SubscriptionFact | InvoiceFact, ...]:
    """The payment, and the subscription where the store said how it stands; empty for a product that is not sold.

    What the customer paid in their own currency is the store's to decide: the payment counts as the plan's price, and
    pays for the plan's interval, however long the store lets it run.
    """
    sold = plan_product(catalog, provider, renewal.product_id)
    if sold is None:
        return ()
    price = Money(terms_of(catalog, sold.plan, sold.interval).price_minor, catalog.pricing.currency)
    invoice = InvoiceFact(
        object_id=renewal.object_id,
        provider_subscription_id=renewal.reference,
        kind=renewal.kind,
        state="refunded" if renewal.is_refunded else "paid",
        amount=_paid(catalog, provider, renewal, sold, price),
        version=renewal.version,
        live=renewal.live,
        plan=sold.plan,
        interval=sold.interval,
        period_start=renewal.period_start,
        period_end=_paid_until(renewal, sold),
        account_id=account_id,
    )
    if renewal.state is None:
        return (invoice,)
    comes = plan_product(catalog, provider, renewal.next_product_id)
    if comes is not None and (renewal.cancels or (comes.plan, comes.interval) == (sold.plan, sold.interval)):
        comes = None
    subscription = SubscriptionFact(
        object_id=renewal.reference,
        state=renewal.state,
        version=renewal.version if renewal.state_version is None else renewal.state_version,
        live=renewal.live,
        plan=sold.plan,
        interval=sold.interval,
        price=price,
        anchor_at=renewal.period_start,
        period_start=renewal.period_start,
        period_end=renewal.runs_until or renewal.period_end,
        cancel_at_period_end=renewal.cancels,
        pending_plan=comes.plan if comes else None,
        pending_interval=comes.interval if comes else None,
        account_id=account_id,
    )
    return (subscription, invoice)


def refund_fact(renewal: Renewal, amount: Money, known: Iterable[KnownFact]) -> Fact | None:
    """What the store says of this payment's refund: a part of `amount`, or that a refund we know of was undone.

    A payment that went back whole says so itself.
    """
    was_refunded = any(fact.object_id == renewal.refund_id and fact.state == "succeeded" for fact in known)
    is_undone = renewal.refunded_parts == 0 and was_refunded and not renewal.is_refund_final
    if renewal.is_refunded or not (is_undone or renewal.refunded_parts > 0):
        return None
    return Fact(
        kind="refund",
        object_id=renewal.refund_id,
        state="succeeded" if renewal.refunded_parts > 0 else "failed",
        amount=Money(share_down(amount.minor, renewal.refunded_parts, renewal.parts), amount.currency),
        version=renewal.version,
        live=renewal.live,
        parent_id=renewal.object_id,
    )


def plan_product(catalog: Catalog, provider: str, product_id: str | None) -> PlanProduct | None:
    """What is sold under a store's name: `product:base_plan`, or `product` for each of its base plans."""
    if product_id is None:
        return None
    mine = {each.product_id: each for each in catalog.plan_products if each.provider == provider}
    return mine.get(product_id) or mine.get(product_id.partition(":")[0])


def _paid_until(renewal: Renewal, sold: PlanProduct) -> datetime:
    """The end of what was paid: never longer than the interval, for a store may let a period run on for nothing."""
    if renewal.kind in ("trial", "other", "proration"):
        return renewal.period_end
    whole = period_start(renewal.period_start, MONTHS[sold.interval])
    return whole if renewal.period_end > whole + DRIFT else renewal.period_end


def _paid(catalog: Catalog, provider: str, renewal: Renewal, sold: PlanProduct, price: Money) -> Money:
    """The plan's price; for a change to a higher plan, the difference of both prices for the time left."""
    if renewal.kind in ("trial", "other"):
        return Money(0, price.currency)
    if renewal.kind != "proration":
        return price
    was = plan_product(catalog, provider, renewal.replaced_product_id)
    before = 0
    if was is not None and was.interval == sold.interval:
        before = terms_of(catalog, was.plan, was.interval).price_minor
    whole = Period(renewal.period_start, period_start(renewal.period_start, MONTHS[sold.interval]))
    left, of = whole.left(whole.end - (min(renewal.period_end, whole.end) - whole.start))
    return Money(max(0, proration_down(Share(price.minor, left, of), Share(before, left, of))), price.currency)
