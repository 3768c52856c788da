"""Tongues: the language a page speaks, its words from the catalogues under `locales/`, English being the source.

`make page-locales` takes up new phrases; then translate what is empty (tests/browser/test_tongues.py names it).
"""

import re
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cache, lru_cache
from io import BytesIO
from pathlib import Path
from typing import Literal

from babel.core import Locale, UnknownLocaleError
from babel.dates import format_date, format_skeleton
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations

LOCALES = Path(__file__).parent / "locales"
DOMAIN = "pages"
SOURCE = "en"
_TAG = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8}){0,3}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Tongue:
    """How a page speaks: its words, how numbers and dates are written, and in which direction it runs.

    Digits are the ones of ASCII everywhere, so that amounts can be copied from a page into its fields.
    """

    tag: str = SOURCE
    direction: Literal["ltr", "rtl"] = "ltr"
    group: str = ","
    decimal: str = "."
    is_money_first: bool = True
    locale: Locale = field(default_factory=lambda: Locale(SOURCE))
    phrases: NullTranslations = field(default_factory=NullTranslations)

    def say(self, text: str, **values: object) -> str:
        """The phrase in this language, its values filled in."""
        found = str(self.phrases.gettext(text))
        return found % values if values else found

    def number(self, count: int) -> str:
        return f"{count:,}".replace(",", self.group)

    def in_currency(self, text: str, currency: str) -> str:
        """A number as money: `$25.00` or, as the language has it, `25,00 $`; other currencies by their code."""
        if currency != "USD":
            return f"{text}\u00a0{currency}" if not self.is_money_first else f"{text} {currency}"
        return f"${text}" if self.is_money_first else f"{text}\u00a0$"

    def day(self, at: date) -> str:
        if self.tag == SOURCE:
            return format_date(at, "d MMM y", locale=self.locale)
        return format_date(at, "medium", locale=self.locale)

    def month(self, at: datetime) -> str:
        """`"November 2026"`."""
        return format_skeleton("yMMMM", at, locale=self.locale)


ENGLISH = Tongue()


@lru_cache(maxsize=256)
def tongue_of(tag: str) -> Tongue:
    """The language for a tag such as `de`, `de-AT` or `pt_BR`: its base language's words, else English."""
    if not _TAG.fullmatch(tag):
        return ENGLISH
    language = re.split("[-_]", tag)[0].lower()
    return ENGLISH if language == SOURCE else _tongue(language) or ENGLISH


def languages() -> tuple[str, ...]:
    """Every language that pages speak, the source first."""
    found = sorted(path.parent.parent.name for path in LOCALES.glob(f"*/LC_MESSAGES/{DOMAIN}.po"))
    return (SOURCE, *found)


@cache
def _tongue(language: str) -> Tongue | None:
    path = LOCALES / language / "LC_MESSAGES" / f"{DOMAIN}.po"
    if not path.is_file():
        return None
    try:
        locale = Locale.parse(language)
    except (UnknownLocaleError, ValueError):
        return None
    compiled = BytesIO()
    with path.open("rb") as source:
        write_mo(compiled, read_po(source, locale=language))
    compiled.seek(0)
    symbols = locale.number_symbols["latn"]
    return Tongue(
        tag=language,
        direction="rtl" if locale.text_direction == "rtl" else "ltr",
        group=symbols["group"],
        decimal=symbols["decimal"],
        is_money_first=str(locale.currency_formats["standard"].pattern).startswith("¤"),
        locale=locale,
        phrases=Translations(compiled),
    )
