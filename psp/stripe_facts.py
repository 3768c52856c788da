"""Stripe's objects, as plain JSON just fetched, told as facts: pure, no network.

Ours is what carries `purser_purchase` in its metadata. `client_reference_id` is written for people who search
the dashboard and never read: a payment link lets the customer choose it. Refunds and disputes carry nothing of
ours, so they are told together with the payment intent they belong to.

Stripe's objects have no version. A sighting is ordered first by how far along its state is, where states only
move forward (a payment: open, processing, ended, paid; a refund: pending, succeeded, failed), and then by
`seen_at`, the Unix seconds at which Stripe gave the answer by its own clock. Disputes can go back (an appeal
reopens a lost one), so there the clock leads, and a closed one counts as seen a minute later: no skew between
two of Stripe's servers lets an open sighting of the same moment win over it. An inquiry, which can become a
dispute and never the reverse, gives way to any other sighting of its second.
"""

from typing import Any, TypeGuard

from engine.payments import DisputeState, Fact, PaymentState, RefundState
from engine.rules.money import Money

Json = dict[str, Any]

_CLOSED_LEAD_SECONDS = 60
_RANK_STEP = 10**11
_HUNDREDFOLD = frozenset({"UGX"})
"""Currencies without decimals whose amounts Stripe nevertheless takes in hundredths (docs.stripe.com/currencies,
special cases). ISK is another, but there our minor unit is a hundredth as well."""

_PAYMENT_RANK: dict[PaymentState, int] = {
    "open": 0,
    "processing": 1,
    "failed": 2,
    "cancelled": 2,
    "expired": 2,
    "paid": 3,
}
_REFUND_RANK: dict[RefundState, int] = {"pending": 0, "succeeded": 1, "failed": 2}
_REFUND_STATES: dict[str, RefundState] = {"succeeded": "succeeded", "failed": "failed", "canceled": "failed"}
_DISPUTE_STATES: dict[str, DisputeState] = {
    "warning_needs_response": "inquiry",
    "warning_under_review": "inquiry",
    "warning_closed": "won",
    "won": "won",
    "lost": "lost",
    "prevented": "prevented",
}
"""An inquiry that is closed ended in our favour without money having moved, so it is `won`. Every other status
(`needs_response`, `under_review`, the two of an appeal, and any that Stripe may add) is an `open` dispute."""


def session_payment(session: Json, seen_at: int) -> tuple[Fact, ...]:
    """A session's payment. Its id is the intent's (`pi_…`) from the first attempt on, the session's before that
    and for ever when nothing was due, as after a discount of 100 %.

    The amount is the line's price less discounts: tax that is added on top and shipping buy no credits.
    """
    if session["mode"] != "payment" or not is_ours(session):
        return ()
    marks = _marks(session)
    intent: Json = session.get("payment_intent") or {}
    discount_minor = (session.get("total_details") or {}).get("amount_discount") or 0
    state = _session_state(session, intent)
    return (
        Fact(
            kind="payment",
            object_id=intent.get("id") or session["id"],
            state=state,
            amount=from_stripe((session["amount_subtotal"] or 0) - discount_minor, session["currency"]),
            version=_PAYMENT_RANK[state] * _RANK_STEP + seen_at,
            live=session["livemode"],
            purchase_id=marks["purser_purchase"],
            account_id=marks.get("purser_account"),
            session_id=session["id"],
            receipt_url=_receipt_url(intent, state),
        ),
    )


def intent_payment(intent: Json, seen_at: int) -> tuple[Fact, ...]:
    """A payment that no session owns: a saved card that was charged without the customer."""
    if not is_ours(intent):
        return ()
    marks = _marks(intent)
    state = _intent_state(intent)
    amount_minor = intent["amount_received"] if state == "paid" else intent["amount"]
    return (
        Fact(
            kind="payment",
            object_id=intent["id"],
            state=state,
            amount=from_stripe(amount_minor, intent["currency"]),
            version=_PAYMENT_RANK[state] * _RANK_STEP + seen_at,
            live=intent["livemode"],
            purchase_id=marks["purser_purchase"],
            account_id=marks.get("purser_account"),
            receipt_url=_receipt_url(intent, state),
        ),
    )


def refund_fact(refund: Json, intent: Json, seen_at: int) -> Fact:
    """A refund and whose payment it gives back. `requires_action` and any unknown status are still pending."""
    state = _REFUND_STATES.get(refund.get("status") or "", "pending")
    return Fact(
        kind="refund",
        object_id=refund["id"],
        state=state,
        amount=from_stripe(refund["amount"], refund["currency"]),
        version=_REFUND_RANK[state] * _RANK_STEP + seen_at,
        live=intent["livemode"],
        parent_id=intent["id"],
        purchase_id=_marks(intent).get("purser_purchase"),
        account_id=_marks(intent).get("purser_account"),
        own_reference=_marks(refund).get("purser_reversal"),
    )


def dispute_fact(dispute: Json, intent: Json, seen_at: int) -> Fact:
    """A dispute and whose payment it is about; its amount may be a part of the payment."""
    state = _DISPUTE_STATES.get(dispute["status"], "open")
    is_closed = state in ("won", "lost", "prevented")
    counted_at = seen_at + (_CLOSED_LEAD_SECONDS if is_closed else 0)
    return Fact(
        kind="dispute",
        object_id=dispute["id"],
        state=state,
        amount=from_stripe(dispute["amount"], dispute["currency"]),
        version=2 * counted_at + (state != "inquiry"),
        live=dispute["livemode"],
        parent_id=intent["id"],
        purchase_id=_marks(intent).get("purser_purchase"),
        account_id=_marks(intent).get("purser_account"),
    )


def is_ours(stripe_object: Json | None) -> TypeGuard[Json]:
    """Whether a session or payment intent was made for one of our purchases."""
    return stripe_object is not None and "purser_purchase" in _marks(stripe_object)


def is_for(intent: Json, purchase_id: str) -> bool:
    """Whether a payment intent pays this purchase."""
    return _marks(intent).get("purser_purchase") == purchase_id


def stripe_minor(amount: Money) -> int:
    """An amount as Stripe counts it."""
    return amount.minor * 100 if amount.currency in _HUNDREDFOLD else amount.minor


def _session_state(session: Json, intent: Json) -> PaymentState:
    """A failed attempt leaves a session open. A completed one that is unpaid waits for a slow method (a bank debit,
    a voucher), and has failed once its intent wants another method or was cancelled."""
    if session["payment_status"] == "paid":
        return "paid"
    if session["status"] == "expired":
        return "expired"
    if session["status"] != "complete":
        return "open"
    if session["payment_status"] == "no_payment_required":
        return "paid"
    return "failed" if intent.get("status") in ("requires_payment_method", "canceled") else "processing"


def _intent_state(intent: Json) -> PaymentState:
    states: dict[str, PaymentState] = {
        "succeeded": "paid",
        "processing": "processing",
        "canceled": "cancelled",
        "requires_payment_method": "failed" if intent.get("last_payment_error") else "open",
    }
    return states.get(intent["status"], "open")


def _receipt_url(intent: Json, state: PaymentState) -> str | None:
    """Stripe's own receipt: on the charge that paid, which some methods have none of."""
    charge = intent.get("latest_charge") if state == "paid" else None
    return charge.get("receipt_url") if charge else None


def _marks(stripe_object: Json) -> dict[str, str]:
    return stripe_object.get("metadata") or {}


def from_stripe(stripe_minor: int, currency: str) -> Money:
    """What Stripe counts, as an amount."""
    code = currency.upper()
    return Money(stripe_minor // 100 if code in _HUNDREDFOLD else stripe_minor, code)
