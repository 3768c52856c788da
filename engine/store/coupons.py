"""What is kept of coupons: who redeemed which, how often each was, and guesses. Callers hold the wallet's lock."""

from datetime import datetime

from sqlalchemy import CursorResult, text, update
from sqlmodel import Session, col, select

from engine.store.tables import CouponGuessRow, PurchaseRow, TransactionRow


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
    """Count one more redemption; `False` if `most` accounts have redeemed it.

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
