"""One change of a subscription at a time: a second one is sent away until the first was answered, or is surely over.

What a change costs is reckoned from what is sold now, and not every provider knows idempotency keys: two changes that
ask it in the same moment would both be charged.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from sqlmodel import Session

from engine.rules.errors import Unavailable
from engine.runtime import Runtime
from engine.store import books, subscriptions
from engine.store.database import transact
from engine.store.tables import SubscriptionRow

TURN = timedelta(minutes=2)
"""How long a change that was never answered keeps others away: longer than any provider is waited for."""


@contextmanager
def turn(runtime: Runtime, account_id: str, subscription_id: str) -> Iterator[None]:
    """Ask the provider alone; `Unavailable` while somebody else does. Nothing is locked in between."""

    def take(session: Session) -> datetime:
        row = _locked(session, runtime, account_id, subscription_id)
        now = runtime.clock.now()
        if row.asked_at is not None and now < row.asked_at + TURN:
            raise Unavailable("A change of this subscription is under way; try again in a moment.")
        row.asked_at = now
        session.add(row)
        return now

    taken = transact(runtime.db, take)

    def give_back(session: Session) -> None:
        row = _locked(session, runtime, account_id, subscription_id)
        if row.asked_at == taken:
            row.asked_at = None
            session.add(row)

    try:
        yield
    finally:
        transact(runtime.db, give_back)


def _locked(session: Session, runtime: Runtime, account_id: str, subscription_id: str) -> SubscriptionRow:
    books.lock_wallets(session, [account_id], runtime.clock.now())
    row = subscriptions.get_subscription(session, account_id, subscription_id, lock=True)
    assert row is not None, "a subscription is never deleted"
    return row
