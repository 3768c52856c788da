"""Subscriptions over HTTP: what the account has, what a change would cost, and the change."""

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta

from api.body import Body
from api.scope import Answer, Call, Resource
from api.transactions import View
from engine.flows import subscriptions
from engine.flows.subscriptions import Answered, Changed
from engine.rules.errors import (
    IdempotencyMismatch,
    NotFound,
    PlanElsewhere,
    ReturnUrlRefused,
    WalletNotActive,
)
from engine.rules.subscriptions import Act

Name = Annotated[str, Meta(max_length=40)]
Url = Annotated[str, Meta(max_length=2_000)]


class SubscriptionBody(Body, frozen=True, kw_only=True):
    """The plan that is wanted. Without an interval it is the present one; a first subscription must name it."""

    plan: Name
    interval: Name | None = None
    provider: Name | None = None
    success_url: Url | None = None
    cancel_url: Url | None = None


class SubscriptionAnswer(View, frozen=True, kw_only=True):
    """Without a provider it is the first plan, or one that the host granted. `checkoutUrl` is where the customer pays
    first, null where nothing is to be paid there; `reference` is the provider's own id."""

    plan: str | None
    interval: str | None
    status: str
    provider: str | None
    current_period_start: datetime | None
    current_period_end: datetime | None
    cancel_at_period_end: bool
    pending_plan: str | None
    monthly_credits: str
    reference: str | None
    checkout_url: str | None


class PreviewAnswer(View, frozen=True, kw_only=True):
    """Money in minor units. `monthlyCreditsNow` is what is granted at once."""

    due_now_minor: int
    credit_now_minor: int
    next_amount_minor: int
    next_at: datetime
    effective_at: datetime
    monthly_credits_now: str
    currency: str


def get_subscription(call: Call[None]) -> Answer:
    """What the account has, with what time has changed carried out first."""
    return Answer(shown(Changed(current=subscriptions.current(call.runtime, call.account_id))))


def post_preview(call: Call[SubscriptionBody]) -> Answer:
    """What a change would cost and give; a change within 15 minutes costs exactly that."""
    would = subscriptions.preview(call.runtime, _order(call))
    answer = PreviewAnswer(
        due_now_minor=would.due_now_minor,
        credit_now_minor=would.credit_now_minor,
        next_amount_minor=would.next_amount_minor,
        next_at=would.next_at,
        effective_at=would.effective_at,
        monthly_credits_now=str(would.credits_now),
        currency=call.runtime.catalog.pricing.currency,
    )
    return Answer(answer)


def post_change(call: Call[SubscriptionBody]) -> Answer:
    """Start a subscription (the answer says where to pay) or change the running one."""
    return _answer(subscriptions.change(call.runtime, _order(call)))


def post_cancel(call: Call[None]) -> Answer:
    """End it when the paid period does."""
    return _act(call, "cancel")


def post_reactivate(call: Call[None]) -> Answer:
    """Take a cancellation, or a change that is pending, back."""
    return _act(call, "reactivate")


def post_pause(call: Call[None]) -> Answer:
    """Stop renewing; what is paid for stays until its period ends."""
    return _act(call, "pause")


def post_resume(call: Call[None]) -> Answer:
    """Renew again, with a new period at once if the paid one is over."""
    return _act(call, "resume")


def _order(call: Call[SubscriptionBody]) -> subscriptions.StartOrder:
    ask = call.ask
    return subscriptions.StartOrder(
        account_id=call.account_id,
        actor=call.actor,
        plan=ask.plan,
        interval=ask.interval,
        provider=ask.provider,
        success_url=ask.success_url,
        cancel_url=ask.cancel_url,
        key=call.key,
    )


def _act(call: Call[None], what: Act) -> Answer:
    return _answer(subscriptions.act(call.runtime, call.account_id, what, call.key))


def _answer(answered: Answered) -> Answer:
    return Answer(shown(answered.changed), is_replay=answered.is_replay)


def shown(changed: Changed) -> SubscriptionAnswer:
    """The subscription in the contract's words."""
    now_is = changed.current
    return SubscriptionAnswer(
        plan=now_is.plan,
        interval=now_is.interval,
        status=now_is.status,
        provider=now_is.provider,
        current_period_start=now_is.period_start,
        current_period_end=now_is.period_end,
        cancel_at_period_end=now_is.cancel_at_period_end,
        pending_plan=now_is.pending_plan,
        monthly_credits=str(now_is.monthly_credits),
        reference=now_is.reference,
        checkout_url=changed.checkout_url,
    )


_REFUSES = (NotFound, PlanElsewhere, IdempotencyMismatch)

RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="GET",
        path="subscription",
        may="settings.read",
        handler=get_subscription,
        answers=SubscriptionAnswer,
        refuses=(NotFound,),
        summary="The account's plan and where it comes from.",
    ),
    Resource(
        method="POST",
        path="subscription/preview",
        may="settings.write",
        handler=post_preview,
        asks=SubscriptionBody,
        answers=PreviewAnswer,
        refuses=(NotFound, PlanElsewhere, ReturnUrlRefused, WalletNotActive),
        summary="What a change of plan would cost and give.",
    ),
    Resource(
        method="POST",
        path="subscription/change",
        may="settings.write",
        handler=post_change,
        asks=SubscriptionBody,
        answers=SubscriptionAnswer,
        key="optional",
        refuses=(*_REFUSES, ReturnUrlRefused, WalletNotActive),
        summary="Subscribe, upgrade now, or downgrade at the period's end.",
    ),
    *(
        Resource(
            method="POST",
            path=f"subscription/{name}",
            may="settings.write",
            handler=handler,
            answers=SubscriptionAnswer,
            key="optional",
            refuses=_REFUSES,
            summary=summary,
        )
        for name, handler, summary in (
            ("cancel", post_cancel, "Cancel at the period's end."),
            ("reactivate", post_reactivate, "Take a cancellation or a pending change back."),
            ("pause", post_pause, "Pause where the provider can."),
            ("resume", post_resume, "Resume a paused subscription."),
        )
    ),
)
