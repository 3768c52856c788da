"""Phrases: the words of documents in each language, from the catalogues under `locales/`, English being the source.

`make locales` takes up new phrases; then translate what is empty.
"""

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from io import BytesIO
from pathlib import Path

from babel.core import Locale, UnknownLocaleError
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations

from engine.rules.document_data import Document, Line, MentionKey, UnitName
from engine.rules.fields import PROVIDER_NAMES
from engine.rules.lots import Bucket

LOCALES = Path(__file__).parent / "locales"
SOURCE = "en"

PROPER_NAMES = {"AU": "ABN", "IN": "GSTIN"}
"""Tax numbers that are called the same in every language."""

_TAG = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8}){0,3}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Language:
    """How a document speaks: `locale` forms numbers and dates, `phrases` has the words."""

    locale: Locale
    phrases: NullTranslations


@lru_cache(maxsize=256)
def language(tag: str) -> Language:
    """The language for a tag such as `de`, `de-AT` or `pt_BR`: its own, else the base language, else English."""
    if _TAG.fullmatch(tag):
        parts = tag.replace("-", "_").split("_")
        for name in ("_".join(parts), parts[0].lower()):
            try:
                locale = Locale.parse(name)
            except (UnknownLocaleError, ValueError):
                continue
            if locale.language == SOURCE:
                return Language(locale, NullTranslations())
            found = _phrases(str(locale), locale.language)
            if found is not None:
                return Language(locale, found)
    return Language(Locale(SOURCE), NullTranslations())


def line_text(spoken: Language, line: Line) -> str:
    """What the line is called, its detail and count filled in as they stand."""
    words = spoken.phrases
    match line.key:
        case "top_up":
            return str(words.gettext("Credit top-up"))
        case "auto_recharge":
            return str(words.gettext("Automatic top-up"))
        case "bonus":
            return str(words.gettext("Bonus credits"))
        case "coupon":
            return str(words.gettext("Bonus credits, coupon %(detail)s")) % {"detail": line.detail}
        case "commit":
            months = line.count or 1
            return words.ngettext("Commit plan, %(months)d month", "Commit plan, %(months)d months", months) % {
                "months": months
            }
        case "subscription":
            return str(words.gettext("Subscription %(detail)s")) % {"detail": line.detail}
        case "refund":
            return str(words.gettext("Refund: credits taken back"))
        case "refund_bonus":
            return str(words.gettext("Refund: bonus credits taken back"))
        case "refund_coupon":
            return str(words.gettext("Refund: credits of coupon %(detail)s taken back")) % {"detail": line.detail}
        case "cancellation":
            return str(words.gettext("Cancelled: another document replaces this one"))
        case "given_back":
            return str(words.gettext("Refund failed: credits given back"))
        case "given_back_bonus":
            return str(words.gettext("Refund failed: bonus credits given back"))
        case "given_back_coupon":
            return str(words.gettext("Refund failed: credits of coupon %(detail)s given back")) % {
                "detail": line.detail
            }


def title_text(spoken: Language, document: Document) -> str:
    """What the document calls itself."""
    words = spoken.phrases
    match document.title or document.kind:
        case "receipt":
            return str(words.gettext("Receipt"))
        case "receipt_voucher":
            return str(words.gettext("Receipt voucher"))
        case "simplified_invoice":
            return str(words.gettext("Simplified invoice"))
        case "invoice":
            return str(words.gettext("Invoice"))
        case "tax_invoice":
            return str(words.gettext("Tax invoice"))
        case "qualified_invoice":
            return str(words.gettext("Qualified invoice"))
        case "qualified_simplified_invoice":
            return str(words.gettext("Qualified simplified invoice"))
        case "credit_note" if document.original_kind in ("invoice", "simplified_invoice"):
            return str(words.pgettext("of an invoice", "Credit note"))
        case "credit_note":
            return str(words.gettext("Credit note"))
        case "adjustment_note":
            return str(words.gettext("Adjustment note"))
        case "qualified_return_invoice":
            return str(words.gettext("Qualified return invoice"))
        case "refund_voucher":
            return str(words.gettext("Refund voucher"))
        case "cancellation":
            return str(words.gettext("Cancellation"))
        case "correction" if document.kind in ("invoice", "simplified_invoice"):
            return str(words.pgettext("of an invoice", "Credit note cancelled"))
        case "correction":
            return str(words.gettext("Credit note cancelled"))
        case "payment_confirmation":
            return str(words.gettext("Payment confirmation — not a tax invoice"))
        case "refund_confirmation":
            return str(words.gettext("Refund confirmation — not a tax document"))


def mention_text(spoken: Language, document: Document, key: MentionKey) -> str:
    """A sentence that the law or plain dealing demands."""
    words = spoken.phrases
    match key:
        case "reverse_charge":
            return str(words.gettext("Reverse charge: the recipient of the service owes the VAT."))
        case "no_reverse_charge":
            return str(words.gettext("Tax is not payable on reverse charge."))
        case "not_registered":
            return str(words.gettext("The seller is not registered for VAT: none is charged."))
        case "outside_scope":
            return str(words.gettext("The service is taxed where the recipient is established: no VAT is charged."))
        case "voucher":
            return str(words.gettext("No VAT is shown: it is due when the credits are used."))
        case "not_a_tax_invoice":
            text = words.gettext("%(merchant)s sold this and issues the tax invoice; this page confirms the payment.")
            return str(text) % {"merchant": document.sold_by}
        case "refund_failed":
            return str(words.gettext("The refund failed, so the payment stands: this cancels the credit note."))


def bucket_text(spoken: Language, bucket: Bucket) -> str:
    words = spoken.phrases
    match bucket:
        case "limited_time":
            return str(words.gettext("Limited-time credits"))
        case "monthly":
            return str(words.gettext("Monthly credits"))
        case "recharge":
            return str(words.gettext("Recharge credits"))


def unit_text(spoken: Language, unit: UnitName, count: int) -> str:
    """What `count` credits are called: translated if the catalogue's words are known ones, else as they stand."""
    return spoken.phrases.ngettext(unit.singular, unit.plural, count)


def tax_text(spoken: Language, label: str) -> str:
    """The tax's name: translated if it is a known one, else as the catalogue has it."""
    return str(spoken.phrases.gettext(label)) if label else ""


def tax_id_text(spoken: Language, country: str) -> str:
    """What a seller's tax number is called where it is registered."""
    if country in PROPER_NAMES:
        return PROPER_NAMES[country]
    words = spoken.phrases
    return str(words.gettext("Registration number") if country == "JP" else words.gettext("VAT ID"))


def provider_text(provider: str) -> str:
    return next((shown for name, shown in PROVIDER_NAMES.items() if name == provider), provider)


def reason_text(spoken: Language, reason: str) -> str:
    """Why money went back: translated if the reason is one of our own, else as a person wrote it."""
    return str(spoken.phrases.gettext(reason)) if reason else ""


def known_words(words: NullTranslations) -> tuple[str, ...]:
    """Words of catalogues, and our own reasons, that are translated where they stand on a document: named here to be
    extracted."""
    return (
        words.gettext("Refund"),
        words.gettext("Replaced by an invoice"),
        words.gettext("VAT"),
        words.gettext("Sales tax"),
        words.ngettext("credit", "credits", 1),
    )


@cache
def _phrases(name: str, base_name: str) -> NullTranslations | None:
    """The catalogue of that locale, falling back to its base language's; `None` where neither exists."""
    own, base = _catalogue(name), _catalogue(base_name)
    if own is not None and base is not None and own is not base:
        own.add_fallback(base)
    return own or base


@cache
def _catalogue(name: str) -> Translations | None:
    path = LOCALES / name / "LC_MESSAGES" / "receipts.po"
    if not path.is_file():
        return None
    compiled = BytesIO()
    with path.open("rb") as source:
        write_mo(compiled, read_po(source, locale=name))
    compiled.seek(0)
    return Translations(compiled)
