"""`GET balance`: what an account has, by bucket and lot in spend order, now or at a past instant."""

import asyncio
from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta

from api.body import Body
from api.posting import carry_out, look_up
from api.scope import Answer, Call, Resource
from api.transactions import View, instant_of
from engine.rules.catalog import Catalog
from engine.rules.commands import Expire
from engine.rules.errors import Invalid, NotFound
from engine.rules.lots import NEVER, Lot
from engine.rules.money import usd_text
from engine.runtime import Runtime
from engine.store import balances
from engine.store.balances import BalanceView, BucketView
from engine.store.database import reading


class LotAnswer(View, frozen=True, kw_only=True):
    """Credits granted together. `expiresAt` is null for what never expires."""

    lot_id: str
    source: str
    granted_credits: str
    available_credits: str
    held_credits: str
    expires_at: datetime | None
    purchase_id: str | None
    created_at: datetime


class BucketAnswer(View, frozen=True, kw_only=True):
    """One bucket with its first 100 lots in spend order."""

    bucket: str
    available_credits: str
    held_credits: str
    next_expiry_at: datetime | None
    lots: tuple[LotAnswer, ...]


class NextDraw(View, frozen=True, kw_only=True):
    """The lot that the next spend draws from first."""

    lot_id: str
    bucket: str


class ExpiringAnswer(View, frozen=True, kw_only=True):
    """Credits of one bucket that leave at this instant unless they are spent before; held ones are not among them."""

    expires_at: datetime
    credits: str
    bucket: str


class BalanceAnswer(View, frozen=True, kw_only=True):
    """Buckets stand in spend order. Limits and the alert threshold are null where none is set.

    `expiring` looks 60 days ahead, the soonest first, at most 50 entries.
    """

    balance_credits: str
    balance_usdc: str | None
    held_credits: str
    debt_credits: str
    daily_spent_credits: str
    daily_spent_usdc: str | None
    daily_spend_limit_credits: str | None
    per_call_limit_credits: str | None
    low_balance_alert_threshold: str | None
    status: str
    next_draw: NextDraw | None
    buckets: tuple[BucketAnswer, ...]
    expiring: tuple[ExpiringAnswer, ...]


class BalanceQuery(Body, frozen=True, kw_only=True):
    """`at`: a past instant, or a date for its first moment."""

    at: Annotated[str, Meta(max_length=40)] | None = None


async def get_balance(call: Call[BalanceQuery]) -> Answer:
    """The present balance, expired credits gone with their ledger rows; with `at`, the one of that instant."""
    runtime = call.runtime
    now = runtime.clock.now()
    if call.ask.at is not None:
        at = instant_of("at", call.ask.at)
        if at > now:
            raise Invalid("at", "This instant lies in the future.")
        past = await asyncio.to_thread(_read_past, runtime, call.account_id, at)
        return Answer(balance_answer(_there(past), runtime.catalog))
    found = _there(await look_up(runtime, balances.balances, (call.account_id, now)))
    if found.is_due:
        await carry_out(runtime, Expire(account_id=call.account_id, actor="system"))
        found = _there(await look_up(runtime, balances.balances, (call.account_id, now)))
    return Answer(balance_answer(found, runtime.catalog))


def _read_past(runtime: Runtime, account_id: str, at: datetime) -> BalanceView | None:
    with reading(runtime.db) as session:
        return balances.balance_at(session, account_id, at)


def _there(found: BalanceView | None) -> BalanceView:
    if found is None:
        raise NotFound("account")
    return found


def balance_answer(view: BalanceView, catalog: Catalog) -> BalanceAnswer:
    """The balance as the API shows it: every bucket of the catalogue, and any other that still holds something."""
    rate = catalog.unit.credits_per_usd
    shown = [b for b in view.buckets if b.bucket in catalog.buckets or b.available_credits + b.held_credits > 0]
    drawable = [(lot, b) for b in view.buckets for lot in b.lots if lot.remaining_credits > 0]
    return BalanceAnswer(
        balance_credits=str(view.available_credits),
        balance_usdc=usd_text(view.available_credits, rate),
        held_credits=str(view.held_credits),
        debt_credits=str(view.debt_credits),
        daily_spent_credits=str(view.spent_today_credits),
        daily_spent_usdc=usd_text(view.spent_today_credits, rate),
        daily_spend_limit_credits=_optional(view.daily_limit_credits),
        per_call_limit_credits=_optional(view.per_call_limit_credits),
        low_balance_alert_threshold=_optional(view.low_balance_credits),
        status=view.status,
        next_draw=NextDraw(lot_id=drawable[0][0].lot_id, bucket=drawable[0][1].bucket) if drawable else None,
        buckets=tuple(map(_bucket_answer, shown)),
        expiring=tuple(
            ExpiringAnswer(expires_at=each.expires_at, credits=str(each.credits), bucket=each.bucket)
            for each in view.expiring
        ),
    )


def _optional(credits: int | None) -> str | None:
    return None if credits is None else str(credits)


def _bucket_answer(view: BucketView) -> BucketAnswer:
    return BucketAnswer(
        bucket=view.bucket,
        available_credits=str(view.available_credits),
        held_credits=str(view.held_credits),
        next_expiry_at=view.next_expiry_at,
        lots=tuple(map(_lot_answer, view.lots)),
    )


def _lot_answer(lot: Lot) -> LotAnswer:
    return LotAnswer(
        lot_id=lot.lot_id,
        source=lot.source,
        granted_credits=str(lot.granted_credits),
        available_credits=str(lot.remaining_credits),
        held_credits=str(lot.held_credits),
        expires_at=lot.expires_at if lot.expires_at < NEVER else None,
        purchase_id=lot.purchase_id,
        created_at=lot.granted_at,
    )


RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="GET",
        path="balance",
        may="read",
        handler=get_balance,
        asks=BalanceQuery,
        answers=BalanceAnswer,
        is_hot=True,
        summary="What the account has, by bucket and lot in spend order.",
    ),
)
