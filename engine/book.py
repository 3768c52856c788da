"""The single write path for credits: load, decide, save.

`post` runs inside its caller's transaction and takes the wallets' locks first. A single command is a batch of one.
Refusals are values in the answer; only a database error raises, and then nothing of the batch was stored.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

from engine.rules.commands import Command, Outcome
from engine.rules.decisions import Terms, decide_all
from engine.rules.ledger import Page
from engine.store import books
from engine.store.pens import AnySession


def post(session: AnySession, commands: Sequence[Command], terms: Terms, now: datetime) -> list[Outcome]:
    """Carry out the commands in order, each all or nothing; outcomes stand in the same order."""
    return post_pages(session, commands, terms, now)[1]


def post_pages(
    session: AnySession, commands: Sequence[Command], terms: Terms, now: datetime, decided: Collection[Page] = ()
) -> tuple[Collection[Page], list[Outcome]]:
    """`post`, and the pages that it was decided on, as they were saved; with them go the pages `decided` before."""
    pages = books.load(session, commands, now) if commands else {}
    outcomes = decide_all(pages, commands, terms)
    changed = [*pages.values(), *decided]
    books.save(session, changed)
    return changed, outcomes
