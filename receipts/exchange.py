"""What a document says of the rate at which its tax stands in another currency, or that none was known."""

from babel.dates import format_date

from engine.rules.document_data import Document
from receipts.formats import price_text
from receipts.phrases import Language, tax_text


def exchange_text(spoken: Language, document: Document) -> str:
    """One sentence; nothing where the document states its tax in its own currency alone."""
    national, words = document.national_tax, spoken.phrases
    if national is None:
        return ""
    tax = tax_text(spoken, document.tax_label)
    if national.minor is None or national.since is None:
        text = words.gettext("%(tax)s in %(currency)s is not stated: no rate of exchange was known at issue.")
        return str(text) % {"tax": tax, "currency": national.currency}
    text = words.gettext("Rate of exchange: %(one)s = %(rate)s (%(source)s, %(day)s)")
    return str(text) % {
        "one": price_text("1", document.currency, spoken.locale),
        "rate": price_text(national.rate, national.currency, spoken.locale),
        "source": national.source,
        "day": format_date(national.since, "long", spoken.locale),
    }
