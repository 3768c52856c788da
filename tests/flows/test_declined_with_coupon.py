"""A card is declined while a coupon is on the purchase: it keeps the coupon for as long as another card may pay it."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from engine.rules.errors import CouponRedeemed, CouponUsedUp
from engine.store.database import Database
from tests.engine.support import FakeClock
from tests.flows.coupon_shop import Ending, buy_one, open_account, opened, used
from tests.flows.world import BookProvider, World


@pytest.fixture
def shop(db: Database, clock: FakeClock) -> Iterator[World]:
    """acn with coupons of every kind; its books are clean at the end."""
    yield from opened(db, clock, BookProvider())


@pytest.fixture
def ending(db: Database, clock: FakeClock) -> Iterator[World]:
    """The same at a provider that can end its checkouts."""
    yield from opened(db, clock, Ending())


def test_a_card_that_was_declined_leaves_the_use_where_it_is_until_the_page_is_over(shop: World) -> None:
    declined = shop.buy(1_000, coupon="ONE")
    shop.deliver(shop.pay(declined, "failed"))
    assert (shop.purchase(declined).status, used(shop, "one")) == ("failed", 1)
    open_account(shop, "acc_other")
    with pytest.raises(CouponUsedUp):
        buy_one(shop, "acc_other")
    with pytest.raises(CouponRedeemed) as refused:
        shop.buy(2_000, coupon="ONE")
    assert refused.value.facts["checkoutUrl"] == declined.checkout_url
    shop.clock.advance(timedelta(minutes=31))
    shop.jobs.run_due()
    assert (shop.purchase(declined).status, used(shop, "one")) == ("failed", 0)
    buy_one(shop, "acc_other")
    assert used(shop, "one") == 1


def test_a_purchase_that_fails_after_its_page_was_over_gives_its_use_back_at_once(shop: World) -> None:
    purchase = shop.buy(coupon="MORE20")
    shop.deliver(shop.pay(purchase, "processing"))
    shop.clock.advance(timedelta(days=3))
    shop.jobs.run_due()
    assert used(shop) == 1
    shop.deliver(shop.pay(purchase, "failed"))
    assert (shop.purchase(purchase).status, used(shop)) == ("failed", 0)


def test_another_checkout_ends_one_whose_card_was_declined(ending: World) -> None:
    declined = ending.buy(coupon="MORE20")
    ending.deliver(ending.pay(declined, "failed"))
    second = ending.buy(2_000, coupon="MORE20")
    assert (ending.purchase(declined).status, ending.purchase(second).status) == ("expired", "open")
    assert used(ending) == 1


def test_what_has_failed_for_good_leaves_the_coupon_to_another_checkout(ending: World) -> None:
    assert isinstance(ending.provider, Ending)
    failed = ending.buy(coupon="MORE20")
    ending.deliver(ending.pay(failed, "failed"))
    ending.provider.is_final = True
    second = ending.buy(2_000, coupon="MORE20")
    assert (ending.purchase(failed).status, ending.purchase(second).status) == ("failed", "open")
    assert used(ending) == 1


def test_a_declined_checkout_whose_provider_is_away_keeps_the_coupon(ending: World) -> None:
    declined = ending.buy(coupon="MORE20")
    ending.deliver(ending.pay(declined, "failed"))
    ending.provider.is_down = True
    with pytest.raises(CouponRedeemed):
        ending.buy(2_000, coupon="MORE20")
    assert (ending.purchase(declined).status, used(ending)) == ("failed", 1)
