"""The support desk over HTTP: find a purchase, reverse it within its window, decide a proposal."""

from typing import Annotated, Any

from msgspec import Meta

from api.body import Body
from api.instants import instant
from api.payments import Payment, payment
from api.scope import Answer, Call, Resource
from engine.flows import refunds
from engine.rules.errors import (
    AlreadyRefunded,
    IdempotencyMismatch,
    Invalid,
    NotFound,
    OwnApproval,
    RefundCreditsTouched,
    RefundNotPossible,
    RefundWindowClosed,
)
from engine.store import documents, purchases, search
from engine.store.database import reading
from engine.store.tables import DocumentRow, ReversalRow, TransactionRow

Reason = Annotated[str, Meta(min_length=1, max_length=500)]


class ReasonBody(Body, frozen=True, kw_only=True):
    reason: Reason


class DecisionBody(Body, frozen=True, kw_only=True):
    reason: Annotated[str, Meta(max_length=500)] = ""


class Reversal(Body, frozen=True, kw_only=True):
    reversal_id: str
    purchase_id: str
    status: str
    credits_taken_back: str
    amount_minor: int
    currency: str
    reason: str
    requested_by: str
    decided_by: str | None
    problem: str | None
    created_at: str
    updated_at: str


class SearchQuery(Body, frozen=True, kw_only=True):
    q: Annotated[str, Meta(min_length=2, max_length=200)]


class FoundAccount(Body, frozen=True, kw_only=True):
    account_id: str
    email: str | None
    name: str | None
    plan: str | None


class FoundPurchase(Body, frozen=True, kw_only=True):
    account_id: str
    purchase: Payment


class FoundTransaction(Body, frozen=True, kw_only=True):
    account_id: str
    transaction_id: str
    type: str
    amount_credits: str
    purchase_id: str | None
    created_at: str


class FoundReceipt(Body, frozen=True, kw_only=True):
    account_id: str
    receipt_id: str
    number: str
    kind: str
    purchase_id: str


class Found(Body, frozen=True, kw_only=True):
    """All that carries that name, with the accounts and purchases behind it."""

    accounts: tuple[FoundAccount, ...]
    purchases: tuple[FoundPurchase, ...]
    transactions: tuple[FoundTransaction, ...]
    receipts: tuple[FoundReceipt, ...]


def reversal(row: ReversalRow) -> Reversal:
    """One reversal in the contract's words. What was taken is given back again when it failed or was rejected."""
    is_back = row.status in ("failed", "rejected")
    return Reversal(
        reversal_id=row.reversal_id,
        purchase_id=row.purchase_id,
        status=row.status,
        credits_taken_back=str(0 if is_back else row.credits),
        amount_minor=row.amount_minor,
        currency=row.currency,
        reason=row.reason,
        requested_by=row.requested_by,
        decided_by=row.decided_by,
        problem=row.problem,
        created_at=instant(row.created_at),
        updated_at=instant(row.updated_at),
    )


def reverse_purchase(call: Call[ReasonBody]) -> Answer:
    """Propose or carry out the 24 hour reversal: credits first; the money follows at once, or after approval."""
    reason = checked_reason(call.ask.reason)
    row, is_replay = refunds.reverse_purchase(call.runtime, call.path["purchase_id"], reason, call.actor, call.key)
    call.runtime.wake_jobs()
    return Answer(reversal(row), is_replay=is_replay)


def checked_reason(text: str) -> str:
    """The reason without blanks around it; `Invalid` if nothing is left."""
    if not text.strip():
        raise Invalid("reason", "A reason is needed: it stands in the audit log.")
    return text.strip()


def get_reversal(call: Call[None]) -> Answer:
    with reading(call.runtime.db) as session:
        row = purchases.find_reversal(session, call.path["reversal_id"])
    if row is None:
        raise NotFound("reversal")
    return Answer(reversal(row))


def approve(call: Call[DecisionBody]) -> Answer:
    return _decide(call, approve=True)


def reject(call: Call[DecisionBody]) -> Answer:
    return _decide(call, approve=False)


def _decide(call: Call[DecisionBody], *, approve: bool) -> Answer:
    row, is_replay = refunds.decide_reversal(
        call.runtime, call.path["reversal_id"], call.actor, approve=approve, reason=call.ask.reason, key=call.key
    )
    call.runtime.wake_jobs()
    return Answer(reversal(row), is_replay=is_replay)


def find(call: Call[SearchQuery]) -> Answer:
    """By order, transaction, the provider's payment or session id, e-mail address, account or receipt number."""
    with reading(call.runtime.db) as session:
        there = search.find(session, call.ask.q.strip())
        found = []
        for row in there.purchases:
            ids = documents.receipt_ids(session, row.account_id, [row.purchase_id])
            shown = payment(call.runtime, row, ids.get(row.purchase_id), is_named=True)
            found.append(FoundPurchase(account_id=row.account_id, purchase=shown))
    return Answer(
        Found(
            accounts=tuple(
                FoundAccount(account_id=row.account_id, email=row.email, name=row.name, plan=row.plan)
                for row in there.accounts
            ),
            purchases=tuple(found),
            transactions=tuple(map(_found_transaction, there.transactions)),
            receipts=tuple(map(_found_receipt, there.documents)),
        )
    )


def _found_transaction(row: TransactionRow) -> FoundTransaction:
    return FoundTransaction(
        account_id=row.account_id,
        transaction_id=row.transaction_id,
        type=row.type,
        amount_credits=str(row.amount_credits),
        purchase_id=row.purchase_id,
        created_at=instant(row.created_at),
    )


def _found_receipt(row: DocumentRow) -> FoundReceipt:
    return FoundReceipt(
        account_id=row.account_id,
        receipt_id=row.document_id,
        number=row.number,
        kind=row.kind,
        purchase_id=row.purchase_id,
    )


_REFUSES = (
    NotFound,
    AlreadyRefunded,
    RefundNotPossible,
    RefundWindowClosed,
    RefundCreditsTouched,
)

RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="POST",
        path="/v1/support/purchases/{purchase_id:str}/reversals",
        may="support",
        handler=reverse_purchase,
        asks=ReasonBody,
        answers=Reversal,
        status=202,
        key="optional",
        refuses=_REFUSES,
        summary="Reverse an untouched purchase within its window.",
    ),
    Resource(
        method="GET",
        path="/v1/support/reversals/{reversal_id:str}",
        may="support",
        handler=get_reversal,
        answers=Reversal,
        refuses=(NotFound,),
        summary="How a reversal stands.",
    ),
    Resource(
        method="POST",
        path="/v1/support/reversals/{reversal_id:str}/approve",
        may="approve",
        handler=approve,
        asks=DecisionBody,
        answers=Reversal,
        status=202,
        key="optional",
        refuses=(NotFound, AlreadyRefunded, OwnApproval, IdempotencyMismatch),
        summary="Approve another person's proposal.",
    ),
    Resource(
        method="POST",
        path="/v1/support/reversals/{reversal_id:str}/reject",
        may="approve",
        handler=reject,
        asks=DecisionBody,
        answers=Reversal,
        status=202,
        key="optional",
        refuses=(NotFound, AlreadyRefunded, OwnApproval, IdempotencyMismatch),
        summary="Reject another person's proposal: the credits return.",
    ),
    Resource(
        method="GET",
        path="/v1/support/search",
        may="support",
        handler=find,
        asks=SearchQuery,
        answers=Found,
        summary="Find accounts, purchases, transactions and receipts by a name they carry.",
    ),
)
