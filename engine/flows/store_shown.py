"""A store's subscription that an app shows: opened for the account that shows it, or heard of as by a notification."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from sqlmodel import Session

from engine.flows.store_customers import token_of
from engine.flows.store_renewals import account_of, known_owner, take_renewals
from engine.payments import Store
from engine.recurring import SubscriptionStore
from engine.rules.errors import Invalid, NotFound
from engine.rules.store_products import sells_plan
from engine.rules.store_renewals import Renewal
from engine.runtime import Runtime
from engine.store import books, purchases, subscriptions
from engine.store.database import reading, transact
from engine.store.tables import PurchaseRow

Keep = Callable[[Session, PurchaseRow], None]


def subscription_shown(store: Store, runtime: Runtime, proof: Mapping[str, str]) -> tuple[Renewal, ...]:
    """The subscription of a proof, with its newest payments; empty for anything else. Asks the store."""
    product_id = proof.get("productId")
    if product_id is not None and not sells_plan(runtime.catalog.plan_products, store.name, product_id):
        return ()
    return store.posted_subscription(proof) if isinstance(store, SubscriptionStore) else ()


def take_shown(
    runtime: Runtime, store: Store, account_id: str, shown: tuple[Renewal, ...], actor: str, keep: Keep
) -> PurchaseRow:
    """Take the subscription for the account and answer its newest payment, `keep` written with it.

    `NotFound` where it is another account's, as if it did not exist. A trial has no payment: it is answered as one of
    nothing, under the subscription's id.
    """
    is_known = transact(runtime.db, lambda session: _check_stranger(session, runtime, store, account_id, shown))
    if is_known and shown[-1].is_snapshot:
        shown = (*shown[:-1], replace(shown[-1], state=None))

    def mark(session: Session) -> None:
        purchase = _payment(session, store, account_id, shown[-1])
        if purchase is not None:
            keep(session, purchase)

    problem = take_renewals(runtime, store, shown, mark, account_id)
    if problem is not None:
        raise Invalid("productId", "This product is not sold as a plan.")
    with reading(runtime.db) as session:
        found = _payment(session, store, account_id, shown[-1])
        return found or _unpaid(session, runtime, store, account_id, shown[-1], actor)


def _check_stranger(
    session: Session, runtime: Runtime, store: Store, account_id: str, shown: tuple[Renewal, ...]
) -> bool:
    """Whether the account has it already; `NotFound` if another one has, or was named."""
    if not books.lock_wallets(session, [account_id], runtime.clock.now()):
        raise NotFound("account")
    owner = known_owner(session, store, shown, account_id)
    if owner is not None:
        if owner[0] != account_id:
            raise NotFound("purchase")
        return True
    newest = shown[-1]
    named = account_of(session, store, newest)
    if named not in (None, account_id) or newest.token not in (None, token_of(session, runtime, account_id)):
        raise NotFound("purchase")
    return False


def _payment(session: Session, store: Store, account_id: str, newest: Renewal) -> PurchaseRow | None:
    claim = purchases.claim_of(session, store.name, store.account, newest.mode, "payment", newest.object_id)
    if claim is not None and claim.account_id != account_id:
        raise NotFound("purchase")
    return purchases.get_purchase(session, account_id, claim.purchase_id) if claim is not None else None


def _unpaid(
    session: Session, runtime: Runtime, store: Store, account_id: str, newest: Renewal, actor: str
) -> PurchaseRow:
    """A payment of nothing, as it would stand in the list; it is not kept."""
    owner = subscriptions.owner_of(session, store.name, store.account, newest.mode, newest.reference, None)
    if owner is None or owner[0] != account_id:
        raise NotFound("purchase")
    invoice = subscriptions.get_invoice(session, *owner, newest.object_id)
    assert invoice is not None, "its payment was told with it"
    now = runtime.clock.now()
    return PurchaseRow(
        account_id=account_id,
        purchase_id=owner[1],
        provider=store.name,
        status="paid" if invoice.problem is None else "quarantined",
        amount_minor=0,
        currency=invoice.currency,
        base_credits=invoice.monthly_credits if invoice.months_granted else 0,
        tier=subscriptions.read_terms(invoice.terms).plan.name,
        description="",
        success_url="",
        cancel_url="",
        provider_reference=newest.object_id,
        actor=actor,
        created_at=invoice.seen_at,
        expires_at=now,
        landed_at=invoice.seen_at if invoice.problem is None else None,
        updated_at=now,
        subscription_id=owner[1],
    )
