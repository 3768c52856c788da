"""A checkout asks Paddle for exactly what was promised, and its transaction is told as one payment."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from engine.payments import Event, ProviderRefused
from engine.rules.money import Money
from psp.paddle import Paddle
from tests.engine.support import DAY_0, FakeClock
from tests.psp.fake_paddle import FakePaddle
from tests.psp.paddle_objects import new_event
from tests.psp.paddle_orders import a_paid_order, a_rail, asking, only, sent, told
from tests.psp.stripe_orders import an_order

MARKS = {"purser_purchase": "pay_1", "purser_account": "mira"}


@pytest.fixture
def fake(clock: FakeClock) -> Iterator[FakePaddle]:
    with FakePaddle(now=clock.now) as started:
        yield started


@pytest.fixture
def rail(fake: FakePaddle) -> Paddle:
    return a_rail(fake)


def test_a_checkout_asks_for_exactly_this(fake: FakePaddle, rail: Paddle) -> None:
    checkout = rail.start_checkout(an_order())
    (request,) = fake.requests
    assert (request.method, request.path) == ("POST", "/transactions")
    assert request.body == {
        "items": [
            {
                "price": {
                    "description": "Credit top-up: $25.00",
                    "name": "Credit top-up: $25.00",
                    "unit_price": {"amount": "2500", "currency_code": "USD"},
                    "product": {"name": "Credit top-up: $25.00", "tax_category": "standard"},
                    "tax_mode": "internal",
                    "quantity": {"minimum": 1, "maximum": 1},
                },
                "quantity": 1,
            }
        ],
        "currency_code": "USD",
        "custom_data": MARKS,
    }
    assert checkout.url == f"https://shop.example/pay?_ptxn={checkout.session_id}"
    assert checkout.expires_at == DAY_0 + timedelta(minutes=30)


@pytest.mark.parametrize(("currency", "minor"), [("JPY", 2500), ("EUR", 1), ("USD", 1_000_000)])
def test_amounts_are_strings_in_the_currencys_minor_units(
    fake: FakePaddle, rail: Paddle, currency: str, minor: int
) -> None:
    a_paid_order(fake, rail, amount=Money(minor, currency))
    assert fake.requests[0].body["items"][0]["price"]["unit_price"] == {"amount": str(minor), "currency_code": currency}
    assert only(told(fake, rail, "transaction.completed"), "payment").amount == Money(minor, currency)


def test_a_currency_that_paddle_does_not_sell_in_is_refused_before_it_is_asked(fake: FakePaddle, rail: Paddle) -> None:
    with pytest.raises(ProviderRefused, match="KWD"):
        rail.start_checkout(an_order(amount=Money(2500, "KWD")))
    assert fake.requests == []


def test_a_transaction_without_a_page_is_no_checkout(fake: FakePaddle, rail: Paddle) -> None:
    fake.payment_page = ""
    made = fake.make_transaction

    def pageless(given: dict[str, object]) -> dict[str, object]:
        return made(given) | {"checkout": None}

    fake.make_transaction = pageless  # type: ignore[method-assign]
    with pytest.raises(ProviderRefused, match="no page"):
        rail.start_checkout(an_order())


@pytest.mark.parametrize("event_type", ["transaction.created", "transaction.paid", "transaction.completed"])
def test_every_event_of_a_payment_tells_the_same_payment_as_it_stands(
    fake: FakePaddle, rail: Paddle, event_type: str
) -> None:
    checkout = rail.start_checkout(an_order())
    assert only(told(fake, rail, "transaction.created"), "payment").state == "open"
    fake.pay(checkout.session_id)
    fact = only(told(fake, rail, event_type), "payment")
    assert (fact.object_id, fact.session_id, fact.state) == (checkout.session_id, checkout.session_id, "paid")
    assert (fact.purchase_id, fact.account_id, fact.amount) == ("pay_1", "mira", Money(2500, "USD"))
    assert not fact.live


def test_paid_is_paid_before_paddle_has_done_its_own_part(fake: FakePaddle, rail: Paddle) -> None:
    checkout = rail.start_checkout(an_order())
    fake.pay(checkout.session_id, is_completed=False)
    early = only(rail.payment(checkout.session_id), "payment")
    fake.complete(checkout.session_id)
    late = only(rail.payment(checkout.session_id), "payment")
    assert (early.state, late.state) == ("paid", "paid") and early.version < late.version


def test_a_declined_card_leaves_it_open_and_the_next_one_pays(fake: FakePaddle, rail: Paddle) -> None:
    checkout = rail.start_checkout(an_order())
    fake.decline(checkout.session_id)
    assert only(told(fake, rail, "transaction.payment_failed"), "payment").state == "open"
    fake.pay(checkout.session_id)
    assert only(rail.payment(checkout.session_id), "payment").state == "paid"


def test_a_canceled_and_an_overdue_transaction_are_not_paid(fake: FakePaddle, rail: Paddle) -> None:
    canceled, overdue = (rail.start_checkout(an_order(name)).session_id for name in ("pay_1", "pay_2"))
    fake.cancel(canceled)
    fake.fall_due(overdue)
    assert only(told(fake, rail, "transaction.canceled"), "payment").state == "cancelled"
    assert only(told(fake, rail, "transaction.past_due"), "payment").state == "failed"
    fake.pay(overdue)
    assert only(rail.payment(overdue), "payment").state == "paid"


@pytest.mark.parametrize(("on_top", "total"), [(False, "2500"), (True, "2975")])
def test_the_amount_is_counted_as_the_price_is_with_tax_or_before_it(
    fake: FakePaddle, rail: Paddle, on_top: bool, total: str
) -> None:
    fake.tax_percent = 19
    paid = a_paid_order(fake, rail, tax_on_top=on_top)
    assert fake.transactions[paid]["details"]["totals"]["total"] == total
    assert only(rail.payment(paid), "payment").amount == Money(2500, "USD")


def test_what_somebody_else_sold_in_the_same_account_is_not_ours(fake: FakePaddle, rail: Paddle) -> None:
    rail.start_checkout(an_order())
    body = dict(fake.requests[0].body) | {"custom_data": None}
    other = fake.make_transaction(body)["id"]
    fake.pay(other)
    fake.refund(other)
    assert told(fake, rail, "transaction.completed") == () == told(fake, rail, "adjustment.created")


def test_a_transaction_that_paddle_does_not_know_is_refused_for_now(fake: FakePaddle, rail: Paddle) -> None:
    with pytest.raises(ProviderRefused, match="not_found"):
        rail.payment("txn_elsewhere")
    with pytest.raises(ProviderRefused, match="not_an_id"):
        rail.payment("../customers")


def test_an_old_payload_tells_what_is_true_now(fake: FakePaddle, rail: Paddle) -> None:
    paid = a_paid_order(fake, rail)
    first = sent(fake, fake.events[0], rail)
    fake.refund_status = "approved"
    fake.refund(paid)
    assert [(fact.kind, fact.state) for fact in rail.facts(first)] == [("payment", "paid"), ("refund", "succeeded")]


def test_polled_events_are_the_webhooks_told_again_page_by_page(fake: FakePaddle, rail: Paddle) -> None:
    fake.page_size = 2
    a_paid_order(fake, rail)
    fake.events.append(
        new_event("evt_01fake99999999999999999999", "customer.created", {}, fake.events[-1]["occurred_at"])
    )
    polled = rail.poll(None, fake.now())
    hooks = [sent(fake, event, rail) for event in fake.events[:-1]]
    assert [(e.event_id, e.type) for e in polled.events] == [(e.event_id, e.type) for e in hooks] and len(hooks) == 3
    assert [rail.facts(e) for e in polled.events] == [rail.facts(e) for e in hooks]
    assert [e.at is not None and e.at <= fake.now() + timedelta(seconds=1) for e in polled.events] == [True] * 3


def test_a_poll_goes_on_where_the_last_one_ended_with_an_hour_of_overlap(fake: FakePaddle, rail: Paddle) -> None:
    begun = fake.now()
    fake.now = lambda: begun - timedelta(days=4)
    a_paid_order(fake, rail, "pay_long_ago")
    fake.now = lambda: begun
    a_paid_order(fake, rail, "pay_first")
    first = rail.poll(None, begun)
    assert len(first.events) == 3, "what is older than any delivery is not looked for"
    assert rail.poll(first.cursor, begun + timedelta(minutes=10)) == first
    fake.now = lambda: begun + timedelta(hours=2)
    a_paid_order(fake, rail, "pay_second")
    second = rail.poll(first.cursor, begun + timedelta(hours=2, minutes=1))
    assert [e.event_id for e in second.events] == [e["event_id"] for e in fake.events[3:]]
    third = rail.poll(second.cursor, begun + timedelta(hours=3))
    assert [e.event_id for e in third.events] == [e["event_id"] for e in fake.events[6:]]


def test_one_rail_may_be_used_by_many_threads_at_once(fake: FakePaddle, rail: Paddle) -> None:
    def buy(place: int) -> tuple[str, str]:
        session_id = rail.start_checkout(an_order(f"pay_{place}", amount=Money(1_000 + place, "USD"))).session_id
        with fake.lock:
            fake.pay(session_id)
        fact = only(rail.payment(session_id), "payment")
        assert fact.amount == Money(1_000 + place, "USD")
        refund = only(rail.refund(asking(session_id, 1_000 + place, f"rev_{place}", f"pay_{place}")), "refund")
        return str(fact.purchase_id), str(refund.own_reference)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(buy, range(40))) == [(f"pay_{n}", f"rev_{n}") for n in range(40)]
    assert len({request.headers["x-transaction-id"] for request in fake.requests}) == len(fake.requests)


def test_an_event_of_ours_is_only_a_pointer(fake: FakePaddle, rail: Paddle) -> None:
    checkout = rail.start_checkout(an_order())
    forged = b'{"event_id":"evt_1","event_type":"transaction.completed","data":{"id":"%s","status":"completed"}}'
    facts = rail.facts(Event("evt_1", "transaction.completed", forged % checkout.session_id.encode()))
    assert only(facts, "payment").state == "open"
