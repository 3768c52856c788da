"""Quotes, checkouts and payments over HTTP."""

import asyncio
from functools import lru_cache
from typing import Annotated, Any

from msgspec import Meta
from msgspec.structs import replace

from api.body import Body, PageQuery
from api.instants import instant, instant_or_none
from api.posting import carry_out, look_up
from api.scope import Answer, Call, Resource
from api.transactions import Pagination
from engine.flows import purchase_coupons, topups
from engine.rules.catalog import Coupon
from engine.rules.commands import Expire
from engine.rules.coupons import coupon_offer
from engine.rules.errors import (
    AboveMaximum,
    BelowMinimum,
    CouponExpired,
    CouponRedeemed,
    CouponTermsNotMet,
    CouponUnknown,
    CouponUsedUp,
    Invalid,
    MalformedAmount,
    NotFound,
    QuoteRefused,
    RateLimited,
    ReturnUrlRefused,
    TopUpNotInPlan,
    WalletNotActive,
)
from engine.rules.money import Money, major_text
from engine.rules.pricing import Pricing
from engine.rules.quotes import Quote, make_offer, parse_amount_cents, quote, sign_quote
from engine.runtime import Runtime
from engine.store import accounts, documents, purchases
from engine.store.accounts import Buyer
from engine.store.database import reading
from engine.store.tables import AccountRow, PurchaseRow

Country = Annotated[str, Meta(pattern=r"\A[A-Z]{2}\Z")]
Platform = Annotated[str, Meta(pattern=r"\A(web|ios|android)\Z")]
Text = Annotated[str, Meta(max_length=200)]

PAYMENT_STATUS = {
    "created": "pending",
    "open": "pending",
    "processing": "pending",
    "paid": "completed",
    "failed": "failed",
    "expired": "expired",
    "cancelled": "failed",
    "refunded": "refunded",
    "partially_refunded": "partially_refunded",
    "unclaimed": "review",
    "quarantined": "review",
}
"""A purchase's state as the payments list calls it; `disputed` stands before all of them while the flag is set."""

OF_COUPONS = (CouponUnknown, CouponRedeemed, CouponExpired, CouponTermsNotMet, CouponUsedUp, RateLimited)


class QuoteQuery(Body, frozen=True, kw_only=True):
    amount_usd_cents: str | None = None
    amount_minor: str | None = None
    currency: str | None = None
    provider: Text | None = None
    coupon: Text | None = None
    country: Country | None = None
    platform: Platform = "web"


class Tier(Body, frozen=True, kw_only=True):
    name: str
    from_minor: int
    to_minor: int | None


class NextTier(Body, frozen=True, kw_only=True):
    from_minor: int
    add_minor: int
    extra_credits: str
    credits_then: str
    near: bool


class QuotedCoupon(Body, frozen=True, kw_only=True):
    code: str
    description: str
    percent: int


class QuoteAnswer(Body, frozen=True, kw_only=True):
    amount_minor: int
    currency: str
    amount_usd: str | None
    credits: str
    base_credits: str
    bonus_credits: str
    coupon_credits: str
    coupon: QuotedCoupon | None
    price_per_credit: str
    credits_per_unit: int
    tier: Tier
    save_percent: str
    save_badge: int | None
    next_tier: NextTier | None
    min_minor: int
    max_minor: int
    presets: tuple[int, ...]
    providers: tuple[str, ...]
    balance_after: str
    quote_token: str
    expires_at: str


class CheckoutBody(Body, frozen=True, kw_only=True):
    amount_usd_cents: Any = None
    amount_minor: Any = None
    currency: str | None = None
    success_url: str | None = None
    cancel_url: str | None = None
    provider: Text | None = None
    quote_token: str | None = None
    coupon: Text | None = None
    save_card: bool = False
    commit_plan: Text | None = None


class CheckoutAnswer(Body, frozen=True, kw_only=True):
    purchase_id: str
    checkout_url: str
    session_id: str
    credits_to_receive: str
    expires_at: str


class Payment(Body, frozen=True, kw_only=True):
    id: str
    amount_usd: str | None
    amount_minor: int
    currency: str
    credits_granted: str
    status: str
    provider: str
    receipt_url: str | None
    provider_reference: str | None
    created_at: str
    completed_at: str | None


class Payments(Body, frozen=True, kw_only=True):
    payments: tuple[Payment, ...]
    pagination: Pagination


async def get_quote(call: Call[QuoteQuery]) -> Answer:
    """What an amount gives, priced now, with a token that holds the price; writes nothing and asks no provider.

    A coupon is looked up under the wallet's lock, and an unknown one is a guess that is kept: that is done aside.
    """
    amount = _amount_in_query(call.ask)
    buyer = await look_up(call.runtime, accounts.buyers, call.account_id)
    if buyer is not None and buyer.wallet.is_due(call.runtime.clock.now()):
        await carry_out(call.runtime, Expire(account_id=call.account_id, actor="system"))
        buyer = await look_up(call.runtime, accounts.buyers, call.account_id)
    if call.ask.coupon is not None:
        return Answer(await asyncio.to_thread(_quote, call.runtime, call.account_id, buyer, amount, call.ask))
    return Answer(_quote(call.runtime, call.account_id, buyer, amount, call.ask))


def quote_for(runtime: Runtime, account_id: str, amount: Money, ask: QuoteQuery) -> QuoteAnswer:
    """The quote as the contract words it, for a page."""
    with reading(runtime.db) as session:
        buyer = accounts.buyers(session, [account_id]).get(account_id)
    return _quote(runtime, account_id, buyer, amount, ask)


def _quote(runtime: Runtime, account_id: str, buyer: Buyer | None, amount: Money, ask: QuoteQuery) -> QuoteAnswer:
    if buyer is None:
        raise NotFound("account")
    country = ask.country or buyer.country
    catalog = runtime.catalog
    offered = topups.offered_providers(runtime, country, ask.platform)
    if ask.provider is not None and ask.provider not in offered:
        raise Invalid("provider", "This provider is not offered here.")
    rail = ask.provider or (offered[0] if offered else None)
    priced, shown = _priced(catalog.pricing, amount, rail, None)
    coupon = None
    if ask.coupon is not None:
        found = purchase_coupons.coupon_for(runtime, account_id, ask.coupon, rail)
        priced, shown = _priced(catalog.pricing, amount, rail, found)
        coupon = coupon_offer(found, priced)
    offer = make_offer(catalog, priced, account_id, ask.provider, coupon, runtime.clock.now())
    return replace(
        shown,
        providers=offered,
        balance_after=str(max(0, buyer.wallet.available_credits + priced.credits - buyer.wallet.debt_credits)),
        quote_token=sign_quote(offer, runtime.secrets.signing("quote")),
        expires_at=instant(offer.expires_at),
    )


@lru_cache(maxsize=1024)
def _priced(pricing: Pricing, amount: Money, provider: str | None, coupon: Coupon | None) -> tuple[Quote, QuoteAnswer]:
    """A price, and how it is shown to whoever asks: worked out once, for most ask for the same few amounts.

    What is one buyer's own is left blank.
    """
    percent = 0 if coupon is None else coupon.percent or 0
    priced = quote(pricing, amount, provider, percent)
    further = priced.next_tier
    return priced, QuoteAnswer(
        amount_minor=amount.minor,
        currency=amount.currency,
        amount_usd=usd(amount),
        credits=str(priced.credits),
        base_credits=str(priced.base_credits),
        bonus_credits=str(priced.bonus_credits),
        coupon_credits=str(priced.coupon_credits),
        coupon=None
        if coupon is None
        else QuotedCoupon(code=coupon.code, description=coupon.description, percent=percent),
        price_per_credit=priced.price_per_credit,
        credits_per_unit=priced.credits_per_unit,
        tier=Tier(name=priced.tier.name, from_minor=priced.tier.from_minor, to_minor=priced.tier.to_minor),
        save_percent=str(priced.save_percent),
        save_badge=priced.save_badge,
        next_tier=None
        if further is None
        else NextTier(
            from_minor=further.from_minor,
            add_minor=further.add_minor,
            extra_credits=str(further.extra_credits),
            credits_then=str(further.credits_then),
            near=further.near,
        ),
        min_minor=pricing.min_minor,
        max_minor=pricing.max_minor,
        presets=pricing.presets_minor,
        providers=(),
        balance_after="",
        quote_token="",
        expires_at="",
    )


def usd(amount: Money) -> str | None:
    """`"25.00"` where the currency is US dollars."""
    return major_text(amount) if amount.currency == "USD" else None


def _amount_in_query(ask: QuoteQuery) -> Money:
    if (ask.amount_usd_cents is None) == (ask.amount_minor is None):
        raise MalformedAmount("Give amountUsdCents, or amountMinor with currency.")
    if ask.amount_usd_cents is not None:
        if ask.currency not in (None, "USD"):
            raise MalformedAmount("amountUsdCents is in US dollars.")
        return Money(parse_amount_cents(ask.amount_usd_cents), "USD")
    if ask.currency is None:
        raise MalformedAmount("amountMinor needs its currency.")
    assert ask.amount_minor is not None
    return Money(parse_amount_cents(ask.amount_minor), ask.currency)


def _amount_in_body(ask: CheckoutBody) -> Money:
    """The same rules for a body, where amounts are JSON integers."""
    texts = []
    for value in (ask.amount_usd_cents, ask.amount_minor):
        if value is not None and type(value) is not int:
            raise MalformedAmount("An amount is an integer of minor units.")
        texts.append(None if value is None else str(value))
    return _amount_in_query(QuoteQuery(amount_usd_cents=texts[0], amount_minor=texts[1], currency=ask.currency))


def _commit_price(runtime: Runtime, ask: CheckoutBody) -> Money:
    """What a commit plan costs: its order names no amount of its own."""
    if ask.amount_usd_cents is not None or ask.amount_minor is not None or ask.currency is not None:
        raise MalformedAmount("A commit plan has its own price: give commitPlan or an amount, not both.")
    plan = runtime.catalog.commit_plan(ask.commit_plan or "")
    if plan is None:
        raise Invalid("commitPlan", "The catalogue has no such commit plan.")
    return Money(plan.amount_minor, runtime.catalog.pricing.currency)


def checkout(call: Call[CheckoutBody]) -> Answer:
    """Start a hosted checkout: the purchase is kept first, then the provider is asked."""
    ask = call.ask
    started = topups.start_checkout(
        call.runtime,
        topups.CheckoutOrder(
            account_id=call.account_id,
            actor=call.actor,
            amount=_commit_price(call.runtime, ask) if ask.commit_plan is not None else _amount_in_body(ask),
            commit_plan=ask.commit_plan,
            provider=ask.provider,
            success_url=ask.success_url,
            cancel_url=ask.cancel_url,
            quote_token=ask.quote_token,
            coupon=ask.coupon,
            save_card=ask.save_card,
            key=call.key,
        ),
    )
    purchase = started.purchase
    assert purchase.checkout_url is not None and purchase.session_id is not None
    answer = CheckoutAnswer(
        purchase_id=purchase.purchase_id,
        checkout_url=purchase.checkout_url,
        session_id=purchase.session_id,
        credits_to_receive=str(purchase.base_credits + purchase.bonus_credits),
        expires_at=instant(purchase.expires_at),
    )
    return Answer(answer, is_replay=started.is_replay)


def list_payments(call: Call[PageQuery]) -> Answer:
    """What a customer paid or tried to pay, newest first."""
    ask = call.ask
    with reading(call.runtime.db) as session:
        if session.get(AccountRow, call.account_id) is None:
            raise NotFound("account")
        rows, total = purchases.list_purchases(session, call.account_id, ask.page, ask.limit)
        pdfs = documents.receipt_ids(session, call.account_id, [row.purchase_id for row in rows])
    is_named = "account_id" in call.path
    payments = tuple(payment(call.runtime, row, pdfs.get(row.purchase_id), is_named=is_named) for row in rows)
    return Answer(Payments(payments=payments, pagination=Pagination(page=ask.page, limit=ask.limit, total=total)))


def payment(runtime: Runtime, row: PurchaseRow, receipt_id: str | None, *, is_named: bool = False) -> Payment:
    """One purchase in the contract's words; the receipt is the provider's own, else our PDF.

    Our PDF is at the address where whoever asked may fetch it: under the account's name, or under their own.
    """
    under = f"accounts/{row.account_id}" if is_named else "billing"
    own = f"{runtime.base_url}/v1/{under}/receipts/{receipt_id}.pdf" if receipt_id else None
    return Payment(
        id=row.purchase_id,
        amount_usd=usd(Money(row.amount_minor, row.currency)),
        amount_minor=row.amount_minor,
        currency=row.currency,
        credits_granted=str(row.base_credits + row.bonus_credits if row.landed_at else 0),
        status="disputed" if row.is_disputed else PAYMENT_STATUS[row.status],
        provider=row.provider,
        receipt_url=row.receipt_url or own,
        provider_reference=row.provider_reference,
        created_at=instant(row.created_at),
        completed_at=instant_or_none(row.landed_at),
    )


RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="GET",
        path="quote",
        may="read",
        handler=get_quote,
        is_hot=True,
        asks=QuoteQuery,
        answers=QuoteAnswer,
        refuses=(MalformedAmount, BelowMinimum, AboveMaximum, NotFound, QuoteRefused, *OF_COUPONS),
        summary="Price a top-up.",
    ),
    Resource(
        method="POST",
        path="checkout",
        may="buy",
        handler=checkout,
        asks=CheckoutBody,
        answers=CheckoutAnswer,
        status=201,
        key="optional",
        refuses=(
            MalformedAmount,
            BelowMinimum,
            AboveMaximum,
            ReturnUrlRefused,
            TopUpNotInPlan,
            QuoteRefused,
            WalletNotActive,
            NotFound,
            *OF_COUPONS,
        ),
        summary="Start a checkout.",
    ),
    Resource(
        method="GET",
        path="payments",
        may="read",
        handler=list_payments,
        asks=PageQuery,
        answers=Payments,
        refuses=(NotFound,),
        summary="List payments.",
    ),
)
