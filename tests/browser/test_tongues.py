"""Pages speak the account's language: every phrase is translated, numbers and forms follow, right-to-left included."""

import re

import pytest
from babel.messages.pofile import read_po
from playwright.sync_api import Browser, expect

from api.pages.forms import credits_text, parse_credits
from api.pages.phrases import REFUSALS, phrases
from api.pages.tongues import DOMAIN, ENGLISH, LOCALES, languages, tongue_of
from api.pages.words import Words, money
from api.problems import KINDS
from engine.catalogs import load_catalog
from engine.rules.errors import Invalid, RateLimited
from tests.browser.support import Customer, Demo, Window
from tests.test_tidy import PACKAGES, sources

CATALOGS = [load_catalog(name) for name in ("alphio", "acn", "ecolink")]
COMPLETE = ("ar", "de", "es", "fr", "ja", "zh")
_HOLE = re.compile(r"%\(\w+\)[sd]|%%")


@pytest.mark.parametrize("language", COMPLETE)
def test_every_phrase_is_translated_and_keeps_its_places(language: str) -> None:
    with (LOCALES / language / "LC_MESSAGES" / f"{DOMAIN}.po").open("rb") as source:
        known = read_po(source, locale=language)
    problems = []
    for phrase in phrases(CATALOGS):
        plural = phrase if isinstance(phrase, str) else phrase[1]
        found = known.get(phrase if isinstance(phrase, str) else phrase[0])
        texts = () if found is None else (found.string,) if isinstance(found.string, str) else tuple(found.string)
        if not texts or not all(texts) or sorted(_HOLE.findall(texts[-1])) != sorted(_HOLE.findall(plural)):
            problems.append(phrase)
    assert problems == []
    assert len(phrases(CATALOGS)) > 400


def test_the_phrases_named_by_hand_are_ones_that_the_rules_say() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in sources(*PACKAGES) if path.name != "phrases.py")
    titles = {kind.title for kind in KINDS.values()}
    made = {f"The wallet is {status}." for status in ("suspended", "closed")} | {"There is no such page."}
    kinds = ("tries", "requests", "keys or tokens that are not valid here")
    made |= {RateLimited(1, what).detail for what in kinds if f'"{what}"' in code}
    assert [text for text in REFUSALS if text not in code and text not in titles | made] == []


def test_a_tag_finds_its_language_and_an_unknown_one_is_english() -> None:
    assert [tongue_of(tag).tag for tag in ("de", "de-AT", "DE_ch", "en-GB", "xx", "../de", "")] == [
        *["de"] * 3,
        *["en"] * 4,
    ]
    assert languages()[0] == "en" and set(COMPLETE) <= set(languages())


def test_numbers_and_money_are_written_as_the_language_does() -> None:
    german = tongue_of("de")
    words = Words(load_catalog("alphio"), german)
    assert words.amount(37_500) == "37.500 Credits"
    assert words.amount(1) == "1 Credit"
    assert money(125_050, "USD", german) == "1.250,50\u00a0$"
    assert Words(load_catalog("ecolink"), german).amount(12_340_000) == "12,34\u00a0$"


@pytest.mark.parametrize(
    ("tag", "catalog", "text", "credits"),
    [
        ("en", "alphio", "50,000", 50_000),
        ("de", "alphio", "50.000", 50_000),
        ("de", "alphio", " 500 ", 500),
        ("en", "ecolink", "$1,250.5", 1_250_500_000),
        ("de", "ecolink", "1.250,50 $", 1_250_500_000),
        ("en", "ecolink", "0.000001", 1),
        ("en", "alphio", "", None),
    ],
)
def test_credits_are_read_as_the_language_writes_them(tag: str, catalog: str, text: str, credits: int | None) -> None:
    unit, tongue = load_catalog(catalog).unit, tongue_of(tag)
    assert parse_credits(text, unit, tongue, "daily") == credits
    assert parse_credits(credits_text(credits, unit, tongue), unit, tongue, "daily") == credits


@pytest.mark.parametrize("text", ["-5", "5e3", "1.5", "1,00", "٣", "ten", "99999999999999999", ".", "1 2,3"])
def test_what_is_no_count_of_credits_is_refused_at_its_field(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_credits(text, load_catalog("alphio").unit, ENGLISH, "daily")
    assert refused.value.facts["field"] == "daily"


PAGES = ("/top-up-credits?amount=290", "/account/usage", "/account/billing", "/account/subscribe", "/account/settings")


def test_a_german_account_reads_german_pages_and_the_script_speaks_it_too(
    chromium: Browser, demo: Demo, customer: Customer
) -> None:
    demo.call("PUT", f"/v1/accounts/{customer.account_id}/profile", {"locale": "de-DE"})
    window = Window(chromium, demo, viewport={"width": 320, "height": 800})
    page = window.page
    page.goto(customer.link())
    expect(page.get_by_role("heading", level=1)).to_have_text("Aufladen")
    assert page.locator("html").get_attribute("lang") == "de"
    page.get_by_label("Betrag in US-Dollar").fill("290")
    expect(page.locator("#pay button")).to_have_text("290,00\u00a0$ bezahlen")
    expect(page.locator('[data-fact="receive"]')).to_have_text("29.000 Credits")
    expect(page.locator("#upsell")).to_have_text("10\u00a0$ mehr bringen 8.500 zusätzliche Credits")
    shown = page.locator("#upsell").inner_text()
    page.goto("/top-up-credits?amount=290")
    assert page.locator("#upsell").inner_text() == shown
    for path in PAGES:
        page.goto(path)
        assert window.overflow() <= 0, path
    window.close()
    window.check_clean()


@pytest.mark.parametrize(
    ("locale", "title", "paying"),
    [
        ("fr-FR", "Recharger", "Payer 290,00\u00a0$"),
        ("es-MX", "Recargar", "Pagar 290,00\u00a0$"),
        ("ja", "チャージする", "$290.00を支払う"),
        ("zh-CN", "充值", "支付 $290.00"),
    ],
)
def test_every_language_has_its_pages_and_they_fit_on_a_small_screen(
    chromium: Browser, demo: Demo, customer: Customer, locale: str, title: str, paying: str
) -> None:
    demo.call("PUT", f"/v1/accounts/{customer.account_id}/profile", {"locale": locale})
    customer.bought(2_000)
    window = Window(chromium, demo, viewport={"width": 320, "height": 800})
    page = window.page
    page.goto(customer.link())
    expect(page.get_by_role("heading", level=1)).to_have_text(title)
    assert page.locator("html").get_attribute("lang") == locale.partition("-")[0]
    page.goto("/top-up-credits?amount=290")
    expect(page.locator("#pay button")).to_have_text(paying)
    for path in PAGES:
        page.goto(path)
        assert window.overflow() <= 0, path
    window.close()
    window.check_clean()


@pytest.mark.parametrize("width", [320, 1280])
def test_an_arabic_account_reads_its_pages_from_right_to_left(
    chromium: Browser, demo: Demo, customer: Customer, width: int
) -> None:
    demo.call("PUT", f"/v1/accounts/{customer.account_id}/profile", {"locale": "ar"})
    customer.bought(2_000)
    customer.spend(300, f"rtl-{width}")
    window = Window(chromium, demo, viewport={"width": width, "height": 800})
    page = window.page
    page.goto(customer.link())
    assert page.locator("html").get_attribute("dir") == "rtl"
    expect(page.get_by_role("heading", level=1)).to_have_text("شحن الرصيد")
    for path in PAGES:
        page.goto(path)
        assert window.overflow() <= 0, path
        title, brand = page.locator("main h1").bounding_box(), page.locator(".brand").bounding_box()
        assert title is not None and brand is not None
        assert title["x"] + title["width"] > width * 0.85 and brand["x"] > width / 2, path
    page.goto("/top-up-credits")
    page.get_by_label("المبلغ بالدولار الأمريكي").fill("300")
    page.get_by_role("button", name="ادفع").click()
    page.wait_for_url("**/sandbox/checkout/**")
    window.close()
    window.check_clean()
