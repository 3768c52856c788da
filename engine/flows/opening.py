"""Opening balances: what customers had before Purser, brought in as lots, each once, however often it is asked.

A balance is keyed by its account and the operator's own reference, so a file that was cut short is simply brought in
again. Some rows at a time are one transaction: the accounts that are not there yet, their lots, a line in the audit
log for each. A rehearsal does all of it and takes it back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session

from engine import book
from engine.flows.accounts import NewAccount, open_within
from engine.rules.commands import Grant, Outcome, Posted
from engine.rules.errors import Invalid, Refusal
from engine.runtime import Runtime
from engine.store import books, outbox
from engine.store.database import transact

OPERATION = "opening balance"


@dataclass(frozen=True, slots=True)
class OpeningBalance:
    """One lot that a customer had; `owner` is opened if there is no such account, else it stays as it is."""

    owner: NewAccount
    grant: Grant


@dataclass(frozen=True, slots=True)
class Brought:
    """What became of a balance: granted now, granted before, or refused. `opened`: its account was opened for it."""

    refusal: Refusal | None
    is_repeat: bool
    opened: bool

    @property
    def is_new(self) -> bool:
        return self.refusal is None and not self.is_repeat


class _Undo(Exception):
    """Takes a transaction back and carries out what it would have done."""

    def __init__(self, results: list[Brought]) -> None:
        super().__init__()
        self.results = results


def bring_in(runtime: Runtime, balances: Sequence[OpeningBalance], reason: str, *, for_good: bool) -> list[Brought]:
    """Bring these in together, in order; one that is refused, or a rehearsal, leaves nothing of any of them."""

    def work(session: Session) -> list[Brought]:
        results = _bring_in(session, runtime, balances, reason, runtime.clock.now())
        if not for_good or any(result.refusal for result in results):
            raise _Undo(results)
        return results

    try:
        return transact(runtime.db, work)
    except _Undo as undone:
        return undone.results


def _bring_in(
    session: Session, runtime: Runtime, balances: Sequence[OpeningBalance], reason: str, now: datetime
) -> list[Brought]:
    owners = {balance.grant.account_id: balance.owner for balance in reversed(balances)}
    there = books.lock_wallets(session, sorted(owners), now)
    unopened = {owner: _open(session, runtime, owners[owner], now) for owner in sorted(owners.keys() - there.keys())}
    wanted = [balance.grant for balance in balances if unopened.get(balance.grant.account_id) is None]
    outcomes = iter(book.post(session, wanted, runtime.terms, now))
    results = []
    first_of = set(unopened)
    for balance in balances:
        account_id = balance.grant.account_id
        refused = unopened.get(account_id)
        outcome: Outcome = next(outcomes) if refused is None else refused
        results.append(_result(outcome, opened=account_id in first_of))
        first_of.discard(account_id)
        if isinstance(outcome, Posted) and not outcome.replayed:
            _note(session, balance.grant, outcome, reason, now)
    return results


def _open(session: Session, runtime: Runtime, owner: NewAccount, now: datetime) -> Refusal | None:
    """Open an account that is not there; why not, if it can't be."""
    if owner.email is None:
        return Invalid("email", "There is no such account, and a new one needs an e-mail address.")
    try:
        open_within(session, runtime, owner, now)
    except Refusal as refusal:
        return refusal
    return None


def _result(outcome: Outcome, *, opened: bool) -> Brought:
    if isinstance(outcome, Refusal):
        return Brought(outcome, is_repeat=False, opened=False)
    assert isinstance(outcome, Posted)
    return Brought(None, is_repeat=outcome.replayed, opened=opened)


def _note(session: Session, grant: Grant, posted: Posted, reason: str, now: datetime) -> None:
    row = posted.transactions[0]
    facts: dict[str, object] = {"amountCredits": str(row.amount_credits), "reference": grant.reference_id}
    outbox.note_act(
        session, grant.account_id, grant.actor, "credits.brought_in", row.transaction_id, reason, facts, now
    )
