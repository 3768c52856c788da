"""Auto-recharge over HTTP: what is set, changing it, and why it fired or did not."""

from datetime import datetime
from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from api.body import Body, CreditCount, PageQuery
from api.scope import Answer, Call, Resource
from api.transactions import Pagination, View
from engine.flows.recharge_settings import change_wish, decisions, get_wish
from engine.rules.errors import Invalid, NotFound, WalletNotActive
from engine.rules.money import CREDITS_MAX
from engine.rules.recharge import Wish
from engine.store.tables import RechargeDecisionRow

Minor = Annotated[int, Meta(ge=1, le=CREDITS_MAX)]


class AutoRechargeBody(Body, frozen=True, kw_only=True):
    """What is named is changed, the rest stays; `null` clears. `currency`, if given, is the catalogue's."""

    enabled: bool | UnsetType = UNSET
    threshold_credits: CreditCount | UnsetType | None = UNSET
    amount_minor: Minor | UnsetType | None = UNSET
    payment_method_id: Annotated[str, Meta(max_length=64)] | UnsetType | None = UNSET
    monthly_cap_minor: Minor | UnsetType | None = UNSET
    currency: str | UnsetType = UNSET


class AutoRechargeAnswer(View, frozen=True, kw_only=True):
    """All of it; money is in minor units of the catalogue's currency."""

    enabled: bool
    threshold_credits: str | None
    amount_minor: int | None
    payment_method_id: str | None
    monthly_cap_minor: int | None
    currency: str


class Decision(View, frozen=True, kw_only=True):
    """`fired`, or `reason` says why not and `againAt` when time alone may change that."""

    id: str
    fired: bool
    reason: str
    available_credits: str
    threshold_credits: str | None
    amount_minor: int | None
    purchase_id: str | None
    again_at: datetime | None
    created_at: datetime


class Decisions(View, frozen=True, kw_only=True):
    """Newest first."""

    decisions: tuple[Decision, ...]
    pagination: Pagination


def get_auto_recharge(call: Call[None]) -> Answer:
    """What is set."""
    return Answer(_answer(get_wish(call.runtime, call.account_id), call.runtime.catalog.pricing.currency))


def put_auto_recharge(call: Call[AutoRechargeBody]) -> Answer:
    """Change what is named; switched on while low, it fires."""
    ask, currency = call.ask, call.runtime.catalog.pricing.currency
    if ask.currency is not UNSET and ask.currency != currency:
        raise Invalid("currency", f"Amounts are in {currency} here.")
    threshold = ask.threshold_credits
    named = {
        "is_enabled": ask.enabled,
        "threshold_credits": threshold if threshold is UNSET or threshold is None else int(threshold),
        "amount_minor": ask.amount_minor,
        "method_id": ask.payment_method_id,
        "monthly_cap_minor": ask.monthly_cap_minor,
    }
    changes = {field: value for field, value in named.items() if value is not UNSET}
    wish = change_wish(call.runtime, call.account_id, changes)
    return Answer(_answer(wish, currency))


def list_decisions(call: Call[PageQuery]) -> Answer:
    """Why it fired, and why it did not."""
    rows, total = decisions(call.runtime, call.account_id, call.ask.page, call.ask.limit)
    pagination = Pagination(page=call.ask.page, limit=call.ask.limit, total=total)
    return Answer(Decisions(decisions=tuple(map(_decision, rows)), pagination=pagination))


def _answer(wish: Wish, currency: str) -> AutoRechargeAnswer:
    return AutoRechargeAnswer(
        enabled=wish.is_enabled,
        threshold_credits=None if wish.threshold_credits is None else str(wish.threshold_credits),
        amount_minor=wish.amount_minor,
        payment_method_id=wish.method_id,
        monthly_cap_minor=wish.monthly_cap_minor,
        currency=currency,
    )


def _decision(row: RechargeDecisionRow) -> Decision:
    return Decision(
        id=row.decision_id,
        fired=row.fired,
        reason=row.reason,
        available_credits=str(row.available_credits),
        threshold_credits=None if row.threshold_credits is None else str(row.threshold_credits),
        amount_minor=row.amount_minor,
        purchase_id=row.purchase_id,
        again_at=row.again_at,
        created_at=row.created_at,
    )


RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="GET",
        path="auto-recharge",
        may="settings.read",
        handler=get_auto_recharge,
        answers=AutoRechargeAnswer,
        refuses=(NotFound,),
        summary="When and with which card credits are bought by themselves.",
    ),
    Resource(
        method="PUT",
        path="auto-recharge",
        may="settings.write",
        handler=put_auto_recharge,
        asks=AutoRechargeBody,
        answers=AutoRechargeAnswer,
        refuses=(NotFound, Invalid, WalletNotActive),
        summary="Change auto-recharge; what is not named stays.",
    ),
    Resource(
        method="GET",
        path="auto-recharge/decisions",
        may="settings.read",
        handler=list_decisions,
        asks=PageQuery,
        answers=Decisions,
        refuses=(NotFound,),
        summary="Why auto-recharge fired, and why it did not.",
    ),
)
