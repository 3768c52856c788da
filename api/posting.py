"""Waiting for the book: a handler hands commands over and hears of them when they are committed."""

import asyncio
from collections.abc import Sequence

from api.answers import found_by, outcome_of
from engine.gathered_reads import K, Read, V
from engine.rules.commands import Command, Outcome, Planned, Posted
from engine.rules.errors import Refusal, Unavailable
from engine.runtime import Runtime


async def carry_out(runtime: Runtime, command: Command) -> Posted | Planned:
    """Post one command and wait for its commit. Raises its refusal, or `Unavailable` when that takes too long."""
    try:
        outcome = await outcome_of(runtime.group, command, 2 * runtime.db.deadline_seconds)
    except TimeoutError as error:
        raise Unavailable("The database does not answer; the same key tells what became of this request.") from error
    if isinstance(outcome, Refusal):
        raise outcome
    return outcome


async def carry_out_all(runtime: Runtime, commands: Sequence[Command]) -> list[Outcome | BaseException]:
    """Post many commands; one that the database could not do, or not in time, is an error of its own."""
    batch = runtime.group.submit_batch(commands)
    _, late = await asyncio.wait([asyncio.wrap_future(batch)], timeout=2 * runtime.db.deadline_seconds)
    if late:
        batch.cancel()
    unknown = Unavailable("The database does not answer; this command's key tells what became of it.")
    return [unknown if answer is None else answer for answer in batch.answers]


async def look_up(runtime: Runtime, read: Read[K, V], key: K) -> V | None:
    """What a gathered read finds for one key, or `Unavailable` when that takes too long."""
    try:
        return await found_by(runtime.reads, read, key, 2 * runtime.db.deadline_seconds)
    except TimeoutError as error:
        raise Unavailable("The database does not answer; try again.") from error
