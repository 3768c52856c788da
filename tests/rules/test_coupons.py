"""A coupon's terms, by the rules alone, and what a catalogue may say of them."""

from datetime import datetime, timedelta, timezone
from importlib import resources

import pytest

from engine.rules.catalog import CatalogError, Coupon, read_catalog
from engine.rules.coupons import Redeemer, check_redeemable
from engine.rules.errors import CouponExpired, CouponRedeemed, CouponTermsNotMet, Refusal

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
        return
    with pytest.raises(refusal) as caught:
        check_redeemable(OPEN, redeemer, NOW + after)
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
