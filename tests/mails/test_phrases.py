"""Every phrase of the mails is in the catalogues, translated in every language, with the same placeholders."""

from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from api.mails.phrases import LOCALES, spoken_in

LANGUAGES = sorted(path.parent.parent.name for path in LOCALES.glob("*/LC_MESSAGES/mails.po"))


def phrases_in_use() -> set[str]:
    found = extract_from_dir(LOCALES.parent, [("**.py", "python")])
    return {str(text) for _, _, text, _, _ in found}


def read_catalogue(path: Path, locale: str | None = None) -> Catalog:
    with path.open("rb") as source:
        return read_po(source, locale=locale)


def phrases_of(catalogue: Catalog) -> set[str]:
    return {str(message.id) for message in catalogue if message.id}


def test_the_template_catalogue_holds_the_phrases_in_use_and_no_other() -> None:
    in_use = phrases_in_use()
    assert {"Your balance is low", "Hello %(name)s,"} <= in_use
    assert phrases_of(read_catalogue(LOCALES / "messages.pot")) == in_use


@pytest.mark.parametrize("name", LANGUAGES)
def test_a_language_leaves_nothing_untranslated_and_keeps_every_placeholder(name: str) -> None:
    catalogue = read_catalogue(LOCALES / name / "LC_MESSAGES" / "mails.po", name)
    assert phrases_of(catalogue) == phrases_in_use()
    for message in catalogue:
        if message.id:
            assert message.string and not message.fuzzy, message.id
            assert list(message.check(catalogue)) == [], message.id


def test_the_seven_languages_are_shipped_and_what_is_not_is_english() -> None:
    assert {"en", *LANGUAGES} == {"ar", "de", "en", "es", "fr", "ja", "zh"}
    assert spoken_in("de-AT").phrases.gettext("Balance") == "Guthaben"
    assert str(spoken_in("de-AT").locale) == "de_AT"
    for tag in ("en-GB", "tlh", "", "../de"):
        assert spoken_in(tag).phrases.gettext("Balance") == "Balance"
    assert spoken_in("tlh").locale.language == "en"
