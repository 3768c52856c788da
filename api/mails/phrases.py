"""Phrases: the words of mails in each language, from the catalogues under `locales/`, English being the source.

`make locales` takes up new phrases; then translate what is empty.
"""

from functools import cache
from io import BytesIO
from pathlib import Path

from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations

from receipts.phrases import SOURCE, Language, language

LOCALES = Path(__file__).parent / "locales"


def spoken_in(tag: str) -> Language:
    """The language of a mail for a tag such as `de-AT`: numbers and dates as there, words in it or in English."""
    found = language(tag)
    words = _catalogue(found.locale.language)
    if words is None:
        return Language(language(SOURCE).locale, NullTranslations()) if found.locale.language != SOURCE else found
    return Language(found.locale, words)


@cache
def _catalogue(name: str) -> Translations | None:
    path = LOCALES / name / "LC_MESSAGES" / "mails.po"
    if not path.is_file():
        return None
    compiled = BytesIO()
    with path.open("rb") as source:
        write_mo(compiled, read_po(source, locale=name))
    compiled.seek(0)
    return Translations(compiled)
