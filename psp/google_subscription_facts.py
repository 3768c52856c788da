"""Google's subscriptions told as renewals: pure, no network.

A purchase token names the subscription until its plan is changed: the new one has a token of its own and links to the
old. Each order pays one period: the first bears a number, its renewals the same number with `..0`, `..1` after it. The
version of an order is when something last happened to it, that of a subscription Google's own clock when it was told.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from engine.rules.facts import InvoiceKind, SubscriptionState
from engine.rules.store_renewals import Renewal
from psp.google_facts import Unreadable
from psp.google_wire import Order, PlayMoney, Subscription, SubscriptionLine, Told

ORDERS_MAX = 12
"""How many of a subscription's newest orders are looked at: a year of months."""

_STATES: dict[str, SubscriptionState] = {
    "SUBSCRIPTION_STATE_ACTIVE": "active",
    "SUBSCRIPTION_STATE_CANCELED": "active",
    "SUBSCRIPTION_STATE_IN_GRACE_PERIOD": "past_due",
    "SUBSCRIPTION_STATE_ON_HOLD": "past_due",
    "SUBSCRIPTION_STATE_PAUSED": "paused",
    "SUBSCRIPTION_STATE_EXPIRED": "ended",
}
_PAID = frozenset({"PROCESSED", "PENDING_REFUND", "PARTIALLY_REFUNDED", "REFUNDED"})
_INTO_TIME = frozenset({None, "", "REPLACEMENT_MODE_UNSPECIFIED", "WITH_TIME_PRORATION"})
"""Ways to change a plan that turn the time left into time of the new plan, the usual one among them."""

_NANO = 1_000_000_000


def order_ids(latest: str) -> list[str]:
    """The newest orders of a subscription up to this one, oldest first."""
    first, dots, n = latest.partition("..")
    if not dots or not n.isdigit():
        return [latest]
    return [first, *(f"{first}..{i}" for i in range(int(n))), latest][-ORDERS_MAX:]


def paid_line(told: Subscription) -> SubscriptionLine | None:
    """The product that was paid for; one that only comes later, or is not paid yet, has no order."""
    lines = [line for line in told.line_items if line.latest_successful_order_id]
    if len(lines) > 1:
        raise Unreadable("The subscription is not of one product.")
    return lines[0] if lines else None


def is_renewed(order_id: str) -> bool:
    return ".." in order_id


def renewals_of(token: str, told: Told, orders: Iterable[Order], *, is_replaced: bool = False) -> tuple[Renewal, ...]:
    """Each paid order as a renewal, the newest last: that one says how the subscription stands, unless another one
    took its place. Raises `Unreadable`."""
    line = paid_line(told.subscription)
    if line is None:
        return ()
    is_replaced = is_replaced or told.subscription.canceled_state_context.replacement_cancellation is not None
    paid = {order.order_id: order for order in orders if order.state in _PAID}
    newest = paid.pop(line.latest_successful_order_id or "", None)
    if newest is None:
        raise Unreadable("The subscription's last payment is not there.")
    earlier = sorted(paid.values(), key=lambda order: _period(order).start)
    state = None if is_replaced else _STATES.get(told.subscription.subscription_state)
    return (
        *(_renewal(token, told, line, order, None, is_replaced=is_replaced) for order in earlier),
        _renewal(token, told, line, newest, state, is_replaced=is_replaced),
    )


def lone_renewal(token: str, order: Order) -> tuple[Renewal, ...]:
    """One payment of a subscription of which Google tells no more; nothing if it was never paid."""
    if order.state not in _PAID:
        return ()
    return (_renewal(token, Told(Subscription(), 0), SubscriptionLine(""), order, None, is_replaced=False),)


def last_event(order: Order) -> int:
    """When something last happened to an order, in milliseconds: its version."""
    return _millis(order.last_event_time)


def _renewal(
    token: str,
    seen: Told,
    line: SubscriptionLine,
    order: Order,
    state: SubscriptionState | None,
    *,
    is_replaced: bool,
) -> Renewal:
    told, period = seen.subscription, _period(order)
    is_change = told.linked_purchase_token is not None and not is_renewed(order.order_id)
    was = line.item_replacement if is_change else None
    mode = was.replacement_mode if was is not None else None
    kind = _kind(order, period, mode, is_change=is_change)
    back, of = _refunded(order)
    is_into_time = kind in ("create", "renewal", "trial") or (kind == "other" and mode in _INTO_TIME)
    runs_until = instant(line.expiry_time) if line.expiry_time and state == "active" else period.end
    return Renewal(
        reference=token,
        object_id=order.order_id,
        product_id=period.product,
        version=last_event(order),
        live=told.test_purchase is None,
        token=_token(told),
        period_start=period.start,
        period_end=period.end,
        kind=kind,
        state="trialing" if kind == "trial" and state == "active" else state,
        state_version=seen.at,
        runs_until=runs_until if runs_until > period.start else None,
        refunded_parts=back,
        parts=of,
        is_refund_final=True,
        cancels=told.subscription_state == "SUBSCRIPTION_STATE_CANCELED" or line.prepaid_plan is not None,
        next_product_id=_next_product(told, line),
        replaces=told.linked_purchase_token,
        replaced_product_id=_name(was.product_id, was.base_plan_id) if was is not None else None,
        is_replaced=is_replaced,
        ends_earlier=is_change and is_into_time,
        follows=told.out_of_app_purchase_context.expired_purchase_token,
        is_acknowledged=told.acknowledgement_state != "ACKNOWLEDGEMENT_STATE_PENDING",
    )


@dataclass(frozen=True, slots=True)
class _Period:
    start: datetime
    end: datetime
    product: str
    is_trial: bool
    is_proration: bool


def _period(order: Order) -> _Period:
    """What an order pays for: of one product, with both its ends."""
    lines = [line for line in order.line_items if line.subscription_details is not None]
    funded = lines[0].subscription_details if len(lines) == 1 else None
    if funded is None or not funded.service_period_start_time or not funded.service_period_end_time:
        raise Unreadable("The order pays for no period of one product.")
    start, end = instant(funded.service_period_start_time), instant(funded.service_period_end_time)
    if start >= end:
        raise Unreadable("The order's period ends before it begins.")
    details = funded.offer_phase_details
    return _Period(
        start,
        end,
        _name(lines[0].product_id, funded.base_plan_id),
        is_trial=details.free_trial_details is not None or funded.offer_phase == "FREE_TRIAL",
        is_proration=details.proration_period_details is not None,
    )


def _kind(order: Order, period: _Period, mode: str | None, *, is_change: bool) -> InvoiceKind:
    """A period that only carries over what an earlier plan had paid for pays for nothing of its own, unless it cost
    something: the difference of both plans, or a full period where that was asked for."""
    if period.is_trial:
        return "trial"
    if is_change and period.is_proration:
        if _nanos(order.total) == 0:
            return "other"
        return "renewal" if mode == "CHARGE_FULL_PRICE" else "proration"
    return "renewal" if is_change or is_renewed(order.order_id) else "create"


def _refunded(order: Order) -> tuple[int, int]:
    """How many parts of how many went back."""
    if order.state == "REFUNDED":
        return 1, 1
    of = _nanos(order.total)
    back = sum(
        _nanos(event.refund_details.total)
        for event in order.order_history.partial_refund_events
        if event.state == "PROCESSED_SUCCESSFULLY"
    )
    return (min(back, of), of) if of > 0 and order.state == "PARTIALLY_REFUNDED" else (0, 1)


def _token(told: Subscription) -> str | None:
    """What names the account: given with the purchase, or with the last one where it was bought again in the store."""
    before = told.out_of_app_purchase_context.expired_external_account_identifiers
    given = told.external_account_identifiers.obfuscated_external_account_id
    return given or before.obfuscated_external_account_id or None


def _next_product(told: Subscription, line: SubscriptionLine) -> str | None:
    """What a change that waits for the next period turns it into."""
    comes = line.deferred_item_replacement
    if comes is None:
        return None
    found = (each for each in told.line_items if each is not line and each.product_id == comes.product_id)
    base_plan = next((each.offer_details.base_plan_id for each in found), "")
    return _name(comes.product_id, base_plan)


def _name(product_id: str, base_plan_id: str) -> str:
    return f"{product_id}:{base_plan_id}" if base_plan_id else product_id


def _nanos(money: PlayMoney) -> int:
    try:
        return int(money.units) * _NANO + money.nanos
    except ValueError as error:
        raise Unreadable("The order's money can't be read.") from error


def instant(text: str) -> datetime:
    """A time as Google writes it, to the microsecond."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError as error:
        raise Unreadable("A time can't be read.") from error


def _millis(text: str) -> int:
    at = instant(text)
    return int(at.timestamp()) * 1000 + at.microsecond // 1000
