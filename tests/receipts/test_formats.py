"""Numbers and dates stand as each locale writes them, and no digit is lost."""

from datetime import datetime, timezone
from decimal import Decimal

import pytest
from babel.core import Locale
from hypothesis import given
from hypothesis import strategies as st

from engine.rules.documents import UnitName
from engine.rules.money import Money, currency_digits
from receipts.formats import credits_text, moment_text, money_text, percent_text, price_text
from receipts.glyphs import REPLACEMENT, printable
from receipts.phrases import language

HALF_PAST_ELEVEN = datetime(2026, 11, 20, 23, 30, tzinfo=timezone.utc)
CREDIT = UnitName(singular="credit", plural="credits")
TOKEN = UnitName(singular="token", plural="tokens")
DOLLAR = UnitName(singular="US dollar", plural="US dollars", credits_per_usd=1_000_000, shown_as_usd=True)


def plain(text: str) -> str:
    """Every kind of space as a plain one, direction marks gone."""
    return " ".join(text.split()).translate({0x200E: None, 0x200F: None, 0x61C: None})


@pytest.mark.parametrize(
    ("minor", "currency", "locale", "shown"),
    [
        (2_500, "USD", "en", "USD 25.00"),
        (0, "USD", "en", "USD 0.00"),
        (1_000_000, "USD", "en", "USD 10,000.00"),
        (1_000_000, "EUR", "de", "10.000,00 EUR"),
        (1_000_000, "CHF", "de_CH", "CHF 10’000.00"),
        (1_234_567, "EUR", "fr", "12 345,67 EUR"),
        (2_500, "JPY", "ja", "JPY 2,500"),
        (2_500, "JPY", "de", "2.500 JPY"),
        (2_500, "KWD", "en", "KWD 2.500"),
        (2_500, "KWD", "ar", "2.500 KWD"),
        (2_500, "TWD", "zh_TW", "TWD 25.00"),
        (123_456_789, "INR", "hi", "INR 12,34,567.89"),
        (2_500, "UGX", "en", "UGX 2,500"),
    ],
)
def test_money_has_its_iso_code_and_its_own_digits(minor: int, currency: str, locale: str, shown: str) -> None:
    assert plain(money_text(Money(minor, currency), Locale.parse(locale))) == shown


@pytest.mark.parametrize(
    ("price", "currency", "locale", "shown"),
    [
        ("0.008", "USD", "en", "USD 0.008"),
        ("0.0076190476", "USD", "en", "USD 0.0076190476"),
        ("0.000001", "EUR", "de", "0,000001 EUR"),
        ("0.01", "JPY", "en", "JPY 0.01"),
        ("2", "USD", "en", "USD 2.00"),
    ],
)
def test_a_price_far_below_a_cent_keeps_every_digit(price: str, currency: str, locale: str, shown: str) -> None:
    assert plain(price_text(price, currency, Locale.parse(locale))) == shown


@given(
    st.integers(0, 10**17), st.sampled_from(["USD", "JPY", "KWD", "EUR", "IDR"]), st.sampled_from(["en", "de", "fr"])
)
def test_every_minor_unit_can_be_read_back(minor: int, currency: str, locale: str) -> None:
    shown = money_text(Money(minor, currency), Locale.parse(locale))
    digits = "".join(character for character in shown if character.isdigit())
    assert int(digits) == minor
    assert currency in shown
    assert Decimal(minor).scaleb(-currency_digits(currency)) * 10 ** currency_digits(currency) == minor


@pytest.mark.parametrize(
    ("count", "unit", "tag", "shown"),
    [
        (37_500, CREDIT, "en", "37,500 credits"),
        (1, CREDIT, "en", "1 credit"),
        (37_500, CREDIT, "de", "37.500 Credits"),
        (1, CREDIT, "de", "1 Credit"),
        (10**15, CREDIT, "en", "1,000,000,000,000,000 credits"),
        (2, TOKEN, "de", "2 tokens"),
        (0, CREDIT, "fr", "0 crédit"),
        (2, CREDIT, "fr", "2 crédits"),
        (37_500, CREDIT, "ja", "37,500 クレジット"),
        (1, CREDIT, "ar", "1 رصيد"),
        (2, CREDIT, "ar", "2 رصيدان"),
        (5, CREDIT, "ar", "5 أرصدة"),
        (11, CREDIT, "ar", "11 رصيدًا"),
        (100, CREDIT, "ar", "100 رصيد"),
        (25_000_000, DOLLAR, "en", "USD 25.00"),
        (1, DOLLAR, "en", "USD 0.000001"),
        (12_345_678, DOLLAR, "de", "12,345678 USD"),
    ],
)
def test_credits_are_counted_in_their_unit(count: int, unit: UnitName, tag: str, shown: str) -> None:
    assert plain(credits_text(count, unit, language(tag))) == shown


@pytest.mark.parametrize(
    ("percent", "locale", "shown"),
    [("19", "en", "19%"), ("19", "de", "19 %"), ("8.875", "en", "8.875%"), ("7.7", "de_CH", "7.7%"), ("0", "en", "0%")],
)
def test_a_tax_rate_keeps_its_places(percent: str, locale: str, shown: str) -> None:
    assert plain(percent_text(percent, Locale.parse(locale))) == shown


@pytest.mark.parametrize(
    ("zone", "locale", "shown"),
    [
        ("UTC", "en", "November 20, 2026, 11:30 PM UTC"),
        ("Asia/Tokyo", "ja", "2026年11月21日 8:30 UTC+9"),
        ("Asia/Shanghai", "zh", "2026年11月21日 07:30 UTC+8"),
        ("Europe/Madrid", "es", "21 de noviembre de 2026, 0:30 UTC+1"),
        ("Europe/Berlin", "de", "21. November 2026, 00:30 UTC+1"),
        ("Asia/Tokyo", "en", "November 21, 2026, 8:30 AM UTC+9"),
        ("America/New_York", "en_GB", "20 November 2026, 18:30 UTC-5"),
        ("Asia/Kolkata", "en_GB", "21 November 2026, 05:00 UTC+5:30"),
        ("America/St_Johns", "en_GB", "20 November 2026, 20:00 UTC-3:30"),
    ],
)
def test_a_moment_has_the_sellers_date_and_says_its_offset(zone: str, locale: str, shown: str) -> None:
    assert plain(moment_text(HALF_PAST_ELEVEN, zone, Locale.parse(locale))) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Zoë Ångström, Łódź", "Zoë Ångström, Łódź"),
        ("Αθήνα Москва", "Αθήνα Москва"),
        ("Zoe\u0308", "Zoë"),
        ("a\u00a0b\u202fc \u2019\u2212€£¥₹", "a\u00a0b\u202fc \u2019\u2212€£¥₹"),
        ("one\r\ntwo\tthree", "one  two three"),
        ("한국어", REPLACEMENT * 3),
        ("evil\u202egnp.exe\u2066x\u2069", "evilgnp.exex"),
        ("bell\x07 soft\u00adhyphen", "bell softhyphen"),
        ("\u2764\ufe0f\U0001f600", REPLACEMENT * 2),
        ("山田 太郎 王小明", "山田 太郎 王小明"),
        ("نور\u061c الخطيب", "نور\u061c الخطيب"),
    ],
)
def test_text_keeps_what_the_fonts_can_draw_and_shows_what_they_cannot(text: str, shown: str) -> None:
    assert printable(text) == shown
