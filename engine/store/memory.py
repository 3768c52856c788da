"""What a lane remembers of the wallets it wrote last, so that a spend on one of them reads nothing.

What is remembered is a guess: others write the same database. It is decided on before its transaction begins, and
written only where it is still true. On SQLite the transaction looks first whether anybody else has written anything
(`PRAGMA data_version` for other connections, `total_changes` for its own). On PostgreSQL it fails, with all that was
sent with it, unless the transactions that are remembered wrote the wallets' rows last (`xmin`). Another connection may
lead to a server that was set back: then nothing is remembered. That a key is new is a guess as well: the ledger's
unique keys refuse one that is not.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeGuard

from engine.rules.commands import Command, Spend
from engine.rules.ledger import Page, Wallet
from engine.store import books
from engine.store.bulk import AskMark, ask_mark, lock_marked
from engine.store.pens import Pen

WALLETS_MAX = 16_384
"""About 2 kB each. One more, and all are forgotten: a lane that has to do with so many seldom meets one again."""
PAUSE_MAX = 64
"""So many batches are read without a guess, at most, after one that was wrong."""
_State = tuple[object, int, int]


class WrongGuess(Exception):
    """It must be read: somebody else has written, or a command is refused for which its key may have an answer."""


@dataclass(slots=True)
class Mark:
    """PostgreSQL's name of a transaction. Before that is committed it is not known, and no row's `xmin` is empty."""

    text: str = ""


@dataclass(slots=True)
class Guess:
    """Pages as they should be, and the marks of the transactions that should have written their wallets last.

    `commands` are the batch's on those wallets, `others` those that must be read for.
    """

    pages: dict[str, Page] = field(default_factory=dict)
    marks: dict[str, Mark] = field(default_factory=dict)
    commands: Sequence[Command] = ()
    others: Sequence[Command] = ()

    def known_marks(self) -> dict[str, str]:
        return {account_id: mark.text for account_id, mark in self.marks.items()}


@dataclass(slots=True)
class Written:
    """Wallets as a transaction wrote them, the database's state at its end, and PostgreSQL's mark of it."""

    wallets: Sequence[Wallet]
    state: _State
    ask_mark: AskMark | None
    mark: Mark = field(default_factory=Mark)


class Memory:
    """The wallets that one lane wrote last, as it left them or is about to. Used by one thread."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Wallet, Mark]] = {}
        self._expected: Written | None = None
        self._state: _State | None = None
        self._pause = 0
        self._skips = 0

    def guess(self, commands: Sequence[Command], now: datetime) -> Guess | None:
        """The pages that `books.load` would give, of the wallets that are known; `None` if there are none.

        Only for plain spends that the lots which their wallets carry can pay: all that those need is in the wallet.
        What is handed out is forgotten until it is written.
        """
        if self._skips > 0:
            self._skips -= 1
            return None
        demand: dict[str, int] = {}
        unknown: set[str] = set()
        for command in commands:
            if _is_plain(command) and command.account_id in self._known:
                demand[command.account_id] = demand.get(command.account_id, 0) + command.credits
            else:
                unknown.add(command.account_id)
        guess = Guess()
        for account_id in demand.keys() - unknown if unknown else demand:
            wallet, mark = self._known[account_id]
            page = books.page_of(wallet, None, now)
            if books.has_enough(page, demand[account_id]):
                guess.pages[account_id] = page
                guess.marks[account_id] = mark
        if not guess.pages:
            return None
        for account_id in guess.pages:
            del self._known[account_id]
        if len(guess.pages) == len(demand) and not unknown:
            guess.commands = commands
        else:
            guess.commands = [command for command in commands if command.account_id in guess.pages]
            guess.others = [command for command in commands if command.account_id not in guess.pages]
        return guess

    def check(self, pen: Pen, guess: Guess) -> AskMark | None:
        """In a transaction that has begun: `WrongGuess` if it is known already that somebody else has written.

        On PostgreSQL the wallets of a batch that reads others as well are locked with those, in one order, and the
        transaction's mark is asked for. Of any other they are locked as they are written.
        """
        if self.forget_outdated(pen):
            raise WrongGuess
        if pen.is_sqlite or not guess.others:
            return None
        others = {command.account_id for command in guess.others}
        return lock_marked(pen, "wallets", "account_id", guess.known_marks(), others)

    def forget_outdated(self, pen: Pen) -> bool:
        """Forget what is no longer true, as far as it can be told without a look at the wallets; whether it was."""
        if self._state == _state(pen):
            return False
        self._known.clear()
        return True

    def note(self, pen: Pen, pages: Iterable[Page], mark: AskMark | None = None) -> Written:
        """What a transaction has written, at its end; with its mark, if that was asked for."""
        wallets = [page.wallet for page in pages if page.is_changed]
        if mark is None and wallets and not pen.is_sqlite:
            mark = ask_mark(pen)
        return Written(wallets, _state(pen), mark)

    def expect(self, written: Written) -> None:
        """What a transaction has written: it will most likely be committed, so the next guess may be made on it."""
        self._expected = written
        for wallet in written.wallets:
            self._known.pop(wallet.account_id, None)
        carried = {wallet.account_id: (wallet, written.mark) for wallet in written.wallets if wallet.front is not None}
        if len(self._known) + len(carried) > WALLETS_MAX:
            self._known.clear()
        self._known.update(carried)

    def confirm(self, written: Written) -> None:
        """What was expected is committed."""
        self._state = written.state
        self._expected = None
        if written.ask_mark is not None:
            written.mark.text = written.ask_mark()

    def was_right(self) -> None:
        self._pause = 0

    def was_wrong(self) -> None:
        """Forget what was expected. And guess more seldom: where others write the same wallets all the time, it costs
        more than reading.
        """
        if self._expected is not None:
            for wallet in self._expected.wallets:
                self._known.pop(wallet.account_id, None)
            self._expected = None
        self._pause = self._skips = min(PAUSE_MAX, 2 * self._pause + 1)


def _is_plain(command: Command) -> TypeGuard[Spend]:
    return isinstance(command, Spend) and not command.dry_run and command.api_key_id is None and command.credits > 0


def _state(pen: Pen) -> _State:
    """What changes with another connection; on SQLite as soon as anybody has written, by this one or by others."""
    if not pen.is_sqlite:
        return pen.driver, 0, 0
    return pen.driver, pen.run("PRAGMA data_version", ())()[0][0], pen.driver.total_changes
