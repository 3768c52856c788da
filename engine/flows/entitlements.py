"""Entitlements of an account: its plan as it was sold, and what was set for it alone; one read, no lock."""

from collections.abc import Mapping

from sqlmodel import Session

from engine.flows.subscription_reads import settle_account
from engine.rules.entitlements import Entitlements, Value, check_feature, entitlements_of, plan_features
from engine.rules.errors import Invalid, NotFound, TopUpNotInPlan
from engine.rules.plans import CUSTOM_CREDITS, Plan
from engine.runtime import Runtime
from engine.store import books, outbox, subscriptions
from engine.store.database import reading, transact
from engine.store.tables import AccountRow

FEATURES_MAX = 200


def entitlements(runtime: Runtime, account_id: str) -> Entitlements:
    """Everything an account may do; `NotFound` if there is no such account."""
    settle_account(runtime, account_id)
    with reading(runtime.db) as session:
        return _read(session, runtime, account_id)[0]


def allow(runtime: Runtime, account_id: str, feature: str) -> tuple[Value, Entitlements]:
    """The feature's value, and what else holds; `FeatureNotInPlan` where it is not allowed."""
    settle_account(runtime, account_id)
    with reading(runtime.db) as session:
        held, overrides = _read(session, runtime, account_id)
    return check_feature(runtime.catalog, held, feature, _upgrade_url(runtime), overrides), held


def check_top_up(runtime: Runtime, account_id: str) -> None:
    """Refuse a plan that may not top up, with the plan that may and where to get it."""
    held = entitlements(runtime, account_id)
    if not held.features[CUSTOM_CREDITS]:
        raise TopUpNotInPlan(held.plan or "", runtime.catalog.top_up_from or "", _upgrade_url(runtime))


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
        if account_id not in books.lock_wallets(session, [account_id], now):
            raise NotFound("account")
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


def _read(session: Session, runtime: Runtime, account_id: str) -> tuple[Entitlements, dict[str, Value]]:
    account = session.get(AccountRow, account_id)
    if account is None:
        raise NotFound("account")
    own = subscriptions.overrides_of(session, account_id)
    return entitlements_of(runtime.catalog, account.plan, _sold(session, account), own), own


def _sold(session: Session, account: AccountRow) -> Plan | None:
    """The account's plan as its subscription was sold, if it comes from one."""
    for row in subscriptions.subscriptions_of(session, account.account_id):
        if row.is_driving:
            plan = subscriptions.read_terms(row.terms).plan
            if plan.id == account.plan:
                return plan
    return None


def _upgrade_url(runtime: Runtime) -> str:
    return f"{runtime.base_url}/account/subscribe"
