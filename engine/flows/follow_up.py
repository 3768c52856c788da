"""What no webhook may ever say: payments on their way are asked for again, and old events are forgotten."""

from datetime import datetime, timedelta

from sqlmodel import Session

from engine.flows.receive import carry_out
from engine.payments import ProviderRefused, ProviderUnreachable
from engine.runtime import Runtime
from engine.store import purchases
from engine.store.database import reading, transact
from engine.store.tables import PurchaseRow

ON_ITS_WAY_MAX = timedelta(days=30)
"""No rail takes longer than this to say how a payment ended."""

EVENTS_KEPT = timedelta(days=90)
"""How long an event that was carried out is kept as it came; as long as the providers keep theirs."""


def check_payment(runtime: Runtime, account_id: str, purchase_id: str) -> None:
    """Fetch a payment that is on its way. `ProviderUnreachable` as long as it is: to be asked again, ever later."""
    purchase = _purchase(runtime, account_id, purchase_id)
    provider = runtime.providers.get(purchase.provider) if purchase else None
    if purchase is None or provider is None or purchase.session_id is None or purchase.status != "processing":
        return
    if runtime.clock.now() - purchase.created_at > ON_ITS_WAY_MAX:
        return
    try:
        carry_out(runtime, provider, provider.payment(purchase.session_id))
    except ProviderRefused as refused:
        raise ProviderUnreachable(str(refused)) from refused
    now_there = _purchase(runtime, account_id, purchase_id)
    if now_there is not None and now_there.status == "processing":
        raise ProviderUnreachable("the payment is still on its way")


def prune_events(runtime: Runtime, now: datetime, kept: timedelta = EVENTS_KEPT, limit: int = 500) -> int:
    """Forget events that were carried out or ignored that long ago; how many.

    An event that comes again afterwards is carried out again and changes nothing: the purchase's facts and claims
    stay. What waits (stored, parked) is never forgotten.
    """
    with reading(runtime.db) as session:
        found = purchases.events_over(session, now - kept, limit)
    if not found:
        return 0

    def work(session: Session) -> int:
        return purchases.forget_events(session, found)

    return transact(runtime.db, work)


def _purchase(runtime: Runtime, account_id: str, purchase_id: str) -> PurchaseRow | None:
    with reading(runtime.db) as session:
        return purchases.get_purchase(session, account_id, purchase_id)
