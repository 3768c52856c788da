"""Subscriptions that live in an app store: begun there for an account of ours, paid there, ended there."""

from collections.abc import Callable

from sqlmodel import Session

from engine.flows import subscription_facts
from engine.payments import Store
from engine.rules.facts import InvoiceFact, SubscriptionFact
from engine.rules.store_renewals import Renewal, renewal_facts
from engine.runtime import Runtime
from engine.store import stores, subscriptions
from engine.store.database import transact

NOT_SOLD = "the catalogue sells no plan under this product"
NOBODYS = "the subscription names no account that is known here"


def take_renewal(runtime: Runtime, store: Store, renewal: Renewal, mark: Callable[[Session], None]) -> str | None:
    """Make plan and credits agree with what a store said, `mark` written with it; else why it must wait.

    A subscription belongs to whom it was first told for: by its reference, before that by the account's token.
    """

    def work(session: Session) -> str | None:
        account_id = stores.account_of_token(session, renewal.token) if renewal.token else None
        facts = renewal_facts(runtime.catalog, store.name, renewal, account_id)
        if not facts:
            return NOT_SOLD
        mode = "live" if renewal.live else "test"
        owner = subscriptions.owner_of(session, store.name, store.account, mode, renewal.reference, None)
        owner = owner or _adopt(session, runtime, store, mode, facts)
        if owner is None:
            return NOBODYS
        subscription_facts.apply(session, runtime, store, owner, facts, f"provider:{store.name}")
        mark(session)
        return None

    return transact(runtime.db, work)


def _adopt(
    session: Session, runtime: Runtime, store: Store, mode: str, facts: tuple[SubscriptionFact | InvoiceFact, ...]
) -> tuple[str, str] | None:
    """Open the subscription for the account that it names; who came first in the same moment has it."""
    fact = next((fact for fact in facts if isinstance(fact, SubscriptionFact)), None)
    adopted = subscription_facts.adopt(session, runtime, store, fact) if fact is not None else None
    if adopted is None or fact is None:
        return None
    now = runtime.clock.now()
    subscriptions.claim(session, store.name, store.account, mode, "subscription", fact.object_id, adopted, now)
    return adopted
