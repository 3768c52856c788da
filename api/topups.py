"""Starting a top-up: the way from an amount to a provider's page."""

from typing import Annotated, Any

from msgspec import Meta

from api.body import Body
from api.instants import instant
from api.quotes import OF_COUPONS, QuoteQuery, amount_asked
from api.scope import Answer, Call, Resource
from engine.flows import topups
from engine.rules.errors import (
    AboveMaximum,
    BelowMinimum,
    Invalid,
    MalformedAmount,
    NotFound,
    QuoteRefused,
    ReturnUrlRefused,
    TopUpNotInPlan,
    WalletNotActive,
)
from engine.rules.money import Money
from engine.runtime import Runtime

Text = Annotated[str, Meta(max_length=200)]


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


def _amount_in_body(ask: CheckoutBody) -> Money:
    """The same rules for a body, where amounts are JSON integers."""
    texts = []
    for value in (ask.amount_usd_cents, ask.amount_minor):
        if value is not None and type(value) is not int:
            raise MalformedAmount("An amount is an integer of minor units.")
        texts.append(None if value is None else str(min(value, 2**64)))  # above every maximum, however many digits
    return amount_asked(QuoteQuery(amount_usd_cents=texts[0], amount_minor=texts[1], currency=ask.currency))


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


RESOURCES: tuple[Resource[Any], ...] = (
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
)
