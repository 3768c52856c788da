"""What may become of a subscription at Apple: upgraded at once, extended, refunded in part, or refunded and not."""

import itertools
import random
from datetime import datetime, timedelta

import pytest

from engine.rules.periods import period_start
from tests.engine.support import DAY_0
from tests.stores.apple_world import Json
from tests.stores.shop import Shop
from tests.stores.test_apple_subscriptions import BASE, ELITE_YEAR, PRO, Member, millis

PRO_YEAR = "com.alphio.pro.year"


@pytest.fixture
def nora(shop: Shop) -> Member:
    return Member(shop, shop.host.open("nora"))


def month(n: int) -> datetime:
    return period_start(DAY_0, n)


def statuses(nora: Member) -> list[str]:
    return [payment["status"] for payment in nora.shop.payments(nora.path)]


def upgrade(nora: Member, at: datetime, product: str, months: int = 1) -> str:
    """Apple charges the new plan from now on, and gives the money for the time left of the old one back."""
    ends = period_start(at, months)
    return nora.pay(0, product, purchaseDate=millis(at), expiresDate=millis(ends))


def test_a_refund_that_is_reversed_gives_the_credits_again(nora: Member) -> None:
    first = nora.pay(0)
    nora.hear("SUBSCRIBED", first, 1)
    nora.shop.host.spend(nora.path, 4_100)
    nora.shop.apple.world.refund(first)
    nora.hear("REFUND", first, 5)
    assert (nora.now()["plan"], nora.monthly(), statuses(nora)) == ("free", 0, ["refunded"])
    nora.shop.apple.world.undo_refund(first)
    nora.hear("REFUND_REVERSED", first, 1)
    assert (nora.now()["plan"], nora.monthly(), statuses(nora)) == ("pro", 6_000, ["completed"])
    nora.shop.check_books()


def test_a_refund_heard_of_first_grants_nothing_until_it_is_reversed(nora: Member) -> None:
    first = nora.pay(0)
    nora.shop.apple.world.refund(first)
    nora.hear("REFUND", first, 5)
    assert (nora.monthly(), statuses(nora)) == (100, ["refunded"])
    nora.shop.apple.world.undo_refund(first)
    nora.hear("REFUND_REVERSED", first, 1)
    assert (nora.now()["plan"], nora.monthly(), statuses(nora)) == ("pro", 10_100, ["completed"])
    nora.shop.check_books()


def test_a_part_of_the_money_takes_its_share_and_may_come_back(nora: Member) -> None:
    first = nora.pay(0)
    nora.hear("SUBSCRIBED", first, 1)
    nora.shop.apple.world.refund(first, 25_000)
    nora.hear("REFUND", first, 1)
    assert (nora.now()["plan"], nora.monthly(), statuses(nora)) == ("pro", 7_600, ["partially_refunded"])
    nora.shop.apple.world.undo_refund(first)
    nora.hear("REFUND_REVERSED", first, 1)
    assert (nora.monthly(), statuses(nora)) == (10_100, ["completed"])
    nora.shop.check_books()


@pytest.mark.parametrize("what", ["REFUND_DECLINED", "PRICE_INCREASE.PENDING", "PRICE_INCREASE.ACCEPTED"])
def test_what_changes_nothing_is_heard_and_changes_nothing(nora: Member, what: str) -> None:
    first = nora.pay(0)
    nora.hear("SUBSCRIBED", first, 1)
    before = nora.now()
    nora.hear(what, first, 1)
    assert nora.now() == before and nora.monthly() == 10_100
    assert nora.shop.events("apple")[what] == ("done", None)


@pytest.mark.parametrize("what", ["RENEWAL_EXTENDED", "RENEWAL_EXTENSION.FAILURE"])
@pytest.mark.parametrize("is_first", [False, True])
def test_an_extended_period_ends_later_and_is_granted_once(nora: Member, what: str, is_first: bool) -> None:
    """Whether the payment was heard of before or by the extension: the credits are those of one month."""
    first = nora.pay(0)
    if not is_first:
        nora.hear("SUBSCRIBED", first, 1)
    later = month(1) + timedelta(days=60)
    nora.shop.apple.world.transactions[first]["expiresDate"] = millis(later)
    nora.hear(what, first, 1)
    assert nora.monthly() == 10_100 and len(statuses(nora)) == 1
    nora.wait_until(month(1) + timedelta(days=40))
    assert (nora.now()["plan"], nora.now()["status"], nora.monthly()) == ("pro", "active", 0)
    assert nora.now()["currentPeriodEnd"] == later.isoformat().replace("+00:00", "Z")
    second = nora.pay(1, purchaseDate=millis(later), expiresDate=millis(period_start(later, 1)))
    nora.wait_until(later)
    nora.hear("DID_RENEW", second, 1)
    assert nora.monthly() == 10_000
    nora.shop.check_books()


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 1, 0, 1)])
def test_an_upgrade_begins_at_once_and_the_rest_of_the_old_plan_goes(nora: Member, order: tuple[int, ...]) -> None:
    """Half of the old plan's money went back, so half of its credits go, as far as they are there."""
    half = DAY_0 + timedelta(days=15)
    first = nora.pay(0, BASE)
    begun = nora.told("SUBSCRIBED", first, 1, product=BASE)
    if order[0] == 0:
        nora.bring(begun)
        assert nora.monthly() == 3_100
    nora.wait_until(half)
    upgraded = nora.told("DID_CHANGE_RENEWAL_PREF.UPGRADE", upgrade(nora, half, PRO), 1)
    nora.bring(*([begun, upgraded][which] for which in order))
    assert (nora.now()["plan"], nora.monthly()) == ("pro", 100 + 1_500 + 10_000)
    assert sorted(statuses(nora)) == ["completed", "partially_refunded"]
    assert nora.now()["currentPeriodEnd"] == "2026-12-17T09:30:00Z"
    nora.wait_until(month(1) + timedelta(hours=2))
    assert nora.monthly() == 10_000
    nora.shop.check_books()


def test_an_upgrade_of_a_year_ends_its_months_to_come_and_takes_the_rest_of_the_running_one(nora: Member) -> None:
    nora.hear("SUBSCRIBED", nora.pay(0, PRO_YEAR, 12), 1, product=PRO_YEAR)
    at = month(1) + timedelta(days=10)
    nora.wait_until(at)
    assert nora.monthly() == 10_000
    later = upgrade(nora, at, ELITE_YEAR, 12)
    nora.hear("DID_CHANGE_RENEWAL_PREF.UPGRADE", later, 1, product=ELITE_YEAR)
    assert nora.monthly() == 10_000 - 10_000 * 21 // 31 + 40_000
    nora.wait_until(month(2) + timedelta(days=1))
    assert nora.monthly() == 40_000, "the old year's third month never comes"
    nora.wait_until(period_start(at, 1))
    assert nora.monthly() == 40_000
    nora.shop.check_books()


def test_a_lower_plan_waits_and_a_billing_grace_ends_with_the_plan(nora: Member) -> None:
    first = nora.pay(0)
    nora.hear("SUBSCRIBED", first, 1)
    nora.hear("DID_CHANGE_RENEWAL_PREF.DOWNGRADE", first, 1, product=BASE)
    assert (nora.now()["plan"], nora.now()["pendingPlan"]) == ("pro", "base")
    nora.hear("DID_CHANGE_RENEWAL_PREF", first, 1)
    assert nora.now()["pendingPlan"] is None
    nora.wait_until(month(1))
    nora.hear("DID_FAIL_TO_RENEW.GRACE_PERIOD", first, 4)
    assert (nora.now()["status"], nora.now()["plan"], nora.monthly()) == ("past_due", "pro", 0)
    nora.hear("GRACE_PERIOD_EXPIRED", first, 3)
    nora.wait_until(month(1) + timedelta(days=4))
    assert (nora.now()["plan"], nora.monthly()) == ("free", 100)
    nora.hear("DID_RENEW.BILLING_RECOVERY", nora.pay(1), 1)
    assert (nora.now()["plan"], nora.monthly()) == ("pro", 10_100)
    nora.shop.check_books()


def test_a_renewal_charged_a_little_early_gives_nothing_back(nora: Member) -> None:
    """Into another plan, as Apple may charge it within the last day of a period."""
    first = nora.pay(0, BASE)
    nora.hear("SUBSCRIBED", first, 1, product=BASE)
    early = month(1) - timedelta(hours=20)
    nora.wait_until(early)
    second = nora.pay(1, PRO, purchaseDate=millis(early))
    nora.hear("DID_RENEW", second, 1)
    assert (nora.now()["plan"], nora.monthly(), statuses(nora)) == ("pro", 13_100, ["completed", "completed"])
    nora.shop.check_books()


def test_an_offer_is_a_payment_as_any_other(nora: Member) -> None:
    first = nora.pay(0, offerType=2, offerDiscountType="PAY_AS_YOU_GO")
    nora.hear("OFFER_REDEEMED", first, 1)
    assert (nora.now()["plan"], nora.monthly()) == ("pro", 10_100)


def test_what_no_notification_brought_is_found_when_the_period_ends(nora: Member) -> None:
    nora.hear("SUBSCRIBED", nora.pay(0), 1)
    nora.stand(nora.pay(1), 1)
    nora.wait_until(month(1) + timedelta(hours=2))
    assert (nora.now()["status"], nora.monthly(), len(statuses(nora))) == ("active", 10_000, 2)
    nora.stand(nora.pay(1), 2, renews=0)
    nora.wait_until(month(2) + timedelta(hours=2))
    assert (nora.now()["plan"], nora.monthly()) == ("free", 100)
    nora.shop.check_books()


@pytest.mark.parametrize("seed", range(8))
def test_in_whatever_order_and_however_often_the_books_end_the_same(nora: Member, seed: int) -> None:
    """A month of everything, all of it heard while the month runs: the last word counts."""
    chance = random.Random(seed)
    world = nora.shop.apple.world
    first = nora.pay(0, BASE)
    said: list[Json] = [nora.told("SUBSCRIBED", first, 1, product=BASE)]
    half = DAY_0 + timedelta(days=15)
    nora.wait_until(half)
    second = upgrade(nora, half, PRO)
    said.append(nora.told("DID_CHANGE_RENEWAL_PREF.UPGRADE", second, 1))
    world.refund(second)
    said.append(nora.told("REFUND", second, 5))
    world.undo_refund(second)
    said.append(nora.told("REFUND_REVERSED", second, 1))
    said.append(nora.told("DID_CHANGE_RENEWAL_STATUS.AUTO_RENEW_DISABLED", second, 1, renews=0))
    heard = list(itertools.chain(said, chance.sample(said, 2)))
    chance.shuffle(heard)
    nora.bring(*heard)
    assert (nora.now()["plan"], nora.now()["cancelAtPeriodEnd"], nora.monthly()) == ("pro", True, 11_600)
    assert sorted(statuses(nora)) == ["completed", "partially_refunded"]
    nora.shop.check_books()
