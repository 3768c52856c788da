"""Mails composed from notices: every kind in every language, escaped, one line of subject, preferences respected."""

from typing import Any

import pytest
from sqlmodel import select

from api.mails.compose import compose, write_notice
from api.mails.letters import LETTERS
from engine.flows.alerts import change_alerts
from engine.rules.preferences import PREFERENCE_OF
from engine.store import outbox
from engine.store.database import Database, reading, transact
from engine.store.tables import AccountRow, MailRow
from tests.engine.support import DAY_0, FakeClock
from tests.flows.world import ACCOUNT, World, open_world

FACTS: dict[str, dict[str, object]] = {
    "lowBalance": {"balanceAfter": "500", "thresholdCredits": "1200"},
    "depleted": {"balanceAfter": "0"},
    "dailyLimitReached": {"limitCredits": "5000", "spentCredits": "4900"},
    "paymentConfirmed": {
        "amountMinor": 2_500,
        "currency": "USD",
        "credits": "2500",
        "number": "AC2026-0000001",
        "purchaseId": "pay_1",
        "originalNumber": None,
    },
    "refundDone": {"amountMinor": 2_500, "currency": "USD", "number": "AC-2", "originalNumber": "AC-1"},
    "refundFailed": {"amountMinor": 2_500, "currency": "USD", "number": "AC-3", "originalNumber": "AC-2"},
    "creditsExpiring": {"lots": [{"expiresAt": "2026-11-09T09:30:00Z", "bucket": "limited_time", "credits": "40"}]},
    "rolloverClipped": {"clippedCredits": "2000", "periodEnd": "2026-12-02T09:30:00Z"},
    "unusualActivity": {"day": "2026-11-02", "spentCredits": "900", "averageCredits": "100"},
    "dailySummary": {
        "from": "2026-11-01",
        "to": "2026-11-01",
        "spentCredits": "70",
        "callCount": 1_234,
        "balanceAfter": "5",
    },
    "autoRechargeFailed": {"amountMinor": 1_000, "currency": "USD", "reason": "card_declined"},
    "autoRechargeConfirm": {"link": "https://pay.example/confirm"},
    "subscriptionChanged": {"plan": "Pro", "pendingPlan": "base", "periodEnd": "2026-12-02T09:30:00Z"},
    "autoRechargeOff": {"reason": "declined"},
}
QUESTIONS = {
    "en": "Questions?",
    "de": "Fragen?",
    "fr": "Des questions ?",
    "es": "¿Tiene preguntas?",
    "ja": "ご質問は",
    "zh": "如有疑问",
    "ar": "هل لديك أسئلة؟",
}
"""How each language begins its last line."""

FACTS["weeklySummary"] = FACTS["dailySummary"] | {"from": "2026-10-26"}


@pytest.fixture
def world(sqlite: Database, clock: FakeClock) -> Any:
    opened = open_world(sqlite, clock, "alphio", "pro")
    yield opened
    opened.close()


def account(**changes: object) -> AccountRow:
    fields: dict[str, Any] = {"account_id": ACCOUNT, "email": "mira@customer.example", "name": "Mira", "locale": "en"}
    return AccountRow(**(fields | {"anchor_at": DAY_0, "created_at": DAY_0} | changes))


@pytest.mark.parametrize("locale", QUESTIONS)
@pytest.mark.parametrize("notice", LETTERS)
def test_every_notice_has_a_mail_in_every_language(world: World, notice: str, locale: str) -> None:
    mail = compose(world.runtime, account(locale=locale), notice, FACTS.get(notice, {}))
    assert mail.subject.startswith(f"{world.runtime.catalog.name}: ") and "%(" not in mail.subject + mail.text
    assert "Mira" in mail.text and f'<html lang="{locale}" dir="{"rtl" if locale == "ar" else "ltr"}">' in mail.html
    assert "None" not in mail.text
    settings = "https://purser.example/account/settings"
    assert (settings in mail.html) == (PREFERENCE_OF[notice] is not None or notice == "dailyLimitReached")
    assert QUESTIONS[locale] in mail.text
    assert "<p></p>" not in mail.html and "http" in mail.html and "<script" not in mail.html


def test_every_notice_of_the_rules_has_a_letter() -> None:
    assert set(LETTERS) == set(PREFERENCE_OF)


def test_numbers_and_money_are_written_as_the_language_does(world: World) -> None:
    german = compose(world.runtime, account(locale="de"), "dailySummary", FACTS["dailySummary"])
    assert "Aufrufe: 1.234" in german.text and "1. November 2026" in german.subject
    paid = compose(world.runtime, account(locale="de"), "paymentConfirmed", FACTS["paymentConfirmed"])
    assert "25,00\u00a0USD" in paid.subject and "2.500\u00a0" in paid.text and "AC2026-0000001" in paid.text
    english = compose(world.runtime, account(), "creditsExpiring", FACTS["creditsExpiring"])
    assert "Limited-time credits: 40\u00a0credits, until November 9, 2026" in english.text


@pytest.mark.parametrize(
    ("locale", "number", "day"),
    [
        ("en", "2,000", "December 2, 2026"),
        ("de", "2.000", "2. Dezember 2026"),
        ("fr", "2\u202f000", "2 décembre 2026"),
        ("es", "2.000", "2 de diciembre de 2026"),
        ("ja", "2,000", "2026年12月2日"),
        ("zh", "2,000", "2026年12月2日"),
        ("ar", "2,000", "2 ديسمبر 2026"),
    ],
)
def test_a_cap_that_clips_is_told_with_its_credits_and_day(world: World, locale: str, number: str, day: str) -> None:
    mail = compose(world.runtime, account(locale=locale), "rolloverClipped", FACTS["rolloverClipped"])
    for form in (mail.text, mail.html):
        assert number in form and day in form


def test_a_plan_that_changes_later_is_told_with_its_day_and_name(world: World) -> None:
    later = compose(world.runtime, account(), "subscriptionChanged", FACTS["subscriptionChanged"])
    assert "Plan: Pro\nUntil: December 2, 2026" in later.text and "Then: Base\n" in later.text
    now = compose(world.runtime, account(), "subscriptionChanged", {"plan": "Base", "pendingPlan": "", "periodEnd": ""})
    assert "This is your plan now." in now.text and "Then:" not in now.text and "Until:" not in now.text


def test_a_reason_is_said_in_words_and_one_unknown_left_out(world: World) -> None:
    said = compose(world.runtime, account(locale="fr"), "autoRechargeOff", {"reason": "card_removed"})
    assert "Motif\u00a0: La carte a été supprimée." in said.text
    other = compose(world.runtime, account(), "autoRechargeOff", {"reason": "code_17"})
    assert "code_17" not in other.text and "Reason" not in other.text


def test_where_the_catalogue_shows_dollars_mails_do(sqlite: Database, clock: FakeClock) -> None:
    world = open_world(sqlite, clock, "ecolink")
    mail = compose(world.runtime, account(), "lowBalance", {"balanceAfter": "500000", "thresholdCredits": "5000000"})
    world.close()
    assert "Your balance is USD\u00a00.50. You asked to be told when it falls to USD\u00a05.00." in mail.text


def test_a_name_brings_no_markup_and_no_header(world: World) -> None:
    name = '<img src=x onerror=alert(1)> & "Co"\r\nBcc: all@evil.example\u202e'
    mail = compose(world.runtime, account(name=name), "subscriptionChanged", {"plan": "<b>pro</b>\r\nX: y"})
    assert "<img" not in mail.html and "&lt;img src=x onerror=alert(1)&gt; &amp;" in mail.html
    assert "<b>pro" not in mail.html and "&lt;b&gt;pro" in mail.html
    assert "\nBcc:" not in mail.text and "\u202e" not in mail.text
    assert all(c.isprintable() or c == "\u00a0" for c in mail.subject)


def test_a_link_that_is_no_web_address_is_not_followed(world: World) -> None:
    for link in ("javascript:alert(1)", "http://evil.example/", "https.evil", ""):
        mail = compose(world.runtime, account(), "autoRechargeConfirm", {"link": link})
        assert "javascript" not in mail.html and "evil" not in mail.html
    mail = compose(world.runtime, account(), "autoRechargeConfirm", {"link": "https://pay.example/c?a=1&b=2"})
    assert 'href="https://pay.example/c?a=1&amp;b=2"' in mail.html


def mails(world: World) -> list[MailRow]:
    with reading(world.db) as session:
        return list(session.exec(select(MailRow).order_by(MailRow.kind)).all())


def tell(world: World, notice: str) -> None:
    facts: dict[str, object] = {"notice": notice, **FACTS.get(notice, {})}
    transact(world.db, lambda session: outbox.enqueue(session, ACCOUNT, "notice", facts, world.clock.now()))
    world.jobs.run_due()


def test_a_preference_switches_its_mails_off_and_no_other(world: World) -> None:
    off = {name: False for name in PREFERENCE_OF.values() if name is not None}
    change_alerts(world.runtime, ACCOUNT, "keep", off)
    for notice in LETTERS:
        tell(world, notice)
    assert {mail.kind for mail in mails(world)} == {name for name, switch in PREFERENCE_OF.items() if switch is None}
    change_alerts(world.runtime, ACCOUNT, "keep", {"low_balance": True})
    tell(world, "lowBalance")
    assert "lowBalance" in {mail.kind for mail in mails(world)}


def test_a_notice_that_is_done_twice_is_one_mail(world: World) -> None:
    payload = {"notice": "depleted", "outboxId": "out_1", "balanceAfter": "0"}
    for _ in range(2):
        write_notice(world.runtime, ACCOUNT, payload)
    [mail] = mails(world)
    assert (mail.mail_id, mail.recipient, mail.sent_at) == ("mail_1", "mira@customer.example", None)


def test_an_account_without_an_address_gets_none(world: World) -> None:
    def forget(session: Any) -> None:
        session.get(AccountRow, ACCOUNT).email = None

    transact(world.db, forget)
    tell(world, "depleted")
    assert mails(world) == []
