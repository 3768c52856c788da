"""What becomes of a closed account's subscriptions: each is cancelled at its provider, so that nobody is charged again.

Closing writes a row of work for each in its own transaction; the provider is asked by the jobs, until it has answered.
A checkout that is still open may yet be paid, so it is looked at when it is over. A store's subscription can be
cancelled by its customer alone: what it still brings goes to review.
"""

from datetime import datetime, timedelta

from sqlmodel import Session

from engine.flows import receive
from engine.recurring import SubscriptionProvider
from engine.rules.subscriptions import ABILITIES
from engine.runtime import Runtime
from engine.store import outbox, subscriptions
from engine.store.database import reading
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


def close_subscription(runtime: Runtime, account_id: str, subscription_id: str) -> None:
    """Cancel one at its provider, which is asked first how it stands. Raises what it raises, to be tried again."""
    row = _row(runtime, account_id, subscription_id)
    provider = runtime.providers.get(row.provider)
    name = row.reference or row.session_id
    if name is None or not isinstance(provider, SubscriptionProvider):
        return
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
