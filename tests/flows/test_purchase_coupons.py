"""Coupons on purchases: reserved with the checkout, granted as a lot of their own, given back when nothing was paid."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from engine.flows import purchase_coupons, refunds
from engine.flows.coupons import RedeemOrder, redeem
from engine.payments import ProviderRefused
from engine.recurring import EndingProvider
from engine.rules.coupons import coupon_offer
from engine.rules.documents import read
from engine.rules.errors import (
    CouponExpired,
    CouponRedeemed,
    CouponTermsNotMet,
    CouponUnknown,
    CouponUsedUp,
    Invalid,
    RateLimited,
    RefundCreditsTouched,
    Unavailable,
)
from engine.rules.money import Money
from engine.rules.quotes import make_offer, quote, sign_quote
from engine.store.database import Database, reading
from engine.store.documents import list_documents
from engine.store.tables import PurchaseRow
from tests.engine.support import FakeClock, debit, lots_of, rows_of, wallet_of
from tests.flows.coupon_shop import COUPONS, Ending, buy_one, open_account, opened, used
from tests.flows.world import ACCOUNT, BookProvider, World


@pytest.fixture
def shop(db: Database, clock: FakeClock) -> Iterator[World]:
    """acn with coupons of every kind; its books are clean at the end."""
    yield from opened(db, clock, BookProvider())


@pytest.fixture
def ending(db: Database, clock: FakeClock) -> Iterator[World]:
    """The same at a provider that can end its checkouts."""
    yield from opened(db, clock, Ending())


def rows(world: World) -> list[tuple[str, str, int]]:
    with reading(world.db) as session:
        return [(row.type, row.source, row.amount_credits) for row in rows_of(session, ACCOUNT)]


def left(world: World) -> list[tuple[str, int]]:
    with reading(world.db) as session:
        return [(lot.source, lot.remaining_credits) for lot in lots_of(session, ACCOUNT)]


def landed(world: World, minor: int = 50_000, code: str = "more20") -> PurchaseRow:
    purchase = world.buy(minor, coupon=code)
    world.deliver(world.pay(purchase))
    return world.purchase(purchase)


def test_a_coupon_lands_as_a_lot_and_a_row_of_its_own_after_the_bonus(shop: World) -> None:
    purchase = landed(shop, code=" more20 ")
    assert rows(shop) == [
        ("deposit", "custom_credits", 500_000_000),
        ("volume_discount", "volume_discount", 50_000_000),
        ("coupon_credit", "coupon", 100_000_000),
    ]
    with reading(shop.db) as session:
        _, bonus, coupon = rows_of(session, ACCOUNT)
        assert [lot.cost_minor for lot in lots_of(session, ACCOUNT)] == [50_000, 0, 0]
    assert bonus.description == "Bonus credits: 10% on $500.00"
    assert coupon.description == "Coupon: MORE20 — 20% more"
    assert (coupon.purchase_id, coupon.reference_type) == (purchase.purchase_id, "stripe_payment")
    assert (purchase.base_credits, purchase.bonus_credits, used(shop)) == (500_000_000, 150_000_000, 1)


def test_a_coupon_does_not_keep_a_rail_out_that_a_tiers_bonus_keeps_out(shop: World) -> None:
    shop.buy(1_000, coupon="MORE20")
    shop.buy(50_000)
    assert [request.bonus for request in shop.provider.requests.values()] == [False, True]


def test_a_use_counts_from_the_checkout_and_not_after_it_ended_unpaid(shop: World) -> None:
    for state in ("expired", "cancelled"):
        purchase = shop.buy(coupon="MORE20")
        assert used(shop) == 1
        shop.deliver(shop.pay(purchase, state))
        assert (shop.purchase(purchase).status, used(shop)) == (state, 0)
    swept = shop.buy(coupon="MORE20")
    shop.clock.advance(timedelta(minutes=31))
    shop.jobs.run_due()
    assert (shop.purchase(swept).status, used(shop)) == ("expired", 0)


def test_a_checkout_that_the_provider_declines_to_open_gives_its_use_back(
    shop: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def declined(request: object) -> object:
        raise ProviderRefused("amount_too_large", "no")

    monkeypatch.setattr(shop.provider, "start_checkout", declined)
    with pytest.raises(Unavailable):
        shop.buy(coupon="MORE20")
    assert used(shop) == 0


def test_an_account_has_one_use_and_a_refund_gives_no_second(shop: World) -> None:
    purchase = landed(shop)
    with pytest.raises(CouponRedeemed) as refused:
        shop.buy(coupon="More20")
    assert refused.value.facts == {}
    refunds.reverse_purchase(shop.runtime, purchase.purchase_id, "asked", "support:ann")
    shop.jobs.run_due()
    assert shop.purchase(purchase).status == "refunded"
    assert [lot for lot in left(shop) if lot[1]] == []
    assert rows(shop)[-1][0::2] == ("refund", -650_000_000)
    with pytest.raises(CouponRedeemed):
        shop.buy(coupon="MORE20")
    assert used(shop) == 1


def test_an_open_checkout_has_the_coupon_and_the_refusal_says_where_to_pay_it(shop: World) -> None:
    first = shop.buy(coupon="MORE20")
    with pytest.raises(CouponRedeemed) as refused:
        shop.buy(2_000, coupon="MORE20")
    assert refused.value.facts == {
        "purchaseId": first.purchase_id,
        "endsAt": first.expires_at.isoformat().replace("+00:00", "Z"),
        "checkoutUrl": first.checkout_url,
    }
    shop.clock.advance(timedelta(minutes=31))
    shop.jobs.run_due()
    assert landed(shop, 2_000).bonus_credits == 4_000_000


def test_another_checkout_takes_the_place_of_one_that_its_provider_has_ended(ending: World) -> None:
    assert isinstance(ending.provider, EndingProvider)
    first = ending.buy(coupon="MORE20")
    second = ending.buy(2_000, coupon="MORE20")
    assert (ending.purchase(first).status, ending.purchase(second).status, used(ending)) == ("expired", "open", 1)
    ending.deliver(ending.pay(second))
    assert left(ending) == [("custom_credits", 20_000_000), ("coupon", 4_000_000)]


def test_a_checkout_paid_in_that_moment_keeps_the_coupon(ending: World) -> None:
    assert isinstance(ending.provider, Ending)
    first = ending.buy(coupon="MORE20")
    ending.provider.paid_meanwhile = True
    with pytest.raises(CouponRedeemed):
        ending.buy(2_000, coupon="MORE20")
    assert ending.purchase(first).status == "paid"
    assert left(ending) == [("custom_credits", 10_000_000), ("coupon", 2_000_000)]


def test_a_provider_that_is_away_leaves_the_coupon_where_it_is(ending: World) -> None:
    first = ending.buy(coupon="MORE20")
    ending.provider.is_down = True
    with pytest.raises(CouponRedeemed):
        ending.buy(2_000, coupon="MORE20")
    assert (ending.purchase(first).status, used(ending)) == ("open", 1)


def test_the_same_key_goes_on_with_its_own_checkout(ending: World) -> None:
    first = ending.buy(coupon="MORE20", key="k")
    assert ending.buy(coupon="MORE20", key="k").purchase_id == first.purchase_id
    assert (ending.purchase(first).status, used(ending)) == ("open", 1)


def test_a_payment_that_comes_late_is_granted_as_agreed_even_above_the_cap(shop: World) -> None:
    late = shop.buy(1_000, coupon="ONE")
    shop.deliver(shop.pay(late, "expired"))
    assert used(shop, "one") == 0
    open_account(shop, "acc_other")
    other = buy_one(shop, "acc_other")
    assert used(shop, "one") == 1
    with pytest.raises(CouponUsedUp):
        shop.buy(2_000, coupon="ONE")
    shop.deliver(shop.pay(late))
    assert (shop.purchase(late).status, used(shop, "one")) == ("paid", 2)
    assert left(shop) == [("custom_credits", 10_000_000), ("coupon", 5_000_000)]
    shop.deliver(shop.pay(other))
    assert used(shop, "one") == 2


def test_a_payment_in_quarantine_keeps_its_use_and_one_that_went_back_does_not(shop: World) -> None:
    purchase = shop.buy(1_000, coupon="MORE20")
    shop.deliver(shop.pay(purchase, minor=999))
    assert (shop.purchase(purchase).status, used(shop)) == ("quarantined", 1)
    request = shop.provider.requests[f"cs_{purchase.purchase_id}"]
    shop.deliver(shop.provider.say("refund", "re_1", "succeeded", 999, request=request))
    assert (shop.purchase(purchase).status, used(shop)) == ("refunded", 0)
    shop.deliver(shop.provider.say("refund", "re_1", "failed", 999, request=request))
    assert (shop.purchase(purchase).status, used(shop)) == ("quarantined", 1)


def test_of_many_accounts_at_once_one_reserves_a_coupon_for_one(shop: World) -> None:
    accounts = [f"acc_{number}" for number in range(8)]
    for account_id in accounts:
        open_account(shop, account_id)

    def buy(account_id: str) -> str:
        try:
            buy_one(shop, account_id)
        except CouponUsedUp:
            return "used up"
        return "open"

    with ThreadPoolExecutor(len(accounts)) as pool:
        ends = sorted(pool.map(buy, accounts))
    assert ends == ["open", *["used up"] * 7]
    assert used(shop, "one") == 1


def test_of_many_checkouts_of_one_account_at_once_one_has_the_coupon(shop: World) -> None:
    def buy(number: int) -> str:
        try:
            shop.buy(1_000 + number, coupon="MORE20")
        except CouponRedeemed:
            return "used"
        return "open"

    with ThreadPoolExecutor(8) as pool:
        ends = sorted(pool.map(buy, range(8)))
    assert ends == ["open", *["used"] * 7]
    assert used(shop) == 1


def test_every_code_says_why(shop: World) -> None:
    with pytest.raises(CouponUnknown):
        shop.buy(coupon="NOSUCH")
    for code, term in (("GIFT", "redemption"), ("ALPS", "country"), ("AGAIN", "first_top_up")):
        with pytest.raises(CouponTermsNotMet) as refused:
            shop.buy(coupon=code)
        assert refused.value.facts["term"] == term
    with pytest.raises(CouponTermsNotMet) as refused:
        redeem(shop.runtime, RedeemOrder(account_id=ACCOUNT, actor="a", code="MORE20"))
    assert refused.value.facts["term"] == "purchase"
    with pytest.raises(Invalid):
        shop.buy(coupon="MORE20", commit_plan="none")
    ends = shop.clock.now() + timedelta(days=1)
    ended = msgspec.structs.replace(COUPONS[0], ends_at=ends)
    shop.runtime = replace(shop.runtime, catalog=msgspec.structs.replace(shop.runtime.catalog, coupons=(ended,)))
    shop.clock.advance(timedelta(days=1))
    with pytest.raises(CouponExpired):
        shop.buy(coupon="MORE20")
    assert used(shop) == 0


def test_guesses_at_checkouts_and_redemptions_are_one_count(shop: World) -> None:
    for number in range(10):
        with pytest.raises(CouponUnknown):
            shop.buy(coupon=f"GUESS{number}")
        with pytest.raises(CouponUnknown):
            redeem(shop.runtime, RedeemOrder(account_id=ACCOUNT, actor="a", code=f"OTHER{number}"))
    for code in ("MORE20", "NOSUCH"):
        with pytest.raises(RateLimited):
            shop.buy(coupon=code)
    assert shop.buy().status == "open"


def test_a_token_holds_what_its_coupon_adds_though_the_catalogue_has_it_no_more(shop: World) -> None:
    runtime, now = shop.runtime, shop.clock.now()
    priced = quote(runtime.catalog.pricing, Money(1_000, "USD"), "stripe", 20)
    offer = make_offer(runtime.catalog, priced, ACCOUNT, None, coupon_offer(COUPONS[0], priced), now)
    token = sign_quote(offer, runtime.secrets.signing("quote"))
    shop.runtime = shop.jobs.runtime = replace(runtime, catalog=msgspec.structs.replace(runtime.catalog, coupons=()))
    purchase = shop.buy(1_000, coupon="more20", quote_token=token)
    shop.deliver(shop.pay(purchase))
    assert left(shop) == [("custom_credits", 10_000_000), ("coupon", 2_000_000)]
    with pytest.raises(CouponRedeemed):
        shop.buy(1_000, coupon="more20", quote_token=token)


def test_a_partial_refund_takes_the_coupons_lot_first(shop: World) -> None:
    purchase = landed(shop)
    shop.deliver(shop.refund_elsewhere(purchase, "re_1", 10_000))
    assert shop.purchase(purchase).credits_out == 130_000_000
    assert left(shop) == [("custom_credits", 500_000_000), ("volume_discount", 20_000_000), ("coupon", 0)]
    shop.deliver(shop.refund_elsewhere(purchase, "re_1", 10_000, "failed"))
    assert left(shop)[2] == ("coupon", 100_000_000)


def test_a_dispute_takes_the_coupons_lot_and_gives_it_back_when_it_is_won(shop: World) -> None:
    purchase = landed(shop)
    shop.deliver(shop.dispute(purchase, "open"))
    assert [credits for _, credits in left(shop)] == [0, 0, 0]
    shop.deliver(shop.dispute(purchase, "won"))
    assert [credits for _, credits in left(shop)] == [500_000_000, 50_000_000, 100_000_000]
    assert used(shop) == 1


def test_a_spent_coupon_is_owed_when_the_money_goes_back(shop: World) -> None:
    purchase = landed(shop, 1_000)
    shop.posted(debit(ACCOUNT, 11_000_000))
    with pytest.raises(RefundCreditsTouched):
        refunds.reverse_purchase(shop.runtime, purchase.purchase_id, "asked", "support:ann")
    shop.deliver(shop.refund_elsewhere(purchase, "re_1", 1_000))
    with reading(shop.db) as session:
        wallet = wallet_of(session, ACCOUNT)
    assert (wallet.available_credits, wallet.debt_credits) == (0, 11_000_000)


def test_a_purchase_in_an_app_store_takes_no_coupon(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purchase_coupons, "Store", BookProvider)
    with pytest.raises(CouponTermsNotMet) as refused:
        shop.buy(coupon="MORE20")
    assert refused.value.facts["term"] == "provider"


def papers(world: World) -> list[list[tuple[str, int]]]:
    """The lines of each document, oldest first."""
    with reading(world.db) as session:
        found, _ = list_documents(session, ACCOUNT, 1, 50)
    told = sorted((read(row.data.encode()) for row in found), key=lambda document: document.issued_at)
    return [[(line.key, line.credits) for line in document.lines] for document in told]


def test_each_document_says_what_the_coupon_gave_or_what_is_taken_of_it(shop: World) -> None:
    purchase = landed(shop)
    for number, minor in enumerate((5_000, 10_000, 35_000)):
        shop.clock.advance(timedelta(seconds=1))
        shop.deliver(shop.refund_elsewhere(purchase, f"re_{number}", minor))
    assert papers(shop) == [
        [("top_up", 500_000_000), ("bonus", 50_000_000), ("coupon", 100_000_000)],
        [("refund", 0), ("refund_coupon", 65_000_000)],
        [("refund", 45_000_000), ("refund_bonus", 50_000_000), ("refund_coupon", 35_000_000)],
        [("refund", 455_000_000)],
    ]
