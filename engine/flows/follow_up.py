"""What no webhook may ever say: payments on their way are asked for again, and old events are forgotten."""

from contextlib import suppress
from datetime import datetime, timedelta

from sqlmodel import Session

from engine.flows.receive import LATE_CHECKS, carry_out
from engine.payments import ProviderRefused, ProviderUnreachable
from engine.runtime import Runtime
from engine.store import outbox, purchases
from engine.store.database import reading, transact
from engine.store.tables import PurchaseRow

ON_ITS_WAY_MAX = timedelta(days=30)
"""No rail takes longer than this to say how a payment ended."""

EVENTS_KEPT = timedelta(days=90)
"""How long an event that was carried out is kept as it came; as long as the providers keep theirs."""


def check_payment(runtime: Runtime, account_id: str, purchase_id: str) -> None:
    """Fetch a payment that is on its way. `ProviderUnreachable` as long as it is: to be asked again, ever later."""
    purchase = _purchase(runtime, account_id, purchase_id)
    if purchase.status != "processing" or runtime.clock.now() - purchase.created_at > ON_ITS_WAY_MAX:
        return
    try:
        asked = _asked(runtime, purchase)
    except ProviderRefused as refused:
        raise ProviderUnreachable(str(refused)) from refused
    if asked.status == "processing":
        raise ProviderUnreachable("the payment is still on its way")


def check_late_payment(runtime: Runtime, account_id: str, purchase_id: str, asked: int) -> None:
    """Fetch a checkout that may yet be paid after its session is over, `asked` times before; a few times within a
    day, even if its provider does not know it."""
    purchase = _purchase(runtime, account_id, purchase_id)
    if purchase.status != "expired":
        return
    with suppress(ProviderRefused):
        purchase = _asked(runtime, purchase)
    if purchase.status != "expired" or asked + 1 >= len(LATE_CHECKS):
        return
    now = runtime.clock.now()
    again: dict[str, object] = {"purchaseId": purchase_id, "asked": str(asked + 1)}
    due_at = now + LATE_CHECKS[asked + 1]
    transact(
        runtime.db,
        lambda session: outbox.enqueue(session, account_id, "late_payment_check", again, now, due_at),
    )


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


def _asked(runtime: Runtime, purchase: PurchaseRow) -> PurchaseRow:
    """The purchase after its payment was fetched; `ProviderUnreachable` to be tried again."""
    provider = runtime.providers.get(purchase.provider)
    if provider is None or purchase.session_id is None:
        raise ProviderUnreachable("the provider is off")
    carry_out(runtime, provider, provider.payment(purchase.session_id))
    return _purchase(runtime, purchase.account_id, purchase.purchase_id)


def _purchase(runtime: Runtime, account_id: str, purchase_id: str) -> PurchaseRow:
    with reading(runtime.db) as session:
        found = purchases.get_purchase(session, account_id, purchase_id)
    assert found is not None
    return found
