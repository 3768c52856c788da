"""Google's subscriptions read: which orders, which product, what is paid and what only comes later."""

from dataclasses import replace

import pytest

from engine.rules.store_renewals import Renewal
from psp.google_facts import Unreadable
from psp.google_subscription_facts import ORDERS_MAX, instant, lone_renewal, order_ids, paid_line, renewals_of
from psp.google_wire import (
    CanceledContext,
    Funded,
    OfferDetails,
    Order,
    OrderHistory,
    OrderLine,
    PartialRefund,
    PlayMoney,
    Product,
    RefundDetails,
    Subscription,
    SubscriptionLine,
    Told,
)

FUNDED = Funded("month", "2026-11-02T09:30:00Z", "2026-12-02T09:30:00Z")


def order(order_id: str = "GPA.1", state: str = "PROCESSED", funded: Funded | None = FUNDED) -> Order:
    lines = [OrderLine("pro", funded)]
    return Order(order_id, state, "2026-11-02T09:30:01.250Z", "t", lines, PlayMoney("45", 990_000_000))


def subscription(**change: object) -> Subscription:
    line = SubscriptionLine("pro", "2026-12-02T09:30:00Z", "GPA.1", offer_details=OfferDetails("month"))
    told = Subscription("SUBSCRIPTION_STATE_ACTIVE", [line])
    for name, value in change.items():
        setattr(told, name, value)
    return told


def only(told: Subscription, *orders: Order) -> Renewal:
    (found,) = renewals_of("t", Told(told, 7), orders or (order(),))
    return found


@pytest.mark.parametrize(
    ("latest", "first", "count"),
    [("GPA.1", "GPA.1", 1), ("GPA.1..0", "GPA.1", 2), ("GPA.1..10", "GPA.1", 12), ("GPA.1..11", "GPA.1..0", 12)],
)
def test_the_newest_orders_of_a_subscription_are_known_by_the_last(latest: str, first: str, count: int) -> None:
    found = order_ids(latest)
    assert (found[0], found[-1], len(found)) == (first, latest, count) and count <= ORDERS_MAX


def test_a_renewal_says_what_google_said() -> None:
    found = only(subscription())
    assert (found.reference, found.object_id, found.product_id, found.kind) == ("t", "GPA.1", "pro:month", "create")
    assert (found.version, found.state_version, found.state) == (1_793_611_801_250, 7, "active")
    assert found.period_end == found.runs_until == instant("2026-12-02T09:30:00.000000000Z")


def test_prepaid_ends_with_what_was_paid() -> None:
    told = subscription()
    told.line_items[0].prepaid_plan = {}
    assert only(told).cancels is True


def test_what_only_comes_later_is_not_paid_and_is_told_as_what_comes() -> None:
    told = subscription()
    told.line_items[0].deferred_item_replacement = Product("base")
    told.line_items.append(SubscriptionLine("base", offer_details=OfferDetails("year")))
    assert only(told).next_product_id == "base:year"
    assert paid_line(subscription(line_items=[SubscriptionLine("pro")])) is None
    assert renewals_of("t", Told(subscription(line_items=[]), 7), []) == ()


def test_one_that_was_replaced_says_nothing_of_how_it_stands() -> None:
    found = only(subscription(canceled_state_context=CanceledContext({})))
    assert (found.state, found.is_replaced) == (None, True)


def test_only_what_was_paid_is_a_payment() -> None:
    told = subscription()
    found = renewals_of("t", Told(told, 7), [order("GPA.1..0", "PENDING"), order(), order("GPA.0", "CANCELED")])
    assert [each.object_id for each in found] == ["GPA.1"]
    assert lone_renewal("t", order(state="CANCELED")) == ()
    (alone,) = lone_renewal("t", order(state="REFUNDED"))
    assert alone.is_refunded and alone.state is None


def test_a_part_that_went_back_is_told_in_parts_of_the_money() -> None:
    told = order(state="PARTIALLY_REFUNDED")
    back = RefundDetails(PlayMoney("15", 330_000_000))
    told.order_history = OrderHistory(
        [PartialRefund("PROCESSED_SUCCESSFULLY", back), PartialRefund("PENDING", back)],
    )
    found = only(subscription(), told)
    assert found.refunded_parts * 3 == found.parts == 45_990_000_000 and not found.is_refunded
    assert replace(found, refunded_parts=found.parts).is_refunded


@pytest.mark.parametrize(
    "wrong",
    [
        order(funded=None),
        order(funded=Funded("month", None, "2026-12-02T09:30:00Z")),
        order(funded=Funded("month", "2026-12-02T09:30:00Z", "2026-12-02T09:30:00Z")),
        order(funded=Funded("month", "soon", "later")),
        order("GPA.2"),
    ],
)
def test_what_pays_for_no_period_can_not_be_read(wrong: Order) -> None:
    with pytest.raises(Unreadable):
        only(subscription(), wrong)
