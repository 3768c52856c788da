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

from dataclasses import dataclass
from typing import Any, TypeGuard

from engine.payments import Card, DisputeState, Fact, PaymentState, ProviderRefused, RefundState
from engine.rules.money import Money, currency_digits, share_down

Json = dict[str, Any]

_CLOSED_LEAD_SECONDS = 60
_RANK_STEP = 10**11
_HUNDREDFOLD = frozenset({"UGX"})
"""Currencies without decimals whose amounts Stripe nevertheless takes in hundredths (docs.stripe.com/currencies,
special cases). ISK is another, but there our minor unit is a hundredth as well."""

_WANTS_CUSTOMER = ("authentication_required", "authentication_not_handled")
"""Declines that the customer can undo: the payment stays open until they confirmed it, or it was given up."""

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


WHITELIST = frozenset(
    "AED AUD BGN BRL CAD CHF CZK DKK EUR GBP HKD ILS INR JPY KRW KWD BHD JOD OMR TND MXN MYR NOK NZD PHP PLN RON SAR "
    "SEK SGD THB UGX USD VND ZAR".split()
)
"""Currencies whose minor units Stripe counts as ISO 4217 does, or with a rule that is kept here (UGX, three decimals).
HUF, TWD and ISK have rules of their own for payouts, so nothing is sold in them until somebody has read those."""


@dataclass(frozen=True, slots=True)
class Price:
    """What a payment was for, and what was charged: the same, but for tax on top (and what a discount took off)."""

    net_minor: int
    charged_minor: int
    currency: str

    def net_of(self, minor: int) -> int:
        """The part of the price that so much of the charge is; all of it is all of it."""
        if self.net_minor == self.charged_minor:
            return minor
        return share_down(self.net_minor, min(minor, self.charged_minor), self.charged_minor)

    def charged_for(self, minor: int) -> int:
        """What is to be given back of the charge for so much of the price, tax included."""
        if self.net_minor == self.charged_minor:
            return minor
        return share_down(self.charged_minor, min(minor, self.net_minor), self.net_minor)


def price_of(intent: Json, session: Json | None) -> Price:
    """The price of what an intent pays, from the session that owns it; one without a session is its own price."""
    charged = intent["amount"]
    if session is None or not charged:
        return Price(charged, charged, intent["currency"])
    discount_minor = (session.get("total_details") or {}).get("amount_discount") or 0
    return Price((session["amount_subtotal"] or 0) - discount_minor, charged, intent["currency"])


def check_currency(amount: Money) -> None:
    """Refuse (`ProviderRefused`) to sell in a currency whose rules are not kept here, or in fils that are not tens."""
    if amount.currency not in WHITELIST:
        raise ProviderRefused("currency_not_supported", f"{amount.currency} is not sold through Stripe here.")
    if currency_digits(amount.currency) == 3 and amount.minor % 10:
        raise ProviderRefused("amount_invalid", "Stripe takes three-decimal amounts that end in 0.")


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
            card=_saved_card(intent) if state == "paid" else None,
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
            decline=_decline(intent) if state in ("open", "failed") else None,
        ),
    )


def refund_fact(refund: Json, intent: Json, price: Price, seen_at: int) -> Fact:
    """A refund and whose payment it gives back, as a part of the price: tax on top goes back with it.

    `requires_action` and any unknown status are still pending. A refund in another currency than its charge is told as
    it is: its number says nothing of the price.
    """
    is_converted = refund["currency"].lower() != price.currency.lower()
    told = refund["amount"] if is_converted else price.net_of(refund["amount"])
    state = _REFUND_STATES.get(refund.get("status") or "", "pending")
    return Fact(
        kind="refund",
        object_id=refund["id"],
        state=state,
        amount=from_stripe(told, refund["currency"]),
        version=_REFUND_RANK[state] * _RANK_STEP + seen_at,
        live=intent["livemode"],
        parent_id=intent["id"],
        purchase_id=_marks(intent).get("purser_purchase"),
        account_id=_marks(intent).get("purser_account"),
        own_reference=_marks(refund).get("purser_reversal"),
    )


def dispute_fact(dispute: Json, intent: Json, price: Price, seen_at: int) -> Fact:
    """A dispute and whose payment it is about; its amount may be a part of the payment.

    Banks dispute in a currency of their own, where numbers say nothing: there the part is what was withdrawn of what
    the charge brought, both as our balance counted them, and the whole while nothing was withdrawn.
    """
    state = _DISPUTE_STATES.get(dispute["status"], "open")
    is_closed = state in ("won", "lost", "prevented")
    counted_at = seen_at + (_CLOSED_LEAD_SECONDS if is_closed else 0)
    return Fact(
        kind="dispute",
        object_id=dispute["id"],
        state=state,
        amount=from_stripe(price.net_of(_disputed_minor(dispute, price)), price.currency),
        version=2 * counted_at + (state != "inquiry"),
        live=dispute["livemode"],
        parent_id=intent["id"],
        purchase_id=_marks(intent).get("purser_purchase"),
        account_id=_marks(intent).get("purser_account"),
    )


def warning_fact(warning: Json, intent: Json, price: Price, seen_at: int) -> Fact:
    """An early fraud warning: the issuer's suspicion before any dispute, over once it can't be acted on any more."""
    is_over = not warning["actionable"]
    return Fact(
        kind="dispute",
        object_id=warning["id"],
        state="prevented" if is_over else "warning",
        amount=from_stripe(price.net_minor, price.currency),
        version=2 * (seen_at + (_CLOSED_LEAD_SECONDS if is_over else 0)) + is_over,
        live=warning["livemode"],
        parent_id=intent["id"],
        purchase_id=_marks(intent)["purser_purchase"],
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
        "requires_payment_method": "failed" if _decline(intent) not in (None, *_WANTS_CUSTOMER) else "open",
    }
    return states.get(intent["status"], "open")


def _decline(intent: Json) -> str | None:
    """Why the last attempt failed, in the bank's word where there is one."""
    error = intent.get("last_payment_error")
    if not error:
        return None
    codes = (error.get("code"), error.get("decline_code"))
    wanting = next((code for code in codes if code in _WANTS_CUSTOMER), None)
    return wanting or error.get("decline_code") or error.get("code") or "declined"


def _saved_card(intent: Json) -> Card | None:
    """The card that a payment saved for charges without the customer."""
    method = intent.get("payment_method")
    if intent.get("setup_future_usage") != "off_session" or not isinstance(method, dict) or not method.get("card"):
        return None
    customer = intent.get("customer")
    return card_of(method, customer) if customer is not None else None


def card_of(method: Json, customer: Json | str) -> Card:
    """A payment method that is a card: all that may be known of it."""
    card = method["card"]
    return Card(
        reference=method["id"],
        customer_id=customer if isinstance(customer, str) else customer["id"],
        brand=card["brand"],
        last4=card["last4"],
        exp_month=card["exp_month"],
        exp_year=card["exp_year"],
    )


def _disputed_minor(dispute: Json, price: Price) -> int:
    """How much of the charge is disputed, in the charge's own currency."""
    if dispute["currency"].lower() == price.currency.lower():
        return int(dispute["amount"])
    charge = dispute.get("charge")
    settled = charge.get("balance_transaction") if isinstance(charge, dict) else None
    withdrawn = [-row["amount"] for row in dispute.get("balance_transactions") or () if row["amount"] < 0]
    if not isinstance(settled, dict) or not withdrawn or settled["amount"] <= 0:
        return price.charged_minor
    return min(price.charged_minor, share_down(price.charged_minor, sum(withdrawn), settled["amount"]))


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
