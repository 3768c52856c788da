"""Entitlements of an account: its plan as it was sold, and what was set for it alone; one read, no lock."""

from collections.abc import Mapping

from sqlmodel import Session

from engine.flows.subscription_reads import settle_account
from engine.rules.entitlements import Entitlements, Value, check_feature, entitlements_of, plan_features
from engine.rules.errors import Invalid, NotFound, TopUpNotInPlan
from engine.rules.plans import CUSTOM_CREDITS
from engine.runtime import Runtime
from engine.store import books, outbox, subscriptions
from engine.store.database import reading, transact
from engine.store.subscriptions import HeldPlan
from engine.store.tables import AccountRow

FEATURES_MAX = 200


def entitlements(runtime: Runtime, account_id: str) -> Entitlements:
    """Everything an account may do; `NotFound` if there is no such account."""
    return _read(runtime, account_id)[0]


def allow(runtime: Runtime, account_id: str, feature: str) -> tuple[Value, Entitlements]:
    """The feature's value, and what else holds; `FeatureNotInPlan` where it is not allowed."""
    held, own = _read(runtime, account_id)
    return check_feature(runtime.catalog, held, feature, _upgrade_url(runtime), own), held


def check_top_up(runtime: Runtime, account_id: str) -> None:
    """Refuse a plan that may not top up, with the plan that may and where to get it."""
    held, own = _read(runtime, account_id)
    if not held.features[CUSTOM_CREDITS]:
        reason = "override" if CUSTOM_CREDITS in own else "plan"
        raise TopUpNotInPlan(held.plan or "", runtime.catalog.top_up_from or "", _upgrade_url(runtime), reason)


def overrides(runtime: Runtime, account_id: str) -> dict[str, Value]:
    """What was set for this account alone."""
    with reading(runtime.db) as session:
        if session.get(AccountRow, account_id) is None:
            raise NotFound("account")
        return subscriptions.overrides_of(session, account_id)


def set_overrides(
    runtime: Runtime, account_id: str, actor: str, changes: Mapping[str, Value | None]
) -> dict[str, Value]:
    """Set features for one account, `None` takes one back; all that is set since. The change is in the audit log."""
    known: dict[str, Value] = {}
    for plan in runtime.catalog.plans:
        known.update(plan_features(runtime.catalog, plan.id))
    for name, value in changes.items():
        if value is not None and name in known and isinstance(known[name], bool) != isinstance(value, bool):
            kind = "true or false" if isinstance(known[name], bool) else "a number"
            raise Invalid(f"features.{name}", f"This feature is {kind}.")

    def work(session: Session) -> dict[str, Value]:
        now = runtime.clock.now()
        books.lock_open(session, account_id, now)
        kept = subscriptions.overrides_of(session, account_id)
        merged = {**kept, **{name: value for name, value in changes.items() if value is not None}}
        merged = {name: value for name, value in merged.items() if changes.get(name, value) is not None}
        if len(merged) > FEATURES_MAX:
            raise Invalid("features", f"An account has at most {FEATURES_MAX} overrides.")
        if merged != kept:
            subscriptions.keep_overrides(session, account_id, merged, now)
            facts: dict[str, object] = {"features": dict(changes)}
            outbox.note_act(session, account_id, actor, "entitlements.overridden", account_id, "", facts, now)
        return merged

    return transact(runtime.db, work)


def _read(runtime: Runtime, account_id: str) -> tuple[Entitlements, Mapping[str, Value]]:
    """One read; a second one where time has changed a subscription since it was last looked at."""
    held = _held(runtime, account_id)
    if held.next_at is not None and held.next_at <= runtime.clock.now():
        settle_account(runtime, account_id)
        held = _held(runtime, account_id)
    own = subscriptions.read_features(held.features) if held.features is not None else {}
    sold = subscriptions.read_terms(held.terms).plan if held.terms is not None else None
    return entitlements_of(runtime.catalog, held.plan, sold, own), own


def _held(runtime: Runtime, account_id: str) -> HeldPlan:
    with reading(runtime.db) as session:
        held = subscriptions.held_plan(session, account_id)
    if held is None:
        raise NotFound("account")
    return held


def _upgrade_url(runtime: Runtime) -> str:
    return f"{runtime.base_url}/account/subscribe"
