"""Sending mails: what the outbox says is to be sent leaves by SMTP, or stays in the mailbox where there is none."""

import smtplib
import ssl
from collections.abc import Callable
from email.message import EmailMessage
from urllib.parse import unquote, urlsplit

from sqlmodel import Session

from engine.runtime import Runtime
from engine.store.database import reading, transact
from engine.store.documents import get_document
from engine.store.tables import MailRow

TIMEOUT_SECONDS = 20


def mail_sender(smtp_url: str | None) -> Callable[[Runtime, str, dict[str, str]], None]:
    """The outbox handler for kind `mail`. Without an SMTP URL a mail counts as sent once it is in the mailbox."""

    def send(runtime: Runtime, account_id: str, payload: dict[str, str]) -> None:
        with reading(runtime.db) as session:
            mail = session.get(MailRow, (account_id, payload["mailId"]))
        assert mail is not None
        if mail.sent_at is not None:
            return
        if smtp_url is not None:
            _send(smtp_url, runtime.catalog.seller.email, mail, attached_document(runtime, mail))
        transact(runtime.db, lambda session: _mark_sent(session, runtime, account_id, mail.mail_id))

    return send


def _mark_sent(session: Session, runtime: Runtime, account_id: str, mail_id: str) -> None:
    row = session.get(MailRow, (account_id, mail_id))
    assert row is not None
    row.sent_at = runtime.clock.now()
    session.add(row)


def attached_document(runtime: Runtime, mail: MailRow) -> tuple[str, bytes] | None:
    """File name and PDF of the document that goes with a mail."""
    if mail.document_id is None:
        return None
    with reading(runtime.db) as session:
        row = get_document(session, mail.account_id, mail.document_id)
    assert row is not None and row.pdf is not None, "the PDF is kept before its mail is written"
    return f"{row.number}.pdf", bytes(row.pdf)


def _send(smtp_url: str, sender: str, mail: MailRow, attached: tuple[str, bytes] | None) -> None:
    """`smtp://user:password@host:587` (STARTTLS where offered) or `smtps://…` (TLS from the start)."""
    parts = urlsplit(smtp_url)
    host = parts.hostname or "localhost"
    message = EmailMessage()
    message["From"] = sender
    message["To"] = mail.recipient
    message["Subject"] = mail.subject
    message["Message-ID"] = f"<{mail.mail_id}@{sender.partition('@')[2]}>"
    message.set_content(mail.text)
    if attached is not None:
        name, pdf = attached
        message.add_attachment(pdf, maintype="application", subtype="pdf", filename=name)
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
