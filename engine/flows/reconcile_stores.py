"""What a store's own list healed: its events name purchases that may not have been known before."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlmodel import Session

from engine.flows import receive
from engine.payments import Event, ProviderRefused, ProviderUnreachable, Store
from engine.runtime import Runtime
from engine.store import purchases
from engine.store.database import reading
from engine.store.tables import ProviderEventRow, PurchaseRow

Named = tuple[str, str]
"""(mode, the store's object id)."""


@dataclass(frozen=True, slots=True)
class Healed:
    kind: Literal["paid_not_granted", "refunded_not_taken_back"]
    purchase_id: str


def healed_by(runtime: Runtime, store: Store, event: Event, now: datetime) -> list[Healed]:
    """Process a stored event of a store and compare the purchases it names with what they were."""
    try:
        news = store.news(event)
    except (ProviderUnreachable, ProviderRefused):
        return []  # it is stored, and the job that processes events tries again
    named = [(sighting.mode, sighting.object_id) for sighting in news.sightings]
    named += [(renewal.mode, renewal.object_id) for renewal in news.renewals]
    with reading(runtime.db) as session:
        before = {name: _purchase(session, store, name) for name in named}
        stored = session.get(ProviderEventRow, (store.name, event.event_id))
    assert stored is not None
    receive.process(runtime, store, stored, now)
    with reading(runtime.db) as session:
        after = {name: _purchase(session, store, name) for name in named}
    found = []
    for name, row in after.items():
        if row is None:
            continue
        was = before[name]
        if row.landed_at is not None and (was is None or was.landed_at is None):
            found.append(Healed("paid_not_granted", row.purchase_id))
        if was is not None and (row.credits_out > was.credits_out or _is_back(row) > _is_back(was)):
            found.append(Healed("refunded_not_taken_back", row.purchase_id))
    return found


def _purchase(session: Session, store: Store, name: Named) -> PurchaseRow | None:
    """The purchase of a store's object, if somebody has it."""
    mode, object_id = name
    claim = purchases.claim_of(session, store.name, store.account, mode, "payment", object_id)
    return purchases.get_purchase(session, claim.account_id, claim.purchase_id) if claim is not None else None


def _is_back(row: PurchaseRow) -> bool:
    return row.status in ("refunded", "partially_refunded")
