"""Proposed grants and debits, decisions on uncredited purchases, and unclaimed payments: rows in, rows out."""

from sqlmodel import Session, col, select

from engine.store.tables import ProposalRow, ResolutionRow, TransactionRow, UnclaimedRow


def get_proposal(session: Session, account_id: str, proposal_id: str, *, lock: bool = False) -> ProposalRow | None:
    """One proposal; with `lock`, held to the end (after the wallet's lock, never before it)."""
    statement = select(ProposalRow).where(ProposalRow.account_id == account_id, ProposalRow.proposal_id == proposal_id)
    return session.exec(statement.with_for_update() if lock else statement).first()


def find_proposal(session: Session, proposal_id: str) -> ProposalRow | None:
    """A proposal by its id alone, as the desk names it."""
    return session.exec(select(ProposalRow).where(ProposalRow.proposal_id == proposal_id)).first()


def proposal_for(session: Session, account_id: str, reference: str) -> ProposalRow | None:
    """The proposal that was made for a campaign step, whatever became of it."""
    return session.exec(
        select(ProposalRow).where(ProposalRow.account_id == account_id, ProposalRow.reference == reference)
    ).first()


def is_keyed(session: Session, account_id: str, operation: str, key: str) -> bool:
    """Whether this key has moved credits of the account before."""
    found = select(col(TransactionRow.seq)).where(
        TransactionRow.account_id == account_id,
        TransactionRow.operation == operation,
        TransactionRow.idempotency_key == key,
    )
    return session.exec(found).first() is not None


def is_granted(session: Session, account_id: str, reference: str) -> bool:
    """Whether a campaign step was granted before."""
    found = select(col(TransactionRow.seq)).where(
        TransactionRow.account_id == account_id,
        TransactionRow.reference_type == "campaign",
        TransactionRow.reference_id == reference,
    )
    return session.exec(found).first() is not None


def resolution_of(session: Session, account_id: str, purchase_id: str) -> ResolutionRow | None:
    """What was decided of an uncredited purchase."""
    return session.get(ResolutionRow, (account_id, purchase_id))


def find_unclaimed(session: Session, payment_id: str, *, lock: bool = False) -> UnclaimedRow | None:
    """An unclaimed payment by our id; with `lock`, held to the end (after the wallet's lock, if one is taken)."""
    statement = select(UnclaimedRow).where(UnclaimedRow.payment_id == payment_id)
    return session.exec(statement.with_for_update() if lock else statement).first()


def add_unclaimed(session: Session, row: UnclaimedRow) -> UnclaimedRow:
    """Keep a payment nobody has claimed; what is there already stays as it is. A race ends in a constraint error."""
    there = session.get(UnclaimedRow, (row.provider, row.provider_account, row.mode, row.object_id))
    if there is not None:
        return there
    session.add(row)
    session.flush()
    return row
