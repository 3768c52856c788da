"""Every phrase is in the catalogues, translated in every language, with the same placeholders."""

from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po

from receipts.phrases import LOCALES, language, unit_text
from tests.receipts.samples import a_receipt

ROOT = Path(__file__).parents[2]
LANGUAGES = sorted(path.parent.parent.name for path in LOCALES.glob("*/LC_MESSAGES/receipts.po"))


def phrases_in_use() -> set[str | tuple[str, ...]]:
    with (LOCALES / "babel.cfg").open() as mapping:
        methods, options = parse_mapping_cfg(mapping)  # type: ignore[no-untyped-call]
    package = [(pattern.removeprefix("receipts/"), method) for pattern, method in methods]
    shorter = {pattern.removeprefix("receipts/"): option for pattern, option in options.items()}
    found = extract_from_dir(ROOT / "receipts", package, shorter)
    return {tuple(text) if isinstance(text, (list, tuple)) else text for _, _, text, _, _ in found}


def read_catalogue(path: Path, locale: str | None = None) -> Catalog:
    with path.open("rb") as source:
        return read_po(source, locale=locale)


def phrases_of(catalogue: Catalog) -> set[str | tuple[str, ...]]:
    return {tuple(m.id) if isinstance(m.id, (list, tuple)) else m.id for m in catalogue if m.id}


def test_the_template_catalogue_holds_the_phrases_in_use_and_no_other() -> None:
    in_use = phrases_in_use()
    assert {"Receipt", "Credit note", "Recharge credits", ("credit", "credits")} <= in_use
    assert phrases_of(read_catalogue(LOCALES / "messages.pot")) == in_use


@pytest.mark.parametrize("name", LANGUAGES)
def test_a_language_holds_the_phrases_in_use_and_no_other(name: str) -> None:
    assert phrases_of(read_catalogue(LOCALES / name / "LC_MESSAGES" / "receipts.po", name)) == phrases_in_use()


@pytest.mark.parametrize("name", LANGUAGES)
def test_a_language_leaves_nothing_untranslated_and_keeps_every_placeholder(name: str) -> None:
    catalogue = read_catalogue(LOCALES / name / "LC_MESSAGES" / "receipts.po", name)
    for message in catalogue:
        if not message.id:
            continue
        forms = message.string if isinstance(message.string, (list, tuple)) else (message.string,)
        assert all(forms) and len(forms) == (catalogue.num_plurals if message.pluralizable else 1), message.id
        assert not message.fuzzy, message.id
        assert list(message.check(catalogue)) == [], message.id


def test_the_seven_languages_are_shipped() -> None:
    assert {"en", *LANGUAGES} == {"ar", "de", "en", "es", "fr", "ja", "zh"}


@pytest.mark.parametrize(
    ("tag", "locale", "title"),
    [
        ("en", "en", "Receipt"),
        ("en-GB", "en_GB", "Receipt"),
        ("de", "de", "Quittung"),
        ("de-AT", "de_AT", "Quittung"),
        ("de_CH", "de_CH", "Quittung"),
        ("DE", "de", "Quittung"),
        ("de-XX", "de", "Quittung"),
        ("fr-CA", "fr_CA", "Reçu"),
        ("es-MX", "es_MX", "Recibo"),
        ("ja-JP", "ja_JP", "領収書"),
        ("zh-Hans-CN", "zh_Hans_CN", "收据"),
        ("ar-EG", "ar_EG", "إيصال"),
        ("tlh", "en", "Receipt"),
        ("sw", "en", "Receipt"),
        ("", "en", "Receipt"),
        ("../../etc", "en", "Receipt"),
        ("de\n", "en", "Receipt"),
    ],
)
def test_a_locale_falls_back_to_its_language_and_then_to_english(tag: str, locale: str, title: str) -> None:
    spoken = language(tag)
    assert str(spoken.locale) == locale
    assert spoken.phrases.gettext("Receipt") == title


def test_a_word_of_the_catalogue_that_nobody_translated_stands_as_it_is() -> None:
    unit = a_receipt().unit
    assert unit_text(language("de"), unit, 2) == "Credits"
    strange = type(unit)(singular="signal", plural="signals")
    assert unit_text(language("de"), strange, 2) == "signals"
