"""Spending over HTTP: one spend, its reversal, and up to a thousand spends of many accounts at once."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

from msgspec import Meta

from api.body import Batch, Body, Credits, Description, Line, Metadata, metadata_text, read_item
from api.problems import bug_problem, problem
from api.scope import Answer, Call, Resource, checked_key
from api.transactions import TransactionView, View, transaction_view
from engine.rules.commands import Command, Outcome, Planned, Posted, Reverse, Spend
from engine.rules.errors import (
    IdempotencyMismatch,
    InsufficientCredits,
    Refusal,
    SpendAlreadyReversed,
    Unavailable,
    WalletInDebt,
    WalletNotActive,
)
from engine.rules.lots import Draw
from engine.runtime import Runtime

BATCH_MAX = 1_000
BATCH_BYTES_MAX = 1024 * 1024


class SpendBody(Body, frozen=True, kw_only=True):
    """What is spent and for what. With `dryRun` nothing is stored and no key is needed."""

    amount_credits: Credits
    description: Description | None = None
    provider_id: Line | None = None
    provider_name: Line | None = None
    capability_id: Line | None = None
    outcome: Line | None = None
    call_id: Line | None = None
    metadata: Metadata | None = None
    dry_run: bool = False


class BatchItem(SpendBody, frozen=True, kw_only=True):
    """A spend with the account and the key it has for itself."""

    account_id: Line
    idempotency_key: str | None = None


class BatchBody(Batch, frozen=True, kw_only=True):
    """Each item is read and answered alone: a malformed one is its own result."""

    spends: Annotated[list[Any], Meta(max_length=BATCH_MAX)]


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


class BatchResult(View, frozen=True, kw_only=True, omit_defaults=True):
    """One spend's own outcome: an answer, or a problem with its facts beside these members."""

    status: int
    transaction: TransactionView | None = None
    draws: tuple[DrawView, ...] | None = None
    balance_after: str | None = None
    replayed: bool = False
    type: str | None = None
    title: str | None = None
    detail: str | None = None
    code: str | None = None


class BatchAnswer(View, frozen=True, kw_only=True):
    """Results in the order of the spends."""

    results: tuple[BatchResult, ...]


async def post_spend(call: Call[SpendBody]) -> Answer:
    """Spend, all or nothing."""
    runtime, ask = call.runtime, call.ask
    key = None if ask.dry_run else checked_key(call.key)
    outcome = await carry_out(runtime, _spend(runtime, ask, call.account_id, call.actor, key))
    answer = _spend_answer(runtime, outcome)
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


async def post_batch(call: Call[BatchBody]) -> Answer:
    """Spend for many accounts; one refusal never stops another."""
    runtime = call.runtime
    results: list[object] = [None] * len(call.ask.spends)
    commands: list[tuple[int, Command]] = []
    for place, tree in enumerate(call.ask.spends):
        try:
            commands.append((place, _batch_spend(runtime, read_item(tree, BatchItem), call.actor)))
        except Refusal as refusal:
            results[place] = problem(refusal, runtime.catalog.error_prefix)
    outcomes = await _carry_out_all(runtime, [command for _, command in commands])
    for (place, _), outcome in zip(commands, outcomes, strict=True):
        results[place] = _batch_result(runtime, outcome)
    return Answer({"results": results})


async def carry_out(runtime: Runtime, command: Command) -> Posted | Planned:
    """Post one command and wait for its commit. Raises its refusal, or `Unavailable` when that takes too long."""
    try:
        async with asyncio.timeout(2 * runtime.db.deadline_seconds):
            outcome = await asyncio.wrap_future(runtime.group.submit(command))
    except TimeoutError as error:
        raise Unavailable("The database does not answer; the same key tells what became of this request.") from error
    if isinstance(outcome, Refusal):
        raise outcome
    return outcome


async def _carry_out_all(runtime: Runtime, commands: Sequence[Command]) -> list[Outcome | BaseException]:
    """Post many commands; one that the database could not do, or not in time, is an error of its own."""
    if not commands:
        return []
    futures = [asyncio.wrap_future(future) for future in runtime.group.submit_all(commands)]
    _, late = await asyncio.wait(futures, timeout=2 * runtime.db.deadline_seconds)
    for future in late:
        future.cancel()
    return await asyncio.gather(*futures, return_exceptions=True)


def _spend(runtime: Runtime, ask: SpendBody, account_id: str, actor: str, key: str | None) -> Spend:
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
        metadata=metadata_text(ask.metadata),
        dry_run=ask.dry_run,
        key=key,
    )


def _batch_spend(runtime: Runtime, item: BatchItem, actor: str) -> Spend:
    key = None if item.dry_run else checked_key(item.idempotency_key)
    return _spend(runtime, item, item.account_id, actor, key)


def _spend_answer(runtime: Runtime, outcome: Posted | Planned) -> SpendAnswer:
    if isinstance(outcome, Planned):
        return SpendAnswer(transaction=None, draws=_draws(outcome.draws), balance_after=str(outcome.balance_after))
    row = outcome.transactions[0]
    return SpendAnswer(
        transaction=transaction_view(row, runtime.catalog),
        draws=_draws(row.draws()),
        balance_after=str(outcome.balance_after),
    )


def _draws(draws: Sequence[Draw]) -> tuple[DrawView, ...]:
    return tuple(DrawView(lot_id=d.lot_id, bucket=d.bucket, amount_credits=str(d.credits)) for d in draws)


def _batch_result(runtime: Runtime, outcome: Outcome | BaseException) -> object:
    prefix = runtime.catalog.error_prefix
    if isinstance(outcome, asyncio.CancelledError):
        outcome = Unavailable("The database does not answer; this spend's key tells what became of it.")
    if isinstance(outcome, Refusal):
        return problem(outcome, prefix)
    if isinstance(outcome, BaseException):
        return bug_problem(outcome, prefix)
    answer = _spend_answer(runtime, outcome)
    return BatchResult(
        status=201 if isinstance(outcome, Posted) else 200,
        transaction=answer.transaction,
        draws=answer.draws,
        balance_after=answer.balance_after,
        replayed=isinstance(outcome, Posted) and outcome.replayed,
    )


SPEND_REFUSALS = (InsufficientCredits, WalletNotActive, WalletInDebt, IdempotencyMismatch)

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
        refuses=SPEND_REFUSALS,
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
    Resource(
        method="POST",
        path="/v1/spends/batch",
        may="wallet",
        handler=post_batch,
        asks=BatchBody,
        answers=BatchAnswer,
        body_bytes_max=BATCH_BYTES_MAX,
        summary="Up to 1,000 spends of any accounts, each with its own key and outcome.",
    ),
)
