"""What Purser asks of a payment provider, and the facts a provider's word is translated into.

A provider module makes two translations and no decision: our request into theirs, their event into facts.
It holds no session and knows no wallet. `flows/topups.py` and `flows/refunds.py` are its only callers, and
they never call it inside a database transaction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeGuard, runtime_checkable

from engine.rules.facts import Card as Card
from engine.rules.facts import DisputeState as DisputeState
from engine.rules.facts import Fact as Fact
from engine.rules.facts import FactKind as FactKind
from engine.rules.facts import InvoiceFact as InvoiceFact
from engine.rules.facts import PaymentState as PaymentState
from engine.rules.facts import ProviderFact as ProviderFact
from engine.rules.facts import RefundState as RefundState
from engine.rules.facts import SubscriptionFact as SubscriptionFact
from engine.rules.money import Money
from engine.rules.store_renewals import Renewal
from engine.rules.stores import Sighting, Usage
from engine.rules.subscriptions import Act as Act


@dataclass(frozen=True, slots=True)
class Event:
    """A verified webhook: the provider's event id, its type, and the raw bytes it came as.

    `at` is when it happened, by the provider's word, where it was read from the provider's own list. One that is not
    told under this id by any webhook is missed only if it changes something.
    """

    event_id: str
    type: str
    payload: bytes
    at: datetime | None = None
    is_told: bool = True


@dataclass(frozen=True, slots=True)
class CheckoutRequest:
    """What a hosted checkout must know. `idempotency_key` is made from our row and never changes for it."""

    account_id: str
    purchase_id: str
    amount: Money
    description: str
    email: str | None
    locale: str | None
    success_url: str
    cancel_url: str
    expires_at: datetime
    idempotency_key: str
    save_card: bool = False
    bonus: bool = False
    tax_on_top: bool = False
    """Whether the catalogue's prices are before tax: a provider that adds the tax then adds it on top."""
    asked_since: datetime | None = None
    """When an earlier request for this purchase may have reached the provider: since when. `None`: the first one.
    A provider without idempotency keys looks its outcome up before it makes anything again."""
    customer_id: str | None = None


@dataclass(frozen=True, slots=True)
class Checkout:
    """A hosted checkout the customer can be sent to."""

    session_id: str
    url: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """Money to give back of one payment. `reversal_id` travels in the provider's object and comes back as a fact.

    `is_whole` says that it is all that was paid: some providers give back nothing less. `is_last` says that with
    others before it nothing is left: of a charge with tax on top no cent stays behind that parts lost in rounding.
    """

    account_id: str
    purchase_id: str
    reversal_id: str
    payment_id: str
    amount: Money
    idempotency_key: str
    is_whole: bool = False
    is_last: bool = False


class ProviderRefused(Exception):
    """The provider said no, for good: `code` and `detail` are its own words."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class ProviderUnreachable(Exception):
    """No answer, or one that says 'later': the outcome is unknown and the same key must be used again."""


class PaymentProvider(Protocol):
    """One rail. Every method but `verify` may use the network, so none is called inside a transaction."""

    name: str
    account: str
    """Our account at the provider, as `claims` scopes it; `default` where there is only one."""
    is_live: bool
    """Whether our keys move real money; a payment of the other mode is never credited."""
    can_refund: bool
    merchant_of_record: str | None
    """Who sells to the customer when it is not us, e.g. `Paddle`; `None` when we are the seller."""

    def start_checkout(self, request: CheckoutRequest) -> Checkout: ...

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Event:
        """The event in these raw bytes. `headers` has lower-case names; raises `WebhookRefused`."""
        ...

    def facts(self, event: Event) -> tuple[ProviderFact, ...]:
        """What the event is about, re-fetched where its payload may be stale; empty for types we ignore.

        Raises `ProviderUnreachable` when a fetch must be tried again later.
        """
        ...

    def refund(self, request: RefundRequest) -> tuple[Fact, ...]:
        """Ask for a refund and answer the refund object as a fact; `ProviderRefused` or `ProviderUnreachable`."""
        ...

    def payment(self, session_id: str) -> tuple[Fact, ...]:
        """The present state of a checkout we started, fetched: what a sweeper asks when no webhook came."""
        ...


def stays_payable(provider: PaymentProvider) -> bool:
    """Whether a checkout of this rail can still be paid when our session is over, as a link that never ends can."""
    return bool(getattr(provider, "stays_payable", False))


def verifies_at_once(provider: PaymentProvider) -> bool:
    """Whether this rail's `verify` only computes, and little: it may then run where nothing may block."""
    return bool(getattr(provider, "verifies_at_once", False))


@dataclass(frozen=True, slots=True)
class RefundQuestion:
    """A store asks before it refunds. The purchase is named by its object or its order; `reply_to` goes back with
    the answer. Some stores may be told only what the customer agreed to share."""

    object_id: str | None
    order_id: str | None
    reply_to: str
    needs_consent: bool


@dataclass(frozen=True, slots=True)
class StoreNews:
    """What an event of a store says: purchases as they stand, a subscription's payments from the oldest to the newest,
    or a question; none of them for what we do not follow."""

    sightings: tuple[Sighting, ...] = ()
    question: RefundQuestion | None = None
    renewals: tuple[Renewal, ...] = ()


@runtime_checkable
class Store(PaymentProvider, Protocol):
    """An app store: the customer buys in the app, so a purchase begins with the store's word.

    `posted`, `news`, `answer`, `finish` and `missed` may use the network. They raise `ProviderUnreachable` to be
    asked again and `ProviderRefused` for good.
    """

    needs_finish: bool
    """Whether a purchase must be finished at the store once its credits are in the books."""

    def posted(self, proof: Mapping[str, str]) -> Sighting:
        """The purchase that an app shows us, proven; `Invalid` for a proof that is forged, foreign or malformed."""
        ...

    def news(self, event: Event) -> StoreNews:
        """What a verified event is about, re-fetched where its payload is only a pointer."""
        ...

    def answer(self, question: RefundQuestion, usage: Usage) -> None:
        """Tell the store what was used of a purchase; repeating it changes nothing."""
        ...

    def finish(self, object_id: str) -> None:
        """Say that the purchase was delivered; repeating it changes nothing."""
        ...


@dataclass(frozen=True, slots=True)
class ChargeRequest:
    """Money to take from a saved card while its owner is away. `idempotency_key` is made from our row.

    `return_url` is where the customer comes back to, should their bank want to see them after all.
    """

    account_id: str
    purchase_id: str
    customer_id: str
    card_reference: str
    amount: Money
    description: str
    return_url: str
    idempotency_key: str


@dataclass(frozen=True, slots=True)
class Detached:
    """Cards that are gone at the provider, told by one of its events: by their references, or a customer's all."""

    card_references: tuple[str, ...] = ()
    customer_id: str | None = None


@dataclass(frozen=True, slots=True)
class Polled:
    """A page of the provider's own list of events, and the place to go on from once they are stored.

    A provider that has no such list is asked for open payments one by one, and what that finds counts as missed.
    """

    events: tuple[Event, ...]
    cursor: str
    has_list: bool = True


class CardProvider(PaymentProvider, Protocol):
    """A rail that keeps cards and charges them off-session. None of this is called inside a transaction."""

    def customer(self, account_id: str, email: str | None, idempotency_key: str) -> str:
        """The customer object of an account: found where there is one, else made."""
        ...

    def charge(self, request: ChargeRequest) -> tuple[Fact, ...]:
        """Charge a saved card off-session: the payment as a fact, its `decline` where the bank said no.

        `ProviderRefused` where nothing was tried, `ProviderUnreachable` where nobody knows.
        """
        ...

    def find_charge(self, request: ChargeRequest) -> tuple[Fact, ...]:
        """The payment that a charge of this purchase made, if it made one: looked up, never asked for."""
        ...

    def confirm_url(self, payment_id: str, return_url: str) -> str | None:
        """Where the customer confirms that same payment; `None` where there is nothing left to confirm."""
        ...

    def give_up(self, payment_id: str) -> tuple[Fact, ...]:
        """Cancel a payment nobody confirmed; as it stands then, which may be paid."""
        ...

    def detach(self, card_reference: str) -> None:
        """Forget a card; one that is gone already is forgotten too."""
        ...

    def portal_url(self, customer_id: str, return_url: str) -> str:
        """A page of the provider's own where the customer sees and removes cards."""
        ...

    def detached(self, event: Event) -> Detached | None:
        """The cards that an event says are gone, or `None` if it is about something else."""
        ...


class CardFollower(CardProvider, Protocol):
    """A rail that tells when a card it keeps was renewed by its bank, or changed by its owner."""

    def changed_card(self, event: Event) -> Card | Detached | None:
        """The card as it stands now, fetched, or that it is gone; `None` if the event is about something else."""
        ...


class PolledProvider(PaymentProvider, Protocol):
    """A rail whose provider lists its own events: what webhooks lost is found there. One method, nothing else."""

    def poll(self, cursor: str | None, now: datetime) -> Polled:
        """The provider's events since `cursor`, with an overlap of an hour or more (`None`: since a few days).

        Events are those the webhooks bring, by the same ids. `ProviderUnreachable`: try again later.
        """
        ...


def keeps_cards(provider: PaymentProvider) -> TypeGuard[CardProvider]:
    """Whether this rail saves cards and charges them."""
    return hasattr(provider, "charge")


def follows_cards(provider: PaymentProvider) -> TypeGuard[CardFollower]:
    """Whether this rail tells of cards that changed."""
    return hasattr(provider, "changed_card")


def can_be_polled(provider: PaymentProvider) -> TypeGuard[PolledProvider]:
    """Whether this rail's provider lists its events."""
    return hasattr(provider, "poll")
