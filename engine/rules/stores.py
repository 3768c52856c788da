"""Store purchases: what an app store said of one of them, priced by the catalogue and told as facts."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from engine.rules.catalog import Catalog
from engine.rules.facts import Fact
from engine.rules.lots import Lot
from engine.rules.money import Money, share_down
from engine.rules.purchases import KnownFact
from engine.rules.quotes import quote

QUANTITY_MAX = 1_000
"""More than any store sells at once."""

MILLI_PERCENT = 100_000
"""All of it, in the thousandths of a percent in which the stores ask and tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """One purchase as its store told it at `version` (the store's own time or counter, never ours).

    `object_id` is what it may be credited for, once in the whole service. `token` is what the app gave the store to
    name the account, if it did. `refunded_parts` of `parts` of its money went back, as of `refund_version`; a store
    whose refunds can be undone gives that version always, and `is_reversed` where it said so.
    """

    object_id: str
    product_id: str
    quantity: int
    state: Literal["processing", "paid", "cancelled"]
    version: int
    live: bool
    token: str | None = None
    order_id: str | None = None
    refunded_parts: int = 0
    parts: int = 1
    refund_version: int = 0
    is_reversed: bool = False

    @property
    def mode(self) -> str:
        return "live" if self.live else "test"

    @property
    def refund_id(self) -> str:
        """The one refund of a store purchase: it grows, and may be undone."""
        return refund_id(self.object_id)


def refund_id(object_id: str) -> str:
    return f"{object_id}:refund"


@dataclass(frozen=True, slots=True)
class StorePrice:
    """What a purchase costs in the catalogue's currency and what it gives."""

    amount: Money
    base_credits: int
    bonus_credits: int
    tier: str


def price_of(catalog: Catalog, provider: str, product_id: str, quantity: int) -> StorePrice | None:
    """The price of so many of one product; `None` where the catalogue does not sell it there."""
    found = (p for p in catalog.store_products if (p.provider, p.product_id) == (provider, product_id))
    product = next(found, None)
    if product is None:
        return None
    assert 1 <= quantity <= QUANTITY_MAX, "the adapters refuse other quantities"
    amount = Money(product.amount_minor * quantity, catalog.pricing.currency)
    if product.credits is not None:
        return StorePrice(amount, product.credits * quantity, 0, product.product_id)
    one = quote(catalog.pricing, Money(product.amount_minor, catalog.pricing.currency), provider)
    return StorePrice(amount, one.base_credits * quantity, one.bonus_credits * quantity, one.tier.name)


def facts_of(sighting: Sighting, amount: Money, known: Iterable[KnownFact]) -> tuple[Fact, ...]:
    """The sighting as facts of a purchase that costs `amount`: the payment, and its refund where there is one.

    A refund that is known and no longer told by a store that can undo it has failed: its credits come back.
    """
    facts = [
        Fact(
            kind="payment",
            object_id=sighting.object_id,
            state=sighting.state,
            amount=amount,
            version=sighting.version,
            live=sighting.live,
        )
    ]
    was_refunded = any(fact.object_id == sighting.refund_id for fact in known)
    is_undone = sighting.refund_version > 0 and (sighting.is_reversed or was_refunded)
    if sighting.refunded_parts > 0 or is_undone:
        back = share_down(amount.minor, min(sighting.refunded_parts, sighting.parts), sighting.parts)
        facts.append(
            Fact(
                kind="refund",
                object_id=sighting.refund_id,
                state="succeeded" if sighting.refunded_parts > 0 else "failed",
                amount=Money(back, amount.currency),
                version=sighting.refund_version,
                live=sighting.live,
                parent_id=sighting.object_id,
            )
        )
    return tuple(facts)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a store is told when it asks before it refunds: whether the credits arrived, and the share spent."""

    is_delivered: bool
    spent_milli_percent: int
    has_free_sample: bool


def usage_of(lots: Iterable[Lot], has_free_sample: bool) -> Usage:
    """The spent share of a purchase's lots, exactly, rounded down to a thousandth of a percent.

    What is held counts as spent, and so does what was spent and is owed since; what was taken back or forfeited
    does not. Without lots nothing was delivered.
    """
    lots = tuple(lots)
    granted = sum(lot.granted_credits for lot in lots)
    if granted == 0:
        return Usage(is_delivered=False, spent_milli_percent=0, has_free_sample=has_free_sample)
    spent = sum(lot.spent_credits + lot.held_credits for lot in lots)
    return Usage(True, share_down(MILLI_PERCENT, spent, granted), has_free_sample)
