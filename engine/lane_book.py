"""The book as a lane of group commit keeps it: it remembers the wallets that it wrote.

Plain spends on wallets that it remembers (`engine/store/memory.py`) are decided before their transaction begins, which
reads only what the batch's other commands need. Where a guess was wrong nothing was stored, and all are carried out
again as `book.post` does, which locks and reads.

While PostgreSQL commits a batch the next one may be decided, on the wallets as that batch leaves them. It is written
once the batch is committed; if that fails, what was decided on it is dropped.
"""

from collections.abc import Callable, Collection, Container, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from engine import book
from engine.clock import monotonic
from engine.rules.commands import Command, Outcome, Posted
from engine.rules.decisions import Terms, decide_all
from engine.rules.errors import MonthDue, Unavailable
from engine.rules.ledger import Page
from engine.store import saving
from engine.store.database import Database, as_unavailable, busy, transact_by_letter, writing_by_letter
from engine.store.memory import Guess, Memory, Written, WrongGuess
from engine.store.pens import Pen

Answer = Outcome | Exception
"""What became of one command of many: its outcome, or why the database could not do it."""
Coming = Callable[[], Sequence[Command]]
AHEAD_SHARE = 1 / 3
"""Where deciding a batch takes less than this of its commit's time, the next one is not decided ahead: what arrives
during a commit would wait for one more, only to save little."""


@dataclass(slots=True)
class _Decided:
    """Commands, what was guessed for them, what was decided on that, and how long it took."""

    commands: Sequence[Command]
    guess: Guess | None
    outcomes: Sequence[Outcome]
    seconds: float


class LaneBook:
    """Carries out one batch after the other, each in a transaction of its own. Used by one thread."""

    def __init__(self, db: Database, terms: Terms, now: Callable[[], datetime]) -> None:
        self._db = db
        self._terms = terms
        self._now = now
        self._memory = Memory()
        self._ahead: _Decided | None = None
        self._is_ahead_worth_it = True

    def carry_out(
        self, commands: Sequence[Command], turned: Container[str] | None = None, coming: Coming | None = None
    ) -> list[Answer]:
        """Post and commit commands together; their answers in order. Those of accounts whose month is due, and that
        are not `turned`, are answered by `MonthDue` if anything is said of that.

        If the database refuses them they are split in halves until the poisoned command stands alone: it fails, its
        neighbours do not. While PostgreSQL commits, `coming` may be asked for what will be carried out next, to decide
        it then.
        """
        ends = monotonic() + self._db.deadline_seconds
        try:
            posted = self._from_memory(commands, turned, coming)
        except Exception as error:  # nothing was stored: where a command is to blame, reading finds out which
            self._ahead = None
            self._memory.was_wrong()
            unavailable = as_unavailable(error) or (busy() if monotonic() > ends else None)
            return self._posted(commands, turned) if unavailable is None else [unavailable] * len(commands)
        if posted is None:
            return self._posted(commands, turned)
        answers, written = posted
        self._memory.confirm(written)
        self._memory.was_right()
        return answers

    def _look_ahead(self, coming: Coming) -> None:
        """Decide what is coming on what the transaction under way has written.

        Nothing is raised: that transaction has its own answer. What can't be decided is met again in its turn.
        """
        commands = coming()
        with suppress(Exception):
            self._ahead = self._decided(commands) if commands else None

    def _decided(self, commands: Sequence[Command]) -> _Decided:
        began = monotonic()
        guess = self._memory.guess(commands, self._now())
        outcomes = [] if guess is None else decide_all(guess.pages, guess.commands, self._terms)
        return _Decided(commands, guess, outcomes, monotonic() - began)

    def _from_memory(
        self, commands: Sequence[Command], turned: Container[str] | None, coming: Coming | None
    ) -> tuple[list[Answer], Written] | None:
        """Carry out what can be with what is remembered, and the others with it; `None` if that is nothing."""
        ahead, self._ahead = self._ahead, None
        decided = ahead if ahead is not None and ahead.commands is commands else self._decided(commands)
        guess = decided.guess
        if guess is None:
            return None
        if not all(isinstance(outcome, Posted) for outcome in decided.outcomes):
            raise WrongGuess
        meanwhile = partial(self._look_ahead, coming) if coming is not None and self._is_ahead_worth_it else None
        with writing_by_letter(self._db, meanwhile) as pen:
            mark = self._memory.check(pen, guess)
            pages: Collection[Page] = guess.pages.values()
            read: Sequence[Outcome | MonthDue] = ()
            if guess.others:
                pages, read = book.post_pages(pen, guess.others, self._terms, self._now(), pages, turned)
            else:
                mark = saving.save(pen, pages, None if pen.is_sqlite else guess.known_marks())
            written = self._memory.note(pen, pages, mark)
            sure, rest = iter(decided.outcomes), iter(read)
            answers: list[Answer] = [next(sure if c.account_id in guess.pages else rest) for c in commands]
            self._memory.expect(written)
            sent = monotonic()
        self._is_ahead_worth_it = decided.seconds >= AHEAD_SHARE * (monotonic() - sent)
        return answers, written

    def _posted(self, commands: Sequence[Command], turned: Container[str] | None) -> list[Answer]:
        try:
            outcomes, written = transact_by_letter(self._db, lambda pen: self._post(pen, commands, turned))
        except Unavailable as gone:
            return [gone] * len(commands)
        except Exception as error:
            if len(commands) == 1:
                return [error]
            middle = len(commands) // 2
            return self._posted(commands[:middle], turned) + self._posted(commands[middle:], turned)
        self._memory.expect(written)
        self._memory.confirm(written)
        return list(outcomes)

    def _post(
        self, pen: Pen, commands: Sequence[Command], turned: Container[str] | None
    ) -> tuple[list[Outcome | MonthDue], Written]:
        self._memory.forget_outdated(pen)
        pages, outcomes = book.post_pages(pen, commands, self._terms, self._now(), turned=turned)
        return outcomes, self._memory.note(pen, pages)
