"""What is asked of a provider that keeps subscriptions: `engine/payments.py` says the rest.

`flows/subscription_*.py` call these, and `flows/store_*.py` those of a store, never inside a database transaction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeGuard, runtime_checkable

from engine.payments import Checkout, PaymentProvider, Store
from engine.rules.facts import ProviderFact
from engine.rules.store_renewals import Renewal
from engine.rules.subscriptions import Act, Terms


@dataclass(frozen=True, slots=True)
class SubscriptionRequest:
    """What a hosted checkout of a subscription must know; `trial_days` of 0 is none."""

    account_id: str
    subscription_id: str
    terms: Terms
    currency: str
    description: str
    email: str | None
    locale: str | None
    success_url: str
    cancel_url: str
    expires_at: datetime
    trial_days: int
    idempotency_key: str


@dataclass(frozen=True, slots=True)
class SubscriptionChange:
    """Another plan for a running subscription: now, prorated from `at`, or with its next period.

    `due_minor` is what is due now by our own reckoning, for a rail that charges what it is told, and `replaces` what
    it was reckoned from.
    """

    reference: str
    terms: Terms
    is_now: bool
    at: datetime
    idempotency_key: str
    due_minor: int = 0
    replaces: Terms | None = None


@dataclass(frozen=True, slots=True)
class Prorated:
    """What a provider would charge for a change now, in minor units, and what it carries to the next invoice: below
    zero what it then owes the customer, above it what was too little to charge alone."""

    due_now_minor: int
    carried_minor: int


@runtime_checkable
class SubscriptionProvider(PaymentProvider, Protocol):
    """A rail that also keeps subscriptions. `reference` is its own id of one; all of these use the network."""

    def start_subscription(self, request: SubscriptionRequest) -> Checkout: ...

    def change_subscription(self, change: SubscriptionChange) -> tuple[ProviderFact, ...]:
        """Change the plan and answer what is so since, the proration's invoice included."""
        ...

    def act_on_subscription(self, reference: str, act: Act, idempotency_key: str) -> tuple[ProviderFact, ...]:
        """Cancel at the period's end, take that back, pause or resume; what is so since."""
        ...

    def subscription(self, reference: str) -> tuple[ProviderFact, ...]:
        """The subscription and its newest invoices, fetched by its reference or by the checkout that began it."""
        ...


@runtime_checkable
class ProratingProvider(SubscriptionProvider, Protocol):
    """A rail that reckons itself what a change now costs: its word is what a preview shows."""

    def preview_change(self, change: SubscriptionChange) -> Prorated: ...


@runtime_checkable
class EndingProvider(SubscriptionProvider, Protocol):
    """A rail whose checkouts can be ended before anybody has paid them."""

    def end_checkout(self, session_id: str) -> None:
        """Let nobody begin a subscription by this checkout any more; one that was paid or is over stays as it is."""
        ...

    def has_ended(self, session_id: str) -> bool:
        """Whether this checkout was cancelled, or is over, and nobody has paid it."""
        ...


class ManagedProvider(SubscriptionProvider, Protocol):
    """A rail with a page of its own for a subscription's customer: another card, a payment that is overdue."""

    def manage_url(self, reference: str) -> str | None: ...


@runtime_checkable
class SubscriptionStore(Store, Protocol):
    """A store that sells subscriptions too. All of these may use the network."""

    def posted_subscription(self, proof: Mapping[str, str]) -> tuple[Renewal, ...]:
        """The subscription that an app shows us, proven, with its newest payments; empty where the proof is of
        something else. `Invalid` for one that is forged, foreign or not paid yet."""
        ...

    def renewals(self, reference: str) -> tuple[Renewal, ...]:
        """The subscription with its newest payments, fetched; empty where there is none that was paid."""
        ...

    def acknowledge(self, reference: str) -> None:
        """Say that the subscription was delivered, where the store wants to hear it; repeating it changes nothing."""
        ...


def can_be_managed(provider: PaymentProvider | None) -> TypeGuard[ManagedProvider]:
    """Whether this rail has such pages."""
    return hasattr(provider, "manage_url")
