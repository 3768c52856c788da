"""Holds over HTTP: reserve credits, take all or part of them, give them back, add credits or time, look them up."""

import asyncio
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from api.body import Body, CreditCount, Credits, Description, Line, Metadata, PageQuery, metadata_text
from api.posting import carry_out
from api.scope import Answer, Call, Resource
from api.spends import SPEND_REFUSALS, DrawView, draw_views
from api.transactions import Pagination, TransactionView, View, transaction_view
from engine.flows.expiry import settled_wallet
from engine.rules import commands as c
from engine.rules.errors import (
    HoldEnded,
    HoldExpired,
    HoldTooSmall,
    IdempotencyMismatch,
    InsufficientCredits,
    NotFound,
    WalletNotActive,
)
from engine.rules.holds import Hold, by_lot
from engine.runtime import Runtime
from engine.store.database import reading
from engine.store.holds import find_hold, holds_page

Seconds = Annotated[int, Meta(ge=1, le=10**9)]


class HoldBody(Body, frozen=True, kw_only=True):
    """What is reserved, for how long (without `expiresInSeconds`, as long as the catalogue says) and for what."""

    amount_credits: Credits
    expires_in_seconds: Seconds | None = None
    description: Description | None = None
    provider_id: Line | None = None
    provider_name: Line | None = None
    capability_id: Line | None = None
    call_id: Line | None = None
    api_key_id: Line | None = None
    metadata: Metadata | None = None


class CaptureBody(Body, frozen=True, kw_only=True):
    """How much of the hold is taken; none at all is a void."""

    amount_credits: CreditCount


class VoidBody(Body, frozen=True, kw_only=True):
    """Nothing needs to be said."""


class ExtendBody(Body, frozen=True, kw_only=True):
    """Credits to add, and seconds from now that the hold shall last at least; one of the two or both."""

    amount_credits: Credits | None = None
    expires_in_seconds: Seconds | None = None


class HoldAnswer(View, frozen=True, kw_only=True):
    """The hold as this request left it; an extension's `draws` are those that it added."""

    hold_id: str
    amount_credits: str
    draws: tuple[DrawView, ...]
    expires_at: datetime
    status: str
    balance_after: str


class EndAnswer(View, frozen=True, kw_only=True):
    """How a hold ended. `transaction` is the debit, or the release where nothing was captured."""

    hold_id: str
    captured_credits: str
    released_credits: str
    transaction: TransactionView
    draws: tuple[DrawView, ...]
    balance_after: str
    status: str


class HoldView(View, frozen=True, kw_only=True):
    """A hold as it is: what it reserved, lots in the order held, and what became of it."""

    hold_id: str
    amount_credits: str
    captured_credits: str
    draws: tuple[DrawView, ...]
    status: str
    description: str
    provider_id: str | None
    provider_name: str | None
    capability_id: str | None
    call_id: str | None
    api_key_id: str | None
    metadata: msgspec.Raw
    expires_at: datetime
    created_at: datetime
    ended_at: datetime | None


class HoldsAnswer(View, frozen=True, kw_only=True):
    """Newest first."""

    holds: tuple[HoldView, ...]
    pagination: Pagination


class _Extended(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What an extension's row says of the hold."""

    amount_credits: str
    expires_at: datetime


async def post_hold(call: Call[HoldBody]) -> Answer:
    """Reserve credits in spend order, all or nothing."""
    runtime, ask = call.runtime, call.ask
    outcome = await carry_out(
        runtime,
        c.Hold(
            account_id=call.account_id,
            actor=call.actor,
            credits=int(ask.amount_credits),
            ttl_seconds=ask.expires_in_seconds,
            description=ask.description or "",
            provider_id=ask.provider_id,
            provider_name=ask.provider_name,
            capability_id=ask.capability_id,
            call_id=ask.call_id,
            api_key_id=ask.api_key_id,
            metadata=metadata_text(ask.metadata),
            key=call.key,
        ),
    )
    assert isinstance(outcome, c.Posted)
    row = outcome.transactions[0]
    assert row.reference_id is not None
    ttl_seconds = ask.expires_in_seconds or runtime.catalog.holds.ttl_default_seconds
    if outcome.replayed:
        ttl_seconds = (await asyncio.to_thread(_find, runtime, call.account_id, row.reference_id)).ttl_seconds
    answer = HoldAnswer(
        hold_id=row.reference_id,
        amount_credits=str(-row.amount_credits),
        draws=draw_views(row.draws()),
        expires_at=row.created_at + timedelta(seconds=ttl_seconds),
        status="open",
        balance_after=str(outcome.balance_after),
    )
    return Answer(answer, is_replay=outcome.replayed)


async def post_capture(call: Call[CaptureBody]) -> Answer:
    """Take all or part of a hold and release the rest."""
    hold_id, credits = call.path["hold_id"], int(call.ask.amount_credits)
    command = c.Capture(account_id=call.account_id, actor=call.actor, hold_id=hold_id, credits=credits, key=call.key)
    return _end_answer(call.runtime, hold_id, await carry_out(call.runtime, command))


async def post_void(call: Call[VoidBody]) -> Answer:
    """Release all of a hold."""
    hold_id = call.path["hold_id"]
    command = c.Void(account_id=call.account_id, actor=call.actor, hold_id=hold_id, key=call.key)
    return _end_answer(call.runtime, hold_id, await carry_out(call.runtime, command))


async def post_extend(call: Call[ExtendBody]) -> Answer:
    """Add credits or time to a hold, or leave it as it is and refuse."""
    ask, hold_id = call.ask, call.path["hold_id"]
    outcome = await carry_out(
        call.runtime,
        c.Extend(
            account_id=call.account_id,
            actor=call.actor,
            hold_id=hold_id,
            credits=0 if ask.amount_credits is None else int(ask.amount_credits),
            ttl_seconds=ask.expires_in_seconds,
            key=call.key,
        ),
    )
    assert isinstance(outcome, c.Posted)
    row = outcome.transactions[0]
    told = msgspec.json.decode(row.metadata, type=_Extended)
    answer = HoldAnswer(
        hold_id=hold_id,
        amount_credits=told.amount_credits,
        draws=draw_views(row.draws()),
        expires_at=told.expires_at,
        status="open",
        balance_after=str(outcome.balance_after),
    )
    return Answer(answer, is_replay=outcome.replayed)


def get_hold(call: Call[None]) -> Answer:
    """One hold, released first if it is over."""
    settled_wallet(call.runtime, call.account_id, call.runtime.clock.now())
    return Answer(_hold_view(call.runtime, _find(call.runtime, call.account_id, call.path["hold_id"])))


def list_holds(call: Call[PageQuery]) -> Answer:
    """The account's holds."""
    runtime, ask = call.runtime, call.ask
    settled_wallet(runtime, call.account_id, runtime.clock.now())
    with reading(runtime.db) as session:
        found = holds_page(session, call.account_id, ask.page, ask.limit)
    return Answer(
        HoldsAnswer(
            holds=tuple(_hold_view(runtime, hold) for hold in found.holds),
            pagination=Pagination(page=ask.page, limit=ask.limit, total=found.total),
        )
    )


def _find(runtime: Runtime, account_id: str, hold_id: str) -> Hold:
    with reading(runtime.db) as session:
        found = find_hold(session, account_id, hold_id)
    if found is None:
        raise NotFound("hold")
    return found


def _end_answer(runtime: Runtime, hold_id: str, outcome: c.Posted | c.Planned) -> Answer:
    """How a hold ended, from the rows alone: its release, then the debit if there is one."""
    assert isinstance(outcome, c.Posted)
    release, *rest = outcome.transactions
    debit = next((row for row in rest if row.type == "debit"), None)
    captured = 0 if debit is None else -debit.amount_credits
    answer = EndAnswer(
        hold_id=hold_id,
        captured_credits=str(captured),
        released_credits=str(max(0, release.amount_credits - captured)),
        transaction=transaction_view(debit or release, runtime.catalog),
        draws=() if debit is None else draw_views(debit.draws()),
        balance_after=str(outcome.balance_after),
        status="voided" if debit is None else "captured",
    )
    return Answer(answer, is_replay=outcome.replayed)


def _hold_view(runtime: Runtime, hold: Hold) -> HoldView:
    return HoldView(
        hold_id=hold.hold_id,
        amount_credits=str(hold.credits),
        captured_credits=str(hold.captured_credits),
        draws=draw_views(by_lot(hold.parts)),
        status=hold.status,
        description=hold.description or runtime.catalog.descriptions.hold,
        provider_id=hold.provider_id,
        provider_name=hold.provider_name,
        capability_id=hold.capability_id,
        call_id=hold.call_id,
        api_key_id=hold.api_key_id,
        metadata=msgspec.Raw(hold.metadata.encode()),
        expires_at=hold.expires_at,
        created_at=hold.created_at,
        ended_at=hold.ended_at,
    )


ENDED = (HoldEnded, HoldExpired, WalletNotActive, IdempotencyMismatch)

RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="POST",
        path="holds",
        may="wallet",
        handler=post_hold,
        asks=HoldBody,
        answers=HoldAnswer,
        status=201,
        key="required",
        refuses=SPEND_REFUSALS,
        summary="Reserve credits in spend order, all or nothing.",
    ),
    Resource(
        method="GET",
        path="holds",
        may="read",
        handler=list_holds,
        asks=PageQuery,
        answers=HoldsAnswer,
        summary="The account's holds, newest first.",
    ),
    Resource(
        method="GET", path="holds/{hold_id:str}", may="read", handler=get_hold, answers=HoldView, summary="One hold."
    ),
    Resource(
        method="POST",
        path="holds/{hold_id:str}/capture",
        may="wallet",
        handler=post_capture,
        asks=CaptureBody,
        answers=EndAnswer,
        key="required",
        refuses=(*ENDED, HoldTooSmall, InsufficientCredits),
        summary="Take all or part of a hold; the rest returns to the very lots it came from.",
    ),
    Resource(
        method="POST",
        path="holds/{hold_id:str}/void",
        may="wallet",
        handler=post_void,
        asks=VoidBody,
        answers=EndAnswer,
        key="required",
        refuses=ENDED,
        summary="Give a hold back, all of it.",
    ),
    Resource(
        method="POST",
        path="holds/{hold_id:str}/extend",
        may="wallet",
        handler=post_extend,
        asks=ExtendBody,
        answers=HoldAnswer,
        key="optional",
        refuses=(*SPEND_REFUSALS, HoldEnded, HoldExpired),
        summary="Add credits or time to a hold, or leave it as it is and refuse.",
    ),
)
