"""What an administrator does to a wallet: corrections of both signs, suspending, resuming, closing.

Each act is one transaction with its line in the audit log, so neither stands without the other.
"""

from dataclasses import dataclass

from sqlmodel import Session

from engine import book
from engine.flows import proposals as flow
from engine.flows import subscription_closing
from engine.rules.commands import AdminDebit, Command, Expire, Grant, Posted, SetStatus, Status, Void, fingerprint_of
from engine.rules.errors import NotFound, Refusal
from engine.rules.ledger import Page
from engine.runtime import Runtime
from engine.store import books, holds, outbox, proposals, replies
from engine.store.database import transact
from engine.store.tables import ProposalRow

ACTIONS: dict[Status, str] = {"active": "wallet.resumed", "suspended": "wallet.suspended", "closed": "wallet.closed"}
"""What the audit log calls the act that leads to a status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusOrder:
    """A wallet's status as somebody wants it, and why."""

    account_id: str
    actor: str
    status: Status
    reason: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Proposed:
    """A correction that waits for a second person; `is_replay` when this key proposed it before."""

    row: ProposalRow
    is_replay: bool


def correct(runtime: Runtime, command: Grant | AdminDebit, reason: str) -> Posted | Proposed:
    """Carry out a keyed correction, or above the catalogue's limit keep it for a second person.

    Raises its refusal; the same key answers the first one again, noted once.
    """
    assert command.key is not None
    key = command.key
    identity = fingerprint_of(command.operation, command.identity())
    limit = runtime.catalog.refunds.grant_approval_above

    def work(session: Session) -> Posted | Proposed:
        now = runtime.clock.now()
        page = books.lock_wallets(session, [command.account_id], now).get(command.account_id)
        if page is None:
            raise NotFound("account")
        reply = replies.find(session, command.account_id, command.operation, key, identity)
        if reply is not None:
            return Proposed(flow.told_first(session, command.account_id, reply.answer), is_replay=True)
        is_new = not proposals.is_keyed(session, command.account_id, command.operation, key)
        if is_new and limit is not None and command.credits > limit:
            return _propose(session, runtime, page, command, reason, identity)
        posted = _posted(session, runtime, command)
        if not posted.replayed:
            row = posted.transactions[0]
            action = "credits.granted" if isinstance(command, Grant) else "credits.debited"
            facts: dict[str, object] = {"amountCredits": str(row.amount_credits)}
            outbox.note_act(session, command.account_id, command.actor, action, row.transaction_id, reason, facts, now)
        return posted

    return transact(runtime.db, work)


def _propose(
    session: Session, runtime: Runtime, page: Page, command: Grant | AdminDebit, reason: str, identity: str
) -> Proposed:
    """Keep the correction with the answer to its key. Something that is not allowed is refused at once."""
    assert command.key is not None
    flow.check_may_come(page, command)
    kind: flow.Kind = "admin_grant" if isinstance(command, Grant) else "admin_debit"
    row = flow.propose(session, runtime, kind, command, reason)
    now = runtime.clock.now()
    replies.keep(session, command.account_id, command.operation, command.key, identity, 202, replies.snapshot(row), now)
    return Proposed(row, is_replay=False)


def change_status(runtime: Runtime, order: StatusOrder) -> tuple[Status, bool]:
    """Give a wallet a status; it, and whether this key was answered before. Asked for what it has, nothing is done.

    A closed wallet is closed for good: anything else is refused with `WalletNotActive`.
    """
    operation = f"admin status {order.status}"
    fingerprint = fingerprint_of(operation, (order.reason,))

    def work(session: Session) -> tuple[Status, bool]:
        now = runtime.clock.now()
        page = books.lock_wallets(session, [order.account_id], now).get(order.account_id)
        if page is None:
            raise NotFound("account")
        if order.key is not None:
            if replies.find(session, order.account_id, operation, order.key, fingerprint) is not None:
                return order.status, True
            replies.keep(session, order.account_id, operation, order.key, fingerprint, 200, order.status, now)
        if page.wallet.status != order.status:
            _change(session, runtime, order)
        return order.status, False

    return transact(runtime.db, work)


def _change(session: Session, runtime: Runtime, order: StatusOrder) -> None:
    now = runtime.clock.now()
    if order.status == "closed":
        _void_holds(session, runtime, order)
    change = SetStatus(account_id=order.account_id, actor=order.actor, status=order.status)
    posted = _posted(session, runtime, change)
    forfeited = -sum(row.amount_credits for row in posted.transactions if row.type == "forfeit")
    if order.status == "closed":
        subscription_closing.end_all(session, order.account_id, now)
    facts: dict[str, object] = {"forfeitedCredits": str(forfeited)} if order.status == "closed" else {}
    outbox.note_act(
        session, order.account_id, order.actor, ACTIONS[order.status], order.account_id, order.reason, facts, now
    )


def _void_holds(session: Session, runtime: Runtime, order: StatusOrder) -> None:
    """Give back what is held, so that closing finds every credit in its lot; holds past their end go first."""
    _posted(session, runtime, Expire(account_id=order.account_id, actor=order.actor))
    for hold_id in holds.open_hold_ids(session, order.account_id):
        _posted(session, runtime, Void(account_id=order.account_id, actor=order.actor, hold_id=hold_id))


def _posted(session: Session, runtime: Runtime, command: Command) -> Posted:
    (outcome,) = book.post(session, [command], runtime.terms, runtime.clock.now())
    if isinstance(outcome, Refusal):
        raise outcome
    assert isinstance(outcome, Posted)
    return outcome
