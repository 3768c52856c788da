"""Stripe's saved cards: customers, charges without the customer, their confirmation, and cards that went.

A charge is one PaymentIntent, made and confirmed in one request with a key of ours. Where the bank wants the customer,
that same intent is confirmed again with them there: Stripe answers with a page to send them to, and no card data and
no script of anybody's comes near us.
"""

import json
from collections.abc import Iterator
from typing import Any

import stripe

from engine.payments import Card, ChargeRequest, Detached, Event, ProviderRefused
from psp.stripe_asking import asking
from psp.stripe_events import pointer
from psp.stripe_facts import Json, card_of, is_for, stripe_minor

CHARGE_EXPAND = ["latest_charge"]


def make_customer(client: stripe.StripeClient, account_id: str, email: str | None, key: str) -> str:
    """A customer that carries our account's id."""
    params: Any = {"metadata": {"purser_account": account_id}}
    if email:
        params["email"] = email
    with asking():
        return str(client.v1.customers.create(params, {"idempotency_key": key}).to_dict()["id"])


def charge_card(client: stripe.StripeClient, request: ChargeRequest) -> stripe.StripeObject:
    """The intent that this charge made, as it stands after the bank's answer.

    A decline is an answer, not a refusal: it names the intent, which is fetched. The key gives the same one again.
    """
    try:
        with asking():
            return client.v1.payment_intents.create(
                {
                    "amount": stripe_minor(request.amount),
                    "currency": request.amount.currency.lower(),
                    "customer": request.customer_id,
                    "payment_method": request.card_reference,
                    "automatic_payment_methods": {"enabled": True},
                    "return_url": request.return_url,
                    "confirm": True,
                    "off_session": True,
                    "description": request.description,
                    "metadata": {"purser_account": request.account_id, "purser_purchase": request.purchase_id},
                    "expand": CHARGE_EXPAND,
                },
                {"idempotency_key": request.idempotency_key},
            )
    except ProviderRefused as refused:
        intent_id = _declined_intent(refused.__cause__)
        if intent_id is None:
            raise
    with asking():
        return client.v1.payment_intents.retrieve(intent_id, {"expand": CHARGE_EXPAND})


def find_charge(client: stripe.StripeClient, request: ChargeRequest) -> stripe.StripeObject | None:
    """The intent that pays this purchase, among all of its customer's; `None` if none was ever made."""
    with asking():
        page = client.v1.payment_intents.list({"customer": request.customer_id, "limit": 100})
        found: Iterator[Any] = page.auto_paging_iter()
        intent_id = next((each.id for each in found if is_for(each.to_dict(), request.purchase_id)), None)
        if intent_id is None:
            return None
        return client.v1.payment_intents.retrieve(intent_id, {"expand": CHARGE_EXPAND})


def confirm_url(client: stripe.StripeClient, payment_id: str, return_url: str) -> str | None:
    """The bank's page for an intent that wants its customer; the same page again if they were sent there before."""
    with asking():
        intent: Json = client.v1.payment_intents.retrieve(payment_id).to_dict()
    if intent["status"] in ("requires_payment_method", "requires_confirmation"):
        failed = (intent.get("last_payment_error") or {}).get("payment_method") or {}
        method = intent.get("payment_method") or failed.get("id")
        if method is None:
            return None
        with asking():
            intent = client.v1.payment_intents.confirm(
                payment_id, {"payment_method": method, "return_url": return_url}
            ).to_dict()
    redirect = (intent.get("next_action") or {}).get("redirect_to_url") or {}
    return redirect.get("url") if intent["status"] == "requires_action" else None


def cancel(client: stripe.StripeClient, payment_id: str) -> None:
    """Cancel an intent that nobody confirmed; one that has ended stays as it ended."""
    try:
        with asking():
            client.v1.payment_intents.cancel(payment_id)
    except ProviderRefused as refused:
        if refused.code != "payment_intent_unexpected_state":
            raise


def detach(client: stripe.StripeClient, card_reference: str) -> None:
    with asking():
        client.v1.payment_methods.detach(card_reference)


def portal_url(client: stripe.StripeClient, customer_id: str, return_url: str) -> str:
    """Stripe's customer portal; the address is good for a short while."""
    with asking():
        session = client.v1.billing_portal.sessions.create({"customer": customer_id, "return_url": return_url})
    return str(session.to_dict()["url"])


def detached(event: Event) -> Detached | None:
    """A detached card names itself, though no longer its customer; a deleted customer takes every card along."""
    pointed = pointer(event)
    if pointed is None or pointed[0] not in ("payment_method", "customer"):
        return None
    kind, object_id = pointed
    return Detached(card_references=(object_id,)) if kind == "payment_method" else Detached(customer_id=object_id)


def changed_card(client: stripe.StripeClient, event: Event) -> Card | Detached | None:
    """A card that was renewed or changed, as it stands now; one without a customer is gone."""
    pointed = pointer(event)
    if pointed is None or pointed[0] != "card":
        return None
    with asking():
        method: Json = client.v1.payment_methods.retrieve(pointed[1]).to_dict()
    if method.get("customer") is None or not method.get("card"):
        return Detached(card_references=(method["id"],))
    return card_of(method, method["customer"])


def _declined_intent(cause: BaseException | None) -> str | None:
    """The intent that a card error names, if it is one."""
    if not isinstance(cause, stripe.CardError) or not cause.json_body:
        return None
    error: Json = json.loads(json.dumps(cause.json_body, default=dict)).get("error") or {}
    intent = error.get("payment_intent") or {}
    return intent.get("id")
