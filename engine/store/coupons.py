"""What is kept of coupons: who redeemed which, on which purchases they are, how often each was used, and guesses.

Callers hold the wallet's lock.
"""

from datetime import datetime

from sqlalchemy import CursorResult, text, update
from sqlmodel import Session, col, select

from engine.store.tables import CouponGuessRow, CouponUseRow, PurchaseCouponRow, PurchaseRow, TransactionRow


def has_redeemed(session: Session, account_id: str, coupon: str) -> bool:
    """Whether the account has the grant of this coupon."""
    found = session.exec(
        select(TransactionRow.seq).where(
            TransactionRow.account_id == account_id,
            TransactionRow.operation == "coupon",
            TransactionRow.idempotency_key == coupon,
        )
    ).first()
    return found is not None


def has_topped_up(session: Session, account_id: str) -> bool:
    """Whether a payment of the account landed and was not wholly refunded."""
    found = session.exec(
        select(PurchaseRow.purchase_id)
        .where(
            PurchaseRow.account_id == account_id,
            col(PurchaseRow.subscription_id).is_(None),
            col(PurchaseRow.landed_at).is_not(None),
            col(PurchaseRow.status).in_(("paid", "partially_refunded")),
        )
        .limit(1)
    ).first()
    return found is not None


def take_use(session: Session, coupon: str, most: int) -> bool:
    """Count one more use; `False` if there are `most` of them.

    The row stays locked to the end of the transaction, so of several at once each sees the ones before it.
    """
    taken = session.execute(
        text(
            "INSERT INTO coupon_uses (coupon, used) VALUES (:coupon, 1) "
            "ON CONFLICT (coupon) DO UPDATE SET used = coupon_uses.used + 1 WHERE coupon_uses.used < :most "
            "RETURNING used"
        ),
        {"coupon": coupon, "most": most},
    )
    return taken.first() is not None


def give_back_use(session: Session, coupon: str) -> None:
    """Count one use less. The row is locked to the end, as `take_use` locks it; of no uses there is no row."""
    found = select(CouponUseRow).where(CouponUseRow.coupon == coupon).with_for_update()
    row = session.exec(found.execution_options(populate_existing=True)).one()
    if row.used == 1:
        session.delete(row)
    else:
        row.used -= 1
        session.add(row)
    session.flush()


def uses_of(session: Session, coupon: str) -> int:
    """How many uses of the coupon count now."""
    used = session.exec(select(CouponUseRow.used).where(CouponUseRow.coupon == coupon)).first()
    return used or 0


def coupon_of(session: Session, purchase: PurchaseRow) -> PurchaseCouponRow | None:
    """The coupon on a purchase, if there is one."""
    if purchase.bonus_credits == 0:
        return None
    return session.get(PurchaseCouponRow, (purchase.account_id, purchase.purchase_id))


def purchases_with(session: Session, account_id: str, coupon: str) -> list[PurchaseRow]:
    """The account's purchases that have a use of the coupon which counts, oldest first."""
    return list(
        session.exec(
            select(PurchaseRow)
            .join(
                PurchaseCouponRow,
                (col(PurchaseCouponRow.account_id) == col(PurchaseRow.account_id))
                & (col(PurchaseCouponRow.purchase_id) == col(PurchaseRow.purchase_id)),
            )
            .where(
                PurchaseCouponRow.account_id == account_id,
                PurchaseCouponRow.coupon == coupon,
                col(PurchaseCouponRow.is_counted).is_(True),
            )
            .order_by(col(PurchaseRow.created_at), col(PurchaseRow.purchase_id))
        ).all()
    )


def guesses_since(session: Session, account_id: str, after: datetime) -> CouponGuessRow | None:
    """The account's unknown codes, if their window began after this instant."""
    return session.exec(
        select(CouponGuessRow).where(CouponGuessRow.account_id == account_id, CouponGuessRow.started_at > after)
    ).first()


def count_guess(session: Session, account_id: str, after: datetime, now: datetime) -> None:
    """Count an unknown code: in the window that began after this instant, or in a new one that begins now."""
    counted = session.execute(
        update(CouponGuessRow)
        .where(col(CouponGuessRow.account_id) == account_id, col(CouponGuessRow.started_at) > after)
        .values(guesses=col(CouponGuessRow.guesses) + 1)
    )
    assert isinstance(counted, CursorResult)
    if counted.rowcount == 0:
        session.merge(CouponGuessRow(account_id=account_id, started_at=now, guesses=1))
