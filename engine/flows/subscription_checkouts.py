"""An account's open checkouts of subscriptions: one at a time, so that nobody pays for two subscriptions.

Before another is opened each is looked at: one for the same terms is given again unless its provider says that it has
ended, any other is ended at its provider, where that can be done. None of it happens inside a transaction.
"""

from collections.abc import Iterable
from contextlib import suppress

from sqlmodel import Session

from engine.flows import receive
from engine.flows.subscription_facts import settle
from engine.flows.subscription_reads import find_live
from engine.payments import ProviderRefused, ProviderUnreachable
from engine.recurring import EndingProvider, SubscriptionProvider
from engine.rules.errors import Unavailable
from engine.runtime import Runtime
from engine.store import books, subscriptions
from engine.store.database import reading, transact
from engine.store.tables import SubscriptionRow


def is_open(runtime: Runtime, row: SubscriptionRow) -> bool:
    """Whether this subscription has not begun and its checkout, as far as is known, can be paid."""
    return row.state == "incomplete" and row.version == 0 and runtime.clock.now() < row.expires_at


def leave(runtime: Runtime, account_id: str, rows: Iterable[SubscriptionRow], same: str | None) -> None:
    """Look at open checkouts, and end all but `same`; `Unavailable` if one of them has begun a subscription.

    A provider that does not answer leaves a checkout as it is: what two of them begin is settled when they are paid.
    """
    for row in rows:
        if row.session_id is not None:
            with suppress(ProviderUnreachable, ProviderRefused):
                _look(runtime, row, row.session_id, is_wanted=row.subscription_id == same)
    with reading(runtime.db) as session:
        if find_live(session, runtime, account_id) is not None:
            raise Unavailable("A checkout was paid a moment ago; look at the subscription before it is changed.")


def _look(runtime: Runtime, row: SubscriptionRow, session_id: str, *, is_wanted: bool) -> None:
    provider = runtime.providers.get(row.provider)
    if isinstance(provider, EndingProvider):
        if not is_wanted:
            with suppress(ProviderRefused):  # paid in this moment, or over
                provider.end_checkout(session_id)
        if provider.has_ended(session_id):
            transact(runtime.db, lambda session: _note_ended(session, runtime, row))
            return
    if isinstance(provider, SubscriptionProvider):
        receive.carry_out(runtime, provider, provider.subscription(session_id))


def _note_ended(session: Session, runtime: Runtime, row: SubscriptionRow) -> None:
    books.lock_wallets(session, [row.account_id], runtime.clock.now())
    there = subscriptions.get_subscription(session, row.account_id, row.subscription_id, lock=True)
    assert there is not None, "a subscription is never deleted"
    if is_open(runtime, there):
        there.expires_at = runtime.clock.now()
        settle(session, runtime, there, "system")
