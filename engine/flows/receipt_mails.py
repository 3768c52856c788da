"""Sending a document again: one mail for each recipient, with the PDF, and no more than so many a day."""

from datetime import datetime, timedelta

from sqlalchemy import func
from sqlmodel import Session, col, select

from engine.clock import new_id
from engine.rules.errors import Invalid, NotFound, RateLimited
from engine.store import books, outbox
from engine.store.tables import AccountRow, DocumentRow, MailRow

KIND = "receiptSent"
MAILS_A_DAY = 50
"""Enough for an accountant's afternoon, too few to mail strangers with."""

DAY = timedelta(days=1)


def send_again(
    session: Session, document: DocumentRow, subject: str, text: str, recipients: tuple[str, ...] | None, now: datetime
) -> tuple[str, ...]:
    """Write the mails; who gets one. Without `recipients` it is the account itself; each address gets one mail."""
    books.lock_wallets(session, [document.account_id], now)
    account = session.get(AccountRow, document.account_id)
    if account is None:
        raise NotFound("account")
    if recipients is None and not account.email:
        raise Invalid("recipients", "The account has no e-mail address: name one.")
    to = tuple(dict.fromkeys(recipients or (account.email or "",)))
    sent = session.exec(
        select(func.count(), func.min(MailRow.created_at)).where(
            MailRow.account_id == document.account_id, MailRow.kind == KIND, col(MailRow.created_at) > now - DAY
        )
    ).one()
    if sent[0] + len(to) > MAILS_A_DAY:
        raise RateLimited(max(1, int((sent[1] + DAY - now).total_seconds())) if sent[1] else int(DAY.total_seconds()))
    for recipient in to:
        mail = MailRow(
            account_id=document.account_id,
            mail_id=new_id("mail", now),
            kind=KIND,
            recipient=recipient,
            subject=subject,
            text=text,
            document_id=document.document_id,
            created_at=now,
        )
        session.add(mail)
        outbox.enqueue(session, document.account_id, "mail", {"mailId": mail.mail_id}, now)
    return to
