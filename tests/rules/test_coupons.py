"""A coupon's terms, by the rules alone, and what a catalogue may say of them."""

from datetime import datetime, timedelta, timezone
from importlib import resources

import pytest
from msgspec.structs import replace

from engine.rules.catalog import CatalogError, Coupon, read_catalog
from engine.rules.coupons import Redeemer, check_redeemable, check_usable, coupon_offer, uses_coupon
from engine.rules.errors import CouponExpired, CouponRedeemed, CouponTermsNotMet, Refusal
from engine.rules.money import Money
from engine.rules.quotes import quote

ALPHIO = resources.files("engine.catalogs").joinpath("alphio.toml").read_text(encoding="utf-8")
LAST_LINE = "expires_after_days = 30\n"
NOW = datetime(2026, 11, 2, tzinfo=timezone.utc)
OPEN = Coupon(
    code="A",
    description="A",
    credits=1,
    bucket="recharge",
    ends_at=NOW + timedelta(days=1),
    first_top_up_required=True,
    plans=("pro",),
    countries=("DE",),
)

PERCENT = replace(OPEN, credits=None, bucket=None, percent=20)


@pytest.mark.parametrize(
    ("redeemer", "after", "refusal", "term"),
    [
        (Redeemer("pro", "DE", True, False), timedelta(0), None, None),
        (Redeemer("pro", "DE", True, False), timedelta(days=1) - timedelta(microseconds=1), None, None),
        (Redeemer("pro", "DE", True, False), timedelta(days=1), CouponExpired, None),
        (Redeemer(None, None, False, True), timedelta(days=1), CouponRedeemed, None),
        (Redeemer(None, None, False, False), timedelta(days=1), CouponExpired, None),
        (Redeemer(None, None, False, False), timedelta(0), CouponTermsNotMet, "first_top_up"),
        (Redeemer(None, None, True, False), timedelta(0), CouponTermsNotMet, "plan"),
        (Redeemer("pro", None, True, False), timedelta(0), CouponTermsNotMet, "country"),
    ],
)
def test_terms_in_their_order(
    redeemer: Redeemer, after: timedelta, refusal: type[Refusal] | None, term: str | None
) -> None:
    if refusal is None:
        check_redeemable(OPEN, redeemer, NOW + after)
        check_usable(PERCENT, redeemer, NOW + after)
        return
    with pytest.raises(refusal) as caught:
        check_redeemable(OPEN, redeemer, NOW + after)
    with pytest.raises(refusal):
        check_usable(PERCENT, redeemer, NOW + after)
    assert caught.value.facts.get("term") == term


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("ends_at = 2026-12-01T00:00:00", "timezone"),
        ('ends_at = "tomorrow"', "RFC3339"),
        ("max_redemptions = 0", ">= 1"),
        ('plans = ["platinum"]', "names the plan 'platinum'"),
        ('plans = ["pro", "pro"]', "stands there twice"),
        ('countries = ["DE", "DE"]', "stands there twice"),
        ('countries = ["Germany"]', "matching regex"),
    ],
)
def test_terms_that_make_no_sense_are_refused(line: str, problem: str) -> None:
    text = ALPHIO.replace(LAST_LINE, f"{LAST_LINE}{line}\n")
    with pytest.raises(CatalogError, match=problem):
        read_catalog(text)


def test_terms_are_read() -> None:
    lines = 'ends_at = 2026-12-01T01:00:00+01:00\nmax_redemptions = 5\nplans = ["pro"]\ncountries = ["DE"]\n'
    catalog = read_catalog(ALPHIO.replace(LAST_LINE, LAST_LINE + lines))
    coupon = catalog.coupon(" welcome100")
    assert coupon is not None and coupon.ends_at == datetime(2026, 12, 1, tzinfo=timezone.utc)
    assert (coupon.max_redemptions, coupon.plans, coupon.countries) == (5, ("pro",), ("DE",))
    assert catalog.coupon("WELCOME") is None


def test_each_kind_of_coupon_says_where_it_is_for() -> None:
    anyone = Redeemer(None, None, False, True)
    with pytest.raises(CouponTermsNotMet) as caught:
        check_redeemable(PERCENT, anyone, NOW)
    assert caught.value.facts["term"] == "purchase"
    with pytest.raises(CouponTermsNotMet) as caught:
        check_usable(OPEN, anyone, NOW)
    assert caught.value.facts["term"] == "redemption"


def test_what_a_coupon_adds_is_offered_in_whole_credits_or_not_at_all() -> None:
    pricing = replace(read_catalog(ALPHIO).pricing, min_minor=1)
    coupon = replace(PERCENT, percent=33, max_redemptions=7)
    assert coupon_offer(coupon, quote(pricing, Money(1_001, "USD"), None, 33)).credits == 330
    assert coupon_offer(coupon, quote(pricing, Money(1_001, "USD"), None, 33)).uses_max == 7
    with pytest.raises(CouponTermsNotMet) as caught:
        coupon_offer(coupon, quote(pricing, Money(3, "USD"), None, 33))
    assert caught.value.facts["term"] == "amount"


@pytest.mark.parametrize(
    ("status", "has_landed", "is_used"),
    [
        *((status, False, True) for status in ("created", "open", "processing", "quarantined")),
        *((status, False, False) for status in ("failed", "expired", "cancelled", "refunded")),
        *((status, True, True) for status in ("paid", "partially_refunded", "refunded", "expired")),
    ],
)
def test_a_purchase_has_its_coupons_use_until_it_ends_with_nothing_granted(
    status: str, has_landed: bool, is_used: bool
) -> None:
    assert uses_coupon(status, has_landed=has_landed, is_over=True) is is_used
    assert uses_coupon(status, has_landed=has_landed, is_over=False) is (is_used or status == "failed")
