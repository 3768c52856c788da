"""Stripe: checkouts and refunds asked for, and the objects behind its events fetched.

An event is only a pointer: its payload was rendered in the endpoint's API version when it happened, so the
object it names is fetched before anything is believed. Two events about one payment (`checkout.session.*` and
`payment_intent.*`) are told from the same session, so they can't contradict each other. Refunds and disputes
name nothing of ours, so the payment they belong to is fetched with them, and only then may they be called
somebody else's. `stripe_events.py` says which bytes are an event, `stripe_facts.py` what an object means.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeGuard

import stripe
from stripe.params.checkout import SessionCreateParams

from engine.payments import (
    Act,
    Card,
    ChargeRequest,
    Checkout,
    CheckoutRequest,
    Detached,
    Event,
    Fact,
    Polled,
    ProviderFact,
    ProviderRefused,
    RefundRequest,
)
from engine.recurring import Prorated, SubscriptionChange, SubscriptionRequest
from psp import stripe_cards, stripe_polling
from psp.stripe_asking import asking, seen_at
from psp.stripe_events import Pointed, pointer, verified_event
from psp.stripe_facts import (
    Json,
    Price,
    check_currency,
    dispute_fact,
    intent_payment,
    is_for,
    is_ours,
    price_of,
    refund_fact,
    session_payment,
    stripe_minor,
    warning_fact,
)
from psp.stripe_subscriptions import StripeSubscriptions

EXPIRY_MARGIN = timedelta(seconds=120)
"""Stripe wants a session to live at least 30 minutes by its own clock, counted from when the request is handled.
Our sessions live exactly that long, so a slow request, a retry or a clock that runs behind would be refused.
The session may outlive our row by this much; money that arrives then is credited as any late payment is."""

PAYMENT_PARTS = ("latest_charge", "payment_method")
"""What is fetched along with a payment: the charge with its receipt, and the card it may have saved."""

_KEY = re.compile(r"(?:sk|rk)_(live|test)_\w+", re.ASCII)

LOCALES = {
    tag.lower(): tag
    for tag in (
        "bg cs da de el en en-GB es es-419 et fi fil fr fr-CA hi-IN hr hu id it ja ko lt lv ms mt nb nl pl pt pt-BR "
        "ro ru sk sl sv th tr vi zh zh-HK zh-TW"
    ).split()
} | {"no": "nb", "nn": "nb", "hi": "hi-IN", "tl": "fil", "zh-hant": "zh-TW", "zh-hant-hk": "zh-HK"}


class Stripe:
    """The `stripe` rail of one Stripe account: a `PaymentProvider` that may be shared between threads.

    `webhook_secrets` are all signing secrets that are valid now: two while one is being replaced. `api_base`
    points at another server than Stripe's. `is_live` is what the key says.
    """

    name: str = "stripe"
    account: str = "default"
    can_refund: bool = True
    verifies_at_once: bool = True
    merchant_of_record: str | None = None

    def __init__(
        self,
        secret_key: str,
        webhook_secrets: Sequence[str],
        api_base: str | None = None,
        timeout_seconds: float = 20,
    ) -> None:
        """Raises `ValueError` for a key of unknown kind and for missing or blank webhook secrets."""
        key = _KEY.fullmatch(secret_key)
        if key is None:
            raise ValueError("The Stripe key must start with sk_live_, rk_live_, sk_test_ or rk_test_.")
        if isinstance(webhook_secrets, str) or not webhook_secrets:
            raise ValueError("Stripe needs a list of webhook secrets with at least one in it.")
        if any(not secret.strip() for secret in webhook_secrets):
            raise ValueError("A Stripe webhook secret is blank.")
        stripe.enable_telemetry = False
        self.is_live = key[1] == "live"
        self._secrets = tuple(webhook_secrets)
        self._client = stripe.StripeClient(
            secret_key,
            base_addresses={"api": api_base.rstrip("/")} if api_base else None,
            max_network_retries=2,
            http_client=stripe.RequestsClient(timeout=timeout_seconds),
        )
        self._subscriptions = StripeSubscriptions(self._client)

    def start_checkout(self, request: CheckoutRequest) -> Checkout:
        """A hosted Checkout Session for one purchase; the same request and key answer the same session."""
        check_currency(request.amount)
        params = _session_params(request)
        with asking():
            answer = self._client.v1.checkout.sessions.create(params, {"idempotency_key": request.idempotency_key})
        session = answer.to_dict()
        if not session.get("url"):
            raise ProviderRefused("checkout_without_url", f"{session['id']} has no page for the customer.")
        return Checkout(session["id"], session["url"], datetime.fromtimestamp(session["expires_at"], UTC))

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Event:
        """The event in these raw bytes, signed with one of our secrets; raises `WebhookRefused`."""
        return verified_event(headers, body, self._secrets, now)

    def facts(self, event: Event) -> tuple[ProviderFact, ...]:
        """The objects a verified event is about, as they stand now; empty for what is not ours or not followed.

        Raises `ProviderUnreachable` to be asked again, and `ProviderRefused` where Stripe knows no such object,
        which an endpoint of another account or mode explains.
        """
        pointed = pointer(event)
        if pointed is None:
            return ()
        kind, object_id = pointed
        tell: dict[Pointed, Callable[[str], tuple[ProviderFact, ...]]] = {
            "session": self._by_session,
            "payment_intent": self._payment_by_intent,
            "charge": self._refunds_by_charge,
            "refund": self._refunds_by_refund,
            "dispute": self._dispute,
            "early_fraud_warning": self._early_fraud_warning,
            "subscription": self._subscriptions.told,
            "invoice": self._subscriptions.by_invoice,
        }
        return tell[kind](object_id) if kind in tell else ()

    def start_subscription(self, request: SubscriptionRequest) -> Checkout:
        """A hosted Checkout Session that begins a subscription."""
        return self._subscriptions.start(request, _locale(request.locale), EXPIRY_MARGIN)

    def end_checkout(self, session_id: str) -> None:
        """Expire a Checkout Session that is open."""
        self._subscriptions.end_checkout(session_id)

    def has_ended(self, session_id: str) -> bool:
        return self._subscriptions.has_ended(session_id)

    def preview_change(self, change: SubscriptionChange) -> Prorated:
        """What a change now would cost, by Stripe's own proration."""
        return self._subscriptions.preview(change)

    def change_subscription(self, change: SubscriptionChange) -> tuple[ProviderFact, ...]:
        """Another plan, now or with the next period, once per idempotency key."""
        return self._subscriptions.change(change)

    def act_on_subscription(self, reference: str, act: Act, idempotency_key: str) -> tuple[ProviderFact, ...]:
        return self._subscriptions.act(reference, act, idempotency_key)

    def subscription(self, reference: str) -> tuple[ProviderFact, ...]:
        """The subscription and its newest invoices, fetched by its id or by that of its checkout."""
        return self._subscriptions.told(reference)

    def payment(self, session_id: str) -> tuple[Fact, ...]:
        """The payment of a Checkout Session, fetched; empty where the session is not one of ours."""
        with asking():
            session = self._client.v1.checkout.sessions.retrieve(
                session_id, {"expand": [f"payment_intent.{part}" for part in PAYMENT_PARTS]}
            )
        return session_payment(session.to_dict(), seen_at(session))

    def _by_session(self, session_id: str) -> tuple[ProviderFact, ...]:
        """The payment of a Checkout Session, or the subscription that began with it."""
        with asking():
            session = self._client.v1.checkout.sessions.retrieve(
                session_id, {"expand": [f"payment_intent.{part}" for part in PAYMENT_PARTS]}
            )
        told = session.to_dict()
        if told["mode"] != "subscription":
            return session_payment(told, seen_at(session))
        reference = told.get("subscription")
        return self._subscriptions.told(reference) if reference else ()

    def refund(self, request: RefundRequest) -> tuple[Fact, ...]:
        """Give money back, once per `reversal_id` however often it is asked.

        Stripe forgets idempotency keys after a day, and a key it forgot would refund again: so the payment's
        refunds are read first, and one that carries our reversal is the answer.
        """
        with asking():
            intent = self._client.v1.payment_intents.retrieve(request.payment_id).to_dict()
        if not is_for(intent, request.purchase_id) and not self._is_of_subscriber(intent, request.account_id):
            raise ProviderRefused(
                "payment_of_another_purchase", f"{request.payment_id} does not pay {request.purchase_id}."
            )
        price = self._price(intent)
        made = tuple(fact for fact in self._refunds_of(intent, price) if fact.own_reference == request.reversal_id)
        if made:
            return made
        leaves_cents = request.is_last and price.charged_minor != price.net_minor
        charged = self._left_of(intent, price) if leaves_cents else price.charged_for(stripe_minor(request.amount))
        with asking():
            refund = self._client.v1.refunds.create(
                {
                    "payment_intent": request.payment_id,
                    "amount": charged,
                    "metadata": {
                        "purser_reversal": request.reversal_id,
                        "purser_purchase": request.purchase_id,
                        "purser_account": request.account_id,
                    },
                },
                {"idempotency_key": request.idempotency_key},
            )
        return (refund_fact(refund.to_dict(), intent, price, seen_at(refund)),)

    def customer(self, account_id: str, email: str | None, idempotency_key: str) -> str:
        return stripe_cards.make_customer(self._client, account_id, email, idempotency_key)

    def charge(self, request: ChargeRequest) -> tuple[Fact, ...]:
        check_currency(request.amount)
        answer = stripe_cards.charge_card(self._client, request)
        return intent_payment(answer.to_dict(), seen_at(answer))

    def find_charge(self, request: ChargeRequest) -> tuple[Fact, ...]:
        answer = stripe_cards.find_charge(self._client, request)
        return intent_payment(answer.to_dict(), seen_at(answer)) if answer is not None else ()

    def confirm_url(self, payment_id: str, return_url: str) -> str | None:
        return stripe_cards.confirm_url(self._client, payment_id, return_url)

    def give_up(self, payment_id: str) -> tuple[Fact, ...]:
        stripe_cards.cancel(self._client, payment_id)
        return self._payment_by_intent(payment_id)

    def detach(self, card_reference: str) -> None:
        stripe_cards.detach(self._client, card_reference)

    def portal_url(self, customer_id: str, return_url: str) -> str:
        return stripe_cards.portal_url(self._client, customer_id, return_url)

    def detached(self, event: Event) -> Detached | None:
        return stripe_cards.detached(event)

    def changed_card(self, event: Event) -> Card | Detached | None:
        return stripe_cards.changed_card(self._client, event)

    def poll(self, cursor: str | None, now: datetime) -> Polled:
        return stripe_polling.poll(self._client, cursor, now)

    def _is_of_subscriber(self, intent: Json, account_id: str) -> bool:
        """Whether a payment intent pays an invoice of a subscription of this account."""
        return self._subscriptions.marks_of_intent(intent["id"]).get("purser_account") == account_id

    def _is_known(self, intent: Json | None) -> TypeGuard[Json]:
        """Whether a payment intent pays a purchase of ours, or an invoice of a subscription of ours."""
        if intent is None:
            return False
        return is_ours(intent) or bool(self._subscriptions.marks_of_intent(intent["id"]))

    def _payment_by_intent(self, intent_id: str) -> tuple[Fact, ...]:
        """A payment by its intent: told by the session that owns it, or by itself where none does."""
        with asking():
            sessions = self._client.v1.checkout.sessions.list(
                {
                    "payment_intent": intent_id,
                    "limit": 1,
                    "expand": [f"data.payment_intent.{part}" for part in PAYMENT_PARTS],
                }
            )
            if sessions.data:
                return session_payment(sessions.data[0].to_dict(), seen_at(sessions))
            intent = self._client.v1.payment_intents.retrieve(intent_id, {"expand": ["latest_charge"]})
        return intent_payment(intent.to_dict(), seen_at(intent))

    def _refunds_by_charge(self, charge_id: str) -> tuple[Fact, ...]:
        with asking():
            charge = self._client.v1.charges.retrieve(charge_id, {"expand": ["payment_intent"]}).to_dict()
        return self._refunds_of(charge.get("payment_intent"))

    def _refunds_by_refund(self, refund_id: str) -> tuple[Fact, ...]:
        with asking():
            refund = self._client.v1.refunds.retrieve(refund_id, {"expand": ["payment_intent"]}).to_dict()
        return self._refunds_of(refund.get("payment_intent"))

    def _refunds_of(self, intent: Json | None, price: Price | None = None) -> tuple[Fact, ...]:
        """Every refund of a payment, one fact each: `amount_refunded` is a running total and never used."""
        if not self._is_known(intent):
            return ()
        price = price or self._price(intent)
        refunds, asked_at = self._made(intent)
        return tuple(refund_fact(refund, intent, price, asked_at) for refund in refunds)

    def _left_of(self, intent: Json, price: Price) -> int:
        """What of a charge was not given back."""
        made, _ = self._made(intent)
        return price.charged_minor - sum(int(r["amount"]) for r in made if r["status"] not in ("failed", "canceled"))

    def _made(self, intent: Json) -> tuple[list[Json], int]:
        """All refunds of a payment, and when they were asked for."""
        with asking():
            page = self._client.v1.refunds.list({"payment_intent": intent["id"], "limit": 100})
            return [refund.to_dict() for refund in page.auto_paging_iter()], seen_at(page)

    def _dispute(self, dispute_id: str) -> tuple[Fact, ...]:
        with asking():
            answer = self._client.v1.disputes.retrieve(
                dispute_id, {"expand": ["payment_intent", "charge.balance_transaction"]}
            )
        dispute = answer.to_dict()
        intent = dispute.get("payment_intent")
        if not self._is_known(intent):
            return ()
        told = dispute_fact(dispute, intent, self._price(intent), seen_at(answer))
        return (told, *self._warnings_of(intent))

    def _early_fraud_warning(self, warning_id: str) -> tuple[Fact, ...]:
        with asking():
            answer = self._client.v1.radar.early_fraud_warnings.retrieve(warning_id, {"expand": ["payment_intent"]})
        warning = answer.to_dict()
        intent = warning.get("payment_intent")
        if not self._is_known(intent):
            return ()
        return (warning_fact(warning, intent, self._price(intent), seen_at(answer)),)

    def _warnings_of(self, intent: Json) -> tuple[Fact, ...]:
        """The warnings of a payment: a dispute ends them, and no event of their own says so."""
        with asking():
            page = self._client.v1.radar.early_fraud_warnings.list({"payment_intent": intent["id"], "limit": 10})
        price = self._price(intent) if page.data else None
        return tuple(
            warning_fact(warning.to_dict(), intent, price, seen_at(page)) for warning in page.data if price is not None
        )

    def _price(self, intent: Json) -> Price:
        """What was sold for how much, and what was charged for it with tax on top."""
        with asking():
            sessions = self._client.v1.checkout.sessions.list({"payment_intent": intent["id"], "limit": 1})
        return price_of(intent, sessions.data[0].to_dict() if sessions.data else None)


def _session_params(request: CheckoutRequest) -> SessionCreateParams:
    """Our request in Stripe's words.

    The price is ours and in our currency: adaptive pricing is off whatever the dashboard says. A saved card
    needs a customer to hang on, so one is made. A purchase that earns a bonus is not offered `crypto` (SPEC §3).
    """
    marks = {"purser_account": request.account_id, "purser_purchase": request.purchase_id}
    params: SessionCreateParams = {
        "mode": "payment",
        "line_items": [
            {
                "quantity": 1,
                "price_data": {
                    "currency": request.amount.currency.lower(),
                    "unit_amount": stripe_minor(request.amount),
                    "product_data": {"name": request.description},
                },
            }
        ],
        "client_reference_id": request.purchase_id,
        "metadata": marks,
        "payment_intent_data": {"metadata": marks, "description": request.description},
        "expires_at": math.ceil((request.expires_at + EXPIRY_MARGIN).timestamp()),
        "locale": _locale(request.locale),
        "adaptive_pricing": {"enabled": False},
        "success_url": request.success_url,
        "cancel_url": request.cancel_url,
    }
    if request.customer_id:
        params["customer"] = request.customer_id
    elif request.email:
        params["customer_email"] = request.email
    if request.save_card:
        if not request.customer_id:
            params["customer_creation"] = "always"
        params["payment_intent_data"]["setup_future_usage"] = "off_session"
    if request.bonus:
        params["excluded_payment_method_types"] = ["crypto"]
    return params


def _locale(tag: str | None) -> str:
    """Stripe's locale for a language tag: the tag itself, what is left as subtags are dropped, or `auto`."""
    parts = (tag or "").replace("_", "-").lower().split("-")
    for length in range(len(parts), 0, -1):
        found = LOCALES.get("-".join(parts[:length]))
        if found is not None:
            return found
    return "auto"
