"""The desk's queues over HTTP: what waits for a person, and deciding it."""

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from api.auth import MATRIX
from api.body import Body, PageQuery
from api.scope import Answer, Call, Resource
from api.support import Reason, checked_reason
from api.transactions import Pagination, View
from engine.flows.queues import ACTIONS, Action, Verdict, resolve, waiting_page
from engine.rules.commands import fingerprint_of
from engine.rules.errors import (
    AlreadyRefunded,
    IdempotencyMismatch,
    InsufficientCredits,
    NotFound,
    OwnApproval,
    RefundNotPossible,
    WalletNotActive,
)
from engine.store import queues, replies
from engine.store.database import reading, transact
from engine.store.queues import Queue, Waiting

Id = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]


class QueueItem(View, frozen=True, kw_only=True):
    """One thing that waits, with what a person needs to decide it; `actions` is what may be decided."""

    id: str
    kind: str
    account_id: str | None
    account_name: str | None
    account_email: str | None
    purchase_id: str | None
    provider: str | None
    provider_reference: str | None
    amount_minor: int | None
    currency: str | None
    amount_credits: str | None
    bucket: str | None
    source: str | None
    campaign: str | None
    step: str | None
    description: str | None
    reason: str | None
    problem: str | None
    requested_by: str | None
    actions: tuple[str, ...]
    created_at: datetime


class Quarantined(View, frozen=True, kw_only=True):
    """Payments that differ from what was agreed; newest first, as every queue."""

    quarantined: tuple[QueueItem, ...]
    pagination: Pagination


class UnclaimedPayments(View, frozen=True, kw_only=True):
    """Payments whose account is unknown."""

    unclaimed: tuple[QueueItem, ...]
    pagination: Pagination


class Review(View, frozen=True, kw_only=True):
    """Grants that the host wants looked at, money that came for closed wallets, second payments of one purchase, and
    what providers said that could not be carried out."""

    review: tuple[QueueItem, ...]
    pagination: Pagination


class Approvals(View, frozen=True, kw_only=True):
    """Reversals, refunds and corrections that a second person decides."""

    approvals: tuple[QueueItem, ...]
    pagination: Pagination


SHAPES: dict[Queue, type[msgspec.Struct]] = {
    "quarantined": Quarantined,
    "unclaimed": UnclaimedPayments,
    "review": Review,
    "approvals": Approvals,
}


class ResolveBody(Body, frozen=True, kw_only=True):
    """`accountId` is for `bind`, and only there."""

    action: Literal["approve", "reject", "credit", "refund", "dismiss", "bind", "retry"]
    reason: Reason
    account_id: Id | None = None


class Resolution(View, frozen=True, kw_only=True):
    """How it stands now, and by whom it was decided."""

    id: str
    queue: str
    action: str
    status: str
    account_id: str | None
    purchase_id: str | None
    transaction_id: str | None
    reversal_id: str | None
    decided_by: str | None


def queue_item(row: Waiting) -> QueueItem:
    """One row as every queue shows it."""
    campaign, _, step = (row.reference or "").partition("/")
    return QueueItem(
        id=row.id,
        kind=row.kind,
        account_id=row.account_id,
        account_name=row.account_name,
        account_email=row.account_email,
        purchase_id=row.purchase_id,
        provider=row.provider,
        provider_reference=row.provider_reference,
        amount_minor=row.amount_minor,
        currency=row.currency,
        amount_credits=None if row.credits is None else str(row.credits),
        bucket=row.bucket,
        source=row.source,
        campaign=campaign or None,
        step=step or None,
        description=row.description,
        reason=row.reason,
        problem=row.problem,
        requested_by=row.requested_by,
        actions=ACTIONS[row.kind],
        created_at=row.created_at,
    )


def _lists(queue: Queue) -> Resource[PageQuery]:
    def get_queue(call: Call[PageQuery]) -> Answer:
        ask = call.ask
        with reading(call.runtime.db) as session:
            rows, total = waiting_page(session, call.runtime, queue, ask.page, ask.limit)
        pagination = Pagination(page=ask.page, limit=ask.limit, total=total)
        return Answer(SHAPES[queue](**{queue: tuple(map(queue_item, rows)), "pagination": pagination}))

    return Resource(
        method="GET",
        path=f"/v1/support/queues/{queue}",
        may="support",
        handler=get_queue,
        asks=PageQuery,
        answers=SHAPES[queue],
        summary=f"What waits for a person: {queue}.",
    )


def _resolves(queue: Queue) -> Resource[ResolveBody]:
    def post_resolution(call: Call[ResolveBody]) -> Answer:
        assert call.principal is not None
        ask = call.ask
        verdict = Verdict(
            queue=queue,
            item_id=call.path["item_id"],
            action=ask.action,
            reason=checked_reason(ask.reason),
            actor=call.actor,
            may_approve=call.principal.role in MATRIX["approve"],
            account_id=ask.account_id,
        )
        return decide(call, verdict)

    return Resource(
        method="POST",
        path=f"/v1/support/queues/{queue}/{{item_id:str}}/resolve",
        may="support",
        handler=post_resolution,
        asks=ResolveBody,
        answers=Resolution,
        key="optional",
        refuses=(
            NotFound,
            AlreadyRefunded,
            RefundNotPossible,
            OwnApproval,
            InsufficientCredits,
            WalletNotActive,
            IdempotencyMismatch,
        ),
        summary=f"Decide what waits: {queue}.",
    )


def decide(call: Call[ResolveBody], verdict: Verdict) -> Answer:
    """Carry a decision out. Deciding twice is deciding once by itself; a key only pins its request."""
    db = call.runtime.db
    assert call.principal is not None
    operation, scope = "queue resolve", call.principal.credential_id
    asked = (verdict.queue, verdict.item_id, verdict.action, verdict.reason, verdict.account_id)
    identity = fingerprint_of(operation, asked)
    if call.key is not None:
        with reading(db) as session:
            replies.find(session, scope, operation, call.key, identity)
    done = resolve(call.runtime, verdict)
    if call.key is not None:
        key, now = call.key, call.runtime.clock.now()

        def keep(known: Any) -> None:  # noqa: ANN401 - a session
            if replies.find(known, scope, operation, key, identity) is None:
                replies.keep(known, scope, operation, key, identity, 200, verdict.action, now)

        transact(db, keep)
    call.runtime.wake_jobs()
    answer = Resolution(
        id=verdict.item_id,
        queue=verdict.queue,
        action=verdict.action,
        status=done.status,
        account_id=done.account_id,
        purchase_id=done.purchase_id,
        transaction_id=done.transaction_id,
        reversal_id=done.reversal_id,
        decided_by=done.decided_by,
    )
    return Answer(answer, is_replay=done.is_replay)


def action_of(text: str) -> Action | None:
    """The action that a form's field names."""
    return next((action for actions in ACTIONS.values() for action in actions if action == text), None)


RESOURCES: tuple[Resource[Any], ...] = (
    *map(_lists, queues.QUEUES),
    *map(_resolves, queues.QUEUES),
)
