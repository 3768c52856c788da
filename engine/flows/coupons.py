"""Redeeming a coupon: once for each account, as often in all as its cap says, and not by guessing.

A coupon on a purchase is looked up here too, so that guesses are counted alike (`engine/flows/purchase_coupons.py`).

All of it is one transaction under the wallet's lock: the terms, the count against the cap, the grant, the answer kept
for the caller's key. A refusal leaves nothing but, for an unknown code, one more guess.
"""

import math
from dataclasses import dataclass
from datetime import datetime

import msgspec
from sqlmodel import Session

from engine import book
from engine.rules.catalog import Coupon, coupon_key
from engine.rules.commands import Posted, fingerprint_of
from engine.rules.coupons import GUESS_WINDOW, GUESSES_MAX, Redeemer, check_redeemable, coupon_grant
from engine.rules.errors import CouponUnknown, CouponUsedUp, Invalid, NotFound, RateLimited, Refusal, WalletNotActive
from engine.rules.money import CREDITS_MAX
from engine.runtime import Runtime
from engine.store import books, coupons, replies
from engine.store.database import transact
from engine.store.tables import AccountRow

OPERATION = "coupon redemption"


@dataclass(frozen=True, slots=True, kw_only=True)
class RedeemOrder:
    """A code as somebody typed it."""

    account_id: str
    actor: str
    code: str
    key: str | None = None


class Redemption(msgspec.Struct, frozen=True, kw_only=True):
    """What a coupon gave, and what is available since."""

    code: str
    credits: int
    description: str
    balance_after: int


@dataclass(frozen=True, slots=True)
class Redeemed:
    """The redemption as first answered; `is_replay` when this key was answered before."""

    redemption: Redemption
    is_replay: bool


def redeem(runtime: Runtime, order: RedeemOrder) -> Redeemed:
    """Redeem a coupon at once, or raise why not."""
    outcome = transact(runtime.db, lambda session: _redeem(session, runtime, order))
    if isinstance(outcome, Refusal):
        raise outcome
    return outcome


def _redeem(session: Session, runtime: Runtime, order: RedeemOrder) -> Redeemed | Refusal:
    """The redemption; an unknown code is a value, because its guess is to be committed."""
    account_id, now = order.account_id, runtime.clock.now()
    page = books.lock_wallets(session, [account_id], now).get(account_id)
    if page is None:
        raise NotFound("account")
    fingerprint = fingerprint_of(OPERATION, (coupon_key(order.code),))
    if order.key is not None:
        kept = replies.find(session, account_id, OPERATION, order.key, fingerprint)
        if kept is not None:
            return Redeemed(msgspec.json.decode(kept.answer, type=Redemption), is_replay=True)
    if page.wallet.status != "active":
        raise WalletNotActive(page.wallet.status)
    coupon = find_coupon(session, runtime, account_id, order.code)
    if coupon is None:
        return CouponUnknown()
    has_it = bool(coupons.purchases_with(session, account_id, coupon_key(coupon.code)))
    check_redeemable(coupon, redeemer_of(session, account_id, coupon, has_used=has_it), now)
    if not coupons.take_use(session, coupon_key(coupon.code), coupon.max_redemptions or CREDITS_MAX):
        raise CouponUsedUp
    redemption = _grant(session, runtime, order, coupon, now)
    if order.key is not None:
        answer = msgspec.json.encode(redemption).decode()
        replies.keep(session, account_id, OPERATION, order.key, fingerprint, 201, answer, now)
    return Redeemed(redemption, is_replay=False)


def check_guesses(session: Session, account_id: str, now: datetime) -> None:
    """Raise `RateLimited` while the account has used its guesses up: then no code is looked at, right or wrong."""
    tried = coupons.guesses_since(session, account_id, now - GUESS_WINDOW)
    if tried is not None and tried.guesses >= GUESSES_MAX:
        raise RateLimited(max(1, math.ceil((tried.started_at + GUESS_WINDOW - now).total_seconds())))


def find_coupon(session: Session, runtime: Runtime, account_id: str, code: str) -> Coupon | None:
    """The coupon of this code; for an unknown one, a guess that is to be committed. The wallet is locked."""
    now = runtime.clock.now()
    check_guesses(session, account_id, now)
    coupon = runtime.catalog.coupon(code)
    if coupon is None:
        coupons.count_guess(session, account_id, now - GUESS_WINDOW, now)
    return coupon


def redeemer_of(session: Session, account_id: str, coupon: Coupon, *, has_used: bool) -> Redeemer:
    """The account as the coupon's terms look at it; `has_used`: the coupon is on a purchase of it."""
    account = session.get_one(AccountRow, account_id)
    return Redeemer(
        plan=account.plan,
        country=account.country,
        has_topped_up=coupon.first_top_up_required and coupons.has_topped_up(session, account_id),
        has_redeemed=has_used or coupons.has_redeemed(session, account_id, coupon_key(coupon.code)),
    )


def _grant(session: Session, runtime: Runtime, order: RedeemOrder, coupon: Coupon, now: datetime) -> Redemption:
    command = coupon_grant(coupon, runtime.catalog.descriptions, order.account_id, order.actor, now)
    (outcome,) = book.post(session, [command], runtime.terms, now)
    if isinstance(outcome, Invalid):
        raise Invalid("code", "With this coupon the wallet would hold more than a wallet can.")
    if isinstance(outcome, Refusal):
        raise outcome
    assert isinstance(outcome, Posted) and not outcome.replayed, "whether it was redeemed is known under the lock"
    return Redemption(
        code=coupon.code,
        credits=command.credits,
        description=coupon.description,
        balance_after=outcome.balance_after,
    )
