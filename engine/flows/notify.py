"""What customers are told by mail: written in the transaction that it tells of, sent afterwards."""

from datetime import datetime
from typing import Literal

from sqlmodel import Session

from engine.clock import new_id
from engine.rules.descriptions import money_label
from engine.rules.money import Money
from engine.runtime import Runtime
from engine.store import outbox
from engine.store.tables import AccountRow, DocumentRow, MailRow, PurchaseRow

MailKind = Literal["paymentConfirmed", "refunds"]


def write_mail(
    session: Session,
    runtime: Runtime,
    account: AccountRow,
    kind: MailKind,
    *,
    purchase: PurchaseRow,
    document: DocumentRow,
    now: datetime,
) -> None:
    """Write one mail and the outbox row that sends it; an account without an address gets none."""
    if not account.email:
        return
    subject, text = _words(runtime, kind, account, purchase, document)
    mail = MailRow(
        account_id=account.account_id,
        mail_id=new_id("mail", now),
        kind=kind,
        recipient=account.email,
        subject=subject,
        text=text,
        created_at=now,
    )
    session.add(mail)
    outbox.enqueue(session, account.account_id, "mail", {"mailId": mail.mail_id}, now)


def _words(
    runtime: Runtime, kind: MailKind, account: AccountRow, purchase: PurchaseRow, document: DocumentRow
) -> tuple[str, str]:
    catalog = runtime.catalog
    amount = money_label(Money(document.amount_minor, document.currency))
    credits = purchase.base_credits + purchase.bonus_credits
    greeting = f"Hello {account.name}," if account.name else "Hello,"
    link = f"{runtime.base_url}/account/billing"
    if kind == "paymentConfirmed":
        subject = f"{catalog.name}: payment of {amount} received"
        told = f"We received your payment of {amount}. {credits:,} {catalog.unit.plural} are in your wallet."
        paper = f"Receipt {document.number}"
    else:
        subject = f"{catalog.name}: {amount} refunded"
        told = f"We refunded {amount} to your original payment method. The credits of that purchase were taken back."
        paper = f"Credit note {document.number} for receipt {document.original_number}"
    lines = (
        greeting,
        "",
        told,
        "",
        f"{paper}: {link}",
        f"Order: {purchase.purchase_id}",
        "",
        f"Questions? Write to {catalog.seller.email} and name the order.",
    )
    return subject, "\n".join(lines) + "\n"
