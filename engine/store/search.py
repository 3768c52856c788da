"""Finding things by the names support is given: order, payment, session, e-mail, account."""

from sqlmodel import Session, col, or_, select

from engine.store.tables import AccountRow, ClaimRow, PurchaseRow

FOUND_MAX = 20


def find(session: Session, words: str) -> tuple[list[AccountRow], list[PurchaseRow]]:
    """Accounts and purchases that these words name exactly (an e-mail address in any case)."""
    accounts = session.exec(
        select(AccountRow)
        .where(or_(AccountRow.account_id == words, AccountRow.email == words, AccountRow.email == words.lower()))
        .limit(FOUND_MAX)
    ).all()
    claimed = session.exec(select(ClaimRow.purchase_id).where(ClaimRow.object_id == words).limit(FOUND_MAX)).all()
    ids = {words, *claimed}
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
    return list(accounts), bought
