"""Catalogues: the shipped numbers, and that no file with a mistake is ever used."""

import re
from decimal import Decimal
from importlib import resources
from pathlib import Path

import pytest

from engine.catalogs import SHIPPED, load_catalog
from engine.rules.catalog import (
    CatalogError,
    coupon_key,
    describe,
    money_label,
    read_catalog,
)
from engine.rules.descriptions import PLACEHOLDERS, Descriptions
from engine.rules.fields import CURRENCIES
from engine.rules.holds import HoldRules
from engine.rules.money import THREE_DECIMAL, ZERO_DECIMAL, Money


def text_of(name: str) -> str:
    return resources.files("engine.catalogs").joinpath(f"{name}.toml").read_text(encoding="utf-8")


def refusal(text: str) -> CatalogError:
    with pytest.raises(CatalogError) as caught:
        read_catalog(text)
    assert str(caught.value) == f"{caught.value.path}: {caught.value.problem}"
    return caught.value


def changed(name: str, old: str, new: str) -> str:
    text = text_of(name)
    assert old in text, f"{name} has no {old!r}"
    return text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("name", "least", "most", "presets", "per_dollar", "policy"),
    [
        ("alphio", 1_000, 1_000_000, (2_000, 10_000, 50_000), 100, "manual"),
        ("acn", 500, 1_000_000, (500, 1_000, 2_500, 5_000, 10_000), 1_000_000, "none"),
        ("ecolink", 100, 100_000, (500, 2_500, 10_000), 1_000_000, "manual"),
    ],
)
def test_shipped_numbers_are_the_specified_ones(
    name: str, least: int, most: int, presets: tuple[int, ...], per_dollar: int, policy: str
) -> None:
    catalog = load_catalog(name)
    pricing = catalog.pricing
    assert (catalog.id, pricing.currency) == (name, "USD")
    assert (pricing.min_minor, pricing.max_minor, pricing.presets_minor) == (least, most, presets)
    assert pricing.credits_per_unit == per_dollar
    assert (catalog.quote_ttl_minutes, catalog.checkout_ttl_minutes) == (15, 30)
    assert (catalog.refunds.policy, catalog.refunds.window_hours) == (policy, 24)
    assert catalog.refunds.approval_above == 50_000
    assert catalog.seller.example and "example" in catalog.tax.note.lower()


def test_alphio_sells_in_three_buckets_to_paying_plans() -> None:
    catalog = load_catalog("alphio")
    assert (catalog.error_prefix, catalog.key_prefix) == ("", "alp_sk_")
    assert catalog.buckets == ("limited_time", "monthly", "recharge")
    assert catalog.unit.credits_per_usd is None
    assert [rail.name for rail in catalog.providers] == [
        "stripe",
        "paddle",
        "moonpay",
        "apple",
        "google",
        "sandbox",
    ]
    assert [(plan.id, plan.monthly_credits) for plan in catalog.plans] == [
        ("free", 100),
        ("base", 3_000),
        ("pro", 10_000),
        ("elite", 40_000),
    ]
    assert catalog.first_plan == catalog.plan("free")
    assert [catalog.may_top_up(plan) for plan in ("free", "base", "pro", "elite", "gone", None)] == [
        False,
        True,
        True,
        True,
        False,
        False,
    ]
    (coupon,) = catalog.coupons
    assert (coupon.code, coupon.credits, coupon.bucket, coupon.expires_after_days) == (
        "WELCOME100",
        100,
        "limited_time",
        30,
    )
    assert [catalog.tax.percent_for(country) for country in ("DE", "FR", None)] == [19, 0, 0]
    with pytest.raises(KeyError):
        catalog.plan("gone")


def test_acn_has_one_bucket_bonus_tiers_and_a_coupon_that_never_expires() -> None:
    catalog = load_catalog("acn")
    assert (catalog.error_prefix, catalog.key_prefix, catalog.buckets) == ("ACN-", "acn_sk_", ("recharge",))
    assert catalog.unit.credits_per_usd == 1_000_000
    assert [(tier.from_minor, int(tier.bonus_percent)) for tier in catalog.pricing.tiers] == [
        (0, 0),
        (10_000, 5),
        (50_000, 10),
        (200_000, 15),
    ]
    coupon, on_top = catalog.coupons
    assert (on_top.code, on_top.percent, on_top.credits, on_top.bucket) == ("TOPUP20", 20, None, None)
    assert (coupon.credits, coupon.bucket, coupon.expires_after_days) == (50_000_000, "recharge", None)
    described = describe(catalog.descriptions.coupon_credit, code=coupon.code, description=coupon.description)
    assert described == "Coupon: LAUNCH50 — Launch promotion: $50 free credits"
    assert catalog.first_plan is None
    assert catalog.may_top_up(None) and catalog.may_top_up("anything")


def test_ecolink_shows_dollars_and_bounds_auto_recharge_and_commit_plans() -> None:
    catalog = load_catalog("ecolink")
    assert (catalog.unit.display, catalog.unit.credits_per_usd) == ("usd", 1_000_000)
    assert (catalog.pricing.model, catalog.key_prefix) == ("linear", "eco_sk_")
    rules = catalog.auto_recharge
    assert rules is not None
    assert (rules.threshold_min_credits, rules.threshold_max_credits) == (0, 10_000 * 1_000_000)
    assert (rules.amount_min_minor, rules.amount_max_minor) == (100, 100_000)
    assert [(plan.months, int(plan.bonus_percent)) for plan in catalog.commit_plans] == [(3, 5), (6, 10), (12, 15)]
    assert [plan.amount_minor for plan in catalog.commit_plans] == [30_000, 60_000, 120_000]
    text = describe(catalog.descriptions.deposit, provider="Stripe", amount=money_label(Money(2_500, "USD")))
    assert text == "Stripe top-up $25.00"


@pytest.mark.parametrize("name", SHIPPED)
def test_an_unknown_key_is_refused_in_every_table_of_a_shipped_file(name: str) -> None:
    text = text_of(name)
    places = [0, *(found.end() for found in re.finditer(r"^\[.*\]\n", text, re.MULTILINE))]
    inline = [found.end() for found in re.finditer(r"\{ ", text)]
    assert len(places) > 10 and len(inline) >= 1
    for place in places:
        problem = refusal(text[:place] + "misspelt = 1\n" + text[place:]).problem
        assert "misspelt" in problem
    for place in inline:
        problem = refusal(text[:place] + "misspelt = 1, " + text[place:]).problem
        assert "misspelt" in problem


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("min_minor = 1_000", "min_minor = 1000.0", "pricing.min_minor"),
        ("min_minor = 1_000", 'min_minor = "1000"', "pricing.min_minor"),
        ("min_minor = 1_000", "min_minor = true", "pricing.min_minor"),
        ("min_minor = 1_000", "min_minor = 0", "pricing.min_minor"),
        ("min_minor = 1_000", "min_minor = -1", "pricing.min_minor"),
        ("max_minor = 1_000_000", "max_minor = 99999999999999999999", "pricing.max_minor"),
        ("upsell_within = 0.2", "upsell_within = false", "pricing.upsell_within"),
        ("upsell_within = 0.2", "upsell_within = nan", "pricing"),
        ("upsell_within = 0.2", "upsell_within = inf", "pricing"),
        ("upsell_within = 0.2", "upsell_within = 0.12345678", "pricing"),
        ("upsell_within = 0.2", "upsell_within = 1.5", "pricing"),
        ('model = "rate"', 'model = "magic"', "pricing.model"),
        ('name = "stripe"', 'name = "paypal"', "providers[0].name"),
        ('platforms = ["web"]', "platforms = []", "providers[0].platforms"),
        ("custom_credits = false", 'custom_credits = "no"', "plans[0].entitlements[...]"),
        ('interval = "month"', 'interval = "week"', "plans[1].prices[0].interval"),
        ('country = "DE"', 'country = "DE\\n"', "seller.country"),
        ("percent = 19", "percent = 101", "tax.rates[0]"),
        ("quote_ttl_minutes = 15", "quote_ttl_minutes = 0", "quote_ttl_minutes"),
        ('name = "Alphio"', "", "catalogue"),
        ('name = "Alphio"', "name = ", "catalogue"),
    ],
)
def test_a_wrong_value_is_refused_where_it_stands(old: str, new: str, path: str) -> None:
    assert refusal(changed("alphio", old, new)).path == path


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("alphio", "min_minor = 1_000", "min_minor = 1_000_001", "min_minor is above max_minor"),
        ("alphio", "[2_000, 10_000", "[10_000, 2_000", "presets_minor must be ascending"),
        ("alphio", "[2_000, 10_000", "[2_000, 2_000", "presets_minor must be ascending"),
        ("alphio", "[2_000,", "[999,", "preset 999 is not between"),
        ("alphio", "50_000]", "1_000_001]", "preset 1000001 is not between"),
        ("alphio", 'currency = "USD"', 'currency = "USX"', "not an ISO 4217 code"),
        ("alphio", "from_minor = 0", "from_minor = 1", "must start at 0"),
        ("alphio", "from_minor = 30_000", "from_minor = 0", "does not start above"),
        ("alphio", "from_minor = 30_000", "from_minor = 1_000_001", "starts above max_minor"),
        ("alphio", "credits_per_unit = 125", "credits_per_unit = 99", "fewer credits than the tier before"),
        ("alphio", "credits_per_unit = 125", "bonus_percent = 5", "credits_per_unit stands on tiers"),
        ("alphio", "credits_per_unit = 125", "credits_per_unit = 125\nbonus_percent = 5", "bonus model only"),
        ("alphio", "credits_per_unit = 100\nupsell", "credits_per_unit = 90\nupsell", "must give the base rate"),
        ("alphio", "credits_per_unit = 125", f"credits_per_unit = {10**11 + 1}", "buys more than"),
        ("alphio", 'name = "Volume"', 'name = "Standard"', "stands there twice"),
        ("acn", 'model = "bonus"', 'model = "bonus"\nmode = "graduated"', "rate model only"),
        ("acn", 'model = "bonus"', 'model = "linear"', "at most one tier"),
        ("acn", "bonus_percent = 10", "bonus_percent = 4", "fewer credits than the tier before"),
        ("acn", "from_minor = 0\n", "from_minor = 0\nbonus_percent = 1\n", "must give the base rate and no bonus"),
        ("acn", 'providers = ["stripe", "sandbox"]', 'providers = ["paddle"]', "which providers does not offer"),
        ("alphio", "prices_include_tax = true", "prices_include_tax = false", "stripe adds none on top"),
        ("ecolink", 'model = "linear"', 'model = "rate"', "the rate model needs tiers"),
        ("ecolink", "credits_per_unit = 1_000_000", f"credits_per_unit = {10**12 + 1}", "buys more than"),
        ("ecolink", "credits_per_usd = 1_000_000\n", "", "display usd needs credits_per_usd"),
        ("ecolink", "amount_max_minor = 100_000", "amount_max_minor = 100_001", "buys outside"),
        ("ecolink", "threshold_min_credits = 0", "threshold_min_credits = 10_000_000_001", "is above"),
        ("ecolink", "monthly_minor = 10_000", "monthly_minor = 33_333_333_334", "gives more than"),
        ("ecolink", 'id = "commit-6"', 'id = "commit-3"', "stands there twice"),
        ("alphio", '["limited_time", "monthly"', '["monthly", "limited_time"', "spend order"),
        ("alphio", '"monthly", "recharge"]', '"monthly"]', "must hold recharge"),
        ("alphio", '"monthly", ', "", "must hold monthly"),
        ("alphio", '"limited_time", "monthly"', '"monthly"', "is not in buckets"),
        ("alphio", 'name = "paddle"', 'name = "stripe"', "stands there twice"),
        ("alphio", 'id = "pro"', 'id = "base"', "stands there twice"),
        ("alphio", "rank = 2", "rank = 1", "stands there twice"),
        ("alphio", "rank = 0", "rank = 9", "it must have no prices"),
        ("alphio", 'top_up_from = "base"', 'top_up_from = "gold"', "is not a plan"),
        ("alphio", 'top_up_from = "base"', 'top_up_from = "pro"', "contradict each other"),
        ("alphio", "projects = 20", "projects = true", "differ in the entitlement 'projects'"),
        ("alphio", 'interval = "year"', 'interval = "month"', "stands there twice"),
        ("alphio", "rank = 2", "rank = 2\nrollover_max = 5", "set together"),
        ("alphio", "rank = 2", "rank = 2\ntrial_credits = 5", "need trial_days"),
        ("alphio", "rank = 0", "rank = 0\ntrial_days = 5", "has no trial"),
        ("alphio", "grace_days = 3", "grace_days = 61", "<= 60"),
        ("alphio", "grace_days = 3", "grace_weeks = 3", "grace_weeks"),
        ("alphio", "rank = 2", "rank = 2\nrollover_max = 10_001\nrollover_periods = 1", "above monthly_credits"),
        ("alphio", "expires_after_days = 30\n", "", "stands on limited_time coupons"),
        ("acn", 'bucket = "recharge"', 'bucket = "recharge"\nexpires_after_days = 3', "limited_time coupons"),
        ("acn", 'bucket = "recharge"\n', "", "bucket stands on coupons for credits"),
        ("acn", "percent = 20\n", 'percent = 20\nbucket = "recharge"\n', "bucket stands on coupons for credits"),
        ("acn", "percent = 20\n", "percent = 20\ncredits = 5\n", "exactly one of the two"),
        ("acn", "percent = 20\n", "", "exactly one of the two"),
        ("acn", "percent = 20\n", "percent = 0\n", ">= 1"),
        ("acn", "percent = 20\n", "percent = 1_001\n", "<= 1000"),
        ("acn", "percent = 20\n", "percent = 20.5\n", "Expected `int"),
        ("acn", "max_minor = 1_000_000", "max_minor = 86_000_000_000", "'TOPUP20': with it max_minor buys more"),
        ("alphio", 'bucket = "limited_time"', 'bucket = "monthly"', "monthly credits come from plans only"),
        ("alphio", 'code = "WELCOME100"', 'code = " "', "code is blank"),
        ("alphio", "top-up: {amount}", "top-up: {amonut}", "deposit may not use {amonut}; it knows"),
        ("alphio", "top-up: {amount}", "top-up: {reason}", "deposit may not use {reason}"),
        ("alphio", "top-up: {amount}", "top-up: {amount.x}", "belongs to no placeholder"),
        ("alphio", "top-up: {amount}", "top-up: {{amount}}", "belongs to no placeholder"),
        ("alphio", "percent = 19", 'percent = 19, label = "a" }, { country = "DE", percent = 7', "stands there twice"),
    ],
)
def test_rules_that_contradict_each_other_are_refused(name: str, old: str, new: str, says: str) -> None:
    assert says in refusal(changed(name, old, new)).problem


def test_two_coupons_that_differ_in_case_only_are_one() -> None:
    again = '[[coupons]]\ncode = " ｌaunch50"\ndescription = "x"\ncredits = 1\nbucket = "recharge"\n\n'
    assert "stands there twice" in refusal(changed("acn", "[descriptions]", again + "[descriptions]")).problem


@pytest.mark.parametrize("code", ["LAUNCH50", " launch50\n", "Launch50", "ＬＡＵＮＣＨ５０"])
def test_spellings_of_one_code_have_one_key(code: str) -> None:
    assert coupon_key(code) == "launch50"


def test_a_catalogue_is_loaded_from_a_path_and_a_missing_one_is_named(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(changed("acn", 'id = "acn"', 'id = "own"'), encoding="utf-8")
    assert load_catalog(str(own)).id == "own"

    for broken in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(CatalogError, match="neither a shipped catalogue"):
            load_catalog(str(broken))
    own.write_bytes(b"\xff\xfe")
    with pytest.raises(CatalogError, match=re.escape(str(own))):
        load_catalog(str(own))


def test_a_text_that_nests_without_end_is_refused_like_any_other() -> None:
    assert refusal("x = " + "[" * 5_000).path == "catalogue"


@pytest.mark.parametrize(
    ("money", "label"),
    [
        (Money(1_000, "USD"), "$10.00"),
        (Money(5, "USD"), "$0.05"),
        (Money(1_000, "EUR"), "10.00 EUR"),
        (Money(1_000, "JPY"), "1000 JPY"),
        (Money(1_000, "KWD"), "1.000 KWD"),
    ],
)
def test_money_is_labelled_in_its_own_digits(money: Money, label: str) -> None:
    assert money_label(money) == label


def test_a_value_in_a_description_is_never_read_as_a_template() -> None:
    assert describe("Correction: {reason}", reason="{amount} {reason}") == "Correction: {amount} {reason}"
    assert describe("Usage", amount="unused") == "Usage"
    with pytest.raises(KeyError):
        describe("Refund: {amount}")


def test_every_template_has_its_list_of_placeholders() -> None:
    assert set(PLACEHOLDERS) == set(Descriptions.__struct_fields__)


def test_every_currency_with_unusual_digits_is_known() -> None:
    assert (ZERO_DECIMAL | THREE_DECIMAL) <= CURRENCIES
    assert "XXX" not in CURRENCIES and len(CURRENCIES) > 150


def test_decimals_are_read_exactly() -> None:
    assert load_catalog("alphio").pricing.upsell_within == Decimal("0.2")


def test_a_hold_lasts_no_longer_than_the_longest_one_may() -> None:
    assert load_catalog("alphio").holds == HoldRules(overage="refuse", ttl_default_seconds=900)
    assert load_catalog("ecolink").holds.ttl_default_seconds == 3_600
    with pytest.raises(ValueError, match="ttl_default_seconds is above ttl_max_seconds"):
        HoldRules(ttl_default_seconds=61, ttl_max_seconds=60)
