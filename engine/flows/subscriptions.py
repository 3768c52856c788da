"""What a customer does to a subscription: preview, start, change, cancel, take that back, pause and resume.

As with a checkout, what was asked is written and committed, then the provider is asked with no lock held and with a
key made from what was written, then its answer is applied as the facts it is. A crash in between is ended by the same
key, or by the provider's own events.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec
from sqlmodel import Session

from engine.clock import new_id
from engine.flows import receive
from engine.flows.subscription_closing import end_others
from engine.flows.subscription_reads import Current, Live, current, find_live, read_current, settle_account
from engine.flows.subscription_start import StartOrder, check_start, check_wallet, first_terms, start
from engine.flows.subscription_turns import turn
from engine.payments import ProviderFact, ProviderRefused, ProviderUnreachable
from engine.recurring import Prorated, ProratingProvider, SubscriptionChange, SubscriptionProvider
from engine.rules.commands import fingerprint_of
from engine.rules.errors import Invalid, NotFound, PlanElsewhere, Unavailable
from engine.rules.facts import Fact
from engine.rules.fields import PROVIDER_NAMES
from engine.rules.subscriptions import (
    ABILITIES,
    PREVIEW_MINUTES,
    Act,
    Change,
    Terms,
    first_change,
    is_upgrade,
    plan_change,
    terms_of,
)
from engine.runtime import Runtime
from engine.store import books, replies, subscriptions
from engine.store.database import reading, transact
from engine.store.tables import ReplyRow

T = TypeVar("T")

ASKED, DONE = 202, 200
"""How a kept answer tells that the provider is being asked from one that stands."""


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """The subscription since, and where the customer must pay first, if they must."""

    current: Current
    checkout_url: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """The change as first answered; `is_replay` when this key was answered before."""

    changed: Changed
    is_replay: bool


def preview(runtime: Runtime, order: StartOrder) -> Change:
    """What the change would cost and give now; it is held for a while, so that the change costs exactly that."""
    settle_account(runtime, order.account_id)
    now = runtime.clock.now()
    with reading(runtime.db) as session:
        live = find_live(session, runtime, order.account_id)
        if live is None:
            terms = terms_of(runtime.catalog, order.plan, order.interval)
            checked = check_start(session, runtime, order, "web")
            return first_change(terms, now, has_trial=checked.has_trial)
    wanted = _wanted(runtime, live, order)
    if wanted is None:
        return Change("period_end", 0, 0, 0, live.period.end, live.period.end, 0)
    _check_paid(live, wanted)

    def hold(session: Session) -> None:
        books.lock_wallets(session, [order.account_id], now)
        row = subscriptions.get_subscription(session, order.account_id, live.row.subscription_id, lock=True)
        assert row is not None
        row.previewed, row.previewed_at = _name(wanted), now
        session.add(row)

    transact(runtime.db, hold)
    return _as_charged(runtime, live, wanted, now.replace(microsecond=0))


def _as_charged(runtime: Runtime, live: Live, wanted: Terms, at: datetime) -> Change:
    """The change as its provider would charge it, where the provider reckons that itself."""
    would = _reckon(live, wanted, at)
    provider = runtime.providers.get(live.row.provider)
    is_prorated = would.how == "now" and wanted is not live.terms and live.row.state != "trialing"
    if not is_prorated or not isinstance(provider, ProratingProvider):
        return would
    request = SubscriptionChange(_reference(live), wanted, True, at, "", would.due_now_minor)
    told: Prorated = _ask(lambda: provider.preview_change(request))
    return replace(
        would,
        due_now_minor=told.due_now_minor,
        credit_now_minor=max(0, -told.carried_minor),
        next_amount_minor=max(0, wanted.price_minor + told.carried_minor),
    )


def change(runtime: Runtime, order: StartOrder) -> Answered:
    """Carry a change out: a first subscription goes to the provider's checkout, a running one is changed."""
    settle_account(runtime, order.account_id)
    asked = (order.plan, order.interval, order.provider, order.success_url, order.cancel_url)
    keyed = _Keyed("subscription change", order.account_id, order.key, fingerprint_of("subscription change", asked))
    kept = _kept(runtime, keyed)
    if kept is not None and kept.status == DONE:
        return Answered(msgspec.json.decode(kept.answer, type=Changed), is_replay=True)
    with reading(runtime.db) as session:
        live = find_live(session, runtime, order.account_id)
    if live is None:
        row = start(
            runtime,
            order,
            kept.answer if kept else None,
            lambda session, name: _keep(session, keyed, name, runtime.clock.now()),
        )
        now_is = current(runtime, order.account_id)
        pending = msgspec.structs.replace(now_is, pending_plan=order.plan, status="incomplete")
        return _finish(runtime, keyed, Changed(current=pending, checkout_url=row.checkout_url), (), None)
    if kept is not None and _is_done(live, order):
        return _finish(runtime, keyed, None, (), None)
    wanted = _wanted(runtime, live, order)
    if wanted is None:
        return _act(runtime, live, "cancel", keyed, kept)
    _check_paid(live, wanted)
    check_wallet(runtime, order.account_id)
    provider = _provider(runtime, live)
    change_id = kept.answer if kept else transact(runtime.db, lambda session: _begin(session, runtime, keyed))
    at = _instant(live, wanted, runtime.clock.now())
    would = _reckon(live, wanted, at)
    request = SubscriptionChange(
        reference=_reference(live),
        terms=wanted,
        is_now=would.how != "period_end",
        at=at,
        idempotency_key=f"change:{change_id}",
        due_minor=would.due_now_minor,
        replaces=live.terms,
    )
    with turn(runtime, order.account_id, live.row.subscription_id):
        facts = _ask(lambda: provider.change_subscription(request))
        return _finish(runtime, keyed, None, facts, provider)


def act(runtime: Runtime, account_id: str, what: Act, key: str | None) -> Answered:
    """Cancel at the period's end, take that back, pause or resume; asking for what is so already changes nothing."""
    settle_account(runtime, account_id)
    keyed = _Keyed(f"subscription {what}", account_id, key, fingerprint_of(f"subscription {what}", ()))
    kept = _kept(runtime, keyed)
    if kept is not None and kept.status == DONE:
        return Answered(msgspec.json.decode(kept.answer, type=Changed), is_replay=True)
    with reading(runtime.db) as session:
        read_current(session, runtime, account_id)
        live = find_live(session, runtime, account_id)
    if live is None:
        raise NotFound("subscription")
    return _act(runtime, live, what, keyed, kept)


def _act(runtime: Runtime, live: Live, what: Act, keyed: "_Keyed", kept: ReplyRow | None) -> Answered:
    ABILITIES[live.row.provider].check(live.row.provider, what)
    row = live.row
    if what == "cancel":
        transact(runtime.db, lambda session: _end_others(session, runtime, live))
    is_so = {
        "cancel": row.cancel_at_period_end,
        "reactivate": not row.cancel_at_period_end and row.pending_plan is None,
        "pause": row.state == "paused",
        "resume": row.state != "paused",
    }[what]
    if is_so:
        return _finish(runtime, keyed, None, (), None)
    provider = _provider(runtime, live)
    change_id = kept.answer if kept else transact(runtime.db, lambda session: _begin(session, runtime, keyed))
    with turn(runtime, row.account_id, row.subscription_id):
        facts = _ask(lambda: provider.act_on_subscription(_reference(live), what, f"{what}:{change_id}"))
        return _finish(runtime, keyed, None, facts, provider)


def _end_others(session: Session, runtime: Runtime, live: Live) -> None:
    """Whatever else of the account renews is cancelled as well."""
    now = runtime.clock.now()
    books.lock_wallets(session, [live.row.account_id], now)
    end_others(session, live.row.account_id, live.row.subscription_id, now)


def _wanted(runtime: Runtime, live: Live, order: StartOrder) -> Terms | None:
    """The terms asked for; the present ones to take a pending change back; `None` to cancel: the first plan."""
    ABILITIES[live.row.provider].check(live.row.provider, "change")
    first = runtime.catalog.first_plan
    if first is not None and order.plan == first.id:
        return None
    interval = order.interval or live.terms.interval
    wanted = terms_of(runtime.catalog, order.plan, interval)
    if (wanted.plan.id, wanted.interval) != (live.terms.plan.id, live.terms.interval):
        return wanted
    if live.row.pending_plan is None and not live.row.cancel_at_period_end:
        raise Invalid("plan", "The account has this plan already.")
    return live.terms


def _check_paid(live: Live, wanted: Terms) -> None:
    """A higher plan begins now and is paid for the time left: where the period itself is not paid there is none."""
    if live.stands.status == "past_due" and is_upgrade(live.terms, wanted):
        why = "A payment of this subscription is overdue: a higher plan can be had once it is paid."
        raise PlanElsewhere(PROVIDER_NAMES[live.row.provider], "change", None, why)


def _is_done(live: Live, order: StartOrder) -> bool:
    """Whether what an earlier try of this request asked for is so by now: its answer was lost, not its effect."""
    has_now = (live.terms.plan.id, live.terms.interval)
    comes = (live.row.pending_plan, live.row.pending_interval)
    return (order.plan, order.interval or live.terms.interval) in (has_now, comes)


def _reckon(live: Live, wanted: Terms, at: datetime) -> Change:
    if wanted is live.terms:
        return Change("now", 0, 0, live.terms.price_minor, live.period.end, at, 0)
    month, level = live.month_at(max(at, live.period.start))  # a period paid early is the one that changes
    is_trial = live.row.state == "trialing"
    return plan_change(live.terms, wanted, live.period, month, level, at, is_trial=is_trial)


def _instant(live: Live, wanted: Terms, now: datetime) -> datetime:
    """The instant a change is reckoned from: that of its preview, if it was shown lately in the same period. In whole
    seconds, as providers count."""
    shown = live.row.previewed_at
    if shown is None or live.row.previewed != _name(wanted) or shown < live.row.period_start_at:
        return now.replace(microsecond=0)
    return (shown if now - shown <= timedelta(minutes=PREVIEW_MINUTES) else now).replace(microsecond=0)


def _name(terms: Terms) -> str:
    return f"{terms.plan.id}:{terms.interval}:{terms.price_minor}"


def _reference(live: Live) -> str:
    assert live.row.reference is not None, "a running subscription was told by its provider"
    return live.row.reference


def _provider(runtime: Runtime, live: Live) -> SubscriptionProvider:
    provider = runtime.providers.get(live.row.provider)
    if not isinstance(provider, SubscriptionProvider):
        raise PlanElsewhere(PROVIDER_NAMES[live.row.provider], "change", None)
    return provider


@dataclass(frozen=True, slots=True)
class _Keyed:
    operation: str
    account_id: str
    key: str | None
    fingerprint: str


def _kept(runtime: Runtime, keyed: _Keyed) -> ReplyRow | None:
    if keyed.key is None:
        return None
    key = keyed.key
    with reading(runtime.db) as session:
        return replies.find(session, keyed.account_id, keyed.operation, key, keyed.fingerprint)


def _begin(session: Session, runtime: Runtime, keyed: _Keyed) -> str:
    """Name the change, and keep its name under the caller's key before anybody is asked."""
    now = runtime.clock.now()
    books.lock_wallets(session, [keyed.account_id], now)
    return _keep(session, keyed, new_id("chg", now), now)


def _keep(session: Session, keyed: _Keyed, name: str, now: datetime) -> str:
    """The name that stands under the caller's key: this one, unless a request of the same moment was faster."""
    if keyed.key is None:
        return name
    kept = replies.find(session, keyed.account_id, keyed.operation, keyed.key, keyed.fingerprint)
    if kept is None:
        replies.keep(session, keyed.account_id, keyed.operation, keyed.key, keyed.fingerprint, ASKED, name, now)
        return name
    if kept.status == DONE:
        raise Unavailable("This key was answered a moment ago; ask again to have that answer.")
    return kept.answer


def _ask(asking: Callable[[], T]) -> T:
    try:
        return asking()
    except ProviderUnreachable as error:
        raise Unavailable("The payment provider does not answer; try again with the same key.") from error
    except ProviderRefused as error:
        raise Unavailable("The payment provider declined the change; nothing was charged.") from error


def _finish(
    runtime: Runtime,
    keyed: _Keyed,
    changed: Changed | None,
    facts: tuple[ProviderFact, ...],
    provider: SubscriptionProvider | None,
) -> Answered:
    """Apply the provider's answer, then keep ours for the caller's key."""
    if provider is not None and facts:
        assert not any(isinstance(fact, Fact) for fact in facts), "a change is answered by subscription facts"
        receive.carry_out(runtime, provider, facts)
    answer = changed or Changed(current=current(runtime, keyed.account_id))

    def note(session: Session) -> None:
        books.lock_wallets(session, [keyed.account_id], runtime.clock.now())
        key = keyed.key or ""
        kept = replies.find(session, keyed.account_id, keyed.operation, key, keyed.fingerprint)
        if kept is None:
            _keep(session, keyed, "", runtime.clock.now())
            session.flush()
            kept = replies.find(session, keyed.account_id, keyed.operation, key, keyed.fingerprint)
        assert kept is not None
        if kept.status == DONE:
            return
        kept.status, kept.answer = DONE, msgspec.json.encode(answer).decode()
        session.add(kept)

    if keyed.key is not None:
        transact(runtime.db, note)
    return Answered(answer, is_replay=False)


__all__ = ["Answered", "Changed", "StartOrder", "act", "change", "current", "first_terms", "preview"]
