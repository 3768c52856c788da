"""Subscriptions at Google: pushes only point, what is so since is fetched, and each paid order is granted once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from engine.rules.periods import period_start
from tests.api.host import assert_problem
from tests.engine.support import DAY_0
from tests.stores.apple_world import Json
from tests.stores.play_subscriptions import PlaySubscriptions, text
from tests.stores.shop import Shop
from tests.stores.test_google_purchases import voided

KINDS = {
    "recovered": 1,
    "renewed": 2,
    "canceled": 3,
    "purchased": 4,
    "on_hold": 5,
    "grace": 6,
    "restarted": 7,
    "deferred": 9,
    "paused": 10,
    "revoked": 12,
    "expired": 13,
    "pending_canceled": 20,
    "price": 22,
}


@dataclass
class Member:
    """A customer on Free who subscribes at Google."""

    shop: Shop
    path: str
    tokens: list[str] = field(default_factory=list)

    @property
    def play(self) -> PlaySubscriptions:
        return self.shop.google.play

    def account(self) -> str:
        return self.shop.token(self.path)

    def subscribe(self, product: str = "pro", plan: str = "month", **more: object) -> str:
        self.tokens.append(self.play.subscribe(self.account(), product, plan, **more))
        return self.tokens[-1]

    def hear(self, kind: str, token: str, times: int = 2) -> None:
        for _ in range(times):
            self.shop.push_google(told(kind, token))

    def now(self) -> Json:
        answer: Json = self.shop.host.get(f"{self.path}/subscription").json()
        return answer

    def plan(self) -> tuple[str, str]:
        return self.now()["plan"], self.now()["status"]

    def monthly(self) -> int:
        return self.shop.host.buckets(self.path)["monthly"]

    def statuses(self) -> list[str]:
        return [payment["status"] for payment in self.shop.payments(self.path)]

    def wait_until(self, at: datetime) -> None:
        clock = self.shop.host.clock
        clock.advance(at - clock.now())
        self.shop.jobs.run_due()


def told(kind: str, token: str) -> Json:
    pointer = {"version": "1.0", "notificationType": KINDS[kind], "purchaseToken": token}
    return {"subscriptionNotification": pointer}


def month(n: int) -> datetime:
    return period_start(DAY_0, n)


@pytest.fixture
def nora(shop: Shop) -> Member:
    return Member(shop, shop.host.open("nora"))


def test_a_subscription_begins_renews_and_ends_with_what_google_says(nora: Member) -> None:
    token = nora.subscribe()
    nora.hear("purchased", token)
    now = nora.now()
    assert (now["plan"], now["provider"], now["reference"]) == ("pro", "google", token)
    assert nora.monthly() == 10_100 and nora.statuses() == ["completed"]
    (payment,) = nora.shop.payments(nora.path)
    assert payment["amountMinor"] == 4_900 and payment["providerReference"].startswith("GPA.")
    nora.wait_until(month(1))
    nora.play.renew(token)
    nora.hear("renewed", token)
    assert nora.monthly() == 10_000 and nora.now()["currentPeriodEnd"] == "2027-01-02T09:30:00Z"
    nora.play.cancel(token)
    nora.hear("canceled", token)
    assert nora.now()["cancelAtPeriodEnd"] is True
    nora.play.put(token, "ACTIVE")
    nora.hear("restarted", token)
    assert nora.now()["cancelAtPeriodEnd"] is False
    nora.play.cancel(token)
    nora.wait_until(month(2))
    nora.play.put(token, "EXPIRED")
    nora.hear("expired", token)
    assert nora.plan() == ("free", "active") and nora.monthly() == 100
    assert nora.statuses() == ["completed", "completed"]
    nora.shop.check_books()


def test_it_is_acknowledged_once_after_it_is_in_the_books_and_tried_until_google_takes_it(nora: Member) -> None:
    token = nora.subscribe()
    nora.shop.google.trouble["subscriptions"] = [503, 500, 429, 403]
    nora.shop.push_google(told("purchased", token))
    assert nora.monthly() == 10_100 and nora.play.acknowledged == []
    for _ in range(8):
        nora.shop.host.wait(minutes=1)
        nora.shop.jobs.run_due()
    assert nora.play.acknowledged == [token]
    nora.wait_until(month(1))
    nora.play.renew(token)
    nora.hear("renewed", token)
    assert nora.play.acknowledged == [token]


def test_an_acknowledgement_whose_answer_was_lost_is_not_repeated(nora: Member) -> None:
    token = nora.subscribe()
    nora.shop.google.trouble["subscriptions"] = [503]
    nora.shop.push_google(told("purchased", token))
    nora.play.subscriptions[token]["acknowledgementState"] = "ACKNOWLEDGEMENT_STATE_ACKNOWLEDGED"
    for _ in range(3):
        nora.shop.host.wait(minutes=1)
        nora.shop.jobs.run_due()
    assert sum(path.endswith(":acknowledge") for _, path in nora.shop.google.requests) == 1


def test_what_can_never_be_acknowledged_is_given_up_after_four_days(nora: Member) -> None:
    token = nora.subscribe()
    nora.shop.google.trouble["subscriptions"] = [400] * 1_000
    nora.shop.push_google(told("purchased", token))
    nora.shop.host.wait(days=4, hours=1)
    nora.shop.jobs.run_due()
    left = len(nora.shop.google.trouble["subscriptions"])
    nora.shop.host.wait(days=1)
    nora.shop.jobs.run_due()
    assert len(nora.shop.google.trouble["subscriptions"]) == left < 1_000 and nora.monthly() == 10_100


def test_a_failed_renewal_grants_nothing_until_it_is_paid(nora: Member) -> None:
    token = nora.subscribe()
    nora.hear("purchased", token)
    nora.wait_until(month(1))
    nora.play.put(token, "IN_GRACE_PERIOD", month(1) + timedelta(days=3))
    nora.hear("grace", token)
    assert nora.plan() == ("pro", "past_due") and nora.monthly() == 0
    nora.play.put(token, "ON_HOLD", month(1))
    nora.hear("on_hold", token)
    assert nora.plan() == ("pro", "past_due")
    nora.wait_until(month(1) + timedelta(days=4))
    assert nora.plan() == ("free", "active") and nora.monthly() == 100
    nora.play.renew(token, nora.shop.host.clock.now())
    nora.hear("recovered", token)
    assert nora.plan() == ("pro", "active") and nora.monthly() == 10_100
    nora.shop.check_books()


def test_a_paused_one_keeps_its_plan_until_the_paid_period_ends_and_comes_back(nora: Member) -> None:
    token = nora.subscribe()
    nora.hear("purchased", token)
    nora.wait_until(month(1))
    nora.play.put(token, "PAUSED", month(1), pausedStateContext={"autoResumeTime": "2027-01-01T00:00:00Z"})
    nora.hear("paused", token)
    assert nora.now()["status"] == "paused" and nora.now()["plan"] == "free"
    nora.wait_until(month(1) + timedelta(days=20))
    nora.play.renew(token, nora.shop.host.clock.now())
    nora.hear("recovered", token)
    assert nora.plan() == ("pro", "active") and nora.monthly() == 10_100
    nora.shop.check_books()


def test_a_slow_payment_gives_nothing_until_it_is_made(nora: Member) -> None:
    token = nora.subscribe(state="PENDING")
    nora.hear("purchased", token)
    assert nora.plan() == ("free", "active") and nora.monthly() == 100
    nora.play.pay(token)
    nora.hear("purchased", token)
    assert nora.plan() == ("pro", "active") and nora.monthly() == 10_100
    other = nora.subscribe("elite", state="PENDING")
    nora.play.put(other, "PENDING_PURCHASE_CANCELED")
    nora.hear("pending_canceled", other)
    assert nora.plan() == ("pro", "active") and len(nora.statuses()) == 1


def test_a_trial_costs_nothing_and_what_follows_it_is_paid(nora: Member) -> None:
    token = nora.subscribe(trial=7)
    nora.hear("purchased", token)
    assert (nora.now()["status"], nora.monthly(), nora.statuses()) == ("trialing", 100, [])
    assert nora.play.acknowledged == [token]
    nora.wait_until(DAY_0 + timedelta(days=7))
    nora.play.renew(token)
    nora.hear("renewed", token)
    assert nora.plan() == ("pro", "active") and nora.monthly() == 10_100 and nora.statuses() == ["completed"]


def test_a_year_is_granted_by_the_month_and_the_store_may_let_it_run_on(nora: Member) -> None:
    token = nora.subscribe("elite", "year")
    nora.hear("purchased", token)
    for n in (1, 2, 3):
        nora.wait_until(month(n))
        assert (nora.now()["plan"], nora.now()["interval"], nora.monthly()) == ("elite", "year", 40_000)
    later = period_start(DAY_0, 13)
    nora.play.put(token, "ACTIVE", later)
    nora.hear("deferred", token)
    assert nora.now()["currentPeriodEnd"] == later.isoformat().replace("+00:00", "Z")
    assert nora.monthly() == 40_000 and nora.statuses() == ["completed"]


@pytest.mark.parametrize("is_pushed", [True, False])
def test_a_refund_takes_back_what_is_left_and_an_old_one_does_not_end_the_plan(nora: Member, is_pushed: bool) -> None:
    token = nora.subscribe()
    nora.hear("purchased", token)
    first = nora.play.last_order(token)["orderId"]
    nora.wait_until(month(1))
    second = nora.play.renew(token)
    nora.hear("renewed", token)

    def refund(order_id: str) -> None:
        nora.play.refund(order_id)
        if is_pushed:
            void = voided(token, product_type=1)
            void["voidedPurchaseNotification"]["orderId"] = order_id
            nora.shop.push_google(void, times=2)
        else:
            nora.shop.host.wait(minutes=16)
            nora.shop.jobs.run_due()

    refund(first)
    assert nora.plan() == ("pro", "active") and nora.monthly() == 10_000
    assert sorted(nora.statuses()) == ["completed", "refunded"]
    nora.play.put(token, "EXPIRED", nora.shop.host.clock.now())
    refund(second)
    assert nora.plan() == ("free", "active") and nora.monthly() == 100
    assert nora.statuses() == ["refunded", "refunded"]
    nora.shop.check_books()


def test_a_part_of_the_money_takes_its_share_of_the_credits(nora: Member) -> None:
    token = nora.subscribe()
    nora.hear("purchased", token)
    nora.play.refund(nora.play.last_order(token)["orderId"], cents=4_599 // 3)
    nora.hear("price", token)
    assert nora.monthly() == 100 + 10_000 - 3_332 and nora.statuses() == ["partially_refunded"]
    assert nora.plan() == ("pro", "active")
    nora.shop.check_books()


def test_support_gives_a_period_back_through_google_and_the_subscription_goes_on(nora: Member) -> None:
    token = nora.subscribe()
    nora.hear("purchased", token)
    (payment,) = nora.shop.payments(nora.path)
    answer = nora.shop.host.post(
        f"/v1/support/purchases/{payment['id']}/reversals",
        {"reason": "bought twice"},
        bearer=nora.shop.host.new_key("support"),
    )
    assert answer.status_code == 202, answer.text
    nora.shop.jobs.run_due()
    order = nora.play.last_order(token)
    assert order["state"] == "REFUNDED" and nora.statuses() == ["refunded"] and nora.monthly() == 100
    nora.shop.host.wait(minutes=1)
    order |= {"state": "PENDING_REFUND", "lastEventTime": text(nora.shop.host.clock.now())}
    nora.hear("price", token)
    assert nora.statuses() == ["refunded"] and nora.monthly() == 100, "what is under way is not undone"
    order["state"] = "REFUNDED"
    void = voided(token, product_type=1)
    void["voidedPurchaseNotification"]["orderId"] = order["orderId"]
    nora.shop.push_google(void, times=2)
    assert nora.statuses() == ["refunded"] and nora.monthly() == 100
    nora.shop.check_books()


def test_a_licence_testers_subscription_gives_nothing_and_is_not_acknowledged(nora: Member) -> None:
    nora.hear("purchased", nora.subscribe(test=True))
    assert nora.plan() == ("free", "active") and nora.monthly() == 100
    assert nora.statuses() == ["review"] and nora.play.acknowledged == []


def test_what_is_nobodys_or_not_sold_waits_unacknowledged(nora: Member) -> None:
    nora.shop.push_google(told("purchased", nora.play.subscribe(None)))
    assert nora.shop.events("google")["subscription"][0] == "parked"
    strange = nora.play.subscribe(nora.account(), "pro", "month")
    nora.play.orders[nora.play.last_order(strange)["orderId"]]["lineItems"][0]["productId"] = "strange"
    nora.shop.push_google(told("purchased", strange))
    assert nora.plan() == ("free", "active") and nora.play.acknowledged == []


def test_bought_again_in_the_store_it_is_its_former_owners(nora: Member) -> None:
    token = nora.subscribe()
    nora.hear("purchased", token)
    nora.wait_until(month(1))
    nora.play.put(token, "EXPIRED")
    nora.hear("expired", token)
    again = nora.play.subscribe(None, told={"outOfAppPurchaseContext": {"expiredPurchaseToken": token}})
    nora.hear("purchased", again)
    assert nora.plan() == ("pro", "active") and nora.monthly() == 10_100
    named = {"expiredExternalAccountIdentifiers": {"obfuscatedExternalAccountId": nora.account()}}
    nora.hear("purchased", nora.play.subscribe(None, "elite", told={"outOfAppPurchaseContext": named}))
    assert nora.plan() == ("elite", "active") and nora.monthly() == 50_100


def test_google_answers_where_to_change_it(nora: Member) -> None:
    nora.hear("purchased", nora.subscribe())
    where = {"provider": "Google", "manageUrl": "https://play.google.com/store/account/subscriptions"}
    for act in ("preview", "change"):
        answer = nora.shop.host.post(f"{nora.path}/subscription/{act}", {"plan": "elite"})
        assert_problem(answer, 409, "PLAN-003", **where)
    assert_problem(nora.shop.host.post(f"{nora.path}/subscription/cancel"), 409, "PLAN-003", **where)


@pytest.mark.parametrize("status", [500, 429, 503])
def test_while_google_is_down_nothing_is_lost(nora: Member, status: int) -> None:
    token = nora.subscribe()
    nora.shop.google.trouble["subscriptionsv2"] = [status]
    nora.shop.push_google(told("purchased", token))
    assert nora.plan() == ("free", "active")
    nora.shop.host.wait(minutes=1)
    nora.shop.jobs.run_due()
    assert nora.plan() == ("pro", "active") and nora.shop.events("google")["subscription"] == ("done", None)


def test_renewals_whose_pushes_were_lost_are_found_when_the_period_ends(nora: Member) -> None:
    token = nora.subscribe()
    nora.hear("purchased", token)
    for n in (1, 2):
        nora.wait_until(month(n) - timedelta(hours=1))
        nora.play.renew(token)
        nora.wait_until(month(n) + timedelta(hours=2))
        assert nora.plan() == ("pro", "active") and nora.monthly() == 10_000
    nora.shop.check_books()


def test_an_order_that_google_does_not_tell_hides_no_other(nora: Member) -> None:
    token = nora.subscribe()
    first = nora.play.last_order(token)["orderId"]
    nora.wait_until(month(1))
    nora.play.renew(token)
    nora.wait_until(month(2))
    nora.play.renew(token)
    del nora.play.orders[first]
    nora.hear("renewed", token)
    assert nora.plan() == ("pro", "active") and nora.monthly() == 10_100
    assert nora.statuses() == ["completed", "completed"], "one is over, and both were paid"


def test_a_bank_that_asks_is_told_what_was_spent_of_the_period(nora: Member) -> None:
    token = nora.subscribe()
    nora.hear("purchased", token)
    nora.shop.host.spend(nora.path, 2_500)
    order = nora.play.last_order(token)["orderId"]
    asked = {"version": "1.0", "pendingRefundToken": "ask-1", "orderId": order, "refundReason": 7}
    nora.shop.push_google({"pendingRefundReviewNotification": asked})
    ((told_of, review),) = nora.shop.google.reviews
    assert (told_of, review["consumptionPercentageMilliunits"]) == (order, 24_000), "the first 100 were the free plan's"


Sabotage = Callable[[PlaySubscriptions, str], object]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda play, token: play.last_order(token)["lineItems"].clear(),
        lambda play, token: play.last_order(token).update(lastEventTime="yesterday"),
        lambda play, token: play.subscriptions[token]["lineItems"].append(
            dict(play.subscriptions[token]["lineItems"][0])
        ),
        lambda play, token: play.orders.clear(),
    ],
)
def test_what_cant_be_read_waits_with_its_event(nora: Member, spoil: Sabotage) -> None:
    token = nora.subscribe()
    spoil(nora.play, token)
    nora.shop.push_google(told("purchased", token))
    assert nora.shop.events("google")["subscription"][0] == "parked"
    assert nora.plan() == ("free", "active") and nora.statuses() == []
