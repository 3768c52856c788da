"""The rail that a purchase went through, as the books need it: also after the operator switched it off."""

from dataclasses import dataclass

from sqlmodel import Session

from engine.payments import PaymentProvider, ProviderUnreachable, Store
from engine.rules.errors import Unavailable
from engine.rules.fields import PROVIDER_NAMES
from engine.runtime import Runtime
from engine.store import purchases
from engine.store.tables import PurchaseRow


@dataclass(frozen=True, slots=True)
class Rail:
    """A provider by its name, our account there and the mode of our keys; nothing can be asked of it."""

    name: str
    account: str
    is_live: bool
    needs_finish: bool


def rail_of(session: Session, runtime: Runtime, purchase: PurchaseRow) -> Rail:
    """The purchase's rail. One that is off is what was claimed there says: first its session, which our keys began.

    Of a purchase that has not landed a payment says nothing of our keys. They then count as live, so that no test
    payment is credited by mistake.
    """
    provider = runtime.providers.get(purchase.provider)
    if provider is not None:
        needs_finish = isinstance(provider, Store) and provider.needs_finish
        return Rail(provider.name, provider.account, provider.is_live, needs_finish)
    claims = {claim.kind: claim for claim in purchases.claims_of(session, purchase)}
    claim = claims.get("session") or claims.get("payment")
    if claim is None:
        return Rail(purchase.provider, "default", is_live=True, needs_finish=False)
    is_of_our_keys = claim.kind == "session" or purchase.landed_at is not None
    is_live = claim.mode == "live" or not is_of_our_keys
    return Rail(purchase.provider, claim.provider_account, is_live, needs_finish=False)


def rail_for_job(runtime: Runtime, name: str) -> PaymentProvider:
    """The rail that a job asks; while it is off `ProviderUnreachable`, so that the job tries again."""
    provider = runtime.providers.get(name)
    if provider is None:
        raise ProviderUnreachable(f"{name} is switched off")
    return provider


def rail_for_customer(runtime: Runtime, name: str) -> PaymentProvider:
    """The rail through which a checkout was begun; `Unavailable` if it was switched off since."""
    provider = runtime.providers.get(name)
    if provider is None:
        raise Unavailable(f"{PROVIDER_NAMES[name]} is not offered any more; start again with another provider.")
    return provider
