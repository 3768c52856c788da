"""A purchase that landed, as its document tells it: what was bought, in which bucket, and until when it lives."""

from msgspec.structs import replace
from sqlmodel import Session

from engine.flows.document_parts import Order
from engine.flows.granting import commit_of, tier_bonus
from engine.rules.document_data import Line, coupon_line
from engine.rules.lots import NEVER
from engine.rules.money import Money
from engine.rules.quotes import price_per_credit
from engine.store import coupons, documents, purchases
from engine.store.tables import PurchaseRow


def order_of(session: Session, purchase: PurchaseRow) -> Order:
    """What `compose` is given of a purchase."""
    assert purchase.landed_at is not None
    price = Money(purchase.amount_minor, purchase.currency)
    credits = purchase.base_credits + purchase.bonus_credits
    return Order(
        order_id=purchase.purchase_id,
        provider=purchase.provider,
        payment_id=purchase.provider_reference,
        paid_at=purchase.landed_at,
        price=price,
        lines=_period(session, purchase) if purchase.subscription_id is not None else _credits(session, purchase),
        price_per_credit=price_per_credit(price, credits) if purchase.subscription_id is None else None,
        balance_after_credits=documents.balance_after(session, purchase.account_id, purchase.purchase_id),
    )


def _credits(session: Session, purchase: PurchaseRow) -> tuple[Line, ...]:
    """Credits, their bonus and what a coupon adds, by what the purchase is: a top-up, one made automatically, or months
    paid upfront."""
    line = Line(key="top_up", credits=purchase.base_credits, amount_minor=purchase.amount_minor, bucket="recharge")
    commit = commit_of(session, purchase)
    if purchase.kind == "auto_recharge":
        line = replace(line, key="auto_recharge")
    elif commit is not None:
        line = replace(line, key="commit", count=commit.months)
    lines = [line]
    coupon = coupons.coupon_of(session, purchase)
    bonus = tier_bonus(purchase, coupon)
    if bonus > 0:
        lines.append(Line(key="bonus", credits=bonus, amount_minor=0, bucket="recharge", bonus=True))
    if coupon is not None:
        lines.append(coupon_line(coupon.credits, coupon.code, "recharge"))
    return tuple(lines)


def _period(session: Session, purchase: PurchaseRow) -> tuple[Line, ...]:
    """A subscription's payment: its plan, with the credits granted for it so far and the end of each lot."""
    lots = purchases.purchase_lots(session, purchase.account_id, purchase.purchase_id)
    lines = tuple(
        Line(
            key="subscription",
            credits=lot.granted_credits,
            amount_minor=0 if place else purchase.amount_minor,
            bucket=lot.bucket,
            expires_at=lot.expires_at if lot.expires_at < NEVER else None,
            detail=purchase.tier,
        )
        for place, lot in enumerate(lots)
    )
    return lines or (Line(key="subscription", credits=0, amount_minor=purchase.amount_minor, detail=purchase.tier),)
