"""Administrators over HTTP: corrections of both signs, a wallet's status, and the log of who did what."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from api.body import Body, Credits, Description, PageQuery, metadata_text
from api.grants import expiry_of
from api.proposals import CorrectionView, correction_view
from api.scope import Answer, Call, Resource
from api.spends import DrawView, draw_views
from api.support import Reason, ReasonBody, checked_reason
from api.transactions import Pagination, TransactionView, View, transaction_view
from engine.flows.admin import Proposed, StatusOrder, change_status, correct
from engine.rules.catalog import Catalog, describe
from engine.rules.commands import AdminDebit, Grant, Status
from engine.rules.errors import IdempotencyMismatch, InsufficientCredits, Invalid, WalletNotActive
from engine.rules.lots import Bucket
from engine.store import desk
from engine.store.database import reading


class AdminGrantBody(Body, frozen=True, kw_only=True):
    """Credits for one bucket, as a lot of their own. Recharge credits never expire. The customer reads `description`,
    or else the catalogue's words with the reason."""

    bucket: Bucket
    amount_credits: Credits
    reason: Reason
    source: Literal["admin"] = "admin"
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None
    description: Description | None = None


class AdminDebitBody(Body, frozen=True, kw_only=True):
    """Credits to take, all or nothing, in spend order; with `bucket` from that bucket alone. The customer reads
    `description`, or else the catalogue's words with the reason."""

    amount_credits: Credits
    reason: Reason
    bucket: Bucket | None = None
    description: Description | None = None


class AdminGrantAnswer(View, frozen=True, kw_only=True):
    transaction: TransactionView
    lot_id: str
    balance_after: str


class AdminDebitAnswer(View, frozen=True, kw_only=True):
    transaction: TransactionView
    draws: tuple[DrawView, ...]
    balance_after: str


class StatusAnswer(View, frozen=True, kw_only=True):
    account_id: str
    status: str


class ActView(View, frozen=True, kw_only=True):
    """One administrative act. `objectId` names what it was done to: a transaction, a reversal, an account."""

    id: str
    account_id: str
    actor: str
    action: str
    object_id: str
    reason: str
    facts: msgspec.Raw
    created_at: datetime


class AuditLogAnswer(View, frozen=True, kw_only=True):
    """Newest first."""

    audit_log: tuple[ActView, ...]
    pagination: Pagination


def post_admin_grant(call: Call[AdminGrantBody]) -> Answer:
    """A correction upwards."""
    ask, catalog = call.ask, call.runtime.catalog
    reason = checked_reason(ask.reason)
    _check_bucket(catalog, ask.bucket)
    command = Grant(
        operation="admin_grant",
        account_id=call.account_id,
        actor=call.actor,
        type="admin_credit",
        source=ask.source,
        bucket=ask.bucket,
        credits=int(ask.amount_credits),
        description=ask.description or describe(catalog.descriptions.admin_credit, reason=reason),
        expires_at=expiry_of(ask.bucket, ask.expires_at),
        reference_type="admin",
        metadata=metadata_text({"reason": reason}, "reason"),
        key=call.key,
    )
    posted = correct(call.runtime, command, reason)
    if isinstance(posted, Proposed):
        return Answer(correction_view(posted.row), status=202, is_replay=posted.is_replay)
    row = posted.transactions[0]
    answer = AdminGrantAnswer(
        transaction=transaction_view(row, catalog),
        lot_id=row.entries[0].lot_id,
        balance_after=str(posted.balance_after),
    )
    return Answer(answer, is_replay=posted.replayed)


def post_admin_debit(call: Call[AdminDebitBody]) -> Answer:
    """A correction downwards."""
    ask, catalog = call.ask, call.runtime.catalog
    reason = checked_reason(ask.reason)
    if ask.bucket is not None:
        _check_bucket(catalog, ask.bucket)
    command = AdminDebit(
        account_id=call.account_id,
        actor=call.actor,
        credits=int(ask.amount_credits),
        description=ask.description or describe(catalog.descriptions.admin_debit, reason=reason),
        bucket=ask.bucket,
        metadata=metadata_text({"reason": reason}, "reason"),
        key=call.key,
    )
    posted = correct(call.runtime, command, reason)
    if isinstance(posted, Proposed):
        return Answer(correction_view(posted.row), status=202, is_replay=posted.is_replay)
    row = posted.transactions[0]
    answer = AdminDebitAnswer(
        transaction=transaction_view(row, catalog),
        draws=draw_views(row.draws()),
        balance_after=str(posted.balance_after),
    )
    return Answer(answer, is_replay=posted.replayed)


def _check_bucket(catalog: Catalog, bucket: Bucket) -> None:
    if bucket not in catalog.buckets:
        raise Invalid("bucket", f"The catalogue's buckets are {', '.join(catalog.buckets)}.")


def _to_status(status: Status) -> Callable[[Call[ReasonBody]], Answer]:
    def post_status(call: Call[ReasonBody]) -> Answer:
        order = StatusOrder(
            account_id=call.account_id,
            actor=call.actor,
            status=status,
            reason=checked_reason(call.ask.reason),
            key=call.key,
        )
        present, is_replay = change_status(call.runtime, order)
        return Answer(StatusAnswer(account_id=call.account_id, status=present), is_replay=is_replay)

    return post_status


def get_audit_log(call: Call[PageQuery]) -> Answer:
    """A page of the audit log."""
    ask = call.ask
    with reading(call.runtime.db) as session:
        rows, total = desk.acts_page(session, ask.page, ask.limit)
    acts = tuple(
        ActView(
            id=row.audit_id,
            account_id=row.account_id,
            actor=row.actor,
            action=row.action,
            object_id=row.object_id,
            reason=row.reason,
            facts=msgspec.Raw(row.facts.encode()),
            created_at=row.created_at,
        )
        for row in rows
    )
    return Answer(AuditLogAnswer(audit_log=acts, pagination=Pagination(page=ask.page, limit=ask.limit, total=total)))


def _status_resource(name: str, status: Status, summary: str) -> Resource[ReasonBody]:
    return Resource(
        method="POST",
        path=f"/v1/admin/accounts/{{account_id:str}}/{name}",
        may="admin",
        handler=_to_status(status),
        asks=ReasonBody,
        answers=StatusAnswer,
        key="optional",
        refuses=(WalletNotActive, IdempotencyMismatch),
        summary=summary,
    )


RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="POST",
        path="/v1/admin/accounts/{account_id:str}/grants",
        may="admin",
        handler=post_admin_grant,
        asks=AdminGrantBody,
        answers=AdminGrantAnswer,
        status=201,
        key="required",
        refuses=(WalletNotActive, IdempotencyMismatch),
        summary="Grant credits as a correction, with a reason; above the limit a second person approves.",
        waits=CorrectionView,
    ),
    Resource(
        method="POST",
        path="/v1/admin/accounts/{account_id:str}/debits",
        may="admin",
        handler=post_admin_debit,
        asks=AdminDebitBody,
        answers=AdminDebitAnswer,
        status=201,
        key="required",
        refuses=(InsufficientCredits, WalletNotActive, IdempotencyMismatch),
        summary="Take credits as a correction, with a reason; above the limit a second person approves.",
        waits=CorrectionView,
    ),
    _status_resource("suspend", "suspended", "Suspend a wallet: no spends, coupons or checkouts until it is resumed."),
    _status_resource("resume", "active", "Resume a suspended wallet."),
    _status_resource("close", "closed", "Close a wallet for good: every lot is forfeited."),
    Resource(
        method="GET",
        path="/v1/admin/audit-log",
        may="audit",
        handler=get_audit_log,
        asks=PageQuery,
        answers=AuditLogAnswer,
        summary="Who did what, when and why, newest first.",
    ),
)
