"""Sending mails: what the outbox says is to be sent leaves by SMTP, or stays in the mailbox where there is none.

A mail has one Message-ID whatever becomes of it, so one that is sent again after a crash is the same mail to whoever
gets it. What a server refuses for good, and what no server took in three days, is noted on the mail and left.
"""

import smtplib
import ssl
from collections.abc import Callable
from datetime import timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlmodel import Session

from api.mails.compose import settings_url
from engine.jobs import TryLater
from engine.rules.preferences import PREFERENCE_OF
from engine.runtime import Runtime
from engine.store.database import reading, transact
from engine.store.documents import get_document
from engine.store.tables import MailRow

TIMEOUT_SECONDS = 20
TRIED_FOR = timedelta(days=3)


def mail_sender(smtp_url: str | None) -> Callable[[Runtime, str, dict[str, Any]], None]:
    """The outbox handler for kind `mail`. Without an SMTP URL a mail counts as sent once it is in the mailbox."""

    def send(runtime: Runtime, account_id: str, payload: dict[str, Any]) -> None:
        with reading(runtime.db) as session:
            mail = session.get(MailRow, (account_id, payload["mailId"]))
        assert mail is not None
        if mail.sent_at is not None or mail.problem is not None:
            return
        problem = None
        if smtp_url is not None:
            try:
                _send(smtp_url, message_of(runtime, mail))
            except (smtplib.SMTPException, OSError) as error:
                is_late = runtime.clock.now() - mail.created_at >= TRIED_FOR
                if not (is_late or is_for_good(error)):
                    raise TryLater(f"{type(error).__name__}: {error}") from error
                problem = f"{type(error).__name__}: {error}"[:500]
        transact(runtime.db, lambda session: _mark(session, runtime, account_id, mail.mail_id, problem))

    return send


def is_for_good(error: Exception) -> bool:
    """Whether trying again is no use: the recipient or the mail itself was refused with a 5xx.

    A refused sender or log-in is the operator's to mend, so it is tried again.
    """
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return all(500 <= code < 600 for code, _ in error.recipients.values())
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return True
    return isinstance(error, smtplib.SMTPDataError) and 500 <= error.smtp_code < 600


def attached_document(runtime: Runtime, mail: MailRow) -> tuple[str, bytes] | None:
    """File name and PDF of the document that goes with a mail."""
    if mail.document_id is None:
        return None
    with reading(runtime.db) as session:
        row = get_document(session, mail.account_id, mail.document_id)
    assert row is not None and row.pdf is not None, "the PDF is kept before its mail is written"
    return f"{row.number}.pdf", bytes(row.pdf)


def message_of(runtime: Runtime, mail: MailRow) -> EmailMessage:
    """The mail as it is sent: text, and HTML where there is one; a mail that one may refuse says where."""
    sender = runtime.catalog.seller.email
    message = EmailMessage()
    message["From"] = sender
    message["To"] = mail.recipient
    message["Subject"] = mail.subject
    message["Date"] = format_datetime(mail.created_at)
    message["Message-ID"] = f"<{mail.mail_id}@{sender.partition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    if PREFERENCE_OF.get(mail.kind) is not None:
        message["List-Unsubscribe"] = f"<{settings_url(runtime)}>"
    message.set_content(mail.text)
    if mail.html is not None:
        message.add_alternative(mail.html, subtype="html")
    attached = attached_document(runtime, mail)
    if attached is not None:
        name, pdf = attached
        message.add_attachment(pdf, maintype="application", subtype="pdf", filename=name)
    return message


def _mark(session: Session, runtime: Runtime, account_id: str, mail_id: str, problem: str | None) -> None:
    row = session.get(MailRow, (account_id, mail_id))
    assert row is not None
    row.problem = problem
    row.sent_at = runtime.clock.now() if problem is None else None
    session.add(row)


def _send(smtp_url: str, message: EmailMessage) -> None:
    """`smtp://user:password@host:587` (STARTTLS where offered) or `smtps://…` (TLS from the start)."""
    parts = urlsplit(smtp_url)
    host = parts.hostname or "localhost"
    context = ssl.create_default_context()
    if parts.scheme == "smtps":
        server: smtplib.SMTP = smtplib.SMTP_SSL(host, parts.port or 465, timeout=TIMEOUT_SECONDS, context=context)
    else:
        server = smtplib.SMTP(host, parts.port or 25, timeout=TIMEOUT_SECONDS)
    with server:
        if parts.scheme == "smtp" and server.has_extn("starttls"):
            server.starttls(context=context)
        if parts.username:
            server.login(unquote(parts.username), unquote(parts.password or ""))
        server.send_message(message)
