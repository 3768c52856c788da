"""What the engine tells whoever measures it: a batch at a time, so that counting costs a spend next to nothing."""

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from engine.rules.commands import Command, Outcome, Posted
from engine.rules.errors import Refusal


class Meter(Protocol):
    """Somebody who counts. Called by the lanes of group commit, between a commit and the next batch."""

    def batch(self, commands: Sequence[Command], outcomes: Sequence[Outcome], seconds: float, queued: int) -> None: ...


def counted(commands: Sequence[Command], outcomes: Sequence[Outcome]) -> Counter[tuple[str, str]]:
    """How often each (operation, outcome) was: `done`, `replayed`, `planned` or a refusal's code."""
    return Counter((command.operation, _name(outcome)) for command, outcome in zip(commands, outcomes, strict=True))


def _name(outcome: Outcome) -> str:
    if isinstance(outcome, Posted):
        return "replayed" if outcome.replayed else "done"
    return outcome.code if isinstance(outcome, Refusal) else "planned"
