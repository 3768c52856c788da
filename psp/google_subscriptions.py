"""What is asked of Google about one subscription: its state, its newest orders, those it took the place of."""

from engine.payments import Fact, ProviderRefused, RefundRequest
from engine.rules.store_renewals import Renewal
from psp.google_api import PlayApi
from psp.google_facts import Unreadable
from psp.google_subscription_facts import is_renewed, last_event, lone_renewal, order_ids, paid_line, renewals_of
from psp.google_wire import Order, Subscription

ORDER = "GPA."
"""How every order's id begins, and no purchase token."""

LINKS_MAX = 5
PENDING = "ACKNOWLEDGEMENT_STATE_PENDING"


def is_order(object_id: str) -> bool:
    return object_id.startswith(ORDER)


def renewals(api: PlayApi, token: str, order_id: str | None = None) -> tuple[Renewal, ...]:
    """The subscription of a token with its newest payments, and with that of `order_id`; before them, in its first
    period, those of the subscriptions that it took the place of, as far as Google still knows them."""
    try:
        told = api.subscription(token)
        found = renewals_of(token, told, _orders(api, told.subscription, order_id))
        if not found or is_renewed(found[-1].object_id):
            return found
        before, seen = told.subscription.linked_purchase_token, {token}
        while before is not None and before not in seen and len(seen) <= LINKS_MAX:
            seen.add(before)
            old = _replaced(api, before)
            if old is None:
                break
            found = old[0] + found
            before = old[1]
        return found
    except Unreadable as error:
        raise ProviderRefused("unreadable", str(error)) from error


def voided_renewals(api: PlayApi, token: str, order_id: str) -> tuple[Renewal, ...]:
    """The same after a void of one order; of a subscription that Google has forgotten, the order alone."""
    try:
        return renewals(api, token, order_id or None)
    except ProviderRefused:
        if not order_id:
            raise
    try:
        return lone_renewal(token, api.orders([order_id])[0])
    except Unreadable as error:
        raise ProviderRefused("unreadable", str(error)) from error


def acknowledge(api: PlayApi, token: str) -> None:
    """Acknowledge it, unless that was done or there is nothing to be kept any more."""
    told = api.subscription(token).subscription
    line = paid_line(told)
    is_over = told.subscription_state == "SUBSCRIPTION_STATE_EXPIRED"
    if told.acknowledgement_state == PENDING and line is not None and not is_over:
        api.acknowledge(line.product_id, token)


def refund(api: PlayApi, request: RefundRequest) -> Fact:
    """Give a period's money back, once; the subscription goes on until somebody cancels it."""
    (order,) = api.orders([request.payment_id])
    if order.state == "PARTIALLY_REFUNDED":
        raise ProviderRefused("partly_refunded", "A part of this order was refunded before.")
    if order.state != "REFUNDED":
        api.refund(order.order_id, revoke=False)
        (order,) = api.orders([order.order_id])
    return Fact(
        kind="refund",
        object_id=f"{order.order_id}:refund",
        state="succeeded",
        amount=request.amount,
        version=last_event(order),
        live=True,
        parent_id=order.order_id,
        own_reference=request.reversal_id,
    )


def _replaced(api: PlayApi, token: str) -> tuple[tuple[Renewal, ...], str | None] | None:
    """What was paid of a subscription that another one took the place of, and which one it took the place of itself."""
    try:
        told = api.subscription(token)
        found = renewals_of(token, told, _orders(api, told.subscription, None), is_replaced=True)
    except (ProviderRefused, Unreadable):
        return None  # Google forgets what has been over for sixty days
    return found, told.subscription.linked_purchase_token


def _orders(api: PlayApi, told: Subscription, also: str | None) -> list[Order]:
    """The newest orders, in one request; one by one where Google does not know them all."""
    line = paid_line(told)
    if line is None or line.latest_successful_order_id is None:
        return []
    latest = line.latest_successful_order_id
    wanted = list(dict.fromkeys([*order_ids(latest), *([also] if also else [])]))
    try:
        return api.orders(wanted)
    except ProviderRefused:
        if len(wanted) == 1:
            raise
    found = []
    for order_id in wanted:
        try:
            found += api.orders([order_id])
        except ProviderRefused:
            if order_id in (latest, also):
                raise
    return found
