"""Purchases made in an app store: claimed once in the whole service, credited as any payment is, finished there.

There is no checkout of ours before, so the purchase is made from the store's word, in one transaction with the claim
on the store's object; `apply_facts` does the rest. Whoever comes first has it, the app that shows its proof or the
store's notification that names the account; a purchase that names nobody waits unclaimed for its buyer or for support.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import structlog
from sqlmodel import Session

from engine.clock import new_id
from engine.flows.converge import apply_facts
from engine.flows.rails import rail_for_job
from engine.flows.store_customers import token_of
from engine.flows.store_renewals import take_renewals
from engine.flows.store_shown import subscription_shown, take_shown
from engine.payments import Event, ProviderRefused, ProviderUnreachable, RefundQuestion, Store
from engine.rules.catalog import PROVIDER_NAMES
from engine.rules.commands import fingerprint_of
from engine.rules.descriptions import describe, money_label
from engine.rules.errors import AlreadyRefunded, Invalid, NotFound, Unavailable, WalletNotActive
from engine.rules.money import Money
from engine.rules.stores import Sighting, StorePrice, facts_of, price_of, usage_of
from engine.runtime import Runtime
from engine.store import books, outbox, purchases, replies, stores
from engine.store.database import reading, transact
from engine.store.tables import PurchaseRow, StorePurchaseRow

OPERATION = "store purchase"
PENDING_DAYS = 3
FINISHING = timedelta(days=4)
NOT_SOLD = "the catalogue does not sell this product"
NAMELESS = "it names no account"
STRANGER = "it names an account that is not known here"
log = structlog.get_logger()


def store_named(runtime: Runtime, name: str) -> Store:
    """The store, if it is configured; else it is not there."""
    found = runtime.providers.get(name)
    if not isinstance(found, Store):
        raise NotFound("provider")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class PostedPurchase:
    """What an app shows of a purchase: the store's name, and the proof in the store's own fields."""

    account_id: str
    actor: str
    store: str
    proof: Mapping[str, str]
    key: str | None = None


def post_purchase(runtime: Runtime, posted: PostedPurchase) -> tuple[PurchaseRow, bool]:
    """Take a purchase that the account's app shows: the same one each time it is shown, and whether this key was
    answered before.

    `NotFound` where it belongs to another account, as if it did not exist. A token that nobody here was given keeps
    the purchase unclaimed, for support to look at.
    """
    store = store_named(runtime, posted.store)
    account_id, proof = posted.account_id, posted.proof
    identity = fingerprint_of(OPERATION, (posted.store, *proof.values()))
    answered = transact(runtime.db, lambda session: _answered(session, posted, identity))
    if answered is not None:
        return answered, True
    try:
        shown = subscription_shown(store, runtime, proof)
        sighting = store.posted(proof) if not shown else None
    except ProviderUnreachable as error:
        raise Unavailable("The store does not answer; show the purchase again.") from error
    except ProviderRefused as error:
        raise Invalid(next(iter(proof)), f"The store does not know this purchase: {error.detail}") from error

    def keep(session: Session, purchase: PurchaseRow) -> None:
        if posted.key is not None and _answered(session, posted, identity) is None:
            now, answer = runtime.clock.now(), purchase.purchase_id
            replies.keep(session, account_id, OPERATION, posted.key, identity, 200, answer, now)

    if sighting is None:
        return take_shown(runtime, store, account_id, shown, posted.actor, keep), False
    problem = transact(runtime.db, lambda session: _stranger(session, runtime, store, account_id, sighting))
    if problem is not None:
        raise problem

    def work(session: Session) -> PurchaseRow:
        purchase = _take(session, runtime, store, account_id, sighting, posted.actor)
        keep(session, purchase)
        return purchase

    return transact(runtime.db, work), False


def _answered(session: Session, posted: PostedPurchase, identity: str) -> PurchaseRow | None:
    """The purchase that this key was answered with before."""
    if posted.key is None:
        return None
    reply = replies.find(session, posted.account_id, OPERATION, posted.key, identity)
    return purchases.get_purchase(session, posted.account_id, reply.answer) if reply else None


def _stranger(
    session: Session, runtime: Runtime, store: Store, account_id: str, sighting: Sighting
) -> Exception | None:
    """Why this account may not have the purchase, if it may not; what nobody may have is kept for support."""
    if not books.lock_wallets(session, [account_id], runtime.clock.now()):
        return NotFound("account")
    key = key_of(store, sighting)
    claim = purchases.claim_of(session, store.name, store.account, sighting.mode, "payment", sighting.object_id)
    if claim is not None:
        return None if claim.account_id == account_id else NotFound("purchase")
    if sighting.token not in (None, token_of(session, runtime, account_id)):
        if stores.account_of_token(session, sighting.token or "") is None:
            stores.keep_sighting(session, key, sighting, STRANGER, runtime.clock.now())
        return NotFound("purchase")
    if sighting.state == "cancelled":
        return Invalid("purchaseToken", "This purchase was cancelled before it was paid.")
    if price_of(runtime.catalog, store.name, sighting.product_id, sighting.quantity) is None:
        stores.keep_sighting(session, key, sighting, NOT_SOLD, runtime.clock.now())
        return Invalid("productId", "This product is not sold for credits.")
    return None


def key_of(store: Store, sighting: Sighting) -> stores.Key:
    return store.name, store.account, sighting.mode, sighting.object_id


def _take(
    session: Session,
    runtime: Runtime,
    store: Store,
    account_id: str,
    sighting: Sighting,
    actor: str,
    mark: Callable[[Session], None] | None = None,
) -> PurchaseRow:
    """Claim the store's object for the account, or find that it has it, and make the books agree with the sighting.

    What was sighted before anybody claimed it counts as well, whichever is newer. `mark` is written with it.
    """
    now = runtime.clock.now()
    if not books.lock_wallets(session, [account_id], now):
        raise NotFound("account")
    mode, object_id = sighting.mode, sighting.object_id
    claim = purchases.claim_of(session, store.name, store.account, mode, "payment", object_id)
    seen = [sighting]
    if claim is None:
        price = price_of(runtime.catalog, store.name, sighting.product_id, sighting.quantity)
        assert price is not None, "what is not sold is refused or kept before"
        row = _new_purchase(session, runtime, store, account_id, price, actor)
        if not purchases.claim_object(session, store.name, store.account, mode, "payment", object_id, row, now):
            raise NotFound("purchase")  # another account claimed it since we looked
        earlier = stores.bind(session, key_of(store, sighting), sighting, account_id, row.purchase_id, now)
        seen = [*([earlier] if earlier else []), sighting]
        purchase_id = row.purchase_id
    elif claim.account_id != account_id:
        raise NotFound("purchase")
    else:
        purchase_id = claim.purchase_id
    for each in seen:
        purchase = _apply(session, runtime, account_id, purchase_id, each, actor)
    if sighting.order_id is not None:  # support is told it, and some questions name nothing else
        purchases.claim_object(session, store.name, store.account, mode, "order", sighting.order_id, purchase, now)
    if mark is not None:
        mark(session)
    return purchase


def _apply(
    session: Session, runtime: Runtime, account_id: str, purchase_id: str, sighting: Sighting, actor: str
) -> PurchaseRow:
    row = purchases.get_purchase(session, account_id, purchase_id, lock=True)
    assert row is not None
    known = purchases.known_facts(session, account_id, purchase_id)
    facts = facts_of(sighting, Money(row.amount_minor, row.currency), known)
    applied = apply_facts(session, runtime, account_id, purchase_id, facts, actor)
    assert applied is not None
    return applied


def _new_purchase(
    session: Session, runtime: Runtime, store: Store, account_id: str, price: StorePrice, actor: str
) -> PurchaseRow:
    now = runtime.clock.now()
    label = money_label(price.amount)
    row = PurchaseRow(
        account_id=account_id,
        purchase_id=new_id("pay", now),
        provider=store.name,
        amount_minor=price.amount.minor,
        currency=price.amount.currency,
        base_credits=price.base_credits,
        bonus_credits=price.bonus_credits,
        tier=price.tier,
        description=describe(runtime.catalog.descriptions.deposit, amount=label, provider=PROVIDER_NAMES[store.name]),
        success_url="",
        cancel_url="",
        actor=actor,
        created_at=now,
        expires_at=now + timedelta(days=PENDING_DAYS),
        updated_at=now,
    )
    session.add(row)
    session.flush()
    return row


def take_news(runtime: Runtime, store: Store, event: Event, mark: Callable[[Session], None]) -> str | None:
    """Carry out what an event of a store says, `mark` written with the last of it; else why it must wait.

    `ProviderRefused` and `ProviderUnreachable` come from asking or answering the store. An event that says nothing
    we follow is not marked: the answer is an empty text.
    """
    news = store.news(event)
    if news.renewals:
        return take_renewals(runtime, store, news.renewals, mark)
    if not news.sightings and news.question is None:
        return ""
    last = len(news.sightings) - 1 if news.question is None else -1
    for place, sighting in enumerate(news.sightings):
        problem = _take_sighting(runtime, store, sighting, mark if place == last else None)
        if problem is not None:
            return problem
    if news.question is not None:
        answer_question(runtime, store, news.question)
        transact(runtime.db, mark)
    return None


def _take_sighting(
    runtime: Runtime, store: Store, sighting: Sighting, mark: Callable[[Session], None] | None
) -> str | None:
    """Bring one sighting to its account, or keep it unclaimed; why it must be tried again, if so."""
    actor = f"provider:{store.name}"

    def work(session: Session) -> str | None:
        claim = purchases.claim_of(session, store.name, store.account, sighting.mode, "payment", sighting.object_id)
        account_id = claim.account_id if claim else None
        if account_id is None and sighting.token is not None:
            account_id = stores.account_of_token(session, sighting.token)
        is_void = sighting.state == "cancelled"
        is_sold = price_of(runtime.catalog, store.name, sighting.product_id, sighting.quantity) is not None
        if claim is not None or (account_id is not None and is_sold and not is_void):
            assert account_id is not None
            _take(session, runtime, store, account_id, sighting, actor, mark)
            return None
        if is_void:
            stores.forget(session, key_of(store, sighting))
            if mark is not None:
                mark(session)
            return None
        problem = NAMELESS if sighting.token is None else STRANGER if account_id is None else NOT_SOLD
        if not stores.keep_sighting(session, key_of(store, sighting), sighting, problem, runtime.clock.now()):
            return "it was claimed meanwhile"
        if account_id is not None and not is_sold:
            return NOT_SOLD
        if mark is not None:
            mark(session)
        return None

    return transact(runtime.db, work)


def bind_unclaimed(runtime: Runtime, row: StorePurchaseRow, account_id: str, actor: str, reason: str) -> bool:
    """Give an unclaimed purchase to an account, once and for good, by a person who says why; `False` if it has it."""
    store = store_named(runtime, row.provider)
    sighting = stores.read_sighting(row)
    if price_of(runtime.catalog, store.name, sighting.product_id, sighting.quantity) is None:
        raise Invalid("productId", "This product is not sold for credits.")
    key = stores.key_of_row(row)

    def work(session: Session) -> bool:
        now = runtime.clock.now()
        page = books.lock_wallets(session, [account_id], now).get(account_id)
        if page is None:
            raise NotFound("account")
        there = stores.lock_purchase(session, key)
        claim = purchases.claim_of(session, *key[:3], "payment", row.object_id)
        if claim is not None and claim.account_id == account_id:
            return False
        if claim is not None or there is None or there.status != "waiting":
            raise AlreadyRefunded("This was decided before.", decided=there.status if there else "cancelled")
        if page.wallet.status == "closed":
            raise WalletNotActive(page.wallet.status)
        # From here it must succeed.
        purchase = _take(session, runtime, store, account_id, stores.read_sighting(there), actor)
        there.decided_by, there.reason = actor, reason
        session.add(there)
        facts: dict[str, object] = {"objectId": row.object_id, "provider": row.provider}
        outbox.note_act(session, account_id, actor, "purchase.bound", purchase.purchase_id, reason, facts, now)
        return True

    return transact(runtime.db, work)


def answer_question(runtime: Runtime, store: Store, question: RefundQuestion) -> bool:
    """Tell the store the exact share that was spent, where it may be told; whether it was."""
    mode = "live" if store.is_live else "test"
    kind, object_id = ("payment", question.object_id) if question.object_id else ("order", question.order_id)
    with reading(runtime.db) as session:
        claim = purchases.claim_of(session, store.name, store.account, mode, kind, object_id or "")
        if claim is None and kind == "order":  # of a subscription the order itself is what was paid
            claim = purchases.claim_of(session, store.name, store.account, mode, "payment", object_id or "")
        if claim is None:
            return False
        customer = stores.customer(session, claim.account_id)
        if question.needs_consent and not (customer is not None and customer.has_consented):
            return False
        purchase = purchases.get_purchase(session, claim.account_id, claim.purchase_id)
        lots = purchases.purchase_lots(session, claim.account_id, claim.purchase_id)
    assert purchase is not None and (purchase.landed_at is None) == (not lots)
    first = runtime.catalog.first_plan
    store.answer(question, usage_of(lots, first is not None and first.monthly_credits > 0))
    return True


def finish_purchase(runtime: Runtime, account_id: str, purchase_id: str) -> None:
    """Tell the store that the credits are in the books. What it raises is tried again, until so much time has passed
    that the store has long given the money of an unfinished purchase back."""
    with reading(runtime.db) as session:
        purchase = purchases.get_purchase(session, account_id, purchase_id)
    assert purchase is not None and purchase.landed_at is not None and purchase.provider_reference is not None
    store = rail_for_job(runtime, purchase.provider)
    assert isinstance(store, Store), "only a store's purchase waits to be finished"
    try:
        store.finish(purchase.provider_reference)
    except ProviderRefused as error:
        if runtime.clock.now() - purchase.landed_at < FINISHING:
            raise
        log.warning("a store purchase was never finished", purchase_id=purchase_id, problem=str(error))
