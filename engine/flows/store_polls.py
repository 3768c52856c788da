"""Asking the stores for what their notifications did not bring: the same events, by the same way, an hour's overlap.

The cursor moves only after what was found is stored, so a crash repeats a page and changes nothing.
"""

from datetime import datetime, timedelta

import structlog
from sqlmodel import Session

from engine.flows import receive
from engine.payments import ProviderRefused, ProviderUnreachable, Store
from engine.runtime import Runtime
from engine.store import stores
from engine.store.database import reading, transact
from engine.store.tables import StoreCursorRow

EVERY = timedelta(hours=1)
OVERLAP = timedelta(hours=1)
AGAIN = timedelta(minutes=5)
LEASE = timedelta(minutes=10)
log = structlog.get_logger()


def poll_stores(runtime: Runtime, now: datetime) -> int:
    """Poll each store that is due; how many were."""
    return sum(_poll(runtime, store, now) for store in runtime.providers.values() if isinstance(store, Store))


def _poll(runtime: Runtime, store: Store, now: datetime) -> bool:
    with reading(runtime.db) as session:
        row = stores.cursor(session, store.name, store.account)
    if row is None:
        transact(runtime.db, lambda session: _begin(session, store, now))
        return False
    if row.due_at > now or not transact(runtime.db, lambda session: stores.lease_cursor(session, row, now + LEASE)):
        return False
    try:
        found = poll(runtime, store, row.polled_at - OVERLAP, now)
    except (ProviderUnreachable, ProviderRefused) as error:
        log.warning("store not polled", provider=store.name, problem=str(error))
        transact(runtime.db, lambda session: stores.move_cursor(session, row, row.polled_at, now + AGAIN))
        return True
    if found:
        log.warning("a poll found what no notification brought", provider=store.name, events=found)
    transact(runtime.db, lambda session: stores.move_cursor(session, row, now, now + EVERY))
    return True


def poll(runtime: Runtime, store: Store, since: datetime, until: datetime) -> int:
    """Store what happened in between and had not reached us; how much that was."""
    return sum(receive.store(runtime, store, event, until) for event in store.missed(since, until))


def _begin(session: Session, store: Store, now: datetime) -> None:
    """The first poll of a store looks an hour back, an hour from now."""
    if stores.cursor(session, store.name, store.account) is None:
        row = StoreCursorRow(provider=store.name, provider_account=store.account, polled_at=now, due_at=now + EVERY)
        session.add(row)
