"""Grants by the host that a person may have to look at first, and campaign steps, which are granted once.

A step belongs to whatever was made for it first: a grant or a review. So both are looked up, and either is made,
under the wallet's lock. A key that asked for a review answers that review, and no other request.
"""

from dataclasses import dataclass

from sqlmodel import Session

from engine import book
from engine.flows import proposals as flow
from engine.rules.commands import Grant, Posted, fingerprint_of
from engine.rules.errors import IdempotencyMismatch, NotFound, Refusal
from engine.runtime import Runtime
from engine.store import books, proposals, replies
from engine.store.database import reading, transact
from engine.store.tables import ProposalRow


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A grant that a person decides; `is_replay` when it was asked for before."""

    row: ProposalRow
    is_replay: bool


def check_key(runtime: Runtime, command: Grant) -> None:
    """Raise `IdempotencyMismatch` if this key asked for a review before."""
    assert command.key is not None
    with reading(runtime.db) as session:
        replies.find(session, command.account_id, command.operation, command.key, _print(command, needs_review=False))


def grant(runtime: Runtime, command: Grant, *, needs_review: bool) -> Posted | Reviewed:
    """Grant, or keep for review. Raises the grant's refusal, or `IdempotencyMismatch`; both change nothing."""
    assert command.key is not None
    key, identity = command.key, _print(command, needs_review=needs_review)

    def work(session: Session) -> Posted | Reviewed:
        now = runtime.clock.now()
        page = books.lock_wallets(session, [command.account_id], now).get(command.account_id)
        if page is None:
            raise NotFound("account")
        earlier = _asked_before(session, command, key, identity)
        if earlier is not None:
            return Reviewed(earlier, is_replay=True)
        if needs_review and not _is_granted(session, command):
            if proposals.is_keyed(session, command.account_id, command.operation, key):
                raise IdempotencyMismatch
            flow.check_may_come(page, command)
            row = flow.propose(session, runtime, "host_grant", command, command.description)
            replies.keep(session, command.account_id, command.operation, key, identity, 202, replies.snapshot(row), now)
            return Reviewed(row, is_replay=False)
        (outcome,) = book.post(session, [command], runtime.terms, now)
        if isinstance(outcome, Refusal):
            raise outcome
        assert isinstance(outcome, Posted)
        return outcome

    return transact(runtime.db, work)


def _asked_before(session: Session, command: Grant, key: str, identity: str) -> ProposalRow | None:
    """The review that this key asked for before, or this campaign step, unless it has its grant by now."""
    reply = replies.find(session, command.account_id, command.operation, key, identity)
    if reply is not None:
        return flow.told_first(session, command.account_id, reply.answer)
    if command.campaign is None or _is_granted(session, command):
        return None
    return proposals.proposal_for(session, command.account_id, command.campaign)


def _is_granted(session: Session, command: Grant) -> bool:
    """Whether the book will answer with the grant that this step had before."""
    return command.campaign is not None and proposals.is_granted(session, command.account_id, command.campaign)


def _print(command: Grant, *, needs_review: bool) -> str:
    return fingerprint_of(command.operation, (needs_review, *command.identity()))
