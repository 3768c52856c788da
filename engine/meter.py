"""What the engine tells whoever measures it: a batch at a time, so that counting costs a spend next to nothing."""

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from engine.rules.commands import Command, Outcome, Planned, Posted
from engine.rules.errors import MonthDue, Refusal


class Meter(Protocol):
    """Somebody who counts. Called by the lanes of group commit."""

    def batch(
        self, commands: Sequence[Command], answers: Sequence[Outcome | Exception], seconds: float, queued: int
    ) -> None:
        """A batch is committed, and its callers have heard of it."""

    def lane_ended(self) -> None:
        """A lane's process has ended before its time, or could not be started."""


def counted(commands: Sequence[Command], answers: Sequence[Outcome | Exception]) -> Counter[tuple[str, str]]:
    """How often each (operation, outcome) was: `done`, `replayed`, `planned`, a refusal's code, `put_off`
    (and counted again when its month was granted), or `failed`."""
    return Counter((command.operation, _name(answer)) for command, answer in zip(commands, answers, strict=True))


def _name(answer: Outcome | Exception) -> str:
    match answer:
        case Posted():
            return "replayed" if answer.replayed else "done"
        case Planned():
            return "planned"
        case Refusal():
            return answer.code
        case MonthDue():
            return "put_off"
        case _:
            return "failed"
