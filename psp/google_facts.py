"""Google's purchases told as sightings: pure, no network.

Google's objects have no version. A payment only moves on (pending, cancelled or purchased), and what was voided of
its quantity only grows, so these are the versions.
"""

from typing import Literal

from engine.rules.stores import QUANTITY_MAX, Sighting
from psp.google_api import Line, Purchase

CONSUMED = "CONSUMPTION_STATE_CONSUMED"
_RANK = {"processing": 0, "cancelled": 1, "paid": 2}


class Unreadable(ValueError):
    """A purchase that can't be one of ours: why."""


def only_line(purchase: Purchase) -> Line:
    """The one product of a purchase."""
    if len(purchase.product_line_item) != 1:
        raise Unreadable("The purchase is not of one product.")
    return purchase.product_line_item[0]


def purchase_sighting(token: str, purchase: Purchase, voided_quantity: int | None = None) -> Sighting:
    """A purchase as fetched just now. `voided_quantity` is what a void told beside it (0: all of it).

    A cancelled purchase was either never paid, or all its money went back: when it was completed says which.
    """
    line = only_line(purchase)
    offer = line.product_offer_details
    quantity = offer.quantity
    if not 1 <= quantity <= QUANTITY_MAX:
        raise Unreadable("The purchase's quantity is out of range.")
    state, told = _state(purchase), purchase.purchase_state_context.purchase_state
    voided = 0 if offer.refundable_quantity is None else quantity - offer.refundable_quantity
    if told == "CANCELLED" or voided_quantity == 0:
        voided = quantity
    voided = max(0, min(quantity, max(voided, voided_quantity or 0)))
    return Sighting(
        object_id=token,
        product_id=line.product_id,
        quantity=quantity,
        state=state,
        version=_RANK[state],
        live=purchase.test_purchase_context is None,
        token=purchase.obfuscated_external_account_id or None,
        order_id=purchase.order_id or None,
        refunded_parts=voided,
        parts=quantity,
        refund_version=voided,
    )


def wholly_voided(token: str) -> Sighting:
    """A purchase of which no more is known than that all its money went back: older than any other word on it."""
    return Sighting(
        object_id=token,
        product_id="",
        quantity=1,
        state="paid",
        version=-1,
        live=True,
        refunded_parts=1,
        refund_version=QUANTITY_MAX,
    )


def is_consumed(purchase: Purchase) -> bool:
    return only_line(purchase).product_offer_details.consumption_state == CONSUMED


def _state(purchase: Purchase) -> Literal["processing", "paid", "cancelled"]:
    match purchase.purchase_state_context.purchase_state:
        case "PURCHASED":
            return "paid"
        case "CANCELLED":
            return "paid" if purchase.purchase_completion_time else "cancelled"
        case _:
            return "processing"
