"""Phrases: everything that customer pages say, gathered from templates, code and tables of words for translation.

`python -m api.pages.phrases` writes what is new into every catalogue under `locales/`, empty where it must be
translated; phrases that nobody says any more are dropped.
"""

from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.pofile import read_po, write_po

from api.pages import billing, recharging, settings, subscribing, words
from api.pages.amounts import COUPON_REFUSALS
from api.pages.tongues import DOMAIN, LOCALES
from engine.rules.catalog import Catalog as Prices
from engine.rules.lots import BUCKET_NAMES
from engine.rules.plans import Plan

HERE = Path(__file__).parent
TEMPLATES = HERE.parent / "templates"
KEYWORDS = {"_": None, "gettext": None, "ngettext": (1, 2), "say": None, "Invalid": (2,), "MalformedAmount": None}
_OPTIONS = {"trim_blocks": "true", "lstrip_blocks": "true", "silent": "false"}
_STAFF = ("desk", "sign_in", "staff")

Phrase = str | tuple[str, str]

REFUSALS = (
    *COUPON_REFUSALS,
    "The coupon adds credits to a top-up: use it there.",
    "With this coupon the wallet would hold more than a wallet can.",
    "A checkout with this coupon is still open: pay it, or use the coupon again once it has ended.",
    "A commit plan has a bonus of its own: it takes no coupon.",
    "This account has no such saved card.",
    "Auto-recharge can't be on without it.",
    "This is no IANA time zone, such as Europe/Berlin.",
    "The payment provider does not answer; try again with the same key.",
    "The payment provider declined the change; nothing was charged.",
    "The account has this plan already.",
    "A payment of this subscription is overdue: a higher plan can be had once it is paid.",
    "A checkout was paid a moment ago; look at the subscription before it is changed.",
    "No payment provider is offered for this country.",
    "No payment provider that sells subscriptions is configured.",
    "No payment provider that sells subscriptions is offered for this country.",
    "The amount is below the least that can be bought at once.",
    "The amount is above the most that can be bought at once.",
    "This plan does not include top-ups.",
    "The wallet is suspended.",
    "The wallet is closed.",
    "Too many requests; try again later.",
    "Too many keys or tokens that are not valid here; try again later.",
    "The quote has ended: ask for a new one.",
    "There is no such page.",
    "An invoice needs a company's name, billing address and country in the profile.",
    "A credit note is not replaced: name the receipt or invoice.",
    "The merchant of record sold this and issues the invoice.",
    "This seller issues no invoices for such a sale.",
    "Everything on this document was refunded: nothing is left to invoice.",
    "Invalid request",
    "Not found",
    "Not allowed",
    "Wallet not active",
)
"""What the rules say when they refuse a customer, as far as it never varies."""


def phrases(catalogs: Iterable[Prices] = ()) -> set[Phrase]:
    """Every phrase; a pair is a singular and its plural. Plans' features and units come from these catalogues."""
    found: set[Phrase] = set(_tables())
    for path in sorted(TEMPLATES.rglob("*.html")):
        if path.parent.name in ("pages", "templates") and not path.name.startswith(_STAFF):
            found.update(_read(path, "jinja2.ext:babel_extract"))
    for path in sorted(HERE.glob("*.py")):
        if path.name.startswith(_STAFF):
            continue
        found.update(_read(path, "python"))
    for catalog in catalogs:
        found.add((catalog.unit.singular, catalog.unit.plural))
        found.update(words.feature_name(name) for plan in catalog.plans for name in _features(plan))
    return found


def take_up(catalogs: Iterable[Prices]) -> None:
    """Write every catalogue anew: its translations kept, new phrases empty."""
    wanted = sorted(phrases(catalogs), key=str)
    for path in sorted(LOCALES.glob(f"*/LC_MESSAGES/{DOMAIN}.po")):
        with path.open("rb") as source:
            old = read_po(source, locale=path.parent.parent.name)
        new = Catalog(locale=old.locale, charset="utf-8", fuzzy=False, header_comment="")
        for phrase in wanted:
            before = old.get(phrase if isinstance(phrase, str) else phrase[0])
            new.add(phrase, before.string if before is not None else None)
        written = BytesIO()
        write_po(written, new, width=0, omit_header=False)
        path.write_bytes(written.getvalue())


def _tables() -> Iterator[str]:
    yield from words.TYPE_NAMES.values()
    yield from words.SOURCE_NAMES.values()
    yield from words.DOCUMENT_NAMES.values()
    yield from BUCKET_NAMES.values()
    yield from (name for name, _ in (*words.STATUS_NAMES.values(), *subscribing.STATUS_NAMES.values()))
    for table in (settings.DONE, settings.MAILS, billing.DONE, recharging.REASONS, subscribing.DONE):
        yield from table.values()
    yield from ("Subscription", *REFUSALS)


def _features(plan: Plan) -> Iterator[str]:
    return (name for name in plan.entitlements if name != "custom_credits")


def _read(path: Path, method: str) -> Iterator[Phrase]:
    with path.open("rb") as source:
        for _, message, _, _ in extract(method, source, keywords=KEYWORDS, options=_OPTIONS):
            if isinstance(message, tuple):
                yield message[0], message[1]
            elif message:
                yield message


if __name__ == "__main__":
    from engine.catalogs import load_catalog

    take_up([load_catalog(name) for name in ("alphio", "acn", "ecolink")])
