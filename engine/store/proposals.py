"""Proposed grants and debits, decisions on uncredited purchases, and second payments: rows in, rows out."""

from sqlmodel import Session, col, select

from engine.store.tables import ProposalRow, ResolutionRow, ReversalRow, SecondPaymentRow, TransactionRow


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
    """What was decided of an uncredited purchase, unless it came to nothing: its refund was rejected or failed."""
    found = session.get(ResolutionRow, (account_id, purchase_id))
    if found is None or found.reversal_id is None:
        return found
    made = session.get(ReversalRow, (account_id, found.reversal_id))
    return None if made is not None and made.status in ("rejected", "failed") else found


def second_payment(session: Session, account_id: str, purchase_id: str, payment_id: str) -> SecondPaymentRow | None:
    """Money that came for a purchase again; the wallet's lock holds it."""
    return session.get(SecondPaymentRow, (account_id, purchase_id, payment_id))


def find_second_payment(session: Session, second_id: str) -> SecondPaymentRow | None:
    """A second payment by its id alone, as the desk names it."""
    return session.exec(select(SecondPaymentRow).where(SecondPaymentRow.second_id == second_id)).first()
