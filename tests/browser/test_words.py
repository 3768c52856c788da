"""Values as pages write them, and numbers as charts draw them."""

from datetime import date, timedelta

import pytest

from api.pages.amounts import parse_amount, plain_amount
from api.pages.charts import HEIGHT, WIDTH, bars, slices
from api.pages.words import Words, duration, money, money_short
from engine.catalogs import load_catalog
from engine.rules.errors import MalformedAmount
from engine.rules.money import Money


@pytest.mark.parametrize(
    ("credits", "text"),
    [(0, "0 credits"), (1, "1 credit"), (37_500, "37,500 credits"), (-800, "−800 credits"), (10**15, None)],
)
def test_credits_read_as_numbers_with_their_unit(credits: int, text: str | None) -> None:
    assert Words(load_catalog("alphio")).amount(credits) == (text or "1,000,000,000,000,000 credits")


@pytest.mark.parametrize(
    ("credits", "text"),
    [
        (0, "$0.00"),
        (1, "$0.000001"),
        (12_340_000, "$12.34"),
        (-1_500_000, "−$1.50"),
        (1_234_567_000_000, "$1,234,567.00"),
    ],
)
def test_credits_read_as_dollars_where_the_catalogue_says_so(credits: int, text: str) -> None:
    assert Words(load_catalog("ecolink")).amount(credits) == text


def test_a_price_per_credit_has_no_digit_that_says_nothing() -> None:
    words = Words(load_catalog("alphio"))
    assert words.price_per_credit("0.0080000000", "USD") == "$0.008"
    assert words.price_per_credit("0.010000000", "USD") == "$0.01"
    assert words.price_per_credit("1.0000000", "EUR") == "1.00 EUR"


def test_money_is_grouped_and_short_only_where_nothing_is_lost() -> None:
    assert money(1_000_050, "USD") == "$10,000.50"
    assert money(1_500, "JPY") == "1,500 JPY"
    assert money_short(30_000, "USD") == "$300"
    assert money_short(30_050, "USD") == "$300.50"
    assert money_short(1_500, "KWD") == "1.500 KWD"


@pytest.mark.parametrize(
    ("text", "minor"),
    [
        ("300", 30_000),
        ("$1,250.50", 125_050),
        ("12,5", 1_250),
        ("12,50", 1_250),
        ("1,000", 100_000),
        (" 1 000 ", 100_000),
        ("10.", 1_000),
        ("0", 0),
        ("30 USD", 3_000),
    ],
)
def test_amounts_are_read_as_people_type_them(text: str, minor: int) -> None:
    assert parse_amount(text, "USD") == Money(minor, "USD")


@pytest.mark.parametrize("text", ["", ".", "ten", "-5", "+5", "5e3", "20.555", "1,00,0", "٣٠٠", "9999999999", "1.2.3"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(MalformedAmount):
        parse_amount(text, "USD")


def test_a_currency_without_minor_units_takes_no_point() -> None:
    assert parse_amount("1500", "JPY") == Money(1_500, "JPY")
    with pytest.raises(MalformedAmount):
        parse_amount("1500.5", "JPY")
    assert plain_amount(Money(1_500, "JPY")) == "1500"
    assert plain_amount(Money(2_550, "USD")) == "25.50"


def test_a_duration_is_rounded_down_to_minutes() -> None:
    assert duration(timedelta(hours=23, minutes=41, seconds=59)) == "23 h 41 min"


@pytest.mark.parametrize("held", [(0, 0, 0), (1, 0, 10**15), (200, 5_000, 3_000), (0, 7, 0), (1, 1, 1)])
def test_slices_fill_the_bar_and_show_whatever_is_there(held: tuple[int, ...]) -> None:
    drawn = slices(
        [(name, credits) for name, credits in zip(("limited_time", "monthly", "recharge"), held, strict=True)]
    )
    assert sum(one.width for one in drawn) == (WIDTH if any(held) else 0)
    assert all((one.width > 0) == (one.credits > 0) for one in drawn)
    assert [one.x for one in drawn] == [sum(before.width for before in drawn[:n]) for n in range(len(drawn))]


def test_bars_stand_on_the_line_and_the_highest_reaches_the_top() -> None:
    first = date(2026, 11, 1)
    drawn = bars([(first, 0), (first + timedelta(days=1), 1), (first + timedelta(days=2), 10**9)])
    assert [one.height for one in drawn] == [0, 2, HEIGHT]
    assert all(one.y + one.height == HEIGHT for one in drawn)


def test_a_day_is_stacked_by_bucket_where_the_parts_make_up_the_whole() -> None:
    day = date(2026, 11, 1)
    (bar,) = bars([(day, 100)], {day: {"recharge": 25, "limited_time": 75, "monthly": 0}})
    assert [(part.bucket, part.credits) for part in bar.parts] == [("limited_time", 75), ("recharge", 25)]
    assert sum(part.height for part in bar.parts) == bar.height == HEIGHT
    assert [part.y + part.height for part in bar.parts] == [HEIGHT, bar.parts[0].y]
    (unknown,) = bars([(day, 100)], {day: {"recharge": 25}})
    assert unknown.parts == () and unknown.height == HEIGHT
    assert bars([(day, 100)])[0].parts == ()
