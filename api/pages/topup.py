"""`/top-up-credits`: an amount, what it gives right now, and the way to the payment provider.

Two forms: one asks for a quote (a GET, so that it works without a script), the other pays exactly what is shown. The
second carries the signed quote and a key made for this view of the page, so that pressing twice buys once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from litestar import Response

from api.pages.amounts import first_amount, hints_of, limit_text, parse_amount, phrases_of, plain_amount
from api.pages.frame import Visit
from api.pages.tongues import Tongue
from api.pages.words import Words, money, money_short
from api.problems import KINDS
from api.quotes import OF_COUPONS, NextTier, QuoteAnswer, QuoteQuery, quote_for
from api.scope import checked_key
from engine.clock import new_id
from engine.flows import topups
from engine.payments import keeps_cards
from engine.rules.commits import commit_credits
from engine.rules.errors import (
    AboveMaximum,
    BelowMinimum,
    IdempotencyKeyMissing,
    IdempotencyMismatch,
    Invalid,
    MalformedAmount,
    NotFound,
    QuoteRefused,
    Refusal,
    TopUpNotInPlan,
    Unavailable,
    WalletNotActive,
)
from engine.rules.money import Money, currency_digits
from engine.rules.plans import CommitPlan
from engine.rules.quotes import parse_amount_cents
from engine.rules.return_urls import origin_of
from engine.store import purchases
from engine.store.database import reading
from engine.store.tables import AccountRow, PurchaseRow, WalletRow

PATH = "/top-up-credits"
COUPON_LENGTH_MAX = 200
PLATFORMS = ("web", "ios", "android")
SHOWN_AGAIN = (
    QuoteRefused,
    BelowMinimum,
    AboveMaximum,
    MalformedAmount,
    IdempotencyMismatch,
    Invalid,
    IdempotencyKeyMissing,
    Unavailable,
    TopUpNotInPlan,
    WalletNotActive,
    *OF_COUPONS,
)
"""Refusals after which the customer sees the form again, with a fresh quote and a fresh key."""
FACTS = ("receive", "bonus", "coupon", "price", "badge", "upsell", "fill", "after", "pay")


@dataclass(frozen=True, slots=True)
class Choice:
    """What the customer has chosen so far: the amount and the coupon as typed, a rail of those offered here, the
    platform."""

    amount_text: str
    provider: str | None
    platform: str
    coupon: str = ""


@dataclass(frozen=True, slots=True)
class Priced:
    """The quote for a choice, or what is wrong with its amount or with its coupon."""

    quote: QuoteAnswer | None = None
    problem: str | None = None
    coupon_problem: str | None = None


def show(visit: Visit) -> Response[str]:
    """The page for an account that may top up; a plan that may not is told which one may."""
    filled = visit.query.get("fill")
    pricing = visit.runtime.catalog.pricing
    text = visit.query.get("amount")
    if filled is not None:
        text = plain_amount(Money(parse_amount_cents(filled), pricing.currency))
    return _form_page(visit, text, visit.query.get("provider"), visit.query.get("platform"), visit.query)


def pay(visit: Visit) -> Response[Any]:
    """Start the checkout that the form shows and send the customer there."""
    form = visit.form
    amount = form.get("amount_minor", "")
    currency = form.get("currency", "")
    provider = form.get("provider") or None
    commit = visit.runtime.catalog.commit_plan(form.get("commit_plan", ""))
    try:
        price = Money(parse_amount_cents(amount), currency) if commit is None else commit_price(visit, commit)
        order = topups.CheckoutOrder(
            account_id=visit.account_id,
            actor=visit.actor,
            amount=price,
            commit_plan=form.get("commit_plan") or None,
            save_card="save_card" in form,
            provider=provider,
            quote_token=form.get("quote_token") or None,
            coupon=form.get("coupon") or None,
            key=checked_key(form.get("view")),
        )
        purchase = topups.start_checkout(visit.runtime, order, _platform(form.get("platform"))).purchase
    except SHOWN_AGAIN as refusal:
        text = None
        if amount.isdigit() and len(amount) <= 12:
            text = plain_amount(Money(int(amount), visit.runtime.catalog.pricing.currency))
        return _form_page(visit, text, provider, form.get("platform"), form, refusal)
    if purchase.status not in ("created", "open") or purchase.checkout_url is None:
        return see_other(f"{PATH}/return?purchase={purchase.purchase_id}")
    if origin_of(purchase.checkout_url) == origin_of(visit.runtime.base_url):
        return see_other(purchase.checkout_url)
    return see_other(f"{PATH}/leave/{purchase.purchase_id}")


def leave(visit: Visit) -> Response[Any]:
    """Go on to a provider's checkout on another origin: by itself, and by a link that says where it leads."""
    purchase = own_purchase(visit, visit.path["purchase_id"])
    if purchase.status not in ("created", "open") or purchase.checkout_url is None:
        return see_other(f"{PATH}/return?purchase={purchase.purchase_id}")
    return visit.page("leave.html", purchase=purchase)


def commit_price(visit: Visit, plan: CommitPlan) -> Money:
    """What a commit plan costs, all of its months together."""
    return Money(plan.amount_minor, visit.runtime.catalog.pricing.currency)


def commit_offers(visit: Visit) -> list[tuple[CommitPlan, int, int]]:
    """The commit plans with what each gives, base and bonus credits."""
    catalog = visit.runtime.catalog
    return [(plan, *commit_credits(plan, catalog.pricing)) for plan in catalog.commit_plans]


def own_purchase(visit: Visit, purchase_id: str) -> PurchaseRow:
    """This account's purchase; another account's is not there."""
    with reading(visit.runtime.db) as session:
        purchase = purchases.get_purchase(session, visit.account_id, purchase_id)
    if purchase is None:
        raise NotFound("order")
    return purchase


def see_other(url: str) -> Response[None]:
    return Response(None, status_code=303, headers={"location": url})


def _form_page(
    visit: Visit,
    amount_text: str | None,
    provider: str | None,
    platform: str | None,
    given: Mapping[str, str],
    refusal: Refusal | None = None,
) -> Response[str]:
    runtime = visit.runtime
    pricing = runtime.catalog.pricing
    status = KINDS[type(refusal)].status if refusal is not None else 200
    with reading(runtime.db) as session:
        account = session.get(AccountRow, visit.account_id)
        wallet = session.get(WalletRow, visit.account_id)
    if account is None or wallet is None:
        raise NotFound("account")
    try:
        topups.check_plan(runtime, account)
    except TopUpNotInPlan as paywall:
        return visit.page("paywall.html", plan=_plan_name(visit, account.plan), required=_required(visit, paywall))
    if wallet.status != "active":
        return visit.page("paused.html", refusal=WalletNotActive(wallet.status))
    offered = topups.offered_providers(runtime, account.country, _platform(platform))
    chosen = provider if provider in offered else (offered[0] if offered else None)
    typed = amount_text if amount_text is not None else first_amount(pricing)
    choice = Choice(typed, chosen, _platform(platform), given.get("coupon", "").strip()[:COUPON_LENGTH_MAX])
    priced = _quoted(visit, choice)
    return visit.page(
        "topup.html",
        status,
        choice=choice,
        offered=offered,
        quote=priced.quote,
        facts=_facts(visit, priced.quote),
        priced=priced,
        takes_coupons=any(coupon.percent is not None for coupon in runtime.catalog.coupons),
        refusal=refusal,
        view=new_id("view", visit.now),
        pricing=pricing,
        hints=hints_of(pricing, visit.tongue),
        phrases=phrases_of(visit.tongue),
        commits=commit_offers(visit),
        commit_view=new_id("view", visit.now),
        keeps_cards=runtime.catalog.saves_cards and any(keeps_cards(runtime.providers[name]) for name in offered),
        digits=currency_digits(pricing.currency),
    )


def _quoted(visit: Visit, choice: Choice) -> Priced:
    """The quote for what was typed, or what is wrong with it. With a coupon that can't be used nothing is for sale, so
    that nobody pays for less than they meant to get."""
    pricing = visit.runtime.catalog.pricing
    try:
        amount = parse_amount(choice.amount_text, pricing.currency)
        ask = QuoteQuery(provider=choice.provider, platform=choice.platform, coupon=choice.coupon or None)
        return Priced(quote_for(visit.runtime, visit.account_id, amount, ask))
    except (MalformedAmount, BelowMinimum, AboveMaximum) as refusal:
        return Priced(problem=limit_text(refusal, pricing, visit.tongue))
    except OF_COUPONS as refusal:
        return Priced(coupon_problem=visit.tongue.say(refusal.detail))


def _facts(visit: Visit, quoted: QuoteAnswer | None) -> dict[str, str | None]:
    """The quote in words: what the script writes too, when the amount changes."""
    if quoted is None:
        return dict.fromkeys(FACTS)
    tongue = visit.tongue
    words = Words(visit.runtime.catalog, tongue)
    near = quoted.next_tier if quoted.next_tier is not None and quoted.next_tier.near else None
    price = words.price_per_credit(quoted.price_per_credit, quoted.currency)
    return {
        "receive": words.amount(int(quoted.credits)),
        "bonus": words.amount(int(quoted.bonus_credits)) if quoted.bonus_credits != "0" else None,
        "coupon": words.amount(int(quoted.coupon_credits)) if quoted.coupon_credits != "0" else None,
        "price": None if words.shows_usd else tongue.say("%(price)s per %(unit)s", price=price, unit=words.unit(1)),
        "badge": tongue.say("Save %(percent)s%%", percent=quoted.save_badge) if quoted.save_badge else None,
        "upsell": None if near is None else _upsell(words, near, quoted.currency, tongue),
        "fill": None if near is None else str(near.from_minor),
        "after": words.amount(int(quoted.balance_after)),
        "pay": tongue.say("Pay %(money)s", money=money(quoted.amount_minor, quoted.currency, tongue)),
    }


def _upsell(words: Words, near: NextTier, currency: str, tongue: Tongue) -> str:
    """What a little more money would unlock."""
    more = money_short(near.add_minor, currency, tongue)
    extra = words.credits(int(near.extra_credits))
    if words.shows_usd:
        return tongue.say("+%(money)s to unlock %(amount)s extra credit", money=more, amount=extra)
    return tongue.say("+%(money)s to unlock %(amount)s extra %(unit)s", money=more, amount=extra, unit=words.unit(2))


def _platform(text: str | None) -> str:
    return text if text in PLATFORMS else "web"


def _plan_name(visit: Visit, plan_id: str | None) -> str:
    return next((plan.name for plan in visit.runtime.catalog.plans if plan.id == plan_id), plan_id or "no plan")


def _required(visit: Visit, paywall: TopUpNotInPlan) -> str:
    return _plan_name(visit, str(paywall.facts["requiredPlan"]))
