"""A checkout asks Stripe for exactly what was promised, and its session is told as one payment, whatever happens."""

from datetime import timedelta

import pytest
from stripe.params.checkout import SessionCreateParams

from engine.payments import Event, Fact, ProviderRefused
from engine.rules.money import Money
from psp.stripe import Stripe
from tests.engine.support import DAY_0, FakeClock
from tests.psp.fake_stripe import FakeStripe
from tests.psp.stripe_contract import read_params
from tests.psp.stripe_objects import Json, thin_event
from tests.psp.stripe_orders import (
    MARKS,
    SUCCESS_URL,
    a_paid_order,
    a_rail,
    an_order,
    last_event,
    sent,
    told,
    told_fact,
    verdict_after,
)

SOLD = {"mode": "payment", "line_items": [{"price_data": {"currency": "usd", "unit_amount": 2500}}]}
"""A session that somebody else's code made in the same Stripe account."""


def asked(fake: FakeStripe) -> Json:
    """The parameters of the last request, as Stripe reads them."""
    return read_params(SessionCreateParams, fake.requests[-1].given)


# Asking for a checkout


def test_a_checkout_asks_for_exactly_this(fake: FakeStripe, rail: Stripe) -> None:
    rail.start_checkout(an_order())
    assert asked(fake) == {
        "mode": "payment",
        "line_items": [
            {
                "quantity": 1,
                "price_data": {
                    "currency": "usd",
                    "unit_amount": 2500,
                    "product_data": {"name": "Credit top-up: $25.00"},
                },
            }
        ],
        "client_reference_id": "pay_1",
        "metadata": MARKS,
        "payment_intent_data": {"metadata": MARKS, "description": "Credit top-up: $25.00"},
        "customer_email": "mira@customer.example",
        "expires_at": int((DAY_0 + timedelta(minutes=32)).timestamp()),
        "locale": "de",
        "adaptive_pricing": {"enabled": False},
        "success_url": SUCCESS_URL,
        "cancel_url": "https://shop.example/back?status=cancelled&purchase=pay_1",
    }
    (request,) = fake.requests
    assert (request.method, request.path) == ("POST", "/v1/checkout/sessions")
    assert request.idempotency_key == "checkout:pay_1"


def test_a_checkout_is_the_session_its_page_and_its_end(fake: FakeStripe, rail: Stripe) -> None:
    checkout = rail.start_checkout(an_order())
    session = fake.get(checkout.session_id, "checkout.session")
    assert checkout.url == session["url"] and checkout.url.startswith(fake.base_url)
    assert checkout.expires_at == DAY_0 + timedelta(minutes=32)


def test_the_payment_carries_our_marks_where_refunds_and_disputes_will_look(fake: FakeStripe, rail: Stripe) -> None:
    payment_id = a_paid_order(fake, rail)
    assert fake.get(payment_id, "payment_intent")["metadata"] == MARKS


def test_the_customer_comes_back_with_the_sessions_id(fake: FakeStripe, rail: Stripe) -> None:
    session_id = rail.start_checkout(an_order()).session_id
    back = f"https://shop.example/back?status=success&purchase=pay_1&session_id={session_id}"
    assert fake.success_page(session_id) == back


@pytest.mark.parametrize("seconds", [0, 100, 119.9])
def test_half_an_hour_is_long_enough_though_the_request_is_slow(
    fake: FakeStripe, rail: Stripe, clock: FakeClock, seconds: float
) -> None:
    clock.advance(timedelta(seconds=seconds))
    assert rail.start_checkout(an_order()).expires_at > DAY_0 + timedelta(minutes=30)


def test_a_session_ends_on_a_whole_second_and_never_before_its_purchase(fake: FakeStripe, rail: Stripe) -> None:
    ends = DAY_0 + timedelta(minutes=30, microseconds=1)
    checkout = rail.start_checkout(an_order(expires_at=ends))
    assert checkout.expires_at == DAY_0 + timedelta(minutes=32, seconds=1)


@pytest.mark.parametrize("ends_after", [timedelta(minutes=20), timedelta(hours=25)])
def test_a_session_that_stripe_would_not_keep_that_long_is_refused(rail: Stripe, ends_after: timedelta) -> None:
    with pytest.raises(ProviderRefused, match="30 minutes to 24 hours"):
        rail.start_checkout(an_order(expires_at=DAY_0 + ends_after))


def test_a_card_is_saved_only_when_that_was_asked(fake: FakeStripe, rail: Stripe) -> None:
    kept = a_paid_order(fake, rail, save_card=True)
    other = a_paid_order(fake, rail, "pay_2")
    assert fake.get(kept, "payment_intent")["setup_future_usage"] == "off_session"
    assert fake.get(other, "payment_intent")["setup_future_usage"] is None


def test_a_saved_card_has_a_customer_to_hang_on(fake: FakeStripe, rail: Stripe) -> None:
    rail.start_checkout(an_order(save_card=True))
    assert asked(fake)["customer_creation"] == "always"


def test_a_purchase_that_earns_a_bonus_is_not_offered_crypto(fake: FakeStripe, rail: Stripe) -> None:
    rail.start_checkout(an_order(bonus=True))
    assert asked(fake)["excluded_payment_method_types"] == ["crypto"]
    rail.start_checkout(an_order("pay_2", bonus=False))
    assert "excluded_payment_method_types" not in asked(fake)


def test_an_unknown_address_is_left_for_the_customer_to_write(fake: FakeStripe, rail: Stripe) -> None:
    rail.start_checkout(an_order(email=None))
    assert "customer_email" not in asked(fake)


@pytest.mark.parametrize(
    ("tag", "locale"),
    [
        ("de", "de"),
        ("de-AT", "de"),
        ("en_GB", "en-GB"),
        ("pt-br", "pt-BR"),
        ("es-MX", "es"),
        ("zh-Hant-HK", "zh-HK"),
        ("zh-Hant-MO", "zh-TW"),
        ("no", "nb"),
        ("ar", "auto"),
        ("junk", "auto"),
        ("", "auto"),
        (None, "auto"),
    ],
)
def test_a_language_stripe_does_not_speak_falls_back(
    fake: FakeStripe, rail: Stripe, tag: str | None, locale: str
) -> None:
    rail.start_checkout(an_order(locale=tag))
    assert asked(fake)["locale"] == locale


@pytest.mark.parametrize(
    ("amount", "unit_amount"), [(Money(500, "JPY"), 500), (Money(1001, "EUR"), 1001), (Money(9000, "UGX"), 900_000)]
)
def test_every_currency_is_counted_as_stripe_counts_it_and_back(
    fake: FakeStripe, rail: Stripe, amount: Money, unit_amount: int
) -> None:
    session_id = rail.start_checkout(an_order(amount=amount)).session_id
    price = asked(fake)["line_items"][0]["price_data"]
    assert (price["unit_amount"], price["currency"]) == (unit_amount, amount.currency.lower())
    fake.pay(session_id)
    assert paid(rail, session_id).amount == amount


def test_the_same_checkout_asked_twice_is_one_session(fake: FakeStripe, rail: Stripe) -> None:
    assert rail.start_checkout(an_order()) == rail.start_checkout(an_order())
    assert len(fake.every("checkout.session")) == 1


def test_another_purchase_is_another_session(rail: Stripe) -> None:
    assert rail.start_checkout(an_order()).session_id != rail.start_checkout(an_order("pay_2")).session_id


# What a session means


def paid(rail: Stripe, session_id: str) -> Fact:
    (fact,) = rail.payment(session_id)
    assert fact.state == "paid"
    return fact


def test_an_untouched_session_is_open_under_its_own_id(rail: Stripe) -> None:
    session_id = rail.start_checkout(an_order()).session_id
    (fact,) = rail.payment(session_id)
    assert (fact.kind, fact.state, fact.object_id, fact.session_id) == ("payment", "open", session_id, session_id)
    assert fact.receipt_url is None


def test_a_session_that_we_ended_says_so_and_one_that_was_paid_stays_paid(fake: FakeStripe, rail: Stripe) -> None:
    session_id = rail.start_checkout(an_order()).session_id
    for _ in range(2):
        rail.end_checkout(session_id)
    (fact,) = rail.payment(session_id)
    assert (fact.kind, fact.state, fact.purchase_id) == ("payment", "expired", "pay_1")
    other = rail.start_checkout(an_order("pay_2")).session_id
    fake.pay(other)
    rail.end_checkout(other)
    assert [fact.state for fact in rail.payment(other)] == ["paid"]


def test_a_completed_and_paid_session_is_paid(fake: FakeStripe, rail: Stripe) -> None:
    session_id = rail.start_checkout(an_order()).session_id
    payment_id = fake.pay(session_id)
    fact = told_fact(fake, rail, "checkout.session.completed")
    assert fact.kind == "payment" and fact.state == "paid" and fact.object_id == payment_id
    assert fact.amount == Money(2500, "USD") and fact.live is False
    assert (fact.purchase_id, fact.account_id, fact.session_id) == ("pay_1", "mira", session_id)
    assert fact.parent_id is None and fact.own_reference is None
    assert fact.receipt_url is not None and fact.receipt_url.startswith("https://pay.stripe.com/receipts/ch_")


def test_the_session_the_intent_and_the_sweeper_tell_the_same(fake: FakeStripe, rail: Stripe) -> None:
    session_id = rail.start_checkout(an_order()).session_id
    fake.pay(session_id)
    by_session = told(fake, rail, "checkout.session.completed")
    assert by_session == told(fake, rail, "payment_intent.succeeded") == rail.payment(session_id)


def test_a_thin_event_leads_to_the_same_facts(fake: FakeStripe, rail: Stripe) -> None:
    a_paid_order(fake, rail)
    for event_type in ("checkout.session.completed", "payment_intent.succeeded"):
        thin = thin_event(last_event(fake, event_type))
        assert rail.facts(sent(fake, thin, rail)) == told(fake, rail, event_type) != ()


def test_an_event_is_only_a_pointer_whatever_its_payload_says(fake: FakeStripe, rail: Stripe) -> None:
    session_id = rail.start_checkout(an_order()).session_id
    liar = {"id": session_id, "object": "checkout.session", "payment_status": "paid", "status": "complete"}
    event = {"id": "evt_1", "object": "event", "type": "checkout.session.completed", "data": {"object": liar}}
    (fact,) = rail.facts(sent(fake, event, rail))
    assert fact.state == "open"


def test_real_money_is_told_as_such(clock: FakeClock) -> None:
    with FakeStripe(secret_key="sk_live_fake", livemode=True, now=clock.now) as fake:
        rail = a_rail(fake)
        payment_id = a_paid_order(fake, rail)
        fake.refund(payment_id, 100)
        fake.dispute(payment_id, 100)
        assert rail.is_live
        for event_type in ("checkout.session.completed", "refund.created", "charge.dispute.created"):
            assert told_fact(fake, rail, event_type).live is True
        fake.charge_saved_card(1500, "usd", MARKS)
        assert told_fact(fake, rail, "payment_intent.succeeded").live is True


def test_a_slow_method_is_processing_until_it_is_paid(fake: FakeStripe, rail: Stripe) -> None:
    session_id = rail.start_checkout(an_order()).session_id
    payment_id = fake.pay(session_id, later=True)
    waiting = told_fact(fake, rail, "checkout.session.completed")
    assert (waiting.state, waiting.object_id, waiting.receipt_url) == ("processing", payment_id, None)
    assert told_fact(fake, rail, "payment_intent.processing") == waiting
    fake.settle(session_id, succeeds=True)
    settled = told_fact(fake, rail, "checkout.session.async_payment_succeeded")
    assert (settled.state, settled.object_id) == ("paid", payment_id)


def test_a_slow_method_that_fails_has_failed(fake: FakeStripe, rail: Stripe) -> None:
    session_id = rail.start_checkout(an_order()).session_id
    payment_id = fake.pay(session_id, later=True)
    fake.settle(session_id, succeeds=False)
    fact = told_fact(fake, rail, "checkout.session.async_payment_failed")
    assert (fact.state, fact.object_id, fact.receipt_url) == ("failed", payment_id, None)


def test_a_declined_attempt_leaves_the_purchase_open_for_another(fake: FakeStripe, rail: Stripe) -> None:
    session_id = rail.start_checkout(an_order()).session_id
    payment_id = fake.decline(session_id)
    declined = told_fact(fake, rail, "payment_intent.payment_failed")
    assert (declined.state, declined.object_id) == ("open", payment_id)
    assert fake.pay(session_id) == payment_id
    assert verdict_after(declined, paid(rail, session_id)).status == "paid"


def test_an_abandoned_session_is_expired(fake: FakeStripe, rail: Stripe) -> None:
    session_id = rail.start_checkout(an_order()).session_id
    fake.expire(session_id)
    fact = told_fact(fake, rail, "checkout.session.expired")
    assert (fact.state, fact.object_id) == ("expired", session_id)


def test_an_expired_session_whose_attempt_was_declined_is_expired_too(fake: FakeStripe, rail: Stripe) -> None:
    session_id = rail.start_checkout(an_order()).session_id
    payment_id = fake.decline(session_id)
    fake.expire(session_id)
    fact = told_fact(fake, rail, "payment_intent.canceled")
    assert (fact.state, fact.object_id) == ("expired", payment_id)


@pytest.mark.parametrize("was_declined", [False, True])
def test_money_that_arrives_after_the_expiry_still_wins(fake: FakeStripe, rail: Stripe, was_declined: bool) -> None:
    session_id = rail.start_checkout(an_order()).session_id
    if was_declined:
        fake.decline(session_id)
    fake.expire(session_id)
    expired = told_fact(fake, rail, "checkout.session.expired")
    fake.get(session_id, "checkout.session")["status"] = "open"  # the payment was on its way when the session ended
    fake.pay(session_id)
    late = paid(rail, session_id)
    assert verdict_after(expired, late).status == verdict_after(late, expired).status == "paid"


# What it cost


def test_a_discount_lowers_what_was_paid(fake: FakeStripe, rail: Stripe) -> None:
    session_id = rail.start_checkout(an_order()).session_id
    fake.pay(session_id, discount_minor=500)
    assert paid(rail, session_id).amount == Money(2000, "USD")


def test_tax_on_top_buys_no_credits(fake: FakeStripe, rail: Stripe) -> None:
    session_id = rail.start_checkout(an_order()).session_id
    fake.pay(session_id, tax_minor=475)
    assert fake.get(session_id, "checkout.session")["amount_total"] == 2975
    assert paid(rail, session_id).amount == Money(2500, "USD")


def test_a_discount_and_tax_together_leave_the_price_less_the_discount(fake: FakeStripe, rail: Stripe) -> None:
    session_id = rail.start_checkout(an_order()).session_id
    fake.pay(session_id, discount_minor=500, tax_minor=380)
    assert paid(rail, session_id).amount == Money(2000, "USD")


def test_a_discount_of_all_is_a_payment_of_nothing_and_no_credits_without_a_look(
    fake: FakeStripe, rail: Stripe
) -> None:
    session_id = rail.start_checkout(an_order()).session_id
    assert fake.pay(session_id, discount_minor=2500) is None
    fact = told_fact(fake, rail, "checkout.session.completed")
    assert (fact.state, fact.object_id, fact.amount) == ("paid", session_id, Money(0, "USD"))
    assert verdict_after(fact).status == "quarantined"


# Charges without a checkout


@pytest.mark.parametrize(
    ("ends", "state", "event_type"),
    [
        ("succeeded", "paid", "payment_intent.succeeded"),
        ("processing", "processing", "payment_intent.processing"),
        ("failed", "failed", "payment_intent.payment_failed"),
        ("canceled", "cancelled", "payment_intent.canceled"),
    ],
)
def test_a_charge_of_a_saved_card_is_told_by_its_intent(
    fake: FakeStripe, rail: Stripe, ends: str, state: str, event_type: str
) -> None:
    payment_id = fake.charge_saved_card(1500, "usd", MARKS, ends)  # type: ignore[arg-type]
    fact = told_fact(fake, rail, event_type)
    assert (fact.object_id, fact.state, fact.amount) == (payment_id, state, Money(1500, "USD"))
    assert (fact.purchase_id, fact.account_id, fact.session_id) == ("pay_1", "mira", None)
    assert (fact.receipt_url is not None) is (state == "paid")


# What is not ours


def test_a_session_of_somebody_else_is_nothing_though_it_names_a_purchase_of_ours(
    fake: FakeStripe, rail: Stripe
) -> None:
    session = fake.make_session(SOLD | {"client_reference_id": "pay_1"}, fake.base_url)
    fake.pay(session["id"])
    assert told(fake, rail, "checkout.session.completed") == ()
    assert told(fake, rail, "payment_intent.succeeded") == ()


def test_a_charge_of_somebody_else_is_nothing(fake: FakeStripe, rail: Stripe) -> None:
    fake.charge_saved_card(1500, "usd", {"shop": "other"})
    assert told(fake, rail, "payment_intent.succeeded") == ()


@pytest.mark.parametrize("event_type", ["charge.succeeded", "charge.failed"])
def test_events_we_do_not_follow_are_nothing_and_ask_nothing(fake: FakeStripe, rail: Stripe, event_type: str) -> None:
    session_id = rail.start_checkout(an_order()).session_id
    fake.decline(session_id)
    fake.pay(session_id)
    before = len(fake.requests)
    assert told(fake, rail, event_type) == ()
    assert len(fake.requests) == before


def test_a_type_nobody_has_heard_of_is_nothing(rail: Stripe) -> None:
    body = b'{"id": "evt_1", "object": "event", "type": "planet.discovered", "data": {"object": {}}}'
    assert rail.facts(Event("evt_1", "planet.discovered", body)) == ()
