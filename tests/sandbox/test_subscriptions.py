"""The sandbox's subscriptions over real HTTP: what its page and its doors do, and which webhooks say so."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from engine.catalogs import load_catalog
from engine.payments import InvoiceFact, ProviderRefused, SubscriptionFact
from engine.recurring import EndingProvider, SubscriptionChange, SubscriptionProvider, SubscriptionRequest
from engine.rules.money import Money
from engine.rules.periods import period_start
from engine.rules.subscriptions import terms_of
from engine.store.database import Database
from tests.sandbox.support import SHOP, World, running

ALPHIO = load_catalog("alphio")
BASE, PRO = terms_of(ALPHIO, "base", "month"), terms_of(ALPHIO, "pro", "month")


@pytest.fixture
def world(sqlite: Database) -> Iterator[World]:
    with running(sqlite) as started:
        yield started
        assert started.receiver.refused == []


def request(world: World, number: int = 1, trial_days: int = 0) -> SubscriptionRequest:
    return SubscriptionRequest(
        account_id=f"acc_{number}",
        subscription_id=f"sub_{number}",
        terms=BASE,
        currency="USD",
        description="Base (monthly)",
        email="mira@customer.example",
        locale="en",
        success_url=f"{SHOP}?session_id={{CHECKOUT_SESSION_ID}}",
        cancel_url=SHOP,
        expires_at=world.clock.now() + timedelta(minutes=30),
        trial_days=trial_days,
        idempotency_key=f"subscription:sub_{number}",
    )


def begun(world: World, number: int = 1, button: str = "pay", trial_days: int = 0) -> str:
    session_id = world.provider.start_subscription(request(world, number, trial_days)).session_id
    assert world.press(session_id, button).status_code == 303
    return session_id


def state(world: World, reference: str) -> tuple[SubscriptionFact, list[InvoiceFact]]:
    first, *rest = world.provider.subscription(reference)
    assert isinstance(first, SubscriptionFact)
    return first, [fact for fact in rest if isinstance(fact, InvoiceFact)]


def play(world: World, reference: str, act: str) -> int:
    return world.browser.post(f"/sandbox/subscriptions/{reference}/{act}").status_code


def test_it_speaks_as_a_rail_with_subscriptions(world: World) -> None:
    assert isinstance(world.provider, SubscriptionProvider)


def test_the_same_key_opens_one_checkout_whose_page_says_what_is_bought(world: World) -> None:
    first = world.provider.start_subscription(request(world))
    assert world.provider.start_subscription(request(world)) == first
    page = world.browser.get(f"/sandbox/checkout/{first.session_id}", headers={"Accept": "text/html"}).text
    assert "Base (monthly)" in page and "$19.00" in page


@pytest.mark.parametrize(
    ("button", "types"),
    [
        ("pay", "invoice.updated invoice.updated subscription.updated"),
        ("pay-twice", "invoice.updated invoice.updated invoice.updated subscription.updated"),
        ("pay-shuffled", "invoice.updated subscription.updated invoice.updated"),
        ("challenge", "invoice.updated invoice.updated subscription.updated"),
    ],
)
def test_paying_begins_it_and_says_so_in_webhooks_that_only_point(world: World, button: str, types: str) -> None:
    session_id = begun(world, button=button)
    assert world.receiver.types == types.split()
    facts = {fact for event in world.receiver.events for fact in world.provider.facts(event)}
    subscription, (invoice,) = state(world, session_id)
    assert facts == {subscription, invoice}
    assert (subscription.state, subscription.plan, subscription.price) == ("active", "base", Money(1_900, "USD"))
    assert subscription.period_end == period_start(subscription.period_start, 1)
    assert (invoice.kind, invoice.state, invoice.amount) == ("create", "paid", Money(1_900, "USD"))
    assert invoice.payment_id is not None and (invoice.subscription_id, invoice.account_id) == ("sub_1", "acc_1")


def test_a_late_payment_begins_it_late(world: World) -> None:
    session_id = begun(world, button="pay-late")
    assert state(world, session_id)[0].state == "incomplete"
    world.receiver.wait_for(3)
    assert state(world, session_id)[0].state == "active"


@pytest.mark.parametrize("button", ["decline", "cancel", "expire"])
def test_what_is_not_paid_does_not_begin(world: World, button: str) -> None:
    session_id = begun(world, button=button)
    assert state(world, session_id)[0].state == "incomplete" and world.receiver.types == []
    assert play(world, session_id, "renew") == 409


def test_a_checkout_that_was_ended_cannot_be_paid_and_one_that_was_paid_stays(world: World) -> None:
    assert isinstance(world.provider, EndingProvider)
    ended, paid = world.provider.start_subscription(request(world)).session_id, begun(world, 2)
    for session_id in (ended, ended, paid):
        world.provider.end_checkout(session_id)
    assert (world.provider.has_ended(ended), world.provider.has_ended(paid)) == (True, False)
    assert world.press(ended, "pay").status_code == 409
    assert (state(world, ended)[0].state, state(world, paid)[0].state) == ("incomplete", "active")
    with pytest.raises(ProviderRefused):
        world.provider.end_checkout("sbxcs_9")


def test_a_trial_is_free_and_its_first_renewal_is_not(world: World) -> None:
    session_id = begun(world, trial_days=14)
    subscription, (invoice,) = state(world, session_id)
    assert (subscription.state, invoice.kind, invoice.amount.minor) == ("trialing", "trial", 0)
    assert subscription.period_end - subscription.period_start == timedelta(days=14)
    assert play(world, session_id, "renew") == 200
    subscription, (renewal, _) = state(world, session_id)
    assert (subscription.state, renewal.kind, renewal.amount.minor) == ("active", "renewal", 1_900)


def test_its_doors_open_by_any_name_a_script_has_at_hand(world: World) -> None:
    session_id = begun(world)
    subscription, (invoice,) = state(world, session_id)
    assert invoice.payment_id is not None
    for name in (subscription.object_id, "sub_1", "acc_1", session_id, invoice.payment_id):
        assert play(world, name, "renew") == 200
    assert state(world, session_id)[0].period_end == period_start(subscription.anchor_at, 6)
    assert play(world, "sub_9", "renew") == 404 and play(world, session_id, "explode") == 404


def test_a_failed_renewal_is_the_invoice_that_is_paid_later(world: World) -> None:
    session_id = begun(world)
    assert play(world, session_id, "payment-failed") == 200
    subscription, (failed, _) = state(world, session_id)
    assert (subscription.state, failed.state) == ("past_due", "failed")
    assert play(world, session_id, "renew") == 200
    subscription, (paid, _) = state(world, session_id)
    assert (subscription.state, paid.state, paid.object_id) == ("active", "paid", failed.object_id)
    assert paid.version > failed.version
    assert play(world, session_id, "cancel") == 200 and state(world, session_id)[0].state == "ended"


def test_an_upgrade_is_charged_once_for_its_key(world: World) -> None:
    session_id = begun(world)
    subscription, _ = state(world, session_id)
    half = subscription.period_start + (subscription.period_end - subscription.period_start) / 2
    change = SubscriptionChange(subscription.object_id, PRO, is_now=True, at=half, idempotency_key="up")
    told = world.provider.change_subscription(change)
    assert world.provider.change_subscription(change) == told
    subscription, invoices = state(world, session_id)
    (proration,) = [invoice for invoice in invoices if invoice.kind == "proration"]
    assert (subscription.plan, proration.amount.minor, proration.period_start) == ("pro", 1_500, half)
    down = SubscriptionChange(subscription.object_id, BASE, is_now=False, at=half, idempotency_key="down")
    world.provider.change_subscription(down)
    assert state(world, session_id)[0].pending_plan == "base"
    world.provider.act_on_subscription(subscription.object_id, "cancel", "stop")
    subscription, _ = state(world, session_id)
    assert (subscription.cancel_at_period_end, subscription.pending_plan) == (True, None)


def test_a_payment_of_a_subscription_is_refunded_like_any_other(world: World) -> None:
    session_id = begun(world)
    _, (invoice,) = state(world, session_id)
    assert invoice.payment_id is not None
    world.receiver.events.clear()
    assert world.play(invoice.payment_id, "refund").status_code == 200
    fact = world.fact_of(world.receiver.events[0])
    assert (fact.kind, fact.amount.minor, fact.parent_id, fact.purchase_id) == (
        "refund",
        1_900,
        invoice.payment_id,
        None,
    )


def test_its_api_wants_the_key(world: World) -> None:
    session_id = begun(world)
    assert world.browser.get(f"/sandbox/api/subscriptions/{session_id}").status_code == 401
    with pytest.raises(ProviderRefused):
        world.provider.subscription("sub_9")
