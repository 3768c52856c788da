"""What the stores' own lists tell: carried out as their notifications would be, and an alarm where none had come."""

from datetime import timedelta

import pytest

from engine.flows.reconcile import EVERY, YOUNG, Report, reconcile
from engine.payments import can_be_polled
from engine.rules.periods import period_start
from engine.store.database import reading
from engine.store.polling import missed_events
from psp.google import Google
from psp.google_push import PushKeys
from psp.spans import FIRST_LOOK, OVERLAP, span_cursor, span_since
from tests.engine.support import DAY_0
from tests.stores.fake_google import AUDIENCE, EMAIL, PACKAGE
from tests.stores.shop import Shop
from tests.stores.test_apple_subscriptions import Member as AppleMember
from tests.stores.test_google_purchases import one_time, voided
from tests.stores.test_google_subscriptions import Member


def polled(shop: Shop, name: str) -> Report:
    rail = shop.host.runtime.providers[name]
    assert can_be_polled(rail)
    return reconcile(shop.host.runtime, rail)


def kinds(report: Report) -> list[str]:
    return [finding.kind for finding in report.findings]


def missed(shop: Shop) -> dict[str, int]:
    with reading(shop.host.runtime.db) as session:
        return missed_events(session)


@pytest.fixture
def nora(shop: Shop) -> Member:
    return Member(shop, shop.host.open("nora"))


def test_a_void_whose_push_came_is_no_alarm_and_one_without_is(shop: Shop) -> None:
    tokens = [shop.google.buy(shop.token()) for _ in range(2)]
    for token in tokens:
        shop.post_google(token)
    shop.jobs.run_due()
    shop.google.void(tokens[0])
    shop.push_google(voided(tokens[0]))
    shop.host.wait(minutes=6)
    first = polled(shop, "google")
    assert (first.listed, first.missed, first.is_clean, first.findings) == (1, 0, True, ())
    shop.google.void(tokens[1])
    shop.host.wait(minutes=6)
    second = polled(shop, "google")
    assert (second.listed, second.missed, kinds(second)) == (2, 1, ["refunded_not_taken_back"])
    assert missed(shop)["google"] == 1 and shop.recharge() == 0
    third = polled(shop, "google")
    assert (third.missed, third.findings) == (0, ())
    shop.check_books()


def test_a_void_whose_push_may_still_come_is_left_to_the_next_poll(shop: Shop) -> None:
    token = shop.google.buy(shop.token())
    shop.post_google(token)
    shop.google.void(token)
    assert polled(shop, "google").missed == 0 and shop.recharge() == 1_000
    shop.host.wait(minutes=int(YOUNG.total_seconds()) // 60)
    assert polled(shop, "google").missed == 1 and shop.recharge() == 0


def test_a_void_of_a_subscription_is_told_from_one_of_a_purchase(nora: Member) -> None:
    shop, token = nora.shop, nora.subscribe()
    nora.hear("purchased", token)
    bought = shop.google.buy(shop.token(nora.path))
    shop.push_google(one_time(bought))
    nora.play.refund(nora.play.last_order(token)["orderId"])
    shop.google.void(bought)
    shop.host.wait(minutes=6)
    report = polled(shop, "google")
    assert (report.listed, report.missed, kinds(report)) == (2, 2, ["refunded_not_taken_back"] * 2)
    assert nora.monthly() == 100 and shop.recharge(nora.path) == 0
    assert sorted(nora.statuses()) == ["refunded", "refunded"]
    shop.check_books()


def test_spent_credits_of_a_refunded_subscription_are_nothing_to_complain_of(nora: Member) -> None:
    token = nora.subscribe()
    nora.hear("purchased", token)
    nora.shop.host.spend(nora.path, 10_100)
    nora.play.refund(nora.play.last_order(token)["orderId"])
    nora.shop.host.wait(minutes=6)
    first, second = polled(nora.shop, "google"), polled(nora.shop, "google")
    assert (first.missed, kinds(first), second.findings) == (1, ["refunded_not_taken_back"], ())
    assert nora.statuses() == ["refunded"]


def test_a_renewal_that_apple_could_not_deliver_is_found(shop: Shop) -> None:
    ada = AppleMember(shop, shop.host.open("ada"))
    ada.hear("SUBSCRIBED", ada.pay(0), 1)
    ada.wait_until(period_start(DAY_0, 1))
    lost = ada.told("DID_RENEW", ada.pay(1), 1)
    shop.apple.world.undelivered = [lost["signedPayload"]]
    shop.host.wait(minutes=30)
    report = polled(shop, "apple")
    assert (report.missed, kinds(report), ada.monthly()) == (1, ["paid_not_granted"], 10_000)
    ada.bring(lost)
    assert ada.monthly() == 10_000 and polled(shop, "apple").missed == 0
    assert missed(shop)["apple"] == 1
    shop.check_books()


def test_jobs_poll_both_stores_in_their_turn(shop: Shop) -> None:
    shop.jobs.run_due()
    asked = len(shop.google.requests), len(shop.apple.requests)
    shop.host.wait(minutes=int(EVERY.total_seconds()) // 60)
    shop.jobs.run_due()
    lists = [path.rpartition("/")[2] for _, path in shop.google.requests[asked[0] :]]
    assert lists.count("voidedpurchases") == 2, "those of purchases, and those of subscriptions with them"
    assert [path.rpartition("/")[2] for _, path in shop.apple.requests[asked[1] :]] == ["history"]


def test_a_store_that_can_only_listen_lists_nothing(shop: Shop) -> None:
    listening = Google(PACKAGE, AUDIENCE, EMAIL, PushKeys(f"{shop.google.base_url}/certs"))
    assert listening.poll(None, DAY_0).events == ()
    listening.close()


def test_each_look_begins_an_hour_before_the_last_one_ended_and_never_before_what_is_kept() -> None:
    later = DAY_0 + timedelta(hours=5)
    assert span_since(span_cursor(DAY_0), later, timedelta(days=30)) == DAY_0 - OVERLAP
    assert span_since(None, DAY_0, timedelta(days=30)) == DAY_0 - FIRST_LOOK
    old = span_cursor(DAY_0 - timedelta(days=400))
    assert span_since(old, DAY_0, timedelta(days=30)) == DAY_0 - timedelta(days=30)
