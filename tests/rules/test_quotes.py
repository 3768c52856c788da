"""Quotes: the reference numbers, the laws of any tariff, and tokens that nobody else can make or reuse."""

from datetime import datetime, timezone
from decimal import Decimal
from fractions import Fraction
from string import digits
from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.catalogs import load_catalog
from engine.rules.errors import AboveMaximum, BelowMinimum, MalformedAmount
from engine.rules.money import Money
from engine.rules.pricing import Pricing, Tier
from engine.rules.quotes import (
    NextTier,
    Quote,
    parse_amount_cents,
    providers_for,
    quote,
)

NOW = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=timezone.utc)
SECRET, OLD_SECRET = b"s" * 48, b"o" * 48
CATALOGS = {name: load_catalog(name) for name in ("alphio", "acn", "ecolink")}
ALPHIO = CATALOGS["alphio"].pricing
ACN = CATALOGS["acn"].pricing
ECOLINK = CATALOGS["ecolink"].pricing
GRADUATED = Pricing(
    model="rate",
    mode="graduated",
    currency="USD",
    min_minor=1,
    max_minor=1_000_000,
    credits_per_unit=100,
    upsell_within=Decimal("0.2"),
    tiers=(
        Tier(name="A", from_minor=0, credits_per_unit=100),
        Tier(name="B", from_minor=10_000, credits_per_unit=125),
        Tier(name="C", from_minor=50_000, credits_per_unit=150),
    ),
)


def usd(pricing: Pricing, minor: int, provider: str | None = None) -> Quote:
    return quote(pricing, Money(minor, "USD"), provider)


@pytest.mark.parametrize(
    ("minor", "credits", "price", "save", "badge", "next_tier"),
    [
        (1_000, 1_000, "0.010000000", "0.00", None, NextTier(30_000, 29_000, 36_500, 37_500, near=False)),
        (23_999, 23_999, "0.010000000", "0.00", None, NextTier(30_000, 6_001, 13_501, 37_500, near=False)),
        (24_000, 24_000, "0.010000000", "0.00", None, NextTier(30_000, 6_000, 13_500, 37_500, near=True)),
        (29_000, 29_000, "0.010000000", "0.00", None, NextTier(30_000, 1_000, 8_500, 37_500, near=True)),
        (29_999, 29_999, "0.010000000", "0.00", None, NextTier(30_000, 1, 7_501, 37_500, near=True)),
        (30_000, 37_500, "0.0080000000", "20.00", 20, None),
        (30_001, 37_501, "0.0080000533", "20.00", 20, None),
        (1_000_000, 1_250_000, "0.0080000000", "20.00", 20, None),
    ],
)
def test_alphio_gives_a_better_rate_from_300_dollars(
    minor: int, credits: int, price: str, save: str, badge: int | None, next_tier: NextTier | None
) -> None:
    answer = usd(ALPHIO, minor)
    assert (answer.credits, answer.base_credits, answer.bonus_credits) == (credits, credits, 0)
    assert (answer.price_per_credit, str(answer.save_percent), answer.save_badge) == (price, save, badge)
    assert answer.next_tier == next_tier
    assert answer.amount == Money(minor, "USD")


def test_a_tier_ends_where_the_next_starts() -> None:
    below, at = usd(ALPHIO, 29_999), usd(ALPHIO, 30_000)
    assert (below.tier.name, below.tier.from_minor, below.tier.to_minor) == ("Standard", 0, 30_000)
    assert (at.tier.name, at.tier.from_minor, at.tier.to_minor) == ("Volume", 30_000, None)
    assert (below.credits_per_unit, at.credits_per_unit) == (100, 125)


@pytest.mark.parametrize(
    ("minor", "credits", "bonus", "per_unit", "save", "badge"),
    [
        (500, 5_000_000, 0, 1_000_000, "0.00", None),
        (9_999, 99_990_000, 0, 1_000_000, "0.00", None),
        (10_000, 105_000_000, 5_000_000, 1_050_000, "4.76", 4),
        (49_999, 524_989_500, 24_999_500, 1_050_000, "4.76", 4),
        (50_000, 550_000_000, 50_000_000, 1_100_000, "9.09", 9),
        (199_999, 2_199_989_000, 199_999_000, 1_100_000, "9.09", 9),
        (200_000, 2_300_000_000, 300_000_000, 1_150_000, "13.04", 13),
        (1_000_000, 11_500_000_000, 1_500_000_000, 1_150_000, "13.04", 13),
    ],
)
@pytest.mark.parametrize("provider", [None, "stripe", "sandbox"])
def test_acn_adds_a_bonus_on_the_rails_it_names(
    provider: str | None, minor: int, credits: int, bonus: int, per_unit: int, save: str, badge: int | None
) -> None:
    answer = usd(ACN, minor, provider)
    assert (answer.credits, answer.bonus_credits) == (credits, bonus)
    assert answer.base_credits == credits - bonus == minor * 10_000
    assert (answer.credits_per_unit, str(answer.save_percent), answer.save_badge) == (per_unit, save, badge)


@pytest.mark.parametrize("minor", [9_999, 10_000, 200_000])
def test_a_rail_that_earns_no_bonus_gets_the_base_rate_and_no_hint(minor: int) -> None:
    answer = usd(ACN, minor, "moonpay")
    assert (answer.credits, answer.bonus_credits, answer.bonus_percent) == (minor * 10_000, 0, Decimal(0))
    assert (answer.save_percent, answer.save_badge, answer.next_tier) == (Decimal(0), None, None)
    assert usd(ACN, 200_000).bonus_percent == 15


def test_a_linear_tariff_has_one_tier_and_nothing_to_save() -> None:
    answer = usd(ECOLINK, 2_500)
    assert (answer.credits, answer.price_per_credit) == (25_000_000, "0.0000010000000")
    assert (answer.tier.name, answer.tier.from_minor, answer.tier.to_minor) == ("Standard", 0, None)
    assert (answer.save_percent, answer.save_badge, answer.next_tier) == (Decimal(0), None, None)


@pytest.mark.parametrize(
    ("minor", "credits", "price", "save", "next_tier"),
    [
        (9_999, 9_999, "0.010000000", "0.00", NextTier(10_000, 1, 1, 10_000, near=True)),
        (10_000, 10_000, "0.010000000", "0.00", NextTier(50_000, 40_000, 50_000, 60_000, near=False)),
        (20_000, 22_500, "0.0088888889", "11.11", NextTier(50_000, 30_000, 37_500, 60_000, near=False)),
        (10_003, 10_003, "0.010000000", "0.00", NextTier(50_000, 39_997, 49_997, 60_000, near=False)),
        (100_000, 135_000, "0.0074074074", "25.92", None),
    ],
)
def test_a_graduated_tariff_gives_each_slice_its_own_rate(
    minor: int, credits: int, price: str, save: str, next_tier: NextTier | None
) -> None:
    answer = usd(GRADUATED, minor)
    assert (answer.credits, answer.price_per_credit, str(answer.save_percent)) == (credits, price, save)
    assert answer.next_tier == next_tier


def test_a_currency_without_minor_units_is_priced_by_its_major_unit() -> None:
    yen = Pricing(model="linear", currency="JPY", min_minor=1, max_minor=100_000, credits_per_unit=3)
    assert quote(yen, Money(500, "JPY"), None).credits == 1_500
    assert quote(yen, Money(1, "JPY"), None).price_per_credit == "0.33333333"


@pytest.mark.parametrize("pricing", [ALPHIO, ACN, ECOLINK], ids=["alphio", "acn", "ecolink"])
def test_amounts_outside_the_bounds_are_refused_with_the_bound(pricing: Pricing) -> None:
    assert usd(pricing, pricing.min_minor).credits > 0
    assert usd(pricing, pricing.max_minor).credits > 0
    for minor in (0, pricing.min_minor - 1):
        with pytest.raises(BelowMinimum) as below:
            usd(pricing, minor)
        assert below.value.facts["minMinor"] == pricing.min_minor
    with pytest.raises(AboveMaximum) as above:
        usd(pricing, pricing.max_minor + 1)
    assert above.value.facts["maxMinor"] == pricing.max_minor


@pytest.mark.parametrize("amount", [Money(2_000, "EUR"), Money(2_000, "usd"), Money(-2_000, "USD")])
def test_another_currency_or_a_negative_amount_is_malformed(amount: Money) -> None:
    with pytest.raises(MalformedAmount):
        quote(ALPHIO, amount, None)


@pytest.mark.parametrize(("text", "cents"), [("0", 0), ("29000", 29_000), ("007", 7), ("9" * 30, 10**30 - 1)])
def test_digits_are_an_amount(text: str, cents: int) -> None:
    assert parse_amount_cents(text) == cents


@pytest.mark.parametrize(
    "text",
    ["", " ", "-1", "+1", " 1", "1 ", "1\n", "1\x00", "1_000", "1,000", "1'000", "10.00", "10.", "1e3", "0x10"],
)
def test_anything_but_plain_digits_is_no_amount(text: str) -> None:
    with pytest.raises(MalformedAmount):
        parse_amount_cents(text)


@pytest.mark.parametrize("text", ["٣", "１", "²", "NaN", "Infinity", "None", "9" * 31])
def test_other_digits_words_and_endless_numbers_are_no_amount(text: str) -> None:
    with pytest.raises(MalformedAmount):
        parse_amount_cents(text)


@st.composite
def tariffs(draw: st.DrawFn) -> Pricing:
    """Any tariff that a catalogue accepts: each model, one to five tiers, USD or JPY."""
    models: list[Literal["rate", "bonus", "linear"]] = ["rate", "bonus", "linear"]
    model = draw(st.sampled_from(models))
    starts = sorted(draw(st.sets(st.integers(1, 90_000), max_size=4))) if model != "linear" else []
    rates = sorted(draw(st.lists(st.integers(1, 10**6), min_size=len(starts) + 1, max_size=len(starts) + 1)))
    bonuses = sorted(draw(st.lists(st.decimals(0, 100, places=2), min_size=len(starts), max_size=len(starts))))
    tiers = [
        Tier(
            name=f"T{index}",
            from_minor=start,
            credits_per_unit=rates[index] if model == "rate" else None,
            bonus_percent=[Decimal(0), *bonuses][index] if model == "bonus" else Decimal(0),
            providers=draw(st.sampled_from([(), ("stripe",)])) if model == "bonus" else (),
        )
        for index, start in enumerate([0, *starts])
    ]
    return Pricing(
        model=model,
        mode=draw(st.sampled_from(["volume", "graduated"])) if model == "rate" else "volume",
        currency=draw(st.sampled_from(["USD", "JPY"])),
        min_minor=100,
        max_minor=100_000,
        credits_per_unit=rates[0],
        upsell_within=draw(st.decimals(0, 1, places=3)),
        tiers=tuple(tiers) if model != "linear" else (),
    )


def expected_credits(pricing: Pricing, minor: int, provider: str | None) -> Fraction:
    """The credits of `minor` before rounding, by summing over tiers in another way than the rule does."""
    unit = 1 if pricing.currency == "JPY" else 100
    if pricing.mode == "graduated":
        gained, above = Fraction(0), 0
        for tier in pricing.tiers:
            rate = tier.credits_per_unit or 0
            gained += Fraction(max(0, minor - tier.from_minor) * (rate - above), unit)
            above = rate
        return gained
    rate, percent = pricing.credits_per_unit, Decimal(0)
    for tier in pricing.tiers:
        if tier.from_minor <= minor:
            rate = tier.credits_per_unit or rate
            percent = Decimal(0) if tier.providers and provider == "paddle" else tier.bonus_percent
    return Fraction(minor * rate, unit) * Fraction(100 + percent) / 100


RAILS = st.sampled_from([None, "stripe", "paddle"])
AMOUNTS = st.integers(100, 100_000)


@given(tariffs(), AMOUNTS, RAILS)
def test_credits_round_down_once_at_the_end(pricing: Pricing, minor: int, provider: str | None) -> None:
    answer = quote(pricing, Money(minor, pricing.currency), provider)
    exact = expected_credits(pricing, minor, provider)
    assert answer.credits <= exact < answer.credits + 1
    assert answer.credits == answer.base_credits + answer.bonus_credits
    assert answer.base_credits >= 1 and answer.bonus_credits >= 0


@given(tariffs(), AMOUNTS, RAILS)
def test_savings_and_prices_stay_within_their_bounds(pricing: Pricing, minor: int, provider: str | None) -> None:
    answer = quote(pricing, Money(minor, pricing.currency), provider)
    unit = 1 if pricing.currency == "JPY" else 100
    base = Fraction(minor * pricing.credits_per_unit, unit)
    saved = 100 * (1 - base / expected_credits(pricing, minor, provider))
    assert 0 <= answer.save_percent < 100
    assert Fraction(answer.save_percent) <= saved < Fraction(answer.save_percent) + Fraction(1, 100)
    assert answer.save_badge == (int(answer.save_percent) or None)

    price = Fraction(minor, unit) / answer.credits
    shown = Fraction(answer.price_per_credit)
    assert abs(shown - price) <= price / 10**7
    assert len(answer.price_per_credit.replace(".", "").lstrip("0")) == 8
    assert set(answer.price_per_credit) <= set(digits + ".")


@given(tariffs(), RAILS)
def test_no_amount_falls_between_two_tiers(pricing: Pricing, provider: str | None) -> None:
    for tier in pricing.tiers:
        if not pricing.min_minor < tier.from_minor <= pricing.max_minor:
            continue
        below = quote(pricing, Money(tier.from_minor - 1, pricing.currency), provider)
        at = quote(pricing, Money(tier.from_minor, pricing.currency), provider)
        assert below.tier.to_minor == at.tier.from_minor == tier.from_minor
        assert at.tier.name == tier.name != below.tier.name


@given(tariffs(), AMOUNTS, RAILS)
def test_the_next_tier_gives_what_a_quote_there_gives(pricing: Pricing, minor: int, provider: str | None) -> None:
    answer = quote(pricing, Money(minor, pricing.currency), provider)
    upsell = answer.next_tier
    if upsell is None:
        return
    then = quote(pricing, Money(upsell.from_minor, pricing.currency), provider)
    assert then.credits == upsell.credits_then == answer.credits + upsell.extra_credits
    assert then.tier.from_minor == upsell.from_minor == minor + upsell.add_minor
    assert upsell.add_minor > 0 and upsell.extra_credits >= 0
    assert upsell.near is (Fraction(upsell.add_minor, upsell.from_minor) <= Fraction(pricing.upsell_within))


@given(tariffs(), AMOUNTS, AMOUNTS)
def test_more_money_never_gives_fewer_credits_on_the_best_rail(pricing: Pricing, one: int, other: int) -> None:
    less, more = sorted((one, other))
    assert (
        quote(pricing, Money(less, pricing.currency), None).credits
        <= quote(pricing, Money(more, pricing.currency), None).credits
    )


def test_a_coupon_adds_its_part_of_the_base_credits_beside_the_bonus() -> None:
    plain, better = usd(ACN, 10_000, "stripe"), quote(ACN, Money(10_000, "USD"), "stripe", 20)
    assert (plain.credits, better.credits) == (105_000_000, 125_000_000)
    assert (better.base_credits, better.bonus_credits, better.coupon_credits) == (100_000_000, 5_000_000, 20_000_000)
    assert (better.price_per_credit, better.credits_per_unit) == ("0.00000080000000", 1_250_000)
    assert (better.save_percent, better.save_badge) == (Decimal("20.00"), 20)
    assert better.next_tier is not None
    assert (better.next_tier.credits_then, better.next_tier.extra_credits) == (650_000_000, 525_000_000)
    assert quote(ACN, Money(10_000, "USD"), "paddle", 20).coupon_credits == 20_000_000


@given(tariffs(), AMOUNTS, RAILS, st.integers(1, 1_000))
def test_a_coupon_rounds_down_and_changes_nothing_else(
    pricing: Pricing, minor: int, provider: str | None, percent: int
) -> None:
    plain = quote(pricing, Money(minor, pricing.currency), provider)
    more = quote(pricing, Money(minor, pricing.currency), provider, percent)
    exact = Fraction(plain.base_credits * percent, 100)
    assert more.coupon_credits <= exact < more.coupon_credits + 1
    assert more.credits == plain.credits + more.coupon_credits
    assert (more.base_credits, more.bonus_credits, more.tier) == (
        plain.base_credits,
        plain.bonus_credits,
        plain.tier,
    )
    assert plain.save_percent <= more.save_percent < 100
    if more.next_tier is not None:
        then = quote(pricing, Money(more.next_tier.from_minor, pricing.currency), provider, percent)
        assert then.credits == more.next_tier.credits_then == more.credits + more.next_tier.extra_credits


ALL = {"stripe", "paddle", "apple", "google", "moonpay", "sandbox"}


@pytest.mark.parametrize(
    ("enabled", "platform", "rails"),
    [
        (ALL, "web", ("stripe", "paddle", "moonpay", "sandbox")),
        (ALL, "ios", ("apple", "sandbox")),
        (ALL, "android", ("google", "sandbox")),
        ({"moonpay", "stripe"}, "web", ("stripe", "moonpay")),
        ({"apple"}, "web", ()),
        (set(), "web", ()),
        (ALL, "fridge", ()),
    ],
)
def test_rails_are_offered_in_the_catalogues_order(enabled: set[str], platform: str, rails: tuple[str, ...]) -> None:
    assert providers_for(CATALOGS["alphio"], enabled, "DE", platform) == rails


@pytest.mark.parametrize(("country", "offered"), [("DE", True), ("FR", False), (None, False)])
def test_a_rail_for_some_countries_needs_a_known_one(country: str | None, offered: bool) -> None:
    catalog = CATALOGS["ecolink"]
    stripe = msgspec.structs.replace(catalog.providers[0], regions=("DE", "AT"))
    limited = msgspec.structs.replace(catalog, providers=(stripe, catalog.providers[1]))
    rails = providers_for(limited, ALL, country, "web")
    assert rails == (("stripe", "sandbox") if offered else ("sandbox",))
