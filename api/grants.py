"""`POST grants`: credits that the host gives, each as a lot of its own."""

import asyncio
from datetime import datetime, timezone
from typing import Annotated, Any, Literal

from msgspec import Meta

from api.body import Body, Credits, Description, Metadata, metadata_text
from api.posting import carry_out
from api.proposals import ReviewView, review_view
from api.scope import Answer, Call, Resource
from api.transactions import TransactionView, View, transaction_view
from engine.flows.host_grants import Reviewed, check_key, grant
from engine.rules.catalog import Descriptions, describe
from engine.rules.commands import Grant, GrantType, Planned, Posted
from engine.rules.errors import IdempotencyMismatch, Invalid, WalletNotActive
from engine.rules.lots import NEVER, Bucket

Source = Literal[
    "custom_credits",
    "volume_discount",
    "coupon",
    "promo",
    "referral",
    "survey",
    "check_in",
    "subscription",
    "auto_recharge",
    "commit",
    "admin",
]

TYPES: dict[Source, GrantType] = {
    "custom_credits": "deposit",
    "volume_discount": "volume_discount",
    "coupon": "coupon_credit",
    "promo": "promo_credit",
    "referral": "promo_credit",
    "survey": "promo_credit",
    "check_in": "promo_credit",
    "subscription": "monthly_credit",
    "auto_recharge": "auto_recharge",
    "commit": "commit_credit",
    "admin": "admin_credit",
}
"""The kind of ledger row that each source becomes."""

REFERENCES: dict[GrantType, str] = {
    "coupon_credit": "coupon",
    "monthly_credit": "subscription",
    "commit_credit": "commit_plan",
}
"""What a grant by the host refers to where no campaign is named; else it is `admin`."""

Name = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9._:-]{1,100}\Z")]


class GrantBody(Body, frozen=True, kw_only=True):
    """Credits for one bucket. A `campaign` grants once for each `step` (without one, once): a repeat answers the
    first grant. With `review` support looks at it first (202). Recharge credits never expire."""

    bucket: Bucket
    amount_credits: Credits
    source: Source
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None
    description: Description | None = None
    campaign: Name | None = None
    step: Name | None = None
    metadata: Metadata | None = None
    review: bool = False


class GrantAnswer(View, frozen=True, kw_only=True):
    transaction: TransactionView
    lot_id: str
    balance_after: str


async def post_grant(call: Call[GrantBody]) -> Answer:
    """Grant credits."""
    ask, catalog = call.ask, call.runtime.catalog
    if ask.bucket not in catalog.buckets:
        raise Invalid("bucket", f"The catalogue's buckets are {', '.join(catalog.buckets)}.")
    if ask.step is not None and ask.campaign is None:
        raise Invalid("step", "A step belongs to a campaign.")
    command = _command(call)
    outcome: Posted | Planned | Reviewed
    if ask.review or command.campaign is not None:
        outcome = await asyncio.to_thread(grant, call.runtime, command, needs_review=ask.review)
    else:
        await asyncio.to_thread(check_key, call.runtime, command)
        outcome = await carry_out(call.runtime, command)
    if isinstance(outcome, Reviewed):
        return Answer(review_view(outcome.row), status=202, is_replay=outcome.is_replay)
    assert isinstance(outcome, Posted)
    row = outcome.transactions[0]
    answer = GrantAnswer(
        transaction=transaction_view(row, catalog),
        lot_id=row.entries[0].lot_id,
        balance_after=str(outcome.balance_after),
    )
    return Answer(answer, is_replay=outcome.replayed)


def _command(call: Call[GrantBody]) -> Grant:
    """The grant as the book takes it."""
    ask, words = call.ask, call.runtime.catalog.descriptions
    kind = TYPES[ask.source]
    return Grant(
        operation="host_grant",
        account_id=call.account_id,
        actor=call.actor,
        type=kind,
        source=ask.source,
        bucket=ask.bucket,
        credits=int(ask.amount_credits),
        description=ask.description or _description(words, kind, ask),
        expires_at=expiry_of(ask.bucket, ask.expires_at),
        reference_type="campaign" if ask.campaign else REFERENCES.get(kind, "admin"),
        reference_id=f"{ask.campaign}/{ask.step or ''}" if ask.campaign else None,
        metadata=metadata_text(ask.metadata),
        key=call.key,
    )


def expiry_of(bucket: Bucket, expires_at: datetime | None) -> datetime | None:
    """When a grant ends, in UTC; `Invalid` for recharge credits and for what lies beyond all calendars."""
    if expires_at is None:
        return None
    if bucket == "recharge":
        raise Invalid("expiresAt", "Recharge credits never expire.")
    try:
        ends = expires_at.astimezone(timezone.utc)
    except OverflowError as error:
        raise Invalid("expiresAt", "The expiry is too far away.") from error
    if ends >= NEVER:
        raise Invalid("expiresAt", "The expiry is too far away; leave it out for credits that never expire.")
    return ends


def _description(words: Descriptions, kind: GrantType, ask: GrantBody) -> str:
    """The catalogue's sentence where it has all it needs, else the source by name."""
    if kind == "promo_credit":
        return describe(words.promo_credit, campaign=ask.campaign or ask.source.replace("_", "-"))
    return f"Credits granted: {ask.source.replace('_', ' ')}"


RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="POST",
        path="grants",
        may="wallet",
        handler=post_grant,
        asks=GrantBody,
        answers=GrantAnswer,
        status=201,
        key="required",
        refuses=(WalletNotActive, IdempotencyMismatch),
        summary="Grant credits: each grant is a lot of its own.",
        waits=ReviewView,
    ),
)
