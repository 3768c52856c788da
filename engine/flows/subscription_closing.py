"""Subscriptions that nobody wants: each is cancelled at its provider, so that nobody is charged again.

Those of a closed account, and all but one of an account that pays for several. A row of work is written for each in
the transaction that saw it; the provider is asked by the jobs, until it has answered. A checkout that is still open
when its account closes may yet be paid, so it is looked at when it is over. A store's subscription can be cancelled by
its customer alone: what a closed account's still brings goes to review.
"""

from datetime import datetime, timedelta

from sqlmodel import Session

from engine.flows import receive
from engine.flows.rails import rail_for_job
from engine.flows.subscription_reads import best, running
from engine.recurring import SubscriptionProvider
from engine.rules.subscriptions import ABILITIES
from engine.runtime import Runtime
from engine.store import books, outbox, subscriptions
from engine.store.database import reading, transact
from engine.store.tables import SubscriptionRow

OVER = timedelta(hours=1)
"""How long after the end of a checkout its provider surely knows whether it was paid."""


def end_all(session: Session, account_id: str, now: datetime) -> None:
    """Write down that each of the account's subscriptions is to be cancelled; its wallet is locked."""
    for row in subscriptions.subscriptions_of(session, account_id):
        if row.state != "ended" and "cancel" in ABILITIES[row.provider].may:
            due_at = max(now, row.expires_at + OVER) if row.state == "incomplete" else now
            asked: dict[str, object] = {"subscriptionId": row.subscription_id}
            outbox.enqueue(session, account_id, "subscription_close", asked, now, due_at)


def end_others(session: Session, account_id: str, kept_id: str, now: datetime) -> None:
    """Write down that all but one of the account's subscriptions that renew are to be cancelled; its wallet is
    locked."""
    for row in subscriptions.subscriptions_of(session, account_id):
        is_renewing = row.version > 0 and row.state != "ended" and not row.cancel_at_period_end
        if is_renewing and row.subscription_id != kept_id and "cancel" in ABILITIES[row.provider].may:
            outbox.enqueue(session, account_id, "subscription_close", {"subscriptionId": row.subscription_id}, now)


def leave_one(runtime: Runtime, account_id: str) -> None:
    """Of an account's subscriptions let one renew: of those not cancelled the one that its plan comes from.

    Each provider is asked first, for one that was not paid as agreed gives no plan. Raises what they raise.
    """
    with reading(runtime.db) as session:
        rows = subscriptions.subscriptions_of(session, account_id)
    for row in rows:
        provider = runtime.providers.get(row.provider)
        is_running = row.reference is not None and row.state != "ended"
        if is_running and isinstance(provider, SubscriptionProvider):
            receive.carry_out(runtime, provider, provider.subscription(str(row.reference)))

    def decide(session: Session) -> None:
        now = runtime.clock.now()
        books.lock_wallets(session, [account_id], now)
        kept = best([live for live in running(session, runtime, account_id) if not live.row.cancel_at_period_end])
        if kept is not None:
            end_others(session, account_id, kept.row.subscription_id, now)

    transact(runtime.db, decide)


def close_subscription(runtime: Runtime, account_id: str, subscription_id: str) -> None:
    """Cancel one at its provider, which is asked first how it stands. Raises what it raises, to be tried again."""
    row = _row(runtime, account_id, subscription_id)
    name = row.reference or row.session_id
    if name is None:
        return
    provider = rail_for_job(runtime, row.provider)
    assert isinstance(provider, SubscriptionProvider), "only what can be cancelled from here is to be closed"
    receive.carry_out(runtime, provider, provider.subscription(name))
    row = _row(runtime, account_id, subscription_id)
    if row.reference is None or row.state == "ended" or row.cancel_at_period_end:
        return
    facts = provider.act_on_subscription(row.reference, "cancel", f"close:{subscription_id}")
    receive.carry_out(runtime, provider, facts)


def _row(runtime: Runtime, account_id: str, subscription_id: str) -> SubscriptionRow:
    with reading(runtime.db) as session:
        row = subscriptions.get_subscription(session, account_id, subscription_id)
    assert row is not None, "a subscription is never deleted"
    return row
