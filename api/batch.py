"""`POST /v1/spends/batch`: up to a thousand spends of any accounts, each with its own key and outcome."""

from typing import Annotated, Any

from msgspec import Meta

from api.body import BATCH_MAX, Batch, Line, read_item
from api.posting import carry_out_all
from api.problems import bug_problem, problem
from api.scope import Answer, Call, Resource, checked_key
from api.spends import DrawView, SpendBody, spend_answer, spend_command
from api.transactions import TransactionView, View
from engine.rules.commands import Command, Outcome, Posted, Spend
from engine.rules.errors import Refusal
from engine.runtime import Runtime

BATCH_BYTES_MAX = 16 * 1024 * 1024
"""Enough for a thousand spends with all that each of them may say."""


class BatchItem(SpendBody, frozen=True, kw_only=True):
    """A spend with the account and the key it has for itself."""

    account_id: Line
    idempotency_key: str | None = None


class BatchBody(Batch, frozen=True, kw_only=True):
    """Each item is read and answered alone: a malformed one is its own result."""

    spends: Annotated[list[Any], Meta(max_length=BATCH_MAX)]


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


async def post_batch(call: Call[BatchBody]) -> Answer:
    """Spend for many accounts; one refusal never stops another."""
    runtime = call.runtime
    results: list[object] = [None] * len(call.ask.spends)
    commands: list[tuple[int, Command]] = []
    for place, tree in enumerate(call.ask.spends):
        try:
            commands.append((place, _batch_spend(runtime, tree, call.actor)))
        except Refusal as refusal:
            results[place] = problem(refusal, runtime.catalog.error_prefix)
    outcomes = await carry_out_all(runtime, [command for _, command in commands])
    for (place, _), outcome in zip(commands, outcomes, strict=True):
        results[place] = _batch_result(runtime, outcome)
    return Answer({"results": results})


def _batch_spend(runtime: Runtime, tree: object, actor: str) -> Spend:
    """One item's command. A key that is shown is looked at before all else, as the header of a single spend is."""
    shown = tree.get("idempotencyKey") if isinstance(tree, dict) else None
    if shown is not None:
        checked_key(shown)
    item = read_item(tree, BatchItem)
    key = None if item.dry_run else checked_key(shown)
    return spend_command(runtime, item, item.account_id, actor, key)


def _batch_result(runtime: Runtime, outcome: Outcome | BaseException) -> object:
    prefix = runtime.catalog.error_prefix
    if isinstance(outcome, Refusal):
        return problem(outcome, prefix)
    if isinstance(outcome, BaseException):
        return bug_problem(outcome, prefix)
    answer = spend_answer(runtime, outcome)
    return BatchResult(
        status=201 if isinstance(outcome, Posted) else 200,
        transaction=answer.transaction,
        draws=answer.draws,
        balance_after=answer.balance_after,
        replayed=isinstance(outcome, Posted) and outcome.replayed,
    )


RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="POST",
        path="/v1/spends/batch",
        may="wallet",
        handler=post_batch,
        asks=BatchBody,
        answers=BatchAnswer,
        body_bytes_max=BATCH_BYTES_MAX,
        summary="Up to 1,000 spends of any accounts (16 MiB), each with its own key and outcome.",
    ),
)
