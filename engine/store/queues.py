"""The desk's queues: what waits for a person, newest first, with what that person needs to decide."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, func, not_, or_, select
from sqlmodel import Session, col

from engine.rules.stores import Sighting
from engine.store.stores import read_sighting
from engine.store.tables import (
    AccountRow,
    ProposalRow,
    ProviderCaseRow,
    PurchaseRow,
    ResolutionRow,
    ReversalRow,
    SecondPaymentRow,
    StorePurchaseRow,
    WalletRow,
)

Queue = Literal["quarantined", "unclaimed", "review", "approvals"]
QUEUES: tuple[Queue, ...] = ("quarantined", "unclaimed", "review", "approvals")
SEEN_MAX = 10_000
"""Lists and their totals are exact up to here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """One thing that waits. `kind` says what it is: `purchase`, `invoice`, `second_payment`, `payment`, `reversal`,
    `refund`, `host_grant`, `admin_grant`, `admin_debit`, `event` or `foreign_refund`; what a kind does not have is
    `None`."""

    id: str
    kind: str
    created_at: datetime
    account_id: str | None = None
    account_name: str | None = None
    account_email: str | None = None
    purchase_id: str | None = None
    provider: str | None = None
    provider_reference: str | None = None
    amount_minor: int | None = None
    currency: str | None = None
    credits: int | None = None
    bucket: str | None = None
    source: str | None = None
    reference: str | None = None
    description: str | None = None
    reason: str | None = None
    problem: str | None = None
    requested_by: str | None = None
    sighting: Sighting | None = None
    """What a store said of a purchase that nobody claimed; the catalogue knows what it buys."""


Source = tuple[Callable[[Session, int], list[Waiting]], Callable[[Session], int]]


def queue_page(session: Session, queue: Queue, page: int, limit: int) -> tuple[list[Waiting], int]:
    """One page of a queue, newest first, and how much waits in all."""
    end = min(page * limit, SEEN_MAX)
    found = [each for rows, _ in SOURCES[queue] for each in rows(session, end)]
    found.sort(key=lambda each: (each.created_at, each.id), reverse=True)
    return found[(page - 1) * limit : end], queue_total(session, queue)


def queue_total(session: Session, queue: Queue) -> int:
    return sum(count(session) for _, count in SOURCES[queue])


def _unresolved() -> ColumnElement[bool]:
    """Quarantined, and no decision stands: one whose refund was rejected or failed came to nothing."""
    decided = (
        select(col(ResolutionRow.purchase_id))
        .outerjoin(
            ReversalRow,
            and_(
                col(ReversalRow.account_id) == col(ResolutionRow.account_id),
                col(ReversalRow.reversal_id) == col(ResolutionRow.reversal_id),
            ),
        )
        .where(
            col(ResolutionRow.account_id) == col(PurchaseRow.account_id),
            col(ResolutionRow.purchase_id) == col(PurchaseRow.purchase_id),
            or_(
                col(ReversalRow.status).is_(None),
                col(ReversalRow.status).not_in(("rejected", "failed")),
            ),
        )
    )
    return and_(col(PurchaseRow.status) == "quarantined", not_(decided.exists()))


def _purchases(*, of_closed: bool) -> Source:
    is_closed = col(WalletRow.status) == "closed"
    where = and_(_unresolved(), is_closed if of_closed else not_(is_closed))
    joined = (
        select(PurchaseRow, AccountRow)
        .join(AccountRow, col(AccountRow.account_id) == col(PurchaseRow.account_id))
        .join(WalletRow, col(WalletRow.account_id) == col(PurchaseRow.account_id))
        .where(where)
    )

    def rows(session: Session, limit: int) -> list[Waiting]:
        newest = joined.order_by(col(PurchaseRow.created_at).desc(), col(PurchaseRow.purchase_id).desc())
        return [_purchase(row, owner) for row, owner in session.execute(newest.limit(limit)).all()]

    return rows, lambda session: _count(session, joined)


def _purchase(row: PurchaseRow, owner: AccountRow) -> Waiting:
    return Waiting(
        id=row.purchase_id,
        kind="purchase" if row.subscription_id is None else "invoice",
        created_at=row.created_at,
        account_id=row.account_id,
        account_name=owner.name,
        account_email=owner.email,
        purchase_id=row.purchase_id,
        provider=row.provider,
        provider_reference=row.provider_reference or row.session_id,
        amount_minor=row.amount_minor,
        currency=row.currency,
        credits=row.base_credits + row.bonus_credits if row.subscription_id is None else None,
        description=row.description,
        problem=row.problem,
    )


def _second_payments() -> Source:
    joined = (
        select(SecondPaymentRow, PurchaseRow, AccountRow)
        .join(AccountRow, col(AccountRow.account_id) == col(SecondPaymentRow.account_id))
        .join(
            PurchaseRow,
            and_(
                col(PurchaseRow.account_id) == col(SecondPaymentRow.account_id),
                col(PurchaseRow.purchase_id) == col(SecondPaymentRow.purchase_id),
            ),
        )
        .where(col(SecondPaymentRow.status) == "waiting")
    )

    def rows(session: Session, limit: int) -> list[Waiting]:
        newest = joined.order_by(col(SecondPaymentRow.created_at).desc(), col(SecondPaymentRow.second_id).desc())
        return [_second_payment(*found) for found in session.execute(newest.limit(limit)).all()]

    return rows, lambda session: _count(session, joined)


def _second_payment(row: SecondPaymentRow, bought: PurchaseRow, owner: AccountRow) -> Waiting:
    return Waiting(
        id=row.second_id,
        kind="second_payment",
        created_at=row.created_at,
        account_id=row.account_id,
        account_name=owner.name,
        account_email=owner.email,
        purchase_id=row.purchase_id,
        provider=bought.provider,
        provider_reference=row.payment_id,
        amount_minor=row.amount_minor,
        currency=row.currency,
        description=bought.description,
        problem=row.problem or bought.problem,
    )


def _reversals() -> Source:
    joined = (
        select(ReversalRow, PurchaseRow, AccountRow)
        .join(AccountRow, col(AccountRow.account_id) == col(ReversalRow.account_id))
        .join(
            PurchaseRow,
            and_(
                col(PurchaseRow.account_id) == col(ReversalRow.account_id),
                col(PurchaseRow.purchase_id) == col(ReversalRow.purchase_id),
            ),
        )
        .where(col(ReversalRow.status) == "pending_approval")
    )

    def rows(session: Session, limit: int) -> list[Waiting]:
        newest = joined.order_by(col(ReversalRow.created_at).desc(), col(ReversalRow.reversal_id).desc())
        return [_reversal(*found) for found in session.execute(newest.limit(limit)).all()]

    return rows, lambda session: _count(session, joined)


def _reversal(row: ReversalRow, bought: PurchaseRow, owner: AccountRow) -> Waiting:
    return Waiting(
        id=row.reversal_id,
        kind=row.kind,
        created_at=row.created_at,
        account_id=row.account_id,
        account_name=owner.name,
        account_email=owner.email,
        purchase_id=row.purchase_id,
        provider=bought.provider,
        provider_reference=bought.provider_reference,
        amount_minor=row.amount_minor,
        currency=row.currency,
        credits=row.credits,
        description=bought.description,
        reason=row.reason,
        requested_by=row.requested_by,
    )


def _proposals(*kinds: str) -> Source:
    joined = (
        select(ProposalRow, AccountRow)
        .join(AccountRow, col(AccountRow.account_id) == col(ProposalRow.account_id))
        .where(col(ProposalRow.status) == "pending", col(ProposalRow.kind).in_(kinds))
    )

    def rows(session: Session, limit: int) -> list[Waiting]:
        newest = joined.order_by(col(ProposalRow.created_at).desc(), col(ProposalRow.proposal_id).desc())
        return [_proposal(row, owner) for row, owner in session.execute(newest.limit(limit)).all()]

    return rows, lambda session: _count(session, joined)


def _proposal(row: ProposalRow, owner: AccountRow) -> Waiting:
    return Waiting(
        id=row.proposal_id,
        kind=row.kind,
        created_at=row.created_at,
        account_id=row.account_id,
        account_name=owner.name,
        account_email=owner.email,
        credits=row.credits,
        bucket=row.bucket,
        source=row.source,
        reference=row.reference,
        description=row.description,
        reason=row.reason,
        requested_by=row.requested_by,
    )


def _payments() -> Source:
    waiting = select(StorePurchaseRow).where(col(StorePurchaseRow.status) == "waiting")

    def rows(session: Session, limit: int) -> list[Waiting]:
        newest = waiting.order_by(col(StorePurchaseRow.seen_at).desc(), col(StorePurchaseRow.unclaimed_id).desc())
        return [_payment(row) for row in session.execute(newest.limit(limit)).scalars()]

    return rows, lambda session: _count(session, waiting)


def _payment(row: StorePurchaseRow) -> Waiting:
    sighting = read_sighting(row)
    return Waiting(
        id=row.unclaimed_id,
        kind="payment",
        created_at=row.seen_at,
        provider=row.provider,
        provider_reference=sighting.order_id or row.object_id,
        description=f"{row.product_id} × {sighting.quantity}",
        problem=row.problem,
        sighting=sighting,
    )


def _cases() -> Source:
    joined = (
        select(ProviderCaseRow, AccountRow)
        .outerjoin(AccountRow, col(AccountRow.account_id) == col(ProviderCaseRow.account_id))
        .where(col(ProviderCaseRow.status) == "waiting")
    )

    def rows(session: Session, limit: int) -> list[Waiting]:
        newest = joined.order_by(col(ProviderCaseRow.created_at).desc(), col(ProviderCaseRow.case_id).desc())
        return [_case(row, owner) for row, owner in session.execute(newest.limit(limit)).all()]

    return rows, lambda session: _count(session, joined)


def _case(row: ProviderCaseRow, owner: AccountRow | None) -> Waiting:
    return Waiting(
        id=row.case_id,
        kind=row.kind,
        created_at=row.created_at,
        account_id=row.account_id,
        account_name=owner.name if owner is not None else None,
        account_email=owner.email if owner is not None else None,
        purchase_id=row.purchase_id,
        provider=row.provider,
        provider_reference=row.object_id,
        amount_minor=row.amount_minor,
        currency=row.currency,
        description=row.about,
        problem=row.problem,
    )


def _count(session: Session, found: Any) -> int:  # noqa: ANN401 - a select of any shape
    counted = found.with_only_columns(func.count().label("n"), maintain_column_froms=True)
    return min(SEEN_MAX, int(session.execute(counted).scalar_one()))


SOURCES: dict[Queue, tuple[Source, ...]] = {
    "quarantined": (_purchases(of_closed=False),),
    "unclaimed": (_payments(),),
    "review": (_proposals("host_grant"), _purchases(of_closed=True), _second_payments(), _cases()),
    "approvals": (_reversals(), _proposals("admin_grant", "admin_debit")),
}
"""What each queue is made of: its rows, newest first, and how many there are."""
