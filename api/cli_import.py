"""The command `purser import`: opening balances from a CSV file, rehearsed first, written only when asked to."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import click

from api.cli_talk import NO, complaints, counting, log_here, say_json, settings_of_environment
from api.opening_file import LineProblem, NoOpeningFile, Numbered, read_opening_file
from api.server import assembled, check_schema, opened
from engine.clock import Clock
from engine.flows.opening import Brought, bring_in
from engine.runtime import Runtime

TOGETHER_MIN = 100
"""So many lines at least are one transaction, and all of an account stand in one."""


@dataclass(slots=True)
class Told:
    """What a pass over the file came to."""

    applied: bool
    lines: int = 0
    accounts_opened: int = 0
    lots_granted: int = 0
    credits_granted: int = 0
    lines_done_before: int = 0
    problems: list[LineProblem] = field(default_factory=list)

    def add(self, numbered: Numbered, result: Brought) -> None:
        self.lines += 1
        self.accounts_opened += result.opened
        self.lines_done_before += result.is_repeat
        if result.refusal is not None:
            self.problems.append(LineProblem(numbered.line, f"{result.refusal.code}: {result.refusal.detail}"))
        if result.is_new:
            self.lots_granted += 1
            self.credits_granted += numbered.balance.grant.credits

    def as_json(self) -> dict[str, object]:
        return {
            "applied": self.applied,
            "lines": self.lines,
            "accountsOpened": self.accounts_opened,
            "lotsGranted": self.lots_granted,
            "creditsGranted": str(self.credits_granted),
            "linesDoneBefore": self.lines_done_before,
            "problems": [{"line": each.line, "problem": each.problem} for each in self.problems],
        }


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--apply", "is_applied", is_flag=True, help="Write; without it everything is tried and taken back.")
@click.option("--reason", default="Opening balances", show_default=True, help="What the audit log says.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON line.")
def import_command(file: Path, is_applied: bool, reason: str, as_json: bool) -> None:
    """Bring in opening balances from the CSV file FILE; a line that was brought in before is not again.

    Nothing is written without --apply, nor while any line is wrong (exit code 1).
    """
    log_here()
    settings = settings_of_environment()
    with complaints(NoOpeningFile), opened(settings) as db:
        check_schema(db)
        with assembled(settings, db, Clock(), {}) as parts:
            balances, problems = read_opening_file(file, parts.runtime.catalog)
            with counting("Rehearsing", is_shown=not as_json) as progress:
                told = _pass(parts.runtime, balances, reason, progress, for_good=False)
            told.problems = sorted([*problems, *told.problems], key=lambda each: each.line)
            if is_applied and not told.problems:
                with counting("Bringing in", is_shown=not as_json) as progress:
                    told = _pass(parts.runtime, balances, reason, progress, for_good=True)
    say_json(told.as_json()) if as_json else _show(told)
    if told.problems:
        sys.exit(NO)


def _pass(
    runtime: Runtime, balances: Sequence[Numbered], reason: str, progress: Callable[[int], None], *, for_good: bool
) -> Told:
    """Bring in everything, some accounts at a time; for good it ends where something is refused after all."""
    told = Told(applied=for_good)
    for some in _parts(balances):
        results = bring_in(runtime, [each.balance for each in some], reason, for_good=for_good)
        refused = [each for each in zip(some, results, strict=True) if each[1].refusal is not None]
        for numbered, result in refused if for_good and refused else zip(some, results, strict=True):
            told.add(numbered, result)
        if for_good and refused:
            break
        progress(told.lines)
    return told


def _parts(balances: Sequence[Numbered]) -> Iterator[list[Numbered]]:
    """The lines by account, in the order of the file within one, cut between accounts."""
    part: list[Numbered] = []
    in_order = sorted(balances, key=lambda each: (each.balance.grant.account_id, each.line))
    for _, of_account in groupby(in_order, key=lambda each: each.balance.grant.account_id):
        part += of_account
        if len(part) >= TOGETHER_MIN:
            yield part
            part = []
    if part:
        yield part


def _show(told: Told) -> None:
    for each in told.problems:
        click.echo(f"line {each.line}: {each.problem}")
    click.echo(
        f"{told.lines} lines: {told.lots_granted} lots with {told.credits_granted} credits, "
        f"{told.accounts_opened} accounts opened, {told.lines_done_before} lines done before."
    )
    if told.problems:
        ended = "What stands above was written, the rest was not" if told.applied else "Nothing was written"
        click.echo(f"{ended}: {len(told.problems)} lines can't be brought in.")
    elif told.applied:
        click.echo("Written. `purser audit` proves the books.")
    else:
        click.echo("Nothing was written: this was a rehearsal. `--apply` writes it.")
