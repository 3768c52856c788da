"""Store purchases that nobody claimed, decided by a person: given to an account, sent back, or left as they are.

They are bound by the store's own rule, once in the whole service. Whoever comes first has a purchase: a buyer who
claims one that is being sent back has its credits until the store's word takes them again.
"""

from dataclasses import dataclass

from sqlmodel import Session

from engine.flows.converge import apply_facts
from engine.flows.rails import rail_for_job
from engine.flows.stores import bind_unclaimed
from engine.payments import Fact, ProviderRefused, RefundRequest
from engine.rules.errors import AlreadyRefunded, NotFound, RefundNotPossible
from engine.rules.money import Money
from engine.rules.stores import StorePrice, price_of
from engine.runtime import Runtime
from engine.store import books, outbox, purchases, stores
from engine.store.database import reading, transact
from engine.store.tables import StorePurchaseRow

NOBODY = ""
"""The account of work and audit lines that concern a purchase of nobody's."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A purchase as it was decided; `is_replay` when it was decided this way before."""

    row: StorePurchaseRow
    is_replay: bool


def price_of_row(runtime: Runtime, row: StorePurchaseRow) -> StorePrice | None:
    """What the catalogue sells the product for, if it does."""
    sighting = stores.read_sighting(row)
    return price_of(runtime.catalog, row.provider, sighting.product_id, sighting.quantity)


def find(runtime: Runtime, unclaimed_id: str) -> StorePurchaseRow:
    with reading(runtime.db) as session:
        return _known(session, unclaimed_id)


def bind(runtime: Runtime, unclaimed_id: str, account_id: str, actor: str, reason: str) -> Decided:
    """Give a purchase to an account. Bound before to that account: the same answer."""
    row = find(runtime, unclaimed_id)
    is_replay = row.status == "bound" and row.account_id == account_id
    if not is_replay:
        is_replay = not bind_unclaimed(runtime, row, account_id, actor, reason)
    return Decided(find(runtime, unclaimed_id), is_replay)


def dismiss(runtime: Runtime, unclaimed_id: str, actor: str, reason: str) -> Decided:
    """Leave a purchase as it is: it was dealt with elsewhere."""
    return transact(runtime.db, lambda session: _give_up(session, runtime, unclaimed_id, "dismissed", actor, reason))


def refund(runtime: Runtime, unclaimed_id: str, actor: str, reason: str) -> Decided:
    """Send a purchase's money back where the store can; a job asks for it."""
    return transact(runtime.db, lambda session: _give_up(session, runtime, unclaimed_id, "refunding", actor, reason))


def _give_up(session: Session, runtime: Runtime, unclaimed_id: str, status: str, actor: str, reason: str) -> Decided:
    row = stores.lock_purchase(session, stores.key_of_row(_known(session, unclaimed_id)))
    if row is None:
        raise NotFound("unclaimed purchase")
    if row.status == status or (status == "refunding" and row.status == "refunded"):
        return Decided(row, is_replay=True)
    if row.status != "waiting":
        raise AlreadyRefunded("This was decided before.", decided=row.status)
    now = runtime.clock.now()
    if status == "refunding":
        _check_refundable(runtime, row)
        outbox.enqueue(session, NOBODY, "refund_unclaimed", {"unclaimedId": unclaimed_id}, now)
    row.status, row.decided_by, row.reason = status, actor, reason
    session.add(row)
    session.flush()
    facts: dict[str, object] = {"provider": row.provider, "objectId": row.object_id}
    outbox.note_act(session, NOBODY, actor, f"unclaimed.{status}", unclaimed_id, reason, facts, now)
    return Decided(row, is_replay=False)


def _check_refundable(runtime: Runtime, row: StorePurchaseRow) -> None:
    provider = runtime.providers.get(row.provider)
    if provider is None:
        raise RefundNotPossible(f"{row.provider} is not configured any more.")
    if not provider.can_refund:
        raise RefundNotPossible(f"{row.provider} decides its own refunds; they can't be made from here.")
    if stores.read_sighting(row).state != "paid":
        raise RefundNotPossible("It is not paid yet, so there is no money to send back.")


def send_refund(runtime: Runtime, unclaimed_id: str) -> None:
    """Ask the store for the money; safe to repeat. A no puts the purchase back into the queue, with its words.

    `ProviderUnreachable` while the store does not answer, or is switched off: it is asked again.
    """
    row = find(runtime, unclaimed_id)
    if row.status != "refunding":
        return
    store = rail_for_job(runtime, row.provider)
    price = price_of_row(runtime, row)
    request = RefundRequest(
        account_id=NOBODY,
        purchase_id=unclaimed_id,
        reversal_id=unclaimed_id,
        payment_id=row.object_id,
        amount=price.amount if price is not None else Money(0, runtime.catalog.pricing.currency),
        idempotency_key=f"refund:{unclaimed_id}",
        is_whole=True,
    )
    problem = None
    facts: tuple[Fact, ...] = ()
    try:
        facts = store.refund(request)
        if any(fact.state == "failed" for fact in facts):
            problem = "The store's refund failed."
    except ProviderRefused as refused:
        problem = str(refused)
    while not transact(runtime.db, lambda session: _note_answer(session, runtime, unclaimed_id, facts, problem)):
        pass  # it was claimed at this very moment, which happens once


def _note_answer(
    session: Session, runtime: Runtime, unclaimed_id: str, facts: tuple[Fact, ...], problem: str | None
) -> bool:
    """What the store answered. It reaches the purchase of whoever claimed it meanwhile; `False` to look again."""
    seen = _known(session, unclaimed_id)
    owner = (seen.account_id, seen.purchase_id)
    if owner[0] is not None:
        books.lock_wallets(session, [owner[0]], runtime.clock.now())
    row = stores.lock_purchase(session, stores.key_of_row(seen))
    assert row is not None, "what was decided is kept"
    if (row.account_id, row.purchase_id) != owner:
        return False
    if row.status == "refunding":
        row.status = "refunded" if problem is None else "waiting"
        row.problem = problem[:500] if problem is not None else None
        session.add(row)
    elif row.account_id is not None and row.purchase_id is not None:
        purchase = purchases.get_purchase(session, row.account_id, row.purchase_id, lock=True)
        if purchase is not None and problem is None:
            apply_facts(session, runtime, row.account_id, row.purchase_id, facts, f"provider:{row.provider}")
    return True


def _known(session: Session, unclaimed_id: str) -> StorePurchaseRow:
    row = stores.find_unclaimed(session, unclaimed_id)
    if row is None:
        raise NotFound("unclaimed purchase")
    return row
