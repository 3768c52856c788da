"""Plans changed at Google: a new token takes the old one's place, and nothing is granted twice for the same time."""

import itertools
import random
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.catalogs import load_catalog
from engine.rules.facts import InvoiceFact
from engine.rules.finance import RollForward
from engine.rules.store_renewals import Renewal, renewal_facts
from tests.api.test_prepaid_money import figures
from tests.engine.support import DAY_0
from tests.stores.shop import Shop
from tests.stores.test_google_subscriptions import Member, month

HALF = DAY_0 + timedelta(days=15)


@pytest.fixture
def nora(shop: Shop) -> Member:
    return Member(shop, shop.host.open("nora"))


def started(nora: Member, product: str = "base", plan: str = "month") -> str:
    token = nora.subscribe(product, plan)
    nora.hear("purchased", token)
    return token


def change(nora: Member, old: str, product: str, mode: str, plan: str = "month", order: str = "new, old") -> str:
    """Both pushes arrive, in this order."""
    new = nora.play.replace(old, product, mode, plan)
    for which in order.split(", "):
        nora.hear(*(("purchased", new) if which == "new" else ("expired", old)))
    return new


@pytest.mark.parametrize("order", ["new, old", "old, new", "new", "old, new, old"])
def test_an_upgrade_at_the_difference_adds_the_difference(nora: Member, order: str) -> None:
    old = started(nora)
    nora.wait_until(HALF)
    new = change(nora, old, "pro", "CHARGE_PRORATED_PRICE", order=order)
    assert nora.now()["reference"] == new and nora.plan() == ("pro", "active")
    assert nora.monthly() == 100 + 3_000 + 3_500, "half of the difference of a month"
    assert [payment["amountMinor"] for payment in nora.shop.payments(nora.path)] == [1_500, 1_900]
    assert nora.play.acknowledged == [old, new]
    nora.wait_until(month(1))
    nora.play.renew(new)
    nora.hear("renewed", new)
    assert nora.monthly() == 10_000 and nora.plan() == ("pro", "active")
    nora.shop.check_books()


@pytest.mark.parametrize(
    ("mode", "added", "payments"),
    [("WITH_TIME_PRORATION", 0, 1), ("WITHOUT_PRORATION", 0, 1), ("CHARGE_FULL_PRICE", 10_000, 2)],
)
def test_other_changes_add_what_was_paid_for(nora: Member, mode: str, added: int, payments: int) -> None:
    old = started(nora)
    nora.wait_until(HALF)
    new = change(nora, old, "pro", mode)
    assert nora.plan() == ("pro", "active") and nora.monthly() == 3_100 + added
    assert len(nora.statuses()) == payments
    end = nora.now()["currentPeriodEnd"]
    assert end[:10] == nora.play.subscriptions[new]["lineItems"][0]["expiryTime"][:10]
    nora.shop.check_books()


@pytest.mark.parametrize(
    ("mode", "each_month"), [("WITH_TIME_PRORATION", 0), ("CHARGE_FULL_PRICE", 0), ("CHARGE_PRORATED_PRICE", 10_000)]
)
def test_the_months_to_come_of_a_year_go_with_it(nora: Member, tmp_path: Path, mode: str, each_month: int) -> None:
    """They were turned into time of the new plan; only where the difference was paid do they go on."""
    old = started(nora, "base", "year")
    nora.wait_until(month(1) + timedelta(days=1))
    assert nora.monthly() == 3_000
    change(nora, old, "pro", mode, "year")
    upgraded = nora.monthly()
    assert upgraded > 3_000 or mode == "WITH_TIME_PRORATION"
    nora.wait_until(month(2) + timedelta(hours=1))
    pro = 10_000 if mode == "CHARGE_FULL_PRICE" else 0
    assert nora.monthly() == pro + each_month
    told = figures(nora.shop.host.runtime.db, tmp_path, 4)
    assert told[0] == RollForward(sold=19_000)
    goes_on = mode == "CHARGE_PRORATED_PRICE"
    assert (told[2].breakage >= 19_000 * 11 // 12, told[3].closing > 0) == (not goes_on, mode != "WITH_TIME_PRORATION")
    nora.shop.check_books()


def test_a_lower_plan_that_waits_comes_with_the_next_period(nora: Member) -> None:
    old = started(nora, "pro")
    nora.wait_until(HALF)
    new = change(nora, old, "base", "DEFERRED")
    assert (nora.now()["plan"], nora.now()["pendingPlan"], nora.now()["reference"]) == ("pro", "base", new)
    assert nora.monthly() == 10_100 and nora.statuses() == ["completed"]
    nora.wait_until(month(1))
    nora.play.renew(new, month(1))
    nora.hear("renewed", new)
    assert nora.plan() == ("base", "active") and nora.monthly() == 3_000
    assert nora.now()["pendingPlan"] is None
    nora.shop.check_books()


def test_bought_again_before_it_ended_it_goes_on_and_both_periods_count(nora: Member) -> None:
    old = started(nora, "pro")
    nora.play.cancel(old)
    nora.hear("canceled", old)
    nora.wait_until(HALF)
    linked = {"linkedPurchaseToken": old}
    new = nora.play.subscribe(nora.account(), "pro", told=linked)
    nora.play.put(old, "EXPIRED", HALF, canceledStateContext={"replacementCancellation": {}})
    nora.hear("expired", old)
    nora.hear("purchased", new)
    now = nora.now()
    assert (now["reference"], now["cancelAtPeriodEnd"], now["currentPeriodEnd"][:10]) == (new, False, "2026-12-17")
    assert nora.monthly() == 20_100 and nora.statuses() == ["completed", "completed"]
    nora.shop.check_books()


def test_of_a_chain_of_changes_all_that_was_paid_is_found_by_the_last_push(nora: Member) -> None:
    first = nora.subscribe("base")
    nora.wait_until(HALF)
    second = nora.play.replace(first, "pro", "CHARGE_PRORATED_PRICE")
    third = nora.play.replace(second, "elite", "CHARGE_PRORATED_PRICE")
    nora.hear("purchased", third)
    assert nora.plan() == ("elite", "active") and len(nora.statuses()) == 3
    assert nora.monthly() == 100 + 3_000 + 3_500 + 15_000
    for token in (first, second):
        nora.hear("expired", token)
    assert nora.plan() == ("elite", "active") and nora.monthly() == 21_600
    nora.shop.check_books()


def test_what_google_has_forgotten_of_the_old_one_is_not_missed(nora: Member) -> None:
    old = started(nora)
    nora.wait_until(HALF)
    new = nora.play.replace(old, "pro", "CHARGE_PRORATED_PRICE")
    del nora.play.subscriptions[old]
    nora.hear("purchased", new)
    assert nora.now()["reference"] == new and nora.monthly() == 6_600


def test_a_change_by_another_account_ends_the_one_and_begins_the_other(nora: Member) -> None:
    old = started(nora, "pro")
    otto = Member(nora.shop, nora.shop.host.open("otto"))
    nora.wait_until(HALF)
    new = nora.play.replace(old, "elite", "CHARGE_FULL_PRICE", account=otto.account())
    for token, kind in ((new, "purchased"), (old, "expired"), (new, "purchased")):
        nora.hear(kind, token)
    assert nora.plan()[0] == "free" and otto.plan() == ("elite", "active")
    assert otto.monthly() == 40_100 and nora.monthly() == 10_100, "what was paid for stays"
    nora.shop.check_books()


def test_a_void_of_an_order_of_a_forgotten_subscription_still_counts(nora: Member) -> None:
    token = started(nora)
    order = nora.play.last_order(token)["orderId"]
    nora.play.refund(order)
    del nora.play.subscriptions[token]
    void = {"purchaseToken": token, "orderId": order, "productType": 1, "refundType": 1}
    nora.shop.push_google({"voidedPurchaseNotification": void})
    assert nora.statuses() == ["refunded"] and nora.monthly() == 100
    nora.shop.check_books()


def test_a_payment_refunded_before_it_was_heard_of_grants_nothing_and_pays_no_debt(nora: Member) -> None:
    token = nora.subscribe()
    nora.play.refund(nora.play.last_order(token)["orderId"])
    nora.hear("purchased", token)
    assert nora.statuses() == ["refunded"] and nora.monthly() == 100
    granted = nora.shop.host.get(f"{nora.path}/transactions", limit=100).json()["transactions"]
    assert [row["amountCredits"] for row in granted] == ["100"]
    nora.shop.check_books()


@pytest.mark.parametrize("seed", range(10))
def test_whatever_pushes_are_lost_repeated_or_late_the_books_end_the_same(nora: Member, seed: int) -> None:
    """Two months in which everything is changed; only the last push of all is sure to arrive."""
    chance = random.Random(seed)
    pushes: list[tuple[str, str]] = []

    def say(kind: str, token: str) -> None:
        pushes.extend([(kind, token)] * chance.choice((0, 1, 1, 3)))
        while pushes and chance.random() < 0.5:
            nora.hear(*pushes.pop(chance.randrange(len(pushes))), times=1)

    first = nora.subscribe("base")
    say("purchased", first)
    nora.wait_until(DAY_0 + timedelta(days=10))
    second = nora.play.replace(first, "pro", "CHARGE_PRORATED_PRICE")
    say("purchased", second)
    say("expired", first)
    nora.wait_until(DAY_0 + timedelta(days=20))
    nora.play.cancel(second)
    say("canceled", second)
    third = nora.play.replace(second, "elite", "CHARGE_FULL_PRICE")
    say("purchased", third)
    say("expired", second)
    nora.play.refund(nora.play.last_order(second)["orderId"])
    say("revoked", second)
    chance.shuffle(pushes)
    for kind, token in pushes:
        nora.hear(kind, token, times=1)
    nora.hear("purchased", third)
    nora.hear("expired", second)
    assert nora.plan() == ("elite", "active") and nora.now()["reference"] == third
    assert nora.monthly() == 100 + 3_000 + 40_000
    assert sorted(nora.statuses()) == ["completed", "completed", "refunded"]
    nora.shop.check_books()


def renewal(days: int, kind: str, months: int) -> Renewal:
    end = DAY_0 + timedelta(days=days)
    return Renewal(
        reference="t",
        object_id="GPA.1",
        product_id="pro:month" if months == 1 else "pro:year",
        version=1,
        live=True,
        token=None,
        period_start=DAY_0,
        period_end=end,
        kind=kind,  # type: ignore[arg-type]
        state="active",
        replaced_product_id="base:month" if months == 1 else "base:year",
    )


@settings(max_examples=200)
@given(
    days=st.integers(1, 800),
    kind=st.sampled_from(["create", "renewal", "proration", "trial", "other"]),
    months=st.sampled_from([1, 12]),
)
def test_no_payment_costs_more_than_its_plan_or_pays_for_more_than_its_interval(
    days: int, kind: str, months: int
) -> None:
    price = 4_900 if months == 1 else 49_000
    told_of = renewal(days, kind, months)
    (invoice,) = (
        fact for fact in renewal_facts(load_catalog("alphio"), "google", told_of, None) if isinstance(fact, InvoiceFact)
    )
    assert 0 <= invoice.amount.minor <= price
    assert (invoice.amount.minor == price) == (kind in ("create", "renewal"))
    assert DAY_0 < invoice.period_end <= told_of.period_end
    if kind in ("create", "renewal"):
        assert invoice.period_end <= DAY_0 + timedelta(days=(30 if months == 1 else 365) + 3)


def test_every_pair_of_plans_is_sold_at_google() -> None:
    sold = {(p.plan, p.interval) for p in load_catalog("alphio").plan_products if p.provider == "google"}
    assert sold == set(itertools.product(("base", "pro", "elite"), ("month", "year")))
