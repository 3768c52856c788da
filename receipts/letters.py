"""Letters: the few lines that go with a document sent again, in its own language."""

from dataclasses import dataclass

from engine.rules.documents import read
from engine.rules.money import Money
from receipts.formats import money_text
from receipts.phrases import language, title_text


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail's subject and text."""

    subject: str
    text: str


def letter(data: bytes, sender: str) -> Letter:
    """What goes with the document of these canonical bytes."""
    document = read(data)
    spoken = language(document.locale)
    title = f"{title_text(spoken, document)} {document.number}"
    amount = money_text(Money(document.total_minor, document.currency), spoken.locale)
    questions = spoken.phrases.gettext("Questions? %(email)s or %(website)s") % {
        "email": document.seller.email,
        "website": document.seller.website,
    }
    return Letter(f"{sender}: {title}", f"{title}\n{amount}\n\n{questions}\n")
