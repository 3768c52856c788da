"""A coupon on a purchase: looked up for a quote, reserved by a checkout, in the transaction that writes the purchase.

An account has one use. While a checkout with it can still be paid, another checkout takes its place only once its
provider has ended it; where that can't be done the answer names the open one. So the coupon is granted twice only if
two checkouts were both paid: one in time and one after it was over, which is credited as agreed all the same.
"""

from contextlib import suppress
from datetime import datetime

from sqlmodel import Session

from engine.flows import receive
from engine.flows.coupon_uses import count_use
from engine.flows.coupons import find_coupon, redeemer_of
from engine.payments import ProviderRefused, ProviderUnreachable, Store
from engine.recurring import EndingProvider
from engine.rules.catalog import Coupon, coupon_key, describe
from engine.rules.coupons import check_usable
from engine.rules.errors import CouponRedeemed, CouponTermsNotMet, CouponUnknown, CouponUsedUp, NotFound, Refusal
from engine.rules.money import CREDITS_MAX
from engine.rules.quotes import CouponOffer
from engine.runtime import Runtime
from engine.store import books, coupons, purchases
from engine.store.database import reading, transact
from engine.store.tables import PurchaseCouponRow, PurchaseRow


def coupon_for(runtime: Runtime, account_id: str, code: str, provider: str | None) -> Coupon:
    """The coupon that this account may use on a purchase by this rail now, or why not.

    Unknown codes are counted as those that are redeemed, in one and the same count.
    """
    found = transact(runtime.db, lambda session: _coupon_for(session, runtime, account_id, code))
    if isinstance(found, Refusal):
        raise found
    if provider is not None and isinstance(runtime.providers.get(provider), Store):
        raise CouponTermsNotMet("provider", "A purchase in an app store takes no coupon: its products are fixed.")
    return found


def _coupon_for(session: Session, runtime: Runtime, account_id: str, code: str) -> Coupon | Refusal:
    """The coupon; an unknown code is a value, because its guess is to be committed."""
    now = runtime.clock.now()
    if account_id not in books.lock_wallets(session, [account_id], now):
        raise NotFound("account")
    coupon = find_coupon(session, runtime, account_id, code)
    if coupon is None:
        return CouponUnknown()
    key = coupon_key(coupon.code)
    own = coupons.purchases_with(session, account_id, key)
    has_used = any(not is_open(row, now) for row in own)
    check_usable(coupon, redeemer_of(session, account_id, coupon, has_used=has_used), now)
    if not own and coupons.uses_of(session, key) >= (coupon.max_redemptions or CREDITS_MAX):
        raise CouponUsedUp
    return coupon


def is_open(purchase: PurchaseRow, now: datetime) -> bool:
    """Whether this purchase, as far as is known, waits for somebody to pay it; maybe with another card."""
    return purchase.status in ("created", "open") or (purchase.status == "failed" and now < purchase.expires_at)


def reserve(session: Session, runtime: Runtime, purchase: PurchaseRow, offered: CouponOffer) -> None:
    """Write the coupon of a purchase that was just written, and count its use; the wallet is locked."""
    key = coupon_key(offered.code)
    _check_unused(session, purchase.account_id, key, purchase.created_at)
    if not coupons.take_use(session, key, offered.uses_max or CREDITS_MAX):
        raise CouponUsedUp
    words = runtime.catalog.descriptions.coupon_credit
    session.add(
        PurchaseCouponRow(
            account_id=purchase.account_id,
            purchase_id=purchase.purchase_id,
            coupon=key,
            code=offered.code,
            description=describe(words, code=offered.code, description=offered.description),
            percent=offered.percent,
            credits=offered.credits,
            is_counted=True,
        )
    )


def _check_unused(session: Session, account_id: str, key: str, now: datetime) -> None:
    """Raise `CouponRedeemed` if the account has it: for an open checkout, with where it is paid and until when."""
    for row in coupons.purchases_with(session, account_id, key):
        if is_open(row, now):
            ends_at = row.expires_at.isoformat().replace("+00:00", "Z")
            raise CouponRedeemed(row.purchase_id, row.checkout_url, ends_at)
        raise CouponRedeemed
    if coupons.has_redeemed(session, account_id, key):
        raise CouponRedeemed


def end_others(runtime: Runtime, account_id: str, offered: CouponOffer) -> None:
    """End the account's open checkouts with this coupon where their provider can; what it says of them is carried out.

    One that was paid in this moment keeps the coupon, and so does one whose provider does not answer.
    """
    now = runtime.clock.now()
    with reading(runtime.db) as session:
        rows = coupons.purchases_with(session, account_id, coupon_key(offered.code))
    for row in rows:
        provider = runtime.providers.get(row.provider)
        if is_open(row, now) and row.session_id is not None and isinstance(provider, EndingProvider):
            with suppress(ProviderUnreachable, ProviderRefused):
                with suppress(ProviderRefused):
                    provider.end_checkout(row.session_id)
                receive.carry_out(runtime, provider, provider.payment(row.session_id))
                transact(runtime.db, lambda session, row=row: _note_end(session, row, now))  # type: ignore[misc]


def _note_end(session: Session, ended: PurchaseRow, now: datetime) -> None:
    """The page of a purchase that had failed is over, whether it was ended now or was before."""
    books.lock_wallets(session, [ended.account_id], now)
    row = purchases.get_purchase(session, ended.account_id, ended.purchase_id, lock=True)
    if row is not None and row.status == "failed":
        row.expires_at = now
        session.add(row)
        count_use(session, row, now)
