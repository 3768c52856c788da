"""What a customer paid or tried to pay."""

from typing import Any

from api.body import Body, PageQuery
from api.instants import instant, instant_or_none
from api.scope import Answer, Call, Resource
from api.transactions import Pagination
from engine.rules.errors import NotFound
from engine.rules.money import Money, major_text
from engine.runtime import Runtime
from engine.store import documents, purchases
from engine.store.database import reading
from engine.store.tables import AccountRow, PurchaseRow

PAYMENT_STATUS = {
    "created": "pending",
    "open": "pending",
    "processing": "pending",
    "paid": "completed",
    "failed": "failed",
    "expired": "expired",
    "cancelled": "failed",
    "refunded": "refunded",
    "partially_refunded": "partially_refunded",
    "unclaimed": "review",
    "quarantined": "review",
}
"""A purchase's state as the payments list calls it; `disputed` stands before all of them while the flag is set."""


class Payment(Body, frozen=True, kw_only=True):
    id: str
    amount_usd: str | None
    amount_minor: int
    currency: str
    credits_granted: str
    status: str
    provider: str
    receipt_url: str | None
    provider_reference: str | None
    created_at: str
    completed_at: str | None


class Payments(Body, frozen=True, kw_only=True):
    payments: tuple[Payment, ...]
    pagination: Pagination


def list_payments(call: Call[PageQuery]) -> Answer:
    """What a customer paid or tried to pay, newest first."""
    ask = call.ask
    with reading(call.runtime.db) as session:
        if session.get(AccountRow, call.account_id) is None:
            raise NotFound("account")
        rows, total = purchases.list_purchases(session, call.account_id, ask.page, ask.limit)
        pdfs = documents.receipt_ids(session, call.account_id, [row.purchase_id for row in rows])
    is_named = "account_id" in call.path
    payments = tuple(payment(call.runtime, row, pdfs.get(row.purchase_id), is_named=is_named) for row in rows)
    return Answer(Payments(payments=payments, pagination=Pagination(page=ask.page, limit=ask.limit, total=total)))


def payment(runtime: Runtime, row: PurchaseRow, receipt_id: str | None, *, is_named: bool = False) -> Payment:
    """One purchase in the contract's words; the receipt is the provider's own, else our PDF.

    Our PDF is at the address where whoever asked may fetch it: under the account's name, or under their own.
    """
    under = f"accounts/{row.account_id}" if is_named else "billing"
    own = f"{runtime.base_url}/v1/{under}/receipts/{receipt_id}.pdf" if receipt_id else None
    return Payment(
        id=row.purchase_id,
        amount_usd=usd(Money(row.amount_minor, row.currency)),
        amount_minor=row.amount_minor,
        currency=row.currency,
        credits_granted=str(row.base_credits + row.bonus_credits if row.landed_at else 0),
        status="disputed" if row.is_disputed else PAYMENT_STATUS[row.status],
        provider=row.provider,
        receipt_url=row.receipt_url or own,
        provider_reference=row.provider_reference,
        created_at=instant(row.created_at),
        completed_at=instant_or_none(row.landed_at),
    )


def usd(amount: Money) -> str | None:
    """`"25.00"` where the currency is US dollars."""
    return major_text(amount) if amount.currency == "USD" else None


RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="GET",
        path="payments",
        may="read",
        handler=list_payments,
        asks=PageQuery,
        answers=Payments,
        refuses=(NotFound,),
        summary="List payments.",
    ),
)
