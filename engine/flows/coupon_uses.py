"""The use of a coupon that a purchase has: given back when the purchase ends unpaid, taken again when it is paid late.

Whatever changes a purchase's state calls `count_use` in the same transaction, under the wallet's lock.
"""

from datetime import datetime

from sqlmodel import Session

from engine.rules.coupons import uses_coupon
from engine.rules.money import CREDITS_MAX
from engine.store import coupons
from engine.store.tables import PurchaseRow


def count_use(session: Session, purchase: PurchaseRow, now: datetime) -> None:
    """Make the count of the coupon on this purchase, if it has one, what the purchase's state says.

    A payment that came after all is never refused: its use is counted above the cap if the cap was reached meanwhile.
    """
    row = coupons.coupon_of(session, purchase)
    if row is None:
        return
    is_over = purchase.session_id is None or now >= purchase.expires_at
    is_counted = uses_coupon(purchase.status, has_landed=purchase.landed_at is not None, is_over=is_over)
    if is_counted and not row.is_counted:
        coupons.take_use(session, row.coupon, CREDITS_MAX)
    elif row.is_counted and not is_counted:
        coupons.give_back_use(session, row.coupon)
    row.is_counted = is_counted
    session.add(row)
