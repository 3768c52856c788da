"""The single write path for credits: load, decide, save.

`post` runs inside its caller's transaction and takes the wallets' locks first. A single command is a batch of one.
Refusals are values in the answer; only a database error raises, and then nothing of the batch was stored.

Group commit puts off what would see a wallet between two months: the old one's credits expired, the next one's not yet
granted. Who grants them (`engine/flows/months.py`) posts, and is not put off.
"""

from collections.abc import Collection, Container, Sequence
from datetime import datetime

from engine.rules.commands import Command, Outcome, begins_month
from engine.rules.decisions import Terms, decide_all
from engine.rules.errors import MonthDue
from engine.rules.ledger import Page
from engine.store import books, months, saving
from engine.store.pens import AnySession


def post(session: AnySession, commands: Sequence[Command], terms: Terms, now: datetime) -> list[Outcome]:
    """Carry out the commands in order, each all or nothing; outcomes stand in the same order."""
    pages = books.load(session, commands, now)
    outcomes = decide_all(pages, commands, terms)
    saving.save(session, pages.values())
    return outcomes


def post_pages(
    session: AnySession,
    commands: Sequence[Command],
    terms: Terms,
    now: datetime,
    decided: Collection[Page] = (),
    turned: Container[str] | None = None,
) -> tuple[Collection[Page], list[Outcome | MonthDue]]:
    """`post`, and the pages that it was decided on, as they were saved; with them go the pages `decided` before.

    Accounts whose month is due are put off but for those that are `turned`; with `None`, nobody is.
    """
    pages = books.load(session, commands, now) if commands else {}
    due = set() if turned is None else months.due(session, [p for a, p in pages.items() if a not in turned])
    put_off = [command.account_id in due and not begins_month(command) for command in commands] if due else []
    present = [c for c, is_late in zip(commands, put_off, strict=True) if not is_late] if due else commands
    outcomes: list[Outcome | MonthDue] = [*decide_all(pages, present, terms)]
    if due:
        sure = iter(outcomes)
        outcomes = [MonthDue() if is_late else next(sure) for is_late in put_off]
    changed = [*pages.values(), *decided]
    saving.save(session, changed)
    return changed, outcomes
