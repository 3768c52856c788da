"""Finding things by the names support is given: order, payment, session, transaction, receipt, e-mail, account."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import and_
from sqlmodel import Session, col, or_, select

from engine.store.tables import AccountRow, ClaimRow, DocumentRow, PurchaseRow, ReversalRow, TransactionRow

FOUND_MAX = 20


@dataclass(frozen=True, slots=True)
class Found:
    """All that carries a name. The accounts and purchases behind what was found are among them."""

    accounts: tuple[AccountRow, ...]
    purchases: tuple[PurchaseRow, ...]
    transactions: tuple[TransactionRow, ...]
    documents: tuple[DocumentRow, ...]


def find(session: Session, words: str) -> Found:
    """What these words name exactly (an e-mail address in any case)."""
    accounts = session.exec(
        select(AccountRow)
        .where(or_(AccountRow.account_id == words, AccountRow.email == words, AccountRow.email == words.lower()))
        .limit(FOUND_MAX)
    ).all()
    transactions = _transactions(session, words) if words.startswith("txn_") else []
    documents = _documents(session, words)
    ids = {words, *(row.purchase_id for row in documents), *(row.purchase_id or "" for row in transactions)}
    ids.update(session.exec(select(ClaimRow.purchase_id).where(ClaimRow.object_id == words).limit(FOUND_MAX)))
    ids.update(session.exec(select(ReversalRow.purchase_id).where(ReversalRow.reversal_id == words).limit(FOUND_MAX)))
    bought = list(session.exec(select(PurchaseRow).where(col(PurchaseRow.purchase_id).in_(ids))).all())
    for account in accounts:
        bought.extend(
            session.exec(
                select(PurchaseRow)
                .where(PurchaseRow.account_id == account.account_id)
                .order_by(col(PurchaseRow.created_at).desc())
                .limit(FOUND_MAX)
            ).all()
        )
    owners = _accounts(session, (row.account_id for row in transactions), accounts)
    return Found(owners, tuple(bought), tuple(transactions), tuple(documents))


def _transactions(session: Session, words: str) -> list[TransactionRow]:
    """Looked up account by account: the ledger has no index that an account does not lead, and grows without end."""
    return list(
        session.exec(
            select(TransactionRow)
            .join(
                AccountRow,
                and_(
                    col(TransactionRow.account_id) == col(AccountRow.account_id),
                    col(TransactionRow.transaction_id) == words,
                ),
            )
            .limit(FOUND_MAX)
        ).all()
    )


def _documents(session: Session, words: str) -> list[DocumentRow]:
    """By number: the index leads with the series, which is what stands before a number's first dash."""
    series, _, rest = words.partition("-")
    digits = rest.rpartition("-")[2]
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        return []
    return list(
        session.exec(
            select(DocumentRow)
            .where(
                DocumentRow.series == series,
                DocumentRow.number_in_series == int(digits),
                DocumentRow.number == words,
            )
            .limit(FOUND_MAX)
        ).all()
    )


def _accounts(session: Session, ids: Iterable[str], known: Iterable[AccountRow]) -> tuple[AccountRow, ...]:
    """The accounts that were named, then those behind what was found."""
    by_id = {row.account_id: row for row in known}
    for account_id in ids:
        row = by_id.get(account_id) or session.get(AccountRow, account_id)
        if row is not None:
            by_id[account_id] = row
    return tuple(by_id.values())
