"""Page: a document as one HTML text, every value escaped, reduced to drawable characters and in its language."""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from engine.rules.documents import Document
from engine.rules.lots import Bucket
from engine.rules.money import Money
from engine.rules.quotes import price_per_credit
from receipts.exchange import exchange_text
from receipts.formats import credits_text, moment_text, money_text, percent_text, price_text
from receipts.glyphs import printable
from receipts.phrases import (
    Language,
    bucket_text,
    language,
    line_text,
    mention_text,
    provider_text,
    reason_text,
    tax_id_text,
    tax_text,
    title_text,
)

TEMPLATES = Path(__file__).parent / "templates"
PAGES_MAX = 100
"""More than the longest document that `document_data` allows; what asks for more is refused, not printed."""


@dataclass(frozen=True, slots=True)
class Pot:
    """Credits of one bucket with one end, as the credits block lists them."""

    bucket: Bucket
    expires_at: datetime | None
    credits: int


def page(document: Document) -> str:
    """The document's HTML, from the template version it was issued with."""
    spoken = language(document.locale)
    template = _environment(document.template_version, spoken).get_template("document.html")
    return template.render(
        document=document,
        title=title_text(spoken, document),
        is_invoice="invoice" in (document.kind, document.original_kind),
        mentions=tuple(mention_text(spoken, document, key) for key in document.mentions),
        comma=spoken.phrases.pgettext("between two parts of a fact", ", "),
        language_tag=str(spoken.locale).replace("_", "-"),
        direction=spoken.locale.text_direction,
        country=spoken.locale.territories.get(document.buyer.country, document.buyer.country),
        pots=pots(document),
        provider=provider_text(document.provider),
        reason=reason_text(spoken, document.reason or ""),
        tax_label=tax_text(spoken, document.tax_label),
        tax_id_label=tax_id_text(spoken, document.seller.country),
        exchange=exchange_text(spoken, document),
        net_price=_net_price(document),
        place=_place(document, spoken),
        **_formats(document, spoken),
    )


def _net_price(document: Document) -> str | None:
    """An invoice's price per credit before tax, where the price it was quoted at includes some."""
    if "invoice" not in document.kind or not document.price_per_credit or document.unit.shown_as_usd:
        return None
    if not document.prices_include_tax or not document.tax_minor:
        return None
    return price_per_credit(Money(document.net_minor, document.currency), document.credits_total)


def _place(document: Document, spoken: Language) -> str:
    """The place of supply: the buyer's state and country."""
    country = spoken.locale.territories.get(document.buyer.country, document.buyer.country)
    state = document.place_of_supply
    return country if state in ("", document.buyer.country) else f"{state}, {country}"


def pots(document: Document) -> tuple[Pot, ...]:
    """The document's credits summed by bucket and end, in the order of its lines; none where lines name no bucket."""
    sums: dict[tuple[Bucket, datetime | None], int] = {}
    for line in document.lines:
        if line.bucket is not None:
            key = (line.bucket, line.expires_at)
            sums[key] = sums.get(key, 0) + line.credits
    return tuple(Pot(bucket, ends, credits) for (bucket, ends), credits in sums.items())


def _formats(document: Document, spoken: Language) -> dict[str, Callable[..., str]]:
    """The functions the template calls to write a value down."""
    locale, currency = spoken.locale, document.currency
    return {
        "money": lambda minor: money_text(Money(minor, currency), locale),
        "money_in": lambda minor, other: money_text(Money(minor, other), locale),
        "price": lambda text: price_text(text, currency, locale),
        "credits": lambda count: credits_text(count, document.unit, spoken),
        "percent": lambda text: percent_text(text, locale),
        "moment": lambda instant: moment_text(instant, document.timezone, locale),
        "line_text": lambda line: line_text(spoken, line),
        "bucket_text": lambda bucket: bucket_text(spoken, bucket),
        "w3c": lambda instant: instant.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


@lru_cache(maxsize=32)
def _environment(template_version: int, spoken: Language) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES / str(template_version)),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.install_gettext_translations(spoken.phrases, newstyle=True)  # type: ignore[attr-defined]
    environment.filters["own"] = own_direction(spoken.locale.text_direction)
    return environment


def own_direction(around: str) -> Callable[[object], object]:
    """The filter that keeps text of the other direction together, such as an address in an Arabic document.

    The engine ignores isolation and `dir=auto`; an inline box with a direction of its own is what it honours.
    """

    def own(value: object) -> object:
        if not isinstance(value, str):
            return value
        text = printable(value)
        direction = direction_of(text) or around
        if direction == around:
            return text
        return Markup('<span class="{}">{}</span>').format(direction, escape(text))

    return own


def direction_of(text: str) -> str | None:
    """`ltr` or `rtl` by the first letter that has a direction; `None` where none has."""
    for character in text:
        match unicodedata.bidirectional(character):
            case "L":
                return "ltr"
            case "R" | "AL":
                return "rtl"
    return None


def _finalize(value: object) -> object:
    """What an expression prints: text in drawable characters; phrases are ours and may hold markup."""
    if isinstance(value, Markup):
        return Markup(printable(value))
    return printable(value) if isinstance(value, str) else value
