"""Stripe's subscriptions and their invoices, as plain JSON just fetched, told as facts: pure, no network.

Ours is a subscription with `purser_subscription` in its metadata; its invoices carry a copy of them. Which plan is
sold, and by which interval, stands in the id of the product (`purser_month_pro`): the one thing that an invoice's
line, a subscription's item and a price all name. Sightings are ordered as in `stripe_facts.py`.
"""

import re
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from engine.payments import InvoiceFact, SubscriptionFact
from engine.rules.facts import InvoiceKind, InvoiceState, SubscriptionState
from engine.rules.money import Money
from engine.rules.subscriptions import Terms
from psp.stripe_facts import Json, from_stripe

_RANK_STEP = 10**11
_PRODUCT = re.compile(r"purser_(month|year)_(.+)")
_STATES: dict[str, SubscriptionState] = {
    "incomplete": "incomplete",
    "trialing": "trialing",
    "active": "active",
    "past_due": "past_due",
    "unpaid": "past_due",
    "paused": "paused",
    "canceled": "ended",
    "incomplete_expired": "ended",
}
_INVOICE_RANK: dict[InvoiceState, int] = {"open": 0, "failed": 1, "void": 2, "paid": 3}
_REASONS = frozenset({"subscription", "subscription_cycle", "subscription_update"})


class Sold(NamedTuple):
    """A plan by an interval."""

    plan: str
    interval: Literal["month", "year"]


def product_id(terms: Terms) -> str:
    """The product under which Stripe sells these terms."""
    return f"purser_{terms.interval}_{terms.plan.id}"


def sold(product: str | None) -> Sold | None:
    """What a product's id says is sold; `None` for one that is not ours."""
    found = _PRODUCT.fullmatch(product or "")
    return Sold(found[2], "year" if found[1] == "year" else "month") if found else None


def marks_of(stripe_object: Json) -> dict[str, str]:
    """What we wrote into a subscription, or its copy in an invoice."""
    parent = stripe_object.get("parent") or {}
    details = parent.get("subscription_details") if stripe_object["object"] == "invoice" else stripe_object
    marks: dict[str, str] = (details or {}).get("metadata") or {}
    return marks if "purser_subscription" in marks else {}


def item_of(subscription: Json) -> Json:
    """The one thing that a subscription of ours sells."""
    item: Json = subscription["items"]["data"][0]
    return item


def subscription_fact(subscription: Json, paid_last: Json | None, seen_at: int) -> tuple[SubscriptionFact, ...]:
    """A subscription as it stands. A paused one has the period that was last paid for (`paid_last` is its invoice),
    since Stripe goes on counting periods that nobody pays."""
    marks = marks_of(subscription)
    item = item_of(subscription)
    price = item["price"]
    now = sold(price["product"])
    if not marks or now is None:
        return ()
    state = _STATES.get(subscription["status"], "past_due")
    if subscription.get("pause_collection") and state != "ended":
        state = "paused"
    start, end = item["current_period_start"], item["current_period_end"]
    if state == "paused" and paid_last is not None:
        line = _telling_line(paid_last)
        if line is not None:
            start, end = line["period"]["start"], line["period"]["end"]
    comes = _pending(subscription, now)
    return (
        SubscriptionFact(
            object_id=subscription["id"],
            state=state,
            version=seen_at * 2 + (state == "ended"),
            live=subscription["livemode"],
            plan=now.plan,
            interval=now.interval,
            price=from_stripe(price["unit_amount"] or 0, price["currency"]),
            anchor_at=_at(subscription["billing_cycle_anchor"]),
            period_start=_at(start),
            period_end=_at(end),
            cancel_at_period_end=subscription["cancel_at_period_end"],
            pending_plan=comes.plan if comes else None,
            pending_interval=comes.interval if comes else None,
            subscription_id=marks["purser_subscription"],
            account_id=marks.get("purser_account"),
        ),
    )


def invoice_fact(invoice: Json, seen_at: int) -> tuple[InvoiceFact, ...]:
    """An invoice and the period it pays for; empty where it sells no plan of ours.

    Its amount is what is due without tax that was added on top, after what the customer had in credit.
    """
    marks = marks_of(invoice)
    line = _telling_line(invoice)
    kind = _kind(invoice, line)
    if not marks or line is None or kind is None:
        return ()
    is_of = sold(_product(line))
    assert is_of is not None
    state = _invoice_state(invoice)
    return (
        InvoiceFact(
            object_id=invoice["id"],
            provider_subscription_id=_id(invoice["parent"]["subscription_details"]["subscription"]),
            kind=kind,
            state=state,
            amount=amount_due(invoice),
            version=_INVOICE_RANK[state] * _RANK_STEP + seen_at,
            live=invoice["livemode"],
            plan=is_of.plan,
            interval=is_of.interval,
            period_start=_at(line["period"]["start"]),
            period_end=_at(line["period"]["end"]),
            payment_id=_payment_id(invoice),
            subscription_id=marks["purser_subscription"],
            account_id=marks.get("purser_account"),
            receipt_url=invoice.get("hosted_invoice_url"),
        ),
    )


def amount_due(invoice: Json) -> Money:
    """What an invoice asks for, without tax on top."""
    without_tax = invoice.get("total_excluding_tax")
    tax = invoice["total"] - without_tax if without_tax is not None else 0
    return from_stripe(max(0, invoice["amount_due"] - tax), invoice["currency"])


def is_covering(invoice: Json) -> bool:
    """Whether an invoice pays for a whole period of a plan of ours, not for a part of one."""
    line = _telling_line(invoice)
    return line is not None and not _is_part(line)


def _pending(subscription: Json, now: Sold) -> Sold | None:
    """What a schedule of ours has planned after this period."""
    schedule = subscription.get("schedule")
    if not isinstance(schedule, dict) or schedule["status"] != "active":
        return None
    comes = sold((schedule.get("metadata") or {}).get("purser_next"))
    return comes if comes != now else None


def _kind(invoice: Json, line: Json | None) -> InvoiceKind | None:
    """The first invoice costs nothing in a trial. Of the others one with a whole period in it pays for that period,
    however it came; one that has parts of a period alone is a proration."""
    reason = invoice.get("billing_reason")
    if line is None:
        return None
    if reason == "subscription_create":
        return "trial" if invoice["subtotal"] == 0 else "create"
    if reason not in _REASONS:
        return "other"
    return "proration" if _is_part(line) else "renewal"


def _telling_line(invoice: Json) -> Json | None:
    """The line that says what an invoice is for: the whole period it sells, else the dearest part of one."""
    lines = [line for line in invoice["lines"]["data"] if sold(_product(line)) is not None]
    return max(lines, key=lambda line: (not _is_part(line), line["amount"], line["period"]["end"]), default=None)


def _is_part(line: Json) -> bool:
    parent = line.get("parent") or {}
    details = parent.get("subscription_item_details") or parent.get("invoice_item_details") or {}
    return bool(details.get("proration"))


def _product(line: Json) -> str | None:
    details = (line.get("pricing") or {}).get("price_details") or {}
    product: str | None = details.get("product")
    return product


def _invoice_state(invoice: Json) -> InvoiceState:
    """An open one that was tried without success has failed, for now."""
    status = invoice["status"]
    if status in ("paid", "void"):
        return "paid" if status == "paid" else "void"
    if status == "uncollectible":
        return "failed"
    return "failed" if status == "open" and invoice["attempt_count"] > 0 else "open"


def _payment_id(invoice: Json) -> str | None:
    """The payment intent that paid; refunds and disputes name it."""
    payments = (invoice.get("payments") or {}).get("data") or []
    paid = [each["payment"] for each in payments if each["status"] == "paid"]
    return next((_id(each["payment_intent"]) for each in paid if each.get("payment_intent")), None)


def _id(named: object) -> str:
    return str(named["id"] if isinstance(named, dict) else named)


def _at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
