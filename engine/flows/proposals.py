"""Grants and debits that wait for a person: kept as the command they will be, posted when somebody says so.

A proposal moves nothing. Approving it posts its command with the key it came with, in one transaction with the
decision, so that neither two people nor a crash grant it twice. Nobody decides what they proposed themselves.
"""

from dataclasses import dataclass
from typing import Literal

import msgspec
from sqlmodel import Session

from engine import book
from engine.clock import new_id
from engine.rules.commands import AdminDebit, Grant, Posted
from engine.rules.errors import (
    AlreadyRefunded,
    InsufficientCredits,
    Invalid,
    NotFound,
    OwnApproval,
    Refusal,
    WalletNotActive,
)
from engine.rules.ledger import Page
from engine.rules.refunds import is_same_person
from engine.runtime import Runtime
from engine.store import books, outbox, proposals, replies
from engine.store.database import reading, transact
from engine.store.tables import ProposalRow

Kind = Literal["host_grant", "admin_grant", "admin_debit"]

APPROVED_BY = ", approved by "
"""Between the two names of whoever proposed and whoever approved, as the ledger's actor."""

ACTS: dict[str, str] = {"host_grant": "grant_review", "admin_grant": "admin_grant", "admin_debit": "admin_debit"}
"""What the audit log calls a proposal of each kind, before `.proposed`, `.approved` or `.rejected`."""


def check_may_come(page: Page, command: Grant | AdminDebit) -> None:
    """What is wrong with a command already now; the book looks again when it is posted."""
    if page.wallet.status == "closed":
        raise WalletNotActive(page.wallet.status)
    if isinstance(command, Grant):
        if command.expires_at is not None and command.expires_at <= page.at:
            raise Invalid("expiresAt", "The expiry must lie in the future.")
    elif command.credits > page.wallet.available_credits:
        raise InsufficientCredits(command.credits, page.wallet.available_credits)


def propose(session: Session, runtime: Runtime, kind: Kind, command: Grant | AdminDebit, reason: str) -> ProposalRow:
    """Keep a command until somebody decides. The wallet is locked and `check_may_come` has passed."""
    now = runtime.clock.now()
    row = ProposalRow(
        account_id=command.account_id,
        proposal_id=new_id("prp", now),
        kind=kind,
        credits=command.credits,
        bucket=command.bucket,
        source=command.source if isinstance(command, Grant) else None,
        reference=command.campaign if isinstance(command, Grant) else None,
        description=command.description,
        command=msgspec.json.encode(command).decode(),
        reason=reason,
        requested_by=command.actor,
        created_at=now,
        updated_at=now,
    )
    session.add(row)
    session.flush()
    _note(session, runtime, row, "proposed", command.actor, reason)
    return row


def told_first(session: Session, account_id: str, answer: str) -> ProposalRow:
    """The proposal as its key was told of it first, whatever was decided since."""
    row = replies.told(ProposalRow, answer) or proposals.get_proposal(session, account_id, answer)
    assert row is not None, "a kept answer names a proposal that is there"
    return row


@dataclass(frozen=True, slots=True)
class Decision:
    """A proposal as it was decided; `is_replay` when it was decided this way before."""

    row: ProposalRow
    is_replay: bool


def decide(runtime: Runtime, proposal_id: str, actor: str, reason: str, *, approve: bool) -> Decision:
    """Post what was proposed, or reject it. The command's own refusal stands, and the proposal goes on waiting."""
    with reading(runtime.db) as session:
        found = proposals.find_proposal(session, proposal_id)
    if found is None:
        raise NotFound("proposal")
    account_id = found.account_id
    wanted = "approved" if approve else "rejected"

    def work(session: Session) -> Decision:
        now = runtime.clock.now()
        books.lock_wallets(session, [account_id], now)
        row = proposals.get_proposal(session, account_id, proposal_id, lock=True)
        assert row is not None, "proposals are never deleted"
        if row.status == wanted:
            return Decision(row, is_replay=True)
        if row.status != "pending":
            raise AlreadyRefunded("This was decided before.", decided=row.status)
        if is_same_person(row.requested_by, actor):
            raise OwnApproval
        if approve:
            row.transaction_id = _post(session, runtime, row, actor)
        row.status = wanted
        row.decided_by = actor
        row.decision_reason = reason
        row.updated_at = now
        session.add(row)
        _note(session, runtime, row, wanted, actor, reason)
        return Decision(row, is_replay=False)

    return transact(runtime.db, work)


def command_of(row: ProposalRow) -> Grant | AdminDebit:
    """The command as it was proposed."""
    if row.kind == "admin_debit":
        return msgspec.json.decode(row.command, type=AdminDebit)
    return msgspec.json.decode(row.command, type=Grant)


def _post(session: Session, runtime: Runtime, row: ProposalRow, actor: str) -> str:
    """Post the command in both names; the transaction's id."""
    command = msgspec.structs.replace(command_of(row), actor=f"{row.requested_by}{APPROVED_BY}{actor}")
    (outcome,) = book.post(session, [command], runtime.terms, runtime.clock.now())
    if isinstance(outcome, Refusal):
        raise outcome
    assert isinstance(outcome, Posted)
    return outcome.transactions[0].transaction_id


def _note(session: Session, runtime: Runtime, row: ProposalRow, what: str, actor: str, reason: str) -> None:
    facts: dict[str, object] = {"amountCredits": str(row.credits), "requestedBy": row.requested_by}
    if row.transaction_id is not None:
        facts["transactionId"] = row.transaction_id
    now = runtime.clock.now()
    outbox.note_act(session, row.account_id, actor, f"{ACTS[row.kind]}.{what}", row.proposal_id, reason, facts, now)
