"""`GET` and `PUT limits`: what one call and one UTC day may spend, in credits and in US dollars."""

from decimal import Decimal
from typing import Any

from msgspec import UNSET, UnsetType

from api.body import Body, CreditCount, Dollars
from api.scope import Answer, Call, Resource
from api.transactions import View
from engine.flows.limits import Change, Limits, change_limits
from engine.rules.catalog import Catalog
from engine.rules.errors import Invalid, NotFound, WalletNotActive
from engine.rules.money import CREDITS_MAX, credits_of_usd, usd_text
from engine.store import history
from engine.store.database import reading


class LimitsBody(Body, frozen=True, kw_only=True):
    """Each limit in one of its two forms. `null` removes a limit, an omitted one stays."""

    daily_spend_limit_credits: CreditCount | UnsetType | None = UNSET
    daily_spend_limit_usdc: Dollars | UnsetType | None = UNSET
    per_call_limit_credits: CreditCount | UnsetType | None = UNSET
    per_call_limit_usdc: Dollars | UnsetType | None = UNSET


class LimitsAnswer(View, frozen=True, kw_only=True):
    """Both limits in both forms; null where there is none, or where a credit has no USD value."""

    daily_spend_limit_credits: str | None
    daily_spend_limit_usdc: str | None
    per_call_limit_credits: str | None
    per_call_limit_usdc: str | None


def get_limits(call: Call[None]) -> Answer:
    """The limits as they are."""
    with reading(call.runtime.db) as session:
        wallet = history.find_wallet(session, call.account_id)
    if wallet is None:
        raise NotFound("account")
    return Answer(_answer(Limits(wallet.daily_limit_credits, wallet.per_call_limit_credits), call.runtime.catalog))


def put_limits(call: Call[LimitsBody]) -> Answer:
    """Change the limits that are named."""
    catalog = call.runtime.catalog
    daily, per_call = changes_in(call.ask, catalog)
    limits = change_limits(call.runtime, call.account_id, daily, per_call, call.runtime.clock.now())
    return Answer(_answer(limits, catalog))


def changes_in(ask: LimitsBody, catalog: Catalog) -> tuple[Change, Change]:
    """What is to become of the limit of a day and of the one of a call."""
    daily = credits_change("dailySpendLimit", ask.daily_spend_limit_credits, ask.daily_spend_limit_usdc, catalog)
    per_call = credits_change("perCallLimit", ask.per_call_limit_credits, ask.per_call_limit_usdc, catalog)
    return daily, per_call


def credits_change(
    name: str, credits: CreditCount | UnsetType | None, usdc: Dollars | UnsetType | None, catalog: Catalog
) -> Change:
    """What is to become of a setting. Both forms are taken where they say the same, as an answer to `GET` does;
    dollars are not where a credit has no value."""
    if credits is not UNSET:
        limit = None if credits is None else int(credits)
        shown = None if limit is None else usd_text(limit, catalog.unit.credits_per_usd)
        if usdc is not UNSET and usdc != (None if shown is None else Decimal(shown)):
            raise Invalid(f"{name}Usdc", f"{name}Credits and {name}Usdc differ: give one of them.")
        return limit
    if usdc is UNSET:
        return "keep"
    if usdc is None:
        return None
    rate = catalog.unit.credits_per_usd
    if rate is None:
        raise Invalid(f"{name}Usdc", "Credits have no USD value here: give it in credits.")
    limit = credits_of_usd(usdc, rate)
    if limit > CREDITS_MAX:
        raise Invalid(f"{name}Usdc", f"It is at most {CREDITS_MAX} credits.")
    return limit


def _answer(limits: Limits, catalog: Catalog) -> LimitsAnswer:
    rate = catalog.unit.credits_per_usd
    daily, per_call = limits.daily_credits, limits.per_call_credits
    return LimitsAnswer(
        daily_spend_limit_credits=None if daily is None else str(daily),
        daily_spend_limit_usdc=None if daily is None else usd_text(daily, rate),
        per_call_limit_credits=None if per_call is None else str(per_call),
        per_call_limit_usdc=None if per_call is None else usd_text(per_call, rate),
    )


RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="GET",
        path="limits",
        may="settings.read",
        handler=get_limits,
        answers=LimitsAnswer,
        summary="What one call and one UTC day may spend.",
    ),
    Resource(
        method="PUT",
        path="limits",
        may="settings.write",
        handler=put_limits,
        asks=LimitsBody,
        answers=LimitsAnswer,
        refuses=(WalletNotActive,),
        summary="Change the limits that are named; null removes one.",
    ),
)
