"""The sandbox: a payment provider without real money, spoken to over HTTP exactly as a real one is.

Its own side (books, pages, webhooks) is a server of its own, reached by URL and key. A webhook is only a pointer:
the object it names is fetched before anything is believed, with the version that its books gave it.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import httpx
import msgspec

from engine.payments import (
    Act,
    Card,
    ChargeRequest,
    Checkout,
    CheckoutRequest,
    Detached,
    Event,
    Fact,
    PaymentState,
    Polled,
    ProviderFact,
    ProviderRefused,
    ProviderUnreachable,
    RefundRequest,
)
from engine.recurring import SubscriptionChange, SubscriptionRequest
from engine.rules.money import Money
from psp.sandbox_subscription_wire import (
    Asked,
    Invoice,
    NewSubscription,
    NewTerms,
    Told,
    invoice_fact,
    subscription_fact,
)
from psp.sandbox_wire import (
    CardTold,
    Customer,
    Dispute,
    Listed,
    NewCharge,
    NewCustomer,
    NewRefund,
    NewSession,
    Nothing,
    Payment,
    Problem,
    Refund,
    Session,
    check_signature,
    read_webhook,
)

_LATER = frozenset({408, 425, 429})
"""Statuses below 500 that say 'again later', not 'no'."""

OVERLAP = timedelta(hours=1)
FIRST_LOOK = timedelta(days=3)
"""How far before its cursor a poll begins, and how far back the first one of all."""

T = TypeVar("T")


class Sandbox:
    """The `sandbox` rail: a `PaymentProvider` that may be shared between threads. `close` ends its connections."""

    name: str = "sandbox"
    account: str = "default"
    is_live: bool = False
    can_refund: bool = True
    merchant_of_record: str | None = None

    def __init__(self, base_url: str, api_key: str, webhook_secret: str, timeout_seconds: float = 10) -> None:
        """`base_url` is the sandbox server's, without a path; raises `ValueError` for a blank key or secret."""
        if not api_key.strip() or not webhook_secret.strip():
            raise ValueError("The sandbox needs an API key and a webhook secret.")
        self._secret = webhook_secret
        self._base_url = base_url.rstrip("/")
        self._client = httpx.Client(
            base_url=f"{base_url.rstrip('/')}/sandbox/api",
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=timeout_seconds,
            trust_env=False,
        )

    def close(self) -> None:
        self._client.close()

    def start_checkout(self, request: CheckoutRequest) -> Checkout:
        """A hosted checkout for one purchase; the same request and key answer the same session."""
        asked = NewSession(
            account_id=request.account_id,
            purchase_id=request.purchase_id,
            amount_minor=request.amount.minor,
            currency=request.amount.currency,
            description=request.description,
            success_url=request.success_url,
            cancel_url=request.cancel_url,
            expires_at=request.expires_at.astimezone(UTC),
            customer_id=request.customer_id if request.save_card else None,
        )
        session = self._post("/sessions", asked, request.idempotency_key, Session)
        return Checkout(session.id, session.url, session.expires_at)

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Event:
        """The event in these raw bytes, signed with our secret and of now; raises `WebhookRefused`."""
        check_signature(self._secret, headers, body, now)
        told = read_webhook(body)
        return Event(told.id, told.type, body)

    def facts(self, event: Event) -> tuple[ProviderFact, ...]:
        """The object a verified event is about, as it stands now; empty for kinds we do not follow."""
        pointed = read_webhook(event.payload).object
        match pointed.kind:
            case "payment":
                return (payment_fact(self._get(f"/payments/{pointed.id}", Payment)),)
            case "refund":
                return (_refund_fact(self._get(f"/refunds/{pointed.id}", Refund)),)
            case "dispute":
                return (_dispute_fact(self._get(f"/disputes/{pointed.id}", Dispute)),)
            case "subscription":
                return (subscription_fact(self._get(f"/subscriptions/{pointed.id}", Told).subscription),)
            case "invoice":
                return (invoice_fact(self._get(f"/invoices/{pointed.id}", Invoice)),)
            case _:
                return ()

    def refund(self, request: RefundRequest) -> tuple[Fact, ...]:
        """Give money back, once per idempotency key however often it is asked."""
        asked = NewRefund(
            payment_id=request.payment_id,
            amount_minor=request.amount.minor,
            currency=request.amount.currency,
            reversal_id=request.reversal_id,
        )
        return (_refund_fact(self._post("/refunds", asked, request.idempotency_key, Refund)),)

    def payment(self, session_id: str) -> tuple[Fact, ...]:
        """The payment of a checkout we started, fetched."""
        return (payment_fact(self._get(f"/sessions/{session_id}/payment", Payment)),)

    def start_subscription(self, request: SubscriptionRequest) -> Checkout:
        """A hosted checkout that begins a subscription."""
        asked = NewSubscription(
            account_id=request.account_id,
            subscription_id=request.subscription_id,
            terms=request.terms,
            currency=request.currency,
            description=request.description,
            success_url=request.success_url,
            cancel_url=request.cancel_url,
            expires_at=request.expires_at.astimezone(UTC),
            trial_days=request.trial_days,
        )
        session = self._post("/subscriptions", asked, request.idempotency_key, Session)
        return Checkout(session.id, session.url, session.expires_at)

    def change_subscription(self, change: SubscriptionChange) -> tuple[ProviderFact, ...]:
        """Another plan, now or with the next period, once per idempotency key."""
        asked = NewTerms(terms=change.terms, when="now" if change.is_now else "period_end", at=change.at)
        return self._post(f"/subscriptions/{change.reference}/terms", asked, change.idempotency_key, Told).facts()

    def act_on_subscription(self, reference: str, act: Act, idempotency_key: str) -> tuple[ProviderFact, ...]:
        return self._post(f"/subscriptions/{reference}/act", Asked(act=act), idempotency_key, Told).facts()

    def subscription(self, reference: str) -> tuple[ProviderFact, ...]:
        """The subscription and its newest invoices, fetched."""
        return self._get(f"/subscriptions/{reference}", Told).facts()

    def end_checkout(self, session_id: str) -> None:
        """Expire the checkout of a subscription that nobody has paid."""
        self._post(f"/sessions/{session_id}/expire", Nothing(), f"expire:{session_id}", Payment)

    def has_ended(self, session_id: str) -> bool:
        return self._get(f"/sessions/{session_id}/payment", Payment).state in ("expired", "cancelled")

    def customer(self, account_id: str, email: str | None, idempotency_key: str) -> str:
        """The customer object of an account; the same key answers the same one."""
        return self._post("/customers", NewCustomer(account_id=account_id, email=email), idempotency_key, Customer).id

    def charge(self, request: ChargeRequest) -> tuple[Fact, ...]:
        """Charge a saved card, once per idempotency key; a decline is the payment's own word."""
        asked = NewCharge(
            account_id=request.account_id,
            purchase_id=request.purchase_id,
            customer_id=request.customer_id,
            card_id=request.card_reference,
            amount_minor=request.amount.minor,
            currency=request.amount.currency,
            description=request.description,
            return_url=request.return_url,
        )
        return (payment_fact(self._post("/charges", asked, request.idempotency_key, Payment)),)

    def find_charge(self, request: ChargeRequest) -> tuple[Fact, ...]:
        """The payment of a charge we may have made; none where the sandbox knows of none."""
        try:
            return (payment_fact(self._get(f"/charges/{request.purchase_id}", Payment)),)
        except ProviderRefused as refused:
            if refused.code != "payment_unknown":
                raise
            return ()

    def confirm_url(self, payment_id: str, return_url: str) -> str | None:
        """The bank's page for a payment that wants its customer, who comes back to where the charge said."""
        told = self._get(f"/payments/{payment_id}", Payment)
        if told.state != "requires_action":
            return None
        return f"{self._base_url}/sandbox/checkout/{told.session_id}/challenge"

    def give_up(self, payment_id: str) -> tuple[Fact, ...]:
        """Cancel a payment that nobody confirmed; one that has ended stays as it ended."""
        return (payment_fact(self._post(f"/payments/{payment_id}/cancel", Nothing(), f"cancel:{payment_id}", Payment)),)

    def detach(self, card_reference: str) -> None:
        """Forget a card."""
        self._post(f"/cards/{card_reference}/detach", Nothing(), f"detach:{card_reference}", CardTold)

    def portal_url(self, customer_id: str, return_url: str) -> str:
        """The sandbox's page of a customer's cards, with a switch for what their banks will say."""
        return f"{self._base_url}/sandbox/portal/{customer_id}"

    def detached(self, event: Event) -> Detached | None:
        """The card that an event says is gone."""
        told = read_webhook(event.payload)
        return Detached(card_references=(told.object.id,)) if told.type == "card.detached" else None

    def poll(self, cursor: str | None, now: datetime) -> Polled:
        """The sandbox's events since the cursor, an instant, and an hour before it."""
        at = datetime.fromisoformat(cursor) if cursor is not None else None
        since = at - OVERLAP if at is not None else now - FIRST_LOOK
        told = self._get(f"/events?since={int(since.timestamp())}", Listed)
        events = tuple(
            Event(each.id, each.type, msgspec.json.encode(each), moment)
            for each, moment in zip(told.events, told.happened_at, strict=True)
        )
        return Polled(events, max(since, at or since, *told.happened_at).isoformat())

    def _get(self, path: str, shape: type[T]) -> T:
        return self._ask(self._client.build_request("GET", path), shape)

    def _post(self, path: str, asked: msgspec.Struct, key: str, shape: type[T]) -> T:
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        content = msgspec.json.encode(asked)
        return self._ask(self._client.build_request("POST", path, content=content, headers=headers), shape)

    def _ask(self, request: httpx.Request, shape: type[T]) -> T:
        """One request. A no is `ProviderRefused`; no answer, or one that can't be read, `ProviderUnreachable`."""
        try:
            answer = self._client.send(request)
        except httpx.RequestError as error:
            raise ProviderUnreachable(f"The sandbox does not answer: {error!r}") from error
        status = answer.status_code
        try:
            if 200 <= status < 300:
                return msgspec.json.decode(answer.content, type=shape)
            if 400 <= status < 500 and status not in _LATER:
                problem = msgspec.json.decode(answer.content, type=Problem)
                raise ProviderRefused(problem.code, problem.detail)
        except msgspec.MsgspecError as error:
            raise ProviderUnreachable(f"The sandbox answered HTTP {status} with what is no answer.") from error
        raise ProviderUnreachable(f"The sandbox answered HTTP {status}.")


def payment_fact(told: Payment) -> Fact:
    """A payment's fact. While the customer's bank asks them (`requires_action`), the checkout is still open."""
    state: PaymentState = "open" if told.state == "requires_action" else told.state
    return Fact(
        kind="payment",
        object_id=told.id,
        state=state,
        amount=Money(told.amount_minor, told.currency),
        version=told.version,
        live=False,
        purchase_id=told.purchase_id or None,
        account_id=told.account_id,
        session_id=told.session_id,
        card=_card(told.card) if told.card is not None and told.state == "paid" else None,
        decline=told.decline,
    )


def _card(told: CardTold) -> Card:
    return Card(told.id, told.customer_id, told.brand, told.last4, told.exp_month, told.exp_year)


def _refund_fact(told: Refund) -> Fact:
    return Fact(
        kind="refund",
        object_id=told.id,
        state=told.state,
        amount=Money(told.amount_minor, told.currency),
        version=told.version,
        live=False,
        parent_id=told.payment_id,
        purchase_id=told.purchase_id or None,
        account_id=told.account_id,
        own_reference=told.reversal_id,
    )


def _dispute_fact(told: Dispute) -> Fact:
    return Fact(
        kind="dispute",
        object_id=told.id,
        state=told.state,
        amount=Money(told.amount_minor, told.currency),
        version=told.version,
        live=False,
        parent_id=told.payment_id,
        purchase_id=told.purchase_id or None,
        account_id=told.account_id,
    )
