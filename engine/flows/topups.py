"""Top-ups: from an offer to a checkout, and from a provider's word to credits.

Checkout: the purchase is written and committed, then the provider is asked with no lock held, then its reference is
written. Credits land only in `apply_facts`, in one transaction: wallet, purchase, facts, the book, the event.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlmodel import Session

from engine.clock import new_id
from engine.flows import purchase_coupons
from engine.flows.cards import customer_of
from engine.flows.coupon_uses import count_use
from engine.flows.entitlements import check_top_up
from engine.flows.granting import tier_bonus
from engine.flows.rails import rail_for_customer
from engine.payments import CheckoutRequest, PaymentProvider, ProviderRefused, ProviderUnreachable, keeps_cards
from engine.rules.catalog import PROVIDER_NAMES, Catalog, CommitPlan
from engine.rules.commands import fingerprint_of
from engine.rules.commits import commit_credits, parts_of
from engine.rules.coupons import coupon_offer
from engine.rules.descriptions import describe, money_label
from engine.rules.errors import (
    CouponRedeemed,
    Invalid,
    NotFound,
    Unavailable,
    WalletNotActive,
)
from engine.rules.money import Money
from engine.rules.quotes import QuoteOffer, check_offer, make_offer, providers_for, quote, read_quote
from engine.rules.return_urls import cancel_url, check_return_url, success_url
from engine.runtime import Runtime
from engine.store import books, coupons, outbox, purchases, replies
from engine.store.database import reading, transact
from engine.store.tables import AccountRow, CommitRow, PurchaseRow, WalletRow


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckoutOrder:
    """What a customer asks for. URLs left out mean our own return page."""

    account_id: str
    actor: str
    amount: Money
    provider: str | None = None
    success_url: str | None = None
    cancel_url: str | None = None
    quote_token: str | None = None
    coupon: str | None = None
    save_card: bool = False
    commit_plan: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class StartedCheckout:
    """A checkout the customer can be sent to; `is_replay` when this order was placed before."""

    purchase: PurchaseRow
    is_replay: bool


def start_checkout(runtime: Runtime, order: CheckoutOrder, platform: str = "web") -> StartedCheckout:
    """Place an order: 201's facts, or a refusal that changed nothing.

    A provider that can't be reached leaves the purchase `created`; the same key then goes on with that purchase,
    and the provider's own idempotency key, made from the purchase's id, keeps it one checkout.
    """
    print_of_order = fingerprint_of(
        "checkout",
        (
            order.amount.minor,
            order.amount.currency,
            order.provider,
            order.success_url,
            order.cancel_url,
            order.quote_token,
            order.coupon,
            order.save_card,
            *((order.commit_plan,) if order.commit_plan is not None else ()),
        ),
    )
    purchase = transact(runtime.db, lambda session: _placed_before(session, order, print_of_order))
    is_replay = purchase is not None
    if purchase is None:
        checked = _check_order(runtime, order, platform)
        purchase = _placed(runtime, order, checked, print_of_order)
    if purchase.session_id is not None:
        return StartedCheckout(purchase, is_replay)
    return StartedCheckout(_ask_provider(runtime, purchase, order.save_card, is_replay), is_replay)


@dataclass(frozen=True, slots=True)
class _CheckedOrder:
    offer: QuoteOffer
    provider: PaymentProvider
    success_url: str
    cancel_url: str
    commit: CommitPlan | None = None


def _placed_before(session: Session, order: CheckoutOrder, print_of_order: str) -> PurchaseRow | None:
    if order.key is None:
        return None
    reply = replies.find(session, order.account_id, "checkout", order.key, print_of_order)
    return purchases.get_purchase(session, order.account_id, reply.answer) if reply else None


def _check_order(runtime: Runtime, order: CheckoutOrder, platform: str) -> _CheckedOrder:
    """All that can be refused, in order of precedence, before anything is written."""
    now = runtime.clock.now()
    catalog = runtime.catalog
    origins = {*runtime.return_origins}
    own = f"{runtime.base_url}/top-up-credits/return"
    back = check_return_url("successUrl", order.success_url, origins) if order.success_url is not None else own
    away = check_return_url("cancelUrl", order.cancel_url, origins) if order.cancel_url is not None else own
    with reading(runtime.db) as session:
        account = session.get(AccountRow, order.account_id)
        wallet = session.get(WalletRow, order.account_id)
    if account is None or wallet is None:
        raise NotFound("account")
    if wallet.status != "active":
        raise WalletNotActive(wallet.status)
    check_plan(runtime, account)
    provider = _choose_provider(runtime, order.provider, account.country, platform)
    if order.commit_plan is not None:
        commit = check_commit(catalog, order)
        return _CheckedOrder(commit_offer(catalog, commit, order, now), provider, back, away, commit)
    if order.quote_token is not None:
        offer = read_quote(order.quote_token, runtime.secrets.all_for("quote"), now)
        check_offer(offer, order.account_id, order.amount, order.provider, order.coupon)
    else:
        offer = _offer_now(runtime, order, provider.name, now)
    return _CheckedOrder(offer, provider, back, away)


def _offer_now(runtime: Runtime, order: CheckoutOrder, provider: str, now: datetime) -> QuoteOffer:
    """The price of this moment, for an order without a quote."""
    catalog = runtime.catalog
    priced = quote(catalog.pricing, order.amount, provider)
    if order.coupon is None:
        return make_offer(catalog, priced, order.account_id, order.provider, None, now)
    coupon = purchase_coupons.coupon_for(runtime, order.account_id, order.coupon, provider)
    priced = quote(catalog.pricing, order.amount, provider, coupon.percent or 0)
    return make_offer(catalog, priced, order.account_id, order.provider, coupon_offer(coupon, priced), now)


def check_commit(catalog: Catalog, order: CheckoutOrder) -> CommitPlan:
    """The commit plan of an order, its price being the amount; `Invalid` for one that is not sold."""
    plan = catalog.commit_plan(order.commit_plan or "")
    if plan is None:
        raise Invalid("commitPlan", "The catalogue has no such commit plan.")
    if order.quote_token is not None:
        raise Invalid("quoteToken", "A commit plan has one price: it needs no quote.")
    if order.coupon is not None:
        raise Invalid("coupon", "A commit plan has a bonus of its own: it takes no coupon.")
    assert order.amount == Money(plan.amount_minor, catalog.pricing.currency), "the caller reads the plan's price"
    return plan


def commit_offer(catalog: Catalog, plan: CommitPlan, order: CheckoutOrder, now: datetime) -> QuoteOffer:
    """What the plan gives, in the form every purchase is made from."""
    base, bonus = commit_credits(plan, catalog.pricing)
    return QuoteOffer(
        account_id=order.account_id,
        amount=order.amount,
        provider=order.provider,
        coupon=None,
        base_credits=base,
        bonus_credits=bonus,
        tier=plan.name,
        catalog=catalog.id,
        expires_at=now + timedelta(minutes=catalog.quote_ttl_minutes),
    )


def check_plan(runtime: Runtime, account: AccountRow) -> None:
    """Refuse a plan that may not top up, with the plan that may and where to get it."""
    check_top_up(runtime, account.account_id)


def _choose_provider(runtime: Runtime, name: str | None, country: str | None, platform: str) -> PaymentProvider:
    offered = offered_providers(runtime, country, platform)
    if name is not None and name not in offered:
        raise Invalid("provider", "This provider is not offered here.")
    if not runtime.providers:
        raise Unavailable("No payment provider is configured.")
    if not offered:
        raise Invalid("provider", "No payment provider is offered for this country.")
    return runtime.providers[name or offered[0]]


def _placed(runtime: Runtime, order: CheckoutOrder, checked: _CheckedOrder, print_of_order: str) -> PurchaseRow:
    """The purchase as written; one that is in the way with the same coupon is ended first, where that can be done."""

    def work(session: Session) -> PurchaseRow:
        return _place(session, runtime, order, checked, print_of_order)

    try:
        return transact(runtime.db, work)
    except CouponRedeemed:
        assert checked.offer.coupon is not None, "only what has a coupon is refused for it"
        purchase_coupons.end_others(runtime, order.account_id, checked.offer.coupon)
    return transact(runtime.db, work)


def _place(
    session: Session, runtime: Runtime, order: CheckoutOrder, checked: _CheckedOrder, print_of_order: str
) -> PurchaseRow:
    now = runtime.clock.now()
    books.lock_wallets(session, [order.account_id], now)
    raced = _placed_before(session, order, print_of_order)
    if raced is not None:
        return raced
    purchase_id = new_id("pay", now)
    amount = money_label(order.amount)
    provider = PROVIDER_NAMES[checked.provider.name]
    purchase = PurchaseRow(
        account_id=order.account_id,
        purchase_id=purchase_id,
        provider=checked.provider.name,
        amount_minor=order.amount.minor,
        currency=order.amount.currency,
        base_credits=checked.offer.base_credits,
        bonus_credits=checked.offer.given_credits,
        tier=checked.offer.tier,
        kind="commit" if checked.commit is not None else None,
        description=_description(runtime, checked, amount, provider),
        success_url=success_url(checked.success_url, purchase_id),
        cancel_url=cancel_url(checked.cancel_url, purchase_id),
        actor=order.actor,
        created_at=now,
        expires_at=now + timedelta(minutes=runtime.catalog.checkout_ttl_minutes),
        updated_at=now,
    )
    session.add(purchase)
    session.flush()
    if checked.offer.coupon is not None:
        purchase_coupons.reserve(session, runtime, purchase, checked.offer.coupon)
    if checked.commit is not None:
        session.add(_commit_row(purchase, checked.commit))
    if order.key is not None:
        replies.keep(session, order.account_id, "checkout", order.key, print_of_order, 201, purchase_id, now)
    return purchase


def _description(runtime: Runtime, checked: _CheckedOrder, amount: str, provider: str) -> str:
    """The line a customer reads at the provider and in the ledger."""
    words, commit = runtime.catalog.descriptions, checked.commit
    if commit is None:
        return describe(words.deposit, amount=amount, provider=provider)
    return describe(words.commit_credit, amount=amount, months=commit.months, plan=commit.name)


def _commit_row(purchase: PurchaseRow, plan: CommitPlan) -> CommitRow:
    return CommitRow(
        account_id=purchase.account_id,
        purchase_id=purchase.purchase_id,
        plan_id=plan.id,
        plan_name=plan.name,
        months=plan.months,
        parts=parts_of(plan),
    )


def _ask_provider(runtime: Runtime, purchase: PurchaseRow, save_card: bool, is_replay: bool) -> PurchaseRow:
    """Ask for the hosted checkout, then write its reference; nothing is locked while the provider thinks."""
    with reading(runtime.db) as session:
        account = session.get(AccountRow, purchase.account_id)
        coupon = coupons.coupon_of(session, purchase)
    assert account is not None
    request = CheckoutRequest(
        account_id=purchase.account_id,
        purchase_id=purchase.purchase_id,
        amount=Money(purchase.amount_minor, purchase.currency),
        description=purchase.description,
        email=account.email,
        locale=account.locale,
        success_url=purchase.success_url,
        cancel_url=purchase.cancel_url,
        expires_at=purchase.expires_at,
        idempotency_key=f"checkout:{purchase.purchase_id}",
        bonus=tier_bonus(purchase, coupon) > 0,
        tax_on_top=not runtime.catalog.tax.prices_include_tax,
        asked_since=purchase.created_at if is_replay else None,
    )
    provider = rail_for_customer(runtime, purchase.provider)
    try:
        if save_card and runtime.catalog.saves_cards and keeps_cards(provider):
            request = replace(request, save_card=True, customer_id=customer_of(runtime, provider, account))
        checkout = provider.start_checkout(request)
    except ProviderUnreachable as error:
        raise Unavailable("The payment provider does not answer; try again with the same key.") from error
    except ProviderRefused as refused:
        problem = str(refused)
        transact(runtime.db, lambda session: _refused(session, runtime, purchase, problem))
        raise Unavailable("The payment provider declined to open a checkout; choose another or try later.") from refused

    def write(session: Session) -> PurchaseRow:
        now = runtime.clock.now()
        books.lock_wallets(session, [purchase.account_id], now)
        row = purchases.get_purchase(session, purchase.account_id, purchase.purchase_id, lock=True)
        assert row is not None
        row.session_id = checkout.session_id
        row.checkout_url = checkout.url
        row.expires_at = checkout.expires_at
        if row.status == "created":
            row.status = "open"
        mode = "live" if provider.is_live else "test"
        purchases.claim_object(session, provider.name, provider.account, mode, "session", checkout.session_id, row, now)
        session.add(row)
        return row

    return transact(runtime.db, write)


def _refused(session: Session, runtime: Runtime, purchase: PurchaseRow, problem: str) -> None:
    now = runtime.clock.now()
    books.lock_wallets(session, [purchase.account_id], now)
    row = purchases.get_purchase(session, purchase.account_id, purchase.purchase_id, lock=True)
    if row is not None and row.status == "created":
        row.status = "failed"
        row.problem = problem[:500]
        row.updated_at = now
        session.add(row)
        count_use(session, row, now)
        facts: dict[str, object] = {"purchaseId": row.purchase_id, "status": "failed", "provider": row.provider}
        facts |= {"amountMinor": row.amount_minor, "currency": row.currency}
        outbox.emit(session, row.account_id, "purchase.failed", facts, now)


def offered_providers(runtime: Runtime, country: str | None, platform: str) -> tuple[str, ...]:
    """Configured rails for this region and platform, in the catalogue's order."""
    return providers_for(runtime.catalog, runtime.providers.keys(), country, platform)
