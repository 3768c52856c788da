"""Composing: a notice of the outbox becomes one mail, subject, text and HTML, unless the customer does not want it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlmodel import Session

from api.mails.letters import LETTERS, SETTINGS, Told, gettext
from api.mails.phrases import spoken_in
from engine.rules.documents import UnitName
from engine.rules.preferences import PREFERENCE_OF, is_wanted
from engine.runtime import Runtime
from engine.store import alerts, outbox
from engine.store.database import reading, transact
from engine.store.profiles import read_profile
from engine.store.tables import AccountRow, MailRow

SUBJECT_CHARS_MAX = 150
NAME_CHARS_MAX = 100
_TEMPLATES = Path(__file__).parent.parent / "templates" / "mails"
_FORMS = {
    form: Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=form == "html",
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    for form in ("html", "txt")
}


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail's three parts. The subject is one line without control characters."""

    subject: str
    text: str
    html: str


def write_notice(runtime: Runtime, account_id: str, payload: dict[str, Any]) -> None:
    """The outbox handler for kind `notice`: writes the mail and the row that sends it, once for each notice."""
    notice = str(payload["notice"])
    with reading(runtime.db) as session:
        account = session.get(AccountRow, account_id)
        preferences = alerts.notifications_of(session, account_id)
    if account is None or not account.email or not is_wanted(notice, preferences):
        return
    mail = compose(runtime, account, notice, payload)
    mail_id = "mail_" + str(payload["outboxId"]).partition("_")[2]
    now = runtime.clock.now()

    def write(session: Session) -> None:
        if session.get(MailRow, (account_id, mail_id)) is not None:
            return
        session.add(
            MailRow(
                account_id=account_id,
                mail_id=mail_id,
                kind=notice,
                recipient=account.email or "",
                subject=mail.subject,
                text=mail.text,
                html=mail.html,
                created_at=now,
            )
        )
        outbox.enqueue(session, account_id, "mail", {"mailId": mail_id}, now)

    transact(runtime.db, write)


def compose(runtime: Runtime, account: AccountRow, notice: str, facts: Mapping[str, Any]) -> Mail:
    """The mail of a notice in the account's language."""
    catalog = runtime.catalog
    spoken = spoken_in(account.locale)
    unit = UnitName(
        singular=catalog.unit.singular,
        plural=catalog.unit.plural,
        credits_per_usd=catalog.unit.credits_per_usd,
        shown_as_usd=catalog.unit.display == "usd",
    )
    pending = next((plan.name for plan in catalog.plans if plan.id == facts.get("pendingPlan")), None)
    told = Told(
        {**facts, "pendingPlan": pending}, spoken, unit, read_profile(account).timezone or "UTC", runtime.base_url
    )
    letter = LETTERS[notice](told)
    name = _one_line(account.name or "")[:NAME_CHARS_MAX]
    values = {
        "letter": letter,
        "language": str(spoken.locale).replace("_", "-"),
        "direction": "rtl" if spoken.locale.text_direction == "rtl" else "ltr",
        "colon": spoken.phrases.pgettext("between a label and its value", ": "),
        "sender": catalog.name,
        "greeting": told.say(gettext("Hello %(name)s,"), name=name) if name else told.say(gettext("Hello,")),
        "questions": told.say(gettext("Questions? Write to %(email)s."), email=catalog.seller.email),
        "choice": told.say(gettext("Choose which mails you get:")) if PREFERENCE_OF[notice] is not None else "",
        "settings_url": settings_url(runtime),
    }
    subject = _one_line(f"{catalog.name}: {letter.subject}")[:SUBJECT_CHARS_MAX]
    forms = {form: each.get_template(f"mail.{form}").render(values) for form, each in _FORMS.items()}
    return Mail(subject, forms["txt"], forms["html"])


def settings_url(runtime: Runtime) -> str:
    """Where a customer chooses which mails they get."""
    return f"{runtime.base_url}{SETTINGS}"


def _one_line(text: str) -> str:
    """Text without control and format characters and line breaks, blanks put together."""
    visible = "".join(c if c.isprintable() or c == "\u00a0" else " " for c in text)
    return re.sub(r" +", " ", visible).strip()
