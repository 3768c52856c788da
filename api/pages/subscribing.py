"""`/account/subscribe`: the plans side by side, what a change would cost, and the change once it is confirmed."""

from dataclasses import dataclass
from typing import Any, get_args

from litestar import Response

from api import subscriptions as api
from api.pages.forms import bare_call, call_of, see_other, text_or_none
from api.pages.frame import Visit
from api.problems import KINDS
from engine.clock import new_id
from engine.flows import subscriptions
from engine.flows.subscription_reads import Current
from engine.flows.topups import offered_providers
from engine.recurring import SubscriptionProvider, can_be_managed
from engine.rules.errors import Invalid, NotFound, PlanElsewhere, Refusal, Unavailable, WalletNotActive
from engine.rules.fields import PROVIDER_NAMES
from engine.rules.plans import Plan
from engine.rules.return_urls import origin_of
from engine.rules.subscriptions import ABILITIES, Act
from engine.store.database import reading
from engine.store.tables import AccountRow

PATH = "/account/subscribe"
INTERVALS = ("month", "year")

DONE = {
    "change": "Your plan was changed.",
    "later": "Your plan changes when the present period ends.",
    "cancel": "Your subscription ends with the present period. Until then everything stays as it is.",
    "reactivate": "Your subscription goes on.",
    "pause": "Your subscription is paused: it is not renewed until you resume it.",
    "resume": "Your subscription is renewed again.",
}
"""What the page says after something was done."""

STATUS_NAMES = {
    "active": ("Active", "good"),
    "trialing": ("Trial", "good"),
    "past_due": ("Payment is late", "bad"),
    "paused": ("Paused", "wait"),
    "incomplete": ("Not paid yet", "wait"),
    "ended": ("Ended", "quiet"),
}

SHOWN_AGAIN = (Invalid, NotFound, PlanElsewhere, Unavailable, WalletNotActive)
"""Refusals after which the plans are shown again, with what was refused."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A plan as it is shown: what it costs by this interval, and what can be done about it from here."""

    plan: Plan
    price_minor: int | None
    act: str
    is_current: bool
    is_pending: bool


def show(visit: Visit) -> Response[str]:
    """The plans by one interval, the account's own marked, and what can be done with it."""
    return _plans_page(visit)


def preview(visit: Visit) -> Response[str]:
    """What a change would cost and give, before anything is done."""
    plan = _plan(visit, visit.query.get("plan", ""))
    interval = _interval(visit.query.get("interval", ""))
    provider = visit.query.get("provider") or None
    current = subscriptions.current(visit.runtime, visit.account_id)
    try:
        asked = call_of(visit, api.SubscriptionBody, {"plan": plan.id, "interval": interval, "provider": provider})
        would: Any = api.post_preview(asked).value
    except SHOWN_AGAIN as refusal:
        return _plans_page(visit, refusal)
    return visit.page(
        "preview.html",
        plan=plan,
        interval=interval,
        provider=provider,
        current=current,
        would=would,
        is_first=_is_first(visit, plan),
        starts=current.provider is None,
        offered=_sellers(visit) if current.provider is None else (),
        names=_names(visit),
        view=new_id("view", visit.now),
    )


def change(visit: Visit) -> Response[Any]:
    """Carry the change out that was shown; a first subscription goes on to the provider's checkout."""
    form = visit.form
    payload = {
        "plan": form.get("plan", ""),
        "interval": text_or_none(form.get("interval", "")),
        "provider": text_or_none(form.get("provider", "")),
    }
    try:
        changed: Any = api.post_change(call_of(visit, api.SubscriptionBody, payload)).value
    except SHOWN_AGAIN as refusal:
        return _plans_page(visit, refusal)
    if changed.checkout_url is None:
        is_later = changed.pending_plan is not None or changed.cancel_at_period_end
        return see_other(f"{PATH}?done={'later' if is_later else 'change'}")
    if origin_of(changed.checkout_url) == origin_of(visit.runtime.base_url):
        return see_other(changed.checkout_url)
    return visit.page("away.html", url=changed.checkout_url, back=PATH)


def act(visit: Visit) -> Response[Any]:
    """Cancel, reactivate, pause or resume."""
    what = visit.path["act"]
    if what not in get_args(Act):
        raise NotFound("page")
    handlers = {
        "cancel": api.post_cancel,
        "reactivate": api.post_reactivate,
        "pause": api.post_pause,
        "resume": api.post_resume,
    }
    try:
        handlers[what](bare_call(visit))
    except SHOWN_AGAIN as refusal:
        return _plans_page(visit, refusal)
    return see_other(f"{PATH}?done={what}")


def _plans_page(visit: Visit, refusal: Refusal | None = None) -> Response[str]:
    runtime = visit.runtime
    current = subscriptions.current(runtime, visit.account_id)
    interval = _interval(visit.query.get("interval") or visit.form.get("interval") or current.interval or "month")
    plans = sorted(runtime.catalog.plans, key=lambda plan: plan.rank)
    abilities = ABILITIES[current.provider] if current.provider is not None else None
    may = visit.may("settings.write")
    done = visit.query.get("done", "") if visit.request.method == "GET" else ""
    return visit.page(
        "subscribe.html",
        KINDS[type(refusal)].status if refusal is not None else 200,
        offers=[_offer(plan, interval, current, plans) for plan in plans],
        current=current,
        interval=interval,
        intervals=[each for each in INTERVALS if any(plan.price_minor(each) is not None for plan in plans)],
        currency=runtime.catalog.pricing.currency,
        elsewhere=abilities.manage_url if abilities is not None else None,
        acts=_acts(current) if may else (),
        has_portal=may and can_be_managed(runtime.providers.get(current.provider or "")),
        may_write=may
        and (abilities is None or "change" in abilities.may)
        and (abilities is not None or _sellers(visit)),
        status_name=STATUS_NAMES.get(current.status, (current.status, "quiet")),
        names=_names(visit),
        refusal=refusal,
        done=DONE.get(done),
        view=new_id("view", visit.now),
    )


def _offer(plan: Plan, interval: str, current: Current, plans: list[Plan]) -> Offer:
    """What pressing this plan's button means for an account that has the current one."""
    is_free = not plan.prices
    is_current = plan.id == current.plan and (is_free or current.provider is None or current.interval == interval)
    rank = next((each.rank for each in plans if each.id == current.plan), -1)
    if is_current:
        wanted = ""
    elif current.provider is None:
        wanted = "" if is_free else "subscribe"
    elif is_free:
        wanted = "leave"
    elif plan.id == current.plan:
        wanted = "interval"
    else:
        wanted = "upgrade" if plan.rank > rank else "downgrade"
    return Offer(plan, plan.price_minor(interval), wanted, is_current, plan.id == current.pending_plan)


def _acts(current: Current) -> tuple[str, ...]:
    """What can be done with the running subscription from here, as its provider allows."""
    if current.provider is None:
        return ()
    may = ABILITIES[current.provider].may
    if current.status == "paused":
        wanted: tuple[str, ...] = ("resume",)
    elif current.cancel_at_period_end or current.pending_plan is not None:
        wanted = ("reactivate",)
    else:
        wanted = ("pause", "cancel")
    return tuple(each for each in wanted if each in may)


def _sellers(visit: Visit) -> tuple[tuple[str, str], ...]:
    """The providers that sell subscriptions to this customer, by id and name."""
    runtime = visit.runtime
    with reading(runtime.db) as session:
        account = session.get(AccountRow, visit.account_id)
    names = offered_providers(runtime, account.country if account is not None else None, "web")
    can = [name for name in names if isinstance(runtime.providers[name], SubscriptionProvider)]
    return tuple((name, PROVIDER_NAMES.get(name, name)) for name in can)


def _plan(visit: Visit, plan_id: str) -> Plan:
    found = next((plan for plan in visit.runtime.catalog.plans if plan.id == plan_id), None)
    if found is None:
        raise NotFound("plan")
    return found


def _is_first(visit: Visit, plan: Plan) -> bool:
    first = visit.runtime.catalog.first_plan
    return first is not None and first.id == plan.id


def _names(visit: Visit) -> dict[str, str]:
    return {plan.id: plan.name for plan in visit.runtime.catalog.plans}


def _interval(text: str) -> str:
    return text if text in INTERVALS else "month"
