"""Every rail through its flows, watched: none of what a provider can be asked is asked inside a transaction."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from engine import payments, recurring
from engine.flows.reconcile import YOUNG, reconcile
from engine.flows.refunds import reverse_purchase
from engine.jobs import Jobs
from engine.store.database import Database
from psp.moonpay import MoonPay
from psp.stripe import Stripe
from tests.engine.support import FakeClock
from tests.flows.test_no_calls_in_transactions import SEEN as SEEN_OF_CARDS
from tests.flows.watching import Connections, Watched
from tests.psp.fake_moonpay import FakeMoonPay
from tests.psp.fake_paddle import FakePaddle
from tests.psp.fake_stripe import FakeStripe
from tests.psp.paddle_orders import a_rail
from tests.psp.paddle_subscriber import open_customer as open_paddle_customer
from tests.psp.rail_world import RailWorld, open_rail_world
from tests.psp.stripe_objects import new_card
from tests.psp.stripe_subscriber import open_customer
from tests.stores.conftest import apple as apple
from tests.stores.conftest import google as google
from tests.stores.fake_apple import FakeApple
from tests.stores.fake_google import FakeGoogle
from tests.stores.shop import open_shop
from tests.stores.test_google_subscriptions import Member, month

OF_SUBSCRIPTIONS = frozenset(
    "start_subscription preview_change change_subscription act_on_subscription subscription facts refund".split()
)
OF_RAILS = frozenset({"start_checkout", "payment", "facts", "refund", "poll"})
OF_CARDS_AT_STRIPE = frozenset({"changed_card", "detached"})
OF_STORES = frozenset({"posted", "news", "answer", "finish", "poll", "refund", "verify"})
OF_SUBSCRIPTIONS_AT_STRIPE = OF_SUBSCRIPTIONS | {"end_checkout", "has_ended"}
OF_SUBSCRIPTIONS_AT_PADDLE = OF_SUBSCRIPTIONS - {"refund", "subscription"} | {"manage_url"}
OF_SUBSCRIPTIONS_AT_STORES = frozenset({"posted_subscription", "renewals", "acknowledge"})
PROTOCOLS = (
    payments.PaymentProvider,
    payments.Store,
    payments.CardProvider,
    payments.CardFollower,
    payments.PolledProvider,
    recurring.SubscriptionProvider,
    recurring.ProratingProvider,
    recurring.EndingProvider,
    recurring.ManagedProvider,
    recurring.SubscriptionStore,
)


@pytest.fixture
def connections(db: Database) -> Iterator[Connections]:
    counted = Connections(db)
    yield counted
    counted.close()


def test_whatever_can_be_asked_of_a_provider_is_watched_somewhere() -> None:
    asked = {name for protocol in PROTOCOLS for name, found in vars(protocol).items() if callable(found)}
    named = {name for name in asked if not name.startswith("_")}
    assert len(named) >= 25
    of_subscriptions = OF_SUBSCRIPTIONS_AT_STRIPE | OF_SUBSCRIPTIONS_AT_PADDLE | OF_SUBSCRIPTIONS_AT_STORES
    assert named == SEEN_OF_CARDS | of_subscriptions | OF_RAILS | OF_CARDS_AT_STRIPE | OF_STORES


def test_subscriptions_at_stripe(
    db: Database, clock: FakeClock, fake: FakeStripe, rail: Stripe, connections: Connections
) -> None:
    watched: Any = Watched(rail, connections)
    mira = open_customer(db, clock, fake, watched)
    mira.change("pro", "month")
    mira.begin("base")
    assert mira.preview("pro")["dueNowMinor"] > 0
    mira.change("pro")
    for act in ("cancel", "reactivate", "pause", "resume"):
        mira.act(act)
    mira.wait(days=31)
    support = mira.host.new_key("support")
    paid = mira.payments()[0]["id"]
    answer = mira.host.post(f"/v1/support/purchases/{paid}/refunds", {"reason": "asked"}, bearer=support)
    assert answer.status_code == 202, answer.text
    mira.jobs.run_due()
    mira.host.post("/v1/admin/accounts/sub1/close", {"reason": "asked"}, bearer=mira.host.new_key("admin"))
    mira.jobs.run_due()
    mira.runtime.group.close()
    assert set(watched.called) >= OF_SUBSCRIPTIONS_AT_STRIPE


def test_subscriptions_at_paddle(db: Database, clock: FakeClock, connections: Connections) -> None:
    with FakePaddle(now=clock.now) as paddle:
        watched: Any = Watched(a_rail(paddle), connections)
        mira = open_paddle_customer(db, clock, paddle, watched)
        mira.begin("base")
        assert mira.preview("pro")["dueNowMinor"] > 0
        mira.change("pro")
        for act in ("cancel", "reactivate", "pause", "resume"):
            mira.act(act)
        assert mira.host.post(f"{mira.path}/provider-portal").status_code == 200
        mira.wait(days=31)
        mira.runtime.group.close()
    assert set(watched.called) >= OF_SUBSCRIPTIONS_AT_PADDLE


def test_subscriptions_at_the_app_stores(
    db: Database, clock: FakeClock, apple: FakeApple, google: FakeGoogle, tmp_path: Path, connections: Connections
) -> None:
    with open_shop(db, clock, apple, google, tmp_path) as shop:
        rails: Any = shop.host.runtime.providers
        watched = {name: Watched(rail, connections) for name, rail in rails.items()}
        rails.update(watched)
        nora = Member(shop, shop.host.open("nora"))
        token = nora.subscribe()
        assert shop.post_google(token, "pro", nora.path).status_code == 200
        nora.hear("purchased", token)
        nora.play.renew(token)
        nora.wait_until(month(1) + timedelta(hours=3))
        assert nora.plan() == ("pro", "active")
        rails.update({name: each._provider for name, each in watched.items()})
    assert {name for each in watched.values() for name in each.called} >= OF_SUBSCRIPTIONS_AT_STORES


def test_saved_cards_at_stripe_that_change(
    db: Database, clock: FakeClock, fake: FakeStripe, rail: Stripe, connections: Connections
) -> None:
    watched: Any = Watched(rail, connections)
    mira = open_customer(db, clock, fake, watched)
    customer = fake._customer({})["id"]
    card = fake._keep(new_card("pm_watched", customer, 1_790_000_000, livemode=False))
    fake.renew_card(card["id"], 1, 2031, "0019")
    fake.detach(card["id"])
    mira.hear()
    mira.runtime.group.close()
    assert set(watched.called) >= OF_CARDS_AT_STRIPE


def through(world: RailWorld, watched: Any, pay: Callable[[Any], None]) -> None:
    """A purchase that lands by its webhook, one that is polled, one that nobody pays, and a reversal."""
    world.runtime = replace(world.runtime, providers={watched.name: watched})
    world.jobs = Jobs(world.runtime)
    world.rail = watched
    bought = world.buy()
    pay(bought)
    world.hook_new()
    if watched.can_refund:
        reverse_purchase(world.runtime, bought.purchase_id, "a mistake", "support:Sam")
    world.jobs.run_due()
    pay(world.buy())
    world.clock.advance(YOUNG)
    reconcile(world.runtime, watched)
    world.buy()
    world.clock.advance(YOUNG * 6)
    world.jobs.run_due()


def test_paddle(db: Database, clock: FakeClock, connections: Connections) -> None:
    with FakePaddle(now=clock.now) as paddle:
        watched: Any = Watched(a_rail(paddle), connections)
        world = open_rail_world(db, clock, watched, paddle)
        through(world, watched, lambda purchase: paddle.pay(purchase.session_id))
        world.world.close()
    assert set(watched.called) >= OF_RAILS


def test_moonpay(db: Database, clock: FakeClock, connections: Connections) -> None:
    with FakeMoonPay(now=clock.now) as moonpay:
        watched: Any = Watched(MoonPay(*moonpay.keys, api_base=moonpay.base_url), connections)
        world = open_rail_world(db, clock, watched, moonpay)
        through(world, watched, lambda purchase: moonpay.complete(moonpay.buy(purchase.checkout_url)))
        world.world.close()
    assert set(watched.called) >= OF_RAILS - {"refund"}


def test_the_app_stores(
    db: Database, clock: FakeClock, apple: FakeApple, google: FakeGoogle, tmp_path: Path, connections: Connections
) -> None:
    with open_shop(db, clock, apple, google, tmp_path) as shop:
        rails: Any = shop.host.runtime.providers
        watched = {name: Watched(rail, connections) for name, rail in rails.items()}
        rails.update(watched)
        consent = {"consumptionConsent": True}
        bearer = {"Authorization": f"Bearer {shop.host.service_key}"}
        shop.host.client.put(f"{shop.mira}/purchases/store-consent", json=consent, headers=bearer)
        told = shop.post_google(google.buy(shop.token())).json()
        shop.jobs.run_due()
        support = shop.host.new_key("support")
        shop.host.post(f"/v1/support/purchases/{told['id']}/reversals", {"reason": "asked"}, bearer=support)
        shop.jobs.run_due()
        number = apple.world.buy(shop.token())
        shop.post_apple(apple.world.signed(number))
        shop.notify_apple(apple.world.notify("CONSUMPTION_REQUEST", number))
        shop.host.wait(minutes=61)
        shop.jobs.run_due()
        rails.update({name: each._provider for name, each in watched.items()})
    assert {name for each in watched.values() for name in each.called} >= OF_STORES
