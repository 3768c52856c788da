"""What waits for a person as the API shows it: a grant under review, a correction that a second person approves."""

from datetime import datetime

from api.transactions import View
from engine.store.tables import ProposalRow

REVIEW_STATUS = {"pending": "pending_review"}
CORRECTION_STATUS = {"pending": "pending_approval"}
"""How a proposal that nobody has decided is called; `approved` and `rejected` are called what they are."""


class ReviewView(View, frozen=True, kw_only=True):
    """A grant that support looks at first. `transactionId` is set once it was approved and granted."""

    review_id: str
    status: str
    account_id: str
    bucket: str | None
    amount_credits: str
    source: str | None
    campaign: str | None
    step: str | None
    transaction_id: str | None
    created_at: datetime


class CorrectionView(View, frozen=True, kw_only=True):
    """An administrator's grant or debit that a second person approves first; until then nothing moves."""

    proposal_id: str
    status: str
    account_id: str
    amount_credits: str
    bucket: str | None
    reason: str
    requested_by: str
    decided_by: str | None
    transaction_id: str | None
    created_at: datetime


def review_view(row: ProposalRow) -> ReviewView:
    campaign, _, step = (row.reference or "").partition("/")
    return ReviewView(
        review_id=row.proposal_id,
        status=REVIEW_STATUS.get(row.status, row.status),
        account_id=row.account_id,
        bucket=row.bucket,
        amount_credits=str(row.credits),
        source=row.source,
        campaign=campaign or None,
        step=step or None,
        transaction_id=row.transaction_id,
        created_at=row.created_at,
    )


def correction_view(row: ProposalRow) -> CorrectionView:
    return CorrectionView(
        proposal_id=row.proposal_id,
        status=CORRECTION_STATUS.get(row.status, row.status),
        account_id=row.account_id,
        amount_credits=str(row.credits),
        bucket=row.bucket,
        reason=row.reason,
        requested_by=row.requested_by,
        decided_by=row.decided_by,
        transaction_id=row.transaction_id,
        created_at=row.created_at,
    )
