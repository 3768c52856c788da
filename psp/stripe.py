"""Stripe: checkouts and refunds asked for, and the objects behind its events fetched.

An event is only a pointer: its payload was rendered in the endpoint's API version when it happened, so the
object it names is fetched before anything is believed. Two events about one payment (`checkout.session.*` and
`payment_intent.*`) are told from the same session, so they can't contradict each other. Refunds and disputes
name nothing of ours, so the payment they belong to is fetched with them, and only then may they be called
somebody else's. `stripe_events.py` says which bytes are an event, `stripe_facts.py` what an object means.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import stripe
from stripe.params.checkout import SessionCreateParams

from engine.payments import (
    Checkout,
    CheckoutRequest,
    Event,
    Fact,
    ProviderRefused,
    ProviderUnreachable,
    RefundRequest,
)
from psp.stripe_events import Pointed, pointer, verified_event
from psp.stripe_facts import (
    Json,
    dispute_fact,
    intent_payment,
    is_for,
    is_ours,
    refund_fact,
    session_payment,
    stripe_minor,
)

EXPIRY_MARGIN = timedelta(seconds=120)
"""Stripe wants a session to live at least 30 minutes by its own clock, counted from when the request is handled.
Our sessions live exactly that long, so a slow request, a retry or a clock that runs behind would be refused.
The session may outlive our row by this much; money that arrives then is credited as any late payment is."""

_KEY = re.compile(r"(?:sk|rk)_(live|test)_\w+", re.ASCII)
_LATER = frozenset({401, 403, 408, 409, 425, 429})

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

    def start_checkout(self, request: CheckoutRequest) -> Checkout:
        """A hosted Checkout Session for one purchase; the same request and key answer the same session."""
        params = _session_params(request)
        with _asking():
            answer = self._client.v1.checkout.sessions.create(params, {"idempotency_key": request.idempotency_key})
        session = answer.to_dict()
        if not session.get("url"):
            raise ProviderRefused("checkout_without_url", f"{session['id']} has no page for the customer.")
        return Checkout(session["id"], session["url"], datetime.fromtimestamp(session["expires_at"], UTC))

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Event:
        """The event in these raw bytes, signed with one of our secrets; raises `WebhookRefused`."""
        return verified_event(headers, body, self._secrets, now)

    def facts(self, event: Event) -> tuple[Fact, ...]:
        """The objects a verified event is about, as they stand now; empty for what is not ours or not followed.

        Raises `ProviderUnreachable` to be asked again, and `ProviderRefused` where Stripe knows no such object,
        which an endpoint of another account or mode explains.
        """
        pointed = pointer(event)
        if pointed is None:
            return ()
        kind, object_id = pointed
        tell: dict[Pointed, Callable[[str], tuple[Fact, ...]]] = {
            "session": self.payment,
            "payment_intent": self._payment_by_intent,
            "charge": self._refunds_by_charge,
            "refund": self._refunds_by_refund,
            "dispute": self._dispute,
        }
        return tell[kind](object_id)

    def payment(self, session_id: str) -> tuple[Fact, ...]:
        """The payment of a Checkout Session, fetched; empty where the session is not one of ours."""
        with _asking():
            session = self._client.v1.checkout.sessions.retrieve(
                session_id, {"expand": ["payment_intent.latest_charge"]}
            )
        return session_payment(session.to_dict(), _seen_at(session))

    def refund(self, request: RefundRequest) -> tuple[Fact, ...]:
        """Give money back, once per `reversal_id` however often it is asked.

        Stripe forgets idempotency keys after a day, and a key it forgot would refund again: so the payment's
        refunds are read first, and one that carries our reversal is the answer.
        """
        with _asking():
            intent = self._client.v1.payment_intents.retrieve(request.payment_id).to_dict()
        if not is_for(intent, request.purchase_id):
            raise ProviderRefused(
                "payment_of_another_purchase", f"{request.payment_id} does not pay {request.purchase_id}."
            )
        made = tuple(fact for fact in self._refunds_of(intent) if fact.own_reference == request.reversal_id)
        if made:
            return made
        with _asking():
            refund = self._client.v1.refunds.create(
                {
                    "payment_intent": request.payment_id,
                    "amount": stripe_minor(request.amount),
                    "metadata": {
                        "purser_reversal": request.reversal_id,
                        "purser_purchase": request.purchase_id,
                        "purser_account": request.account_id,
                    },
                },
                {"idempotency_key": request.idempotency_key},
            )
        return (refund_fact(refund.to_dict(), intent, _seen_at(refund)),)

    def _payment_by_intent(self, intent_id: str) -> tuple[Fact, ...]:
        """A payment by its intent: told by the session that owns it, or by itself where none does."""
        with _asking():
            sessions = self._client.v1.checkout.sessions.list(
                {"payment_intent": intent_id, "limit": 1, "expand": ["data.payment_intent.latest_charge"]}
            )
            if sessions.data:
                return session_payment(sessions.data[0].to_dict(), _seen_at(sessions))
            intent = self._client.v1.payment_intents.retrieve(intent_id, {"expand": ["latest_charge"]})
        return intent_payment(intent.to_dict(), _seen_at(intent))

    def _refunds_by_charge(self, charge_id: str) -> tuple[Fact, ...]:
        with _asking():
            charge = self._client.v1.charges.retrieve(charge_id, {"expand": ["payment_intent"]}).to_dict()
        return self._refunds_of(charge.get("payment_intent"))

    def _refunds_by_refund(self, refund_id: str) -> tuple[Fact, ...]:
        with _asking():
            refund = self._client.v1.refunds.retrieve(refund_id, {"expand": ["payment_intent"]}).to_dict()
        return self._refunds_of(refund.get("payment_intent"))

    def _refunds_of(self, intent: Json | None) -> tuple[Fact, ...]:
        """Every refund of a payment, one fact each: `amount_refunded` is a running total and never used."""
        if not is_ours(intent):
            return ()
        with _asking():
            page = self._client.v1.refunds.list({"payment_intent": intent["id"], "limit": 100})
            seen_at = _seen_at(page)
            refunds = [refund.to_dict() for refund in page.auto_paging_iter()]
        return tuple(refund_fact(refund, intent, seen_at) for refund in refunds)

    def _dispute(self, dispute_id: str) -> tuple[Fact, ...]:
        with _asking():
            answer = self._client.v1.disputes.retrieve(dispute_id, {"expand": ["payment_intent"]})
        dispute = answer.to_dict()
        intent = dispute.get("payment_intent")
        return (dispute_fact(dispute, intent, _seen_at(answer)),) if is_ours(intent) else ()


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
    if request.email:
        params["customer_email"] = request.email
    if request.save_card:
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


def _seen_at(answer: stripe.StripeObject) -> int:
    """When Stripe gave this answer, by its own clock, in Unix seconds."""
    response = answer.last_response
    date = response.headers.get("date") if response is not None else None
    if date is None:
        raise ProviderUnreachable("The answer has no Date, so it can't be put in order with others.")
    return int(parsedate_to_datetime(date).timestamp())


@contextmanager
def _asking() -> Iterator[None]:
    """Stripe's errors as ours, around one request.

    For good is only what says no to this very request. A key that is wrong or may not do this (401, 403) is
    the operator's to mend, so the same request is asked again later; and an idempotency key that named other
    parameters means that something was done under it, which is not a no either.
    """
    try:
        yield
    except stripe.StripeError as error:
        status = error.http_status or 0
        is_no = 400 <= status < 500 and status not in _LATER and not isinstance(error, stripe.IdempotencyError)
        if is_no:
            raise ProviderRefused(error.code or f"http_{status}", error.user_message or "") from error
        raise ProviderUnreachable(f"Stripe, HTTP {status or 'none'}: {error.user_message}") from error
