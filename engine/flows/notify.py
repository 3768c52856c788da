"""What customers are told of their payments: a notice in the transaction that it tells of, made a mail afterwards."""

from datetime import datetime
from typing import Literal

from sqlmodel import Session

from engine.runtime import Runtime
from engine.store import outbox
from engine.store.tables import AccountRow, DocumentRow, PurchaseRow

MailKind = Literal["paymentConfirmed", "refunds", "refundFailed"]
NOTICES: dict[MailKind, str] = {
    "paymentConfirmed": "paymentConfirmed",
    "refunds": "refundDone",
    "refundFailed": "refundFailed",
}


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
    """Write the notice of a payment or a refund with its document; an account without an address gets none."""
    if not account.email:
        return
    facts: dict[str, object] = {
        "notice": NOTICES[kind],
        "amountMinor": document.amount_minor,
        "currency": document.currency,
        "credits": str(purchase.base_credits + purchase.bonus_credits),
        "number": document.number,
        "originalNumber": document.original_number,
        "purchaseId": purchase.purchase_id,
    }
    outbox.enqueue(session, account.account_id, "notice", facts, now)
