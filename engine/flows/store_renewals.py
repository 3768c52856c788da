"""Subscriptions that live in an app store: begun there for an account of ours, paid there, ended there.

A store may give a subscription a new name with each change of plan; here it stays one, so that what was granted under
the old name counts under the new one.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import structlog
from sqlmodel import Session

from engine.flows import subscription_facts
from engine.flows.converge import apply_facts
from engine.flows.store_overlaps import end_earlier, give_back_rest
from engine.payments import ProviderRefused, Store
from engine.recurring import SubscriptionStore
from engine.rules.facts import InvoiceFact, SubscriptionFact
from engine.rules.money import Money
from engine.rules.store_renewals import Renewal, plan_product, refund_fact, renewal_facts
from engine.runtime import Runtime
from engine.store import books, outbox, purchases, stores, subscriptions
from engine.store.database import reading, transact
from engine.store.tables import SubscriptionRow

NOT_SOLD = "the catalogue sells no plan under this product"
NOBODYS = "the subscription names no account that is known here"
ACKNOWLEDGING = timedelta(days=4)
"""Longer than a store waits before it gives the money of an unacknowledged subscription back."""

log = structlog.get_logger()
Owner = tuple[str, str]


def take_renewals(
    runtime: Runtime,
    store: Store,
    renewals: Sequence[Renewal],
    mark: Callable[[Session], None],
    account_id: str | None = None,
) -> str | None:
    """Make plan and credits agree with what a store said, `mark` written with it; else why it must wait.

    A subscription belongs to whom it was first told for: by its name, before that by the account's token, or to the
    account whose app shows it.
    """
    for renewal in renewals:
        if renewal.is_replaced:
            transact(runtime.db, lambda session, r=renewal: _end_strangers(session, runtime, store, r, renewals[-1]))  # type: ignore[misc]
    return transact(runtime.db, lambda session: _take(session, runtime, store, renewals, mark, account_id))


def acknowledge(runtime: Runtime, account_id: str, subscription_id: str, reference: str, since: int) -> None:
    """Tell the store that a subscription is in the books. What it raises is tried again, until so much time has passed
    that the store has long given the money back."""
    with reading(runtime.db) as session:
        row = subscriptions.get_subscription(session, account_id, subscription_id)
    assert row is not None, "a subscription is never deleted"
    store = runtime.providers.get(row.provider)
    if not isinstance(store, SubscriptionStore):
        return
    try:
        store.acknowledge(reference)
    except ProviderRefused as error:
        if runtime.clock.now().timestamp() - since < ACKNOWLEDGING.total_seconds():
            raise
        log.warning("a subscription was never acknowledged", subscription_id=subscription_id, problem=str(error))


def _take(
    session: Session,
    runtime: Runtime,
    store: Store,
    renewals: Sequence[Renewal],
    mark: Callable[[Session], None],
    account_id: str | None,
) -> str | None:
    newest = renewals[-1]
    account_id = account_id or account_of(session, store, newest)
    if plan_product(runtime.catalog, store.name, newest.product_id) is None:
        return NOT_SOLD
    owner = _owner(session, runtime, store, renewals, account_id)
    if owner is None:
        return NOBODYS
    _claim_all(session, runtime, store, renewals, owner)
    mine = [each for each in renewals if _is_of(session, store, each, owner)]
    mine[-1] = _standing(session, owner, mine)
    facts = [fact for each in mine for fact in renewal_facts(runtime.catalog, store.name, each, owner[0])]
    actor = f"provider:{store.name}"
    row = subscription_facts.note(session, runtime, store, owner, facts)
    assert row is not None
    overtaken = end_earlier(session, row, mine)
    subscription_facts.settle(session, runtime, row, actor)
    give_back_rest(session, runtime, row, overtaken, actor)
    _note_refunds(session, runtime, row, mine, actor)
    subscription_facts.settle(session, runtime, row, actor)
    _ask_to_acknowledge(session, runtime, row, mine[-1])
    mark(session)
    return None


def account_of(session: Session, store: Store, renewal: Renewal) -> str | None:
    """Whose it is by the store's word: the account's token, or an earlier subscription of the same customer."""
    found = stores.account_of_token(session, renewal.token) if renewal.token else None
    if found is None and renewal.follows is not None:
        before = _owner_of(session, store, renewal, renewal.follows)
        found = before[0] if before is not None else None
    return found


def _owner(
    session: Session, runtime: Runtime, store: Store, renewals: Sequence[Renewal], account_id: str | None
) -> Owner | None:
    """Whom the newest belongs to, their wallet locked; of two who open it in the same moment the first has it."""
    now = runtime.clock.now()
    owner = known_owner(session, store, renewals, account_id)
    if owner is None and account_id is not None:
        books.lock_wallets(session, [account_id], now)
        owner = known_owner(session, store, renewals, account_id)
        return owner or _adopt(session, runtime, store, renewals[-1], account_id)
    if owner is not None:
        books.lock_wallets(session, [owner[0]], now)
    return owner


def known_owner(session: Session, store: Store, renewals: Sequence[Renewal], account_id: str | None) -> Owner | None:
    """By its own name, else by that of the one it took the place of: the same subscription, unless another account
    bought this one."""
    newest = renewals[-1]
    owner = _owner_of(session, store, newest, newest.reference)
    before = [each.replaces for each in reversed(renewals) if each.replaces is not None]
    for reference in before if owner is None else []:
        found = _owner_of(session, store, newest, reference)
        if found is not None:
            return found if account_id in (None, found[0]) else None
    return owner


def _claim_all(session: Session, runtime: Runtime, store: Store, renewals: Sequence[Renewal], owner: Owner) -> None:
    now = runtime.clock.now()
    for reference in dict.fromkeys(each.reference for each in renewals):
        if _owner_of(session, store, renewals[-1], reference) is None:
            mode = renewals[-1].mode
            subscriptions.claim(session, store.name, store.account, mode, "subscription", reference, owner, now)


def _adopt(session: Session, runtime: Runtime, store: Store, renewal: Renewal, account_id: str) -> Owner | None:
    """Open the subscription for the account that it names, if the store said how it stands."""
    facts = renewal_facts(runtime.catalog, store.name, renewal, account_id)
    fact = next((fact for fact in facts if isinstance(fact, SubscriptionFact)), None)
    return subscription_facts.adopt(session, runtime, store, fact) if fact is not None else None


def _owner_of(session: Session, store: Store, renewal: Renewal, reference: str) -> Owner | None:
    return subscriptions.owner_of(session, store.name, store.account, renewal.mode, reference, None)


def _is_of(session: Session, store: Store, renewal: Renewal, owner: Owner) -> bool:
    return _owner_of(session, store, renewal, renewal.reference) == owner


def _standing(session: Session, owner: Owner, mine: Sequence[Renewal]) -> Renewal:
    """The newest, which says how the subscription stands unless it goes by another name since. Under a new name it
    is heard from its beginning."""
    newest = mine[-1]
    row = subscriptions.get_subscription(session, *owner, lock=True)
    assert row is not None
    if newest.state is None or row.reference in (None, newest.reference):
        return newest
    if row.reference not in {each.replaces for each in mine}:
        return replace(newest, state=None)
    row.version = 0
    session.add(row)
    return newest


def _note_refunds(
    session: Session, runtime: Runtime, row: SubscriptionRow, mine: Sequence[Renewal], actor: str
) -> None:
    """Payments of which a part went back, or whose refund was undone."""
    for renewal in mine:
        invoice = subscriptions.get_invoice(session, row.account_id, row.subscription_id, renewal.object_id)
        if invoice is None or invoice.purchase_id is None:
            continue
        known = purchases.known_facts(session, row.account_id, invoice.purchase_id)
        fact = refund_fact(renewal, Money(invoice.amount_minor, invoice.currency), known)
        if fact is not None:
            apply_facts(session, runtime, row.account_id, invoice.purchase_id, [fact], actor)


def _ask_to_acknowledge(session: Session, runtime: Runtime, row: SubscriptionRow, newest: Renewal) -> None:
    """A store that waits to hear that it was delivered is told once this is committed; not of what waits for a
    person, whose money may as well go back by itself."""
    invoice = subscriptions.get_invoice(session, row.account_id, row.subscription_id, newest.object_id)
    if newest.is_acknowledged or row.problem is not None or invoice is None or invoice.problem is not None:
        return
    now = runtime.clock.now()
    asked: dict[str, object] = {
        "subscriptionId": row.subscription_id,
        "reference": newest.reference,
        "since": int(now.timestamp()),
    }
    outbox.enqueue(session, row.account_id, "store_acknowledge", asked, now)


def _end_strangers(session: Session, runtime: Runtime, store: Store, renewal: Renewal, newest: Renewal) -> None:
    """What was replaced for another account is over for the one that had it."""
    had = _owner_of(session, store, renewal, renewal.reference)
    has = _owner_of(session, store, newest, newest.reference)
    has_id = has[0] if has is not None else account_of(session, store, newest)
    if had is None or has_id is None or had[0] == has_id:
        return
    version = newest.state_version or newest.version
    over = replace(renewal, state="ended", state_version=version, refunded_parts=0)
    facts = renewal_facts(runtime.catalog, store.name, over, had[0])
    said = [fact for fact in facts if not isinstance(fact, InvoiceFact)]
    subscription_facts.apply(session, runtime, store, had, said, f"provider:{store.name}")
