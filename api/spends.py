"""Spending over HTTP: one spend, and its reversal."""

from collections.abc import Sequence
from typing import Any

from api.body import Body, Credits, Description, Line, Metadata, metadata_text
from api.posting import carry_out
from api.scope import Answer, Call, Resource, checked_key
from api.transactions import TransactionView, View, transaction_view
from engine.rules.commands import Planned, Posted, Reverse, Spend
from engine.rules.errors import (
    IdempotencyMismatch,
    InsufficientCredits,
    LimitReached,
    SpendAlreadyReversed,
    WalletInDebt,
    WalletNotActive,
)
from engine.rules.lots import Draw
from engine.runtime import Runtime


class SpendBody(Body, frozen=True, kw_only=True):
    """What is spent and for what. With `dryRun` nothing is stored and no key is needed.

    `apiKeyId` is the account's API key that the customer's call came with: its own limits hold on top.
    """

    amount_credits: Credits
    description: Description | None = None
    provider_id: Line | None = None
    provider_name: Line | None = None
    capability_id: Line | None = None
    outcome: Line | None = None
    call_id: Line | None = None
    api_key_id: Line | None = None
    metadata: Metadata | None = None
    dry_run: bool = False


class ReversalBody(Body, frozen=True, kw_only=True):
    """All that is left of the spend, or `amountCredits` of it."""

    reason: Description | None = None
    amount_credits: Credits | None = None


class DrawView(View, frozen=True, kw_only=True):
    """Credits of one lot, in the order they were drawn."""

    lot_id: str
    bucket: str
    amount_credits: str


class SpendAnswer(View, frozen=True, kw_only=True):
    """What was drawn, in spend order; a dry run has no transaction."""

    transaction: TransactionView | None
    draws: tuple[DrawView, ...]
    balance_after: str


class ReversalAnswer(View, frozen=True, kw_only=True):
    transaction: TransactionView
    balance_after: str


async def post_spend(call: Call[SpendBody]) -> Answer:
    """Spend, all or nothing."""
    runtime, ask = call.runtime, call.ask
    key = None if ask.dry_run else checked_key(call.key)
    outcome = await carry_out(runtime, spend_command(runtime, ask, call.account_id, call.actor, key))
    answer = spend_answer(runtime, outcome)
    if isinstance(outcome, Planned):
        return Answer(answer, status=200)
    return Answer(answer, is_replay=outcome.replayed)


async def post_reversal(call: Call[ReversalBody]) -> Answer:
    """Undo a spend, to the very lots it drew from."""
    reason, credits = call.ask.reason, call.ask.amount_credits
    command = Reverse(
        account_id=call.account_id,
        actor=call.actor,
        transaction_id=call.path["transaction_id"],
        credits=None if credits is None else int(credits),
        description="",
        metadata=metadata_text({"reason": reason} if reason else None, "reason"),
        key=call.key,
    )
    outcome = await carry_out(call.runtime, command)
    assert isinstance(outcome, Posted)
    answer = ReversalAnswer(
        transaction=transaction_view(outcome.transactions[0], call.runtime.catalog),
        balance_after=str(outcome.balance_after),
    )
    return Answer(answer, is_replay=outcome.replayed)


def spend_command(runtime: Runtime, ask: SpendBody, account_id: str, actor: str, key: str | None) -> Spend:
    """The command that this body asks for."""
    return Spend(
        account_id=account_id,
        actor=actor,
        credits=int(ask.amount_credits),
        description=ask.description or runtime.catalog.descriptions.debit,
        provider_id=ask.provider_id,
        provider_name=ask.provider_name,
        capability_id=ask.capability_id,
        outcome=ask.outcome,
        call_id=ask.call_id,
        api_key_id=ask.api_key_id,
        metadata=metadata_text(ask.metadata),
        dry_run=ask.dry_run,
        key=key,
    )


def spend_answer(runtime: Runtime, outcome: Posted | Planned) -> SpendAnswer:
    """What a spend did, or would do, as the API shows it."""
    if isinstance(outcome, Planned):
        return SpendAnswer(transaction=None, draws=draw_views(outcome.draws), balance_after=str(outcome.balance_after))
    row = outcome.transactions[0]
    return SpendAnswer(
        transaction=transaction_view(row, runtime.catalog),
        draws=draw_views(row.draws()),
        balance_after=str(outcome.balance_after),
    )


def draw_views(draws: Sequence[Draw]) -> tuple[DrawView, ...]:
    """Draws as the API shows them."""
    return tuple(DrawView(lot_id=d.lot_id, bucket=d.bucket, amount_credits=str(d.credits)) for d in draws)


SPEND_REFUSALS = (InsufficientCredits, LimitReached, WalletNotActive, WalletInDebt, IdempotencyMismatch)

RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="POST",
        path="spends",
        may="wallet",
        handler=post_spend,
        asks=SpendBody,
        answers=SpendAnswer,
        status=201,
        key="optional",
        is_hot=True,
        refuses=SPEND_REFUSALS,
        also={200: "A dry run: what would be drawn, and nothing was."},
        summary="Spend credits in spend order, all or nothing. The key is required unless it is a dry run.",
    ),
    Resource(
        method="POST",
        path="spends/{transaction_id:str}/reversal",
        may="wallet",
        handler=post_reversal,
        asks=ReversalBody,
        answers=ReversalAnswer,
        status=201,
        key="required",
        refuses=(SpendAlreadyReversed, WalletNotActive, IdempotencyMismatch),
        summary="Undo a spend, whole or in part, to the very lots it drew from.",
    ),
)
