"""Paddle's subscriptions and their transactions, as plain JSON just fetched, told as facts: pure, no network.

Ours is a subscription with `purser_subscription` in its custom data. Which plan is sold, and by which interval,
stands in the custom data of the price (`month:pro`): the one thing that a transaction's line and a subscription's item
both have. A fact's version is Paddle's own `updated_at`, in microseconds.

Paddle knows no change at a period's end. What is sold from then on is put on the subscription at once, without
charge, and what the customer paid for is held in the custom data until the period is over (`Held`).
"""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Literal, NamedTuple

from engine.payments import InvoiceFact, SubscriptionFact
from engine.rules.facts import InvoiceKind, InvoiceState, SubscriptionState
from engine.rules.money import Money
from engine.rules.subscriptions import Terms
from psp.paddle_facts import Json, marks_of, paid_amount
from psp.paddle_values import minor_of, version_of

SETTLED = frozenset({"paid", "completed"})
_SELLS = re.compile(r"(month|year):(.+)")
_HOLDS = re.compile(r"(month|year):(.+):([0-9]{1,18})")
_STATES: dict[str, SubscriptionState] = {
    "trialing": "trialing",
    "active": "active",
    "past_due": "past_due",
    "paused": "paused",
    "canceled": "ended",
}
_INVOICE_STATES: dict[str, InvoiceState] = {
    "paid": "paid",
    "completed": "paid",
    "canceled": "void",
    "past_due": "failed",
}
_BEGINS = frozenset({"api", "web"})


class Sold(NamedTuple):
    """A plan by an interval."""

    plan: str
    interval: Literal["month", "year"]


class Held(NamedTuple):
    """What was paid for until `until`, while the subscription itself names what comes then."""

    sold: Sold
    price_minor: int
    until: datetime


class Span(NamedTuple):
    """`[start, end)`."""

    start: datetime
    end: datetime


def sells(terms: Terms) -> str:
    """These terms as a price's custom data names them."""
    return f"{terms.interval}:{terms.plan.id}"


def sold_under(terms: Terms) -> Sold:
    return Sold(terms.plan.id, terms.interval)


def holds(now: Sold, price_minor: int) -> str:
    """What is paid for now, as a subscription's custom data keeps it while something else waits."""
    return f"{now.interval}:{now.plan}:{price_minor}"


def sold_by(item: Json) -> Sold | None:
    """What an item of a subscription or a transaction sells; `None` for what is not a plan of ours."""
    found = _SELLS.fullmatch(str(marks_of(item["price"]).get("purser_sells")))
    return _sold(found) if found else None


def item_of(subscription: Json) -> Json:
    """The one thing that a subscription of ours sells."""
    item: Json = subscription["items"][0]
    return item


def period_of(told: Json, name: str = "current_billing_period") -> Span | None:
    """A period of billing; a subscription that is paused or over has none."""
    period = told.get(name)
    return Span(_at(period["starts_at"]), _at(period["ends_at"])) if period else None


def held(subscription: Json) -> Held | None:
    """What is still paid for while a change waits; `None` once the period is over, or where nothing waits."""
    marks, now = marks_of(subscription), period_of(subscription)
    found = _HOLDS.fullmatch(str(marks.get("purser_holds")))
    if found is None or now is None:
        return None
    until = _at(marks["purser_until"])
    return Held(_sold(found), int(found[3]), until) if now.start < until else None


def is_scheduled(subscription: Json, action: str) -> bool:
    """Whether the subscription will be cancelled, or paused, when its period ends."""
    return (subscription.get("scheduled_change") or {}).get("action") == action


def subscription_fact(subscription: Json, listed: Iterable[Json], is_live: bool) -> tuple[SubscriptionFact, ...]:
    """A subscription as it stands. One that is paused or over has the period that was last paid for (`listed` are
    its transactions), since Paddle names none."""
    marks, item = marks_of(subscription), item_of(subscription)
    named = sold_by(item)
    if "purser_subscription" not in marks or named is None:
        return ()
    state = _STATES.get(subscription["status"], "past_due")
    waits = held(subscription)
    if is_scheduled(subscription, "pause") and state != "ended":
        state = "paused"
    period = period_of(subscription) or _last_paid(listed) or _lifetime(subscription)
    price = waits.price_minor if waits else minor_of(item["price"]["unit_price"]["amount"])
    now = waits.sold if waits else named
    return (
        SubscriptionFact(
            object_id=subscription["id"],
            state=state,
            version=version_of(subscription),
            live=is_live,
            plan=now.plan,
            interval=now.interval,
            price=Money(price, subscription["currency_code"]),
            anchor_at=_at(subscription["first_billed_at"] or subscription["started_at"] or subscription["created_at"]),
            period_start=period.start,
            period_end=period.end,
            cancel_at_period_end=is_scheduled(subscription, "cancel"),
            pending_plan=named.plan if waits else None,
            pending_interval=named.interval if waits else None,
            subscription_id=marks["purser_subscription"],
            account_id=marks.get("purser_account"),
        ),
    )


def invoice_fact(transaction: Json, subscription: Json, is_live: bool) -> tuple[InvoiceFact, ...]:
    """A transaction of a subscription and the period it pays for; empty where it sells no plan of ours."""
    marks, item = marks_of(subscription), telling_item(transaction)
    kind = _kind(transaction, item)
    if "purser_subscription" not in marks or item is None or kind is None:
        return ()
    named = sold_by(item)
    assert named is not None
    period = _paid_period(transaction, item)
    if period is None:
        return ()
    return (
        InvoiceFact(
            object_id=transaction["id"],
            provider_subscription_id=subscription["id"],
            kind=kind,
            state=_INVOICE_STATES.get(transaction["status"], "open"),
            amount=_amount(transaction),
            version=version_of(transaction),
            live=is_live,
            plan=named.plan,
            interval=named.interval,
            period_start=period.start,
            period_end=period.end,
            payment_id=transaction["id"],
            subscription_id=marks["purser_subscription"],
            account_id=marks.get("purser_account"),
        ),
    )


def given_fact(subscription: Json, is_live: bool) -> tuple[InvoiceFact, ...]:
    """An upgrade that was too cheap for Paddle to charge: a proration of nothing, kept on the subscription alone."""
    marks = marks_of(subscription)
    found = _SELLS.fullmatch(str(marks.get("purser_given")))
    if found is None or "purser_subscription" not in marks:
        return ()
    named, at = _sold(found), _at(marks["purser_given_at"])
    return (
        InvoiceFact(
            object_id=f"{subscription['id']}:{marks['purser_given_key']}",
            provider_subscription_id=subscription["id"],
            kind="proration",
            state="paid",
            amount=Money(0, subscription["currency_code"]),
            version=1,
            live=is_live,
            plan=named.plan,
            interval=named.interval,
            period_start=at,
            period_end=_at(marks["purser_given_until"]),
            subscription_id=marks["purser_subscription"],
            account_id=marks.get("purser_account"),
        ),
    )


def telling_item(transaction: Json) -> Json | None:
    """The item that says what a transaction is for: a whole period of a plan, else the dearest part of one."""
    found = [item for item in transaction["items"] if sold_by(item) is not None]
    return max(
        found, key=lambda item: (not _is_part(item), minor_of(item["price"]["unit_price"]["amount"])), default=None
    )


def charge_of(transaction: Json) -> dict[str, str]:
    """What we wrote into the one line of an upgrade's charge; empty for any other transaction."""
    item = telling_item(transaction)
    marks = marks_of(item["price"]) if item is not None and transaction["origin"] == "subscription_charge" else {}
    return marks if "purser_change" in marks else {}


def _kind(transaction: Json, item: Json | None) -> InvoiceKind | None:
    """The first transaction costs nothing in a trial. A charge is an upgrade of ours; of the others one with a whole
    period in it pays for that period, however it came."""
    if item is None:
        return None
    match transaction["origin"]:
        case "subscription_payment_method_change":
            return None
        case "subscription_charge":
            return "proration" if charge_of(transaction) else None
        case origin if origin in _BEGINS:
            return "trial" if minor_of(transaction["details"]["totals"]["total"]) == 0 else "create"
    return "proration" if _is_part(item) else "renewal"


def _paid_period(transaction: Json, item: Json) -> Span | None:
    """What a transaction pays for; an upgrade's charge from its instant on."""
    charge = charge_of(transaction)
    if charge:
        return Span(_at(charge["purser_at"]), _at(charge["purser_until"]))
    prorated = (item.get("proration") or {}).get("billing_period")
    return period_of({"part": prorated}, "part") if _is_part(item) else period_of(transaction, "billing_period")


def _amount(transaction: Json) -> Money:
    """What was asked for: at first the whole price, later what a credit balance at Paddle left of it."""
    if transaction["origin"] in _BEGINS:
        return paid_amount(transaction)
    return Money(minor_of(transaction["details"]["totals"]["grand_total"]), transaction["currency_code"])


def _is_part(item: Json) -> bool:
    """Whether an item sells a part of a period only."""
    return str((item.get("proration") or {}).get("rate", "1")) != "1"


def _last_paid(listed: Iterable[Json]) -> Span | None:
    """The last whole period that was paid for."""
    spans = []
    for transaction in listed:
        item = telling_item(transaction)
        is_whole = _kind(transaction, item) in ("create", "renewal", "trial")
        span = period_of(transaction, "billing_period") if is_whole else None
        if span is not None and transaction["status"] in SETTLED:
            spans.append(span)
    return max(spans, default=None)


def _lifetime(subscription: Json) -> Span:
    """The time between the beginning and the end, where no paid period is known."""
    start = _at(subscription["started_at"] or subscription["created_at"])
    end = subscription["paused_at"] or subscription["canceled_at"] or subscription["updated_at"]
    return Span(start, max(start, _at(end)))


def _sold(found: re.Match[str]) -> Sold:
    return Sold(found[2], "year" if found[1] == "year" else "month")


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)
