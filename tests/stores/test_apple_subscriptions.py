"""Subscriptions at Apple: begun in the app, renewed, failed, cancelled, refunded, as its notifications tell."""

import json
from dataclasses import dataclass
from datetime import datetime

import pytest
from appstoreserverlibrary.models.JWSRenewalInfoDecodedPayload import JWSRenewalInfoDecodedPayload

from engine.catalogs import load_catalog
from engine.flows import receive
from engine.rules.periods import period_start
from engine.rules.store_products import PlanProduct, check_plan_products
from tests.engine.support import DAY_0
from tests.stores.apple_world import Json, check_shape
from tests.stores.shop import Shop

PRO, BASE, ELITE_YEAR = "com.alphio.pro.month", "com.alphio.base.month", "com.alphio.elite.year"


@dataclass
class Member:
    """A customer on Free with Apple's subscription: `number` names it for good."""

    shop: Shop
    path: str
    number: str = ""

    def pay(self, n: int, product: str = PRO, months: int = 1, **more: object) -> str:
        """Apple charges period `n`; its transaction."""
        start, end = period_start(DAY_0, n), period_start(DAY_0, n + months)
        given: Json = {
            "type": "Auto-Renewable Subscription",
            "subscriptionGroupIdentifier": "21000000",
            "purchaseDate": millis(start),
            "expiresDate": millis(end),
            "transactionReason": "RENEWAL" if self.number else "PURCHASE",
        }
        number = self.shop.apple.world.buy(self.shop.token(self.path), product, **(given | more))
        self.number = self.number or number
        self.shop.apple.world.transactions[number]["originalTransactionId"] = self.number
        return number

    def stand(self, number: str, status: int, product: str = PRO, renews: int = 1) -> Json:
        """How Apple says the subscription stands since, whoever hears of it; what comes next."""
        world = self.shop.apple.world
        info: Json = {
            "originalTransactionId": self.number,
            "productId": world.transactions[number]["productId"],
            "autoRenewProductId": product,
            "autoRenewStatus": renews,
            "environment": "Production",
            "signedDate": world.millis(),
        }
        check_shape(info, JWSRenewalInfoDecodedPayload)
        world.standings[self.number] = (number, status, info)
        return info

    def told(self, kind: str, number: str, status: int, product: str = PRO, renews: int = 1) -> Json:
        world = self.shop.apple.world
        info = world.chain.sign(self.stand(number, status, product, renews))
        kind, _, subtype = kind.partition(".")
        return world.notify(kind, number, subtype or None, status=status, signedRenewalInfo=info)

    def hear(self, kind: str, number: str, status: int, product: str = PRO, renews: int = 1, times: int = 2) -> None:
        told = self.told(kind, number, status, product, renews)
        self.bring(*[told] * times)

    def bring(self, *notifications: Json) -> None:
        """They arrive by the customer's clock, which runs ahead of the wall's, and what follows is done."""
        runtime, clock = self.shop.host.runtime, self.shop.host.clock
        rail = runtime.providers["apple"]
        for body in notifications:
            event = rail.verify({}, json.dumps(body).encode(), self.shop.apple.world.at())
            receive.store(runtime, rail, event, clock.now())
        self.shop.jobs.run_due()

    def now(self) -> Json:
        told: Json = self.shop.host.get(f"{self.path}/subscription").json()
        return told

    def monthly(self) -> int:
        return self.shop.host.buckets(self.path)["monthly"]

    def wait_until(self, at: datetime) -> None:
        clock = self.shop.host.clock
        clock.advance(at - clock.now())
        self.shop.jobs.run_due()


def millis(at: datetime) -> int:
    return int(at.timestamp() * 1000)


@pytest.fixture
def nora(shop: Shop) -> Member:
    return Member(shop, shop.host.open("nora"))


def test_a_subscription_begins_renews_and_ends_with_what_apple_says(nora: Member) -> None:
    nora.hear("SUBSCRIBED", nora.pay(0), 1)
    now = nora.now()
    assert (now["plan"], now["provider"], now["reference"]) == ("pro", "apple", nora.number)
    assert nora.monthly() == 10_100
    nora.wait_until(period_start(DAY_0, 1))
    second = nora.pay(1)
    nora.hear("DID_RENEW", second, 1)
    assert nora.monthly() == 10_000 and len(nora.shop.payments(nora.path)) == 2
    nora.hear("DID_CHANGE_RENEWAL_STATUS", second, 1, renews=0)
    assert nora.now()["cancelAtPeriodEnd"] is True
    nora.wait_until(period_start(DAY_0, 2))
    nora.hear("EXPIRED", second, 2, renews=0)
    assert nora.now()["plan"] == "free" and nora.monthly() == 100
    nora.shop.check_books()


def test_a_failed_renewal_grants_nothing_until_it_is_paid(nora: Member) -> None:
    first = nora.pay(0)
    nora.hear("SUBSCRIBED", first, 1)
    nora.wait_until(period_start(DAY_0, 1))
    nora.hear("DID_FAIL_TO_RENEW", first, 4)
    assert (nora.now()["status"], nora.now()["plan"], nora.monthly()) == ("past_due", "pro", 0)
    nora.hear("DID_RENEW", nora.pay(1), 1)
    assert (nora.now()["status"], nora.monthly()) == ("active", 10_000)
    nora.shop.check_books()


def test_another_plan_comes_with_the_next_period_and_a_year_is_granted_by_the_month(nora: Member) -> None:
    first = nora.pay(0)
    nora.hear("SUBSCRIBED", first, 1)
    nora.hear("DID_CHANGE_RENEWAL_PREF", first, 1, product=ELITE_YEAR)
    assert (nora.now()["plan"], nora.now()["pendingPlan"]) == ("pro", "elite")
    nora.wait_until(period_start(DAY_0, 1))
    nora.hear("DID_RENEW", nora.pay(1, ELITE_YEAR, 12), 1, product=ELITE_YEAR)
    for n in (1, 2, 3):
        nora.wait_until(period_start(DAY_0, n))
        assert (nora.now()["plan"], nora.now()["interval"], nora.monthly()) == ("elite", "year", 40_000)
    nora.shop.check_books()


def test_a_refund_takes_back_what_is_left_and_an_old_one_does_not_end_the_plan(nora: Member) -> None:
    first = nora.pay(0)
    nora.hear("SUBSCRIBED", first, 1)
    nora.wait_until(period_start(DAY_0, 1))
    second = nora.pay(1)
    nora.hear("DID_RENEW", second, 1)
    nora.shop.apple.world.refund(first)
    nora.hear("REFUND", first, 1)
    assert (nora.now()["plan"], nora.monthly(), nora.now()["currentPeriodEnd"]) == (
        "pro",
        10_000,
        "2027-01-02T09:30:00Z",
    )
    nora.shop.apple.world.refund(second)
    nora.hear("REFUND", second, 5)
    assert (nora.now()["plan"], nora.monthly()) == ("free", 100)
    assert {payment["status"] for payment in nora.shop.payments(nora.path)} == {"refunded"}
    nora.shop.check_books()


def test_a_trial_costs_nothing_and_grants_what_a_trial_does(nora: Member) -> None:
    nora.hear("SUBSCRIBED", nora.pay(0, offerType=1, offerDiscountType="FREE_TRIAL"), 1)
    assert (nora.now()["status"], nora.monthly(), nora.shop.payments(nora.path)) == ("trialing", 100, [])


def test_late_and_reordered_news_change_nothing_twice(nora: Member) -> None:
    first = nora.pay(0)
    begun = nora.told("SUBSCRIBED", first, 1)
    nora.wait_until(period_start(DAY_0, 1))
    renewed = nora.told("DID_RENEW", nora.pay(1), 1)
    nora.bring(renewed, begun)
    assert nora.monthly() == 10_100 and nora.now()["currentPeriodEnd"] == "2027-01-02T09:30:00Z"
    assert len(nora.shop.payments(nora.path)) == 2
    nora.shop.check_books()


def test_what_is_nobodys_or_not_sold_waits_and_is_said_so(nora: Member) -> None:
    number = nora.pay(0)
    nora.shop.apple.world.transactions[number].pop("appAccountToken")
    nora.hear("SUBSCRIBED", number, 1)
    assert nora.shop.events("apple")["SUBSCRIBED"] == ("parked", "the subscription names no account that is known here")
    strange = nora.pay(0, product="com.alphio.strange")
    nora.hear("DID_RENEW", strange, 1)
    assert nora.shop.events("apple")["DID_RENEW"] == ("parked", "the catalogue sells no plan under this product")
    assert nora.now()["plan"] == "free" and nora.monthly() == 100


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"provider": "google"}, "which providers does not offer"),
        ({"plan": "free"}, "which no plan has a price for"),
        ({"plan": "gold"}, "which no plan has a price for"),
    ],
)
def test_a_plan_product_must_sell_what_is_sold(change: dict[str, str], problem: str) -> None:
    given = {"provider": "apple", "product_id": "a", "plan": "pro", "interval": "month"} | change
    plans = load_catalog("alphio").plans
    with pytest.raises(ValueError, match=problem):
        check_plan_products([PlanProduct(**given)], ["apple"], plans)  # type: ignore[arg-type]


def test_a_plan_product_stands_there_once() -> None:
    one = PlanProduct(provider="apple", product_id="a", plan="pro", interval="month")
    with pytest.raises(ValueError, match="plan product"):
        check_plan_products([one, one], ["apple"], load_catalog("alphio").plans)
