"""Stripe's subscriptions: started in a hosted Checkout, changed, cancelled and paused, and fetched with their invoices.

A plan by an interval is one product with an id of ours. A change that takes effect now is prorated by Stripe from the
instant of its preview, and is not made at all if it can't be paid. A change at the period's end is a schedule of two
phases. Stripe forgets idempotency keys after a day, so a change writes its key into what it changed, and what carries
that key is not changed again.
"""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import stripe
from stripe.params import SubscriptionUpdateParams
from stripe.params.checkout import SessionCreateParams

from engine.payments import Act, Checkout, ProviderFact, ProviderRefused
from engine.recurring import Prorated, SubscriptionChange, SubscriptionRequest
from engine.rules.money import Money
from engine.rules.subscriptions import Terms
from psp.stripe_asking import asking, seen_at
from psp.stripe_facts import Json, stripe_minor
from psp.stripe_subscription_facts import (
    amount_due,
    invoice_fact,
    is_covering,
    item_of,
    marks_of,
    product_id,
    subscription_fact,
)

NEWEST = 3
"""How many invoices are told with a subscription."""


class StripeSubscriptions:
    """The subscriptions of one Stripe account; may be shared between threads."""

    def __init__(self, client: stripe.StripeClient) -> None:
        self._client = client
        self._products: set[str] = set()

    def start(self, request: SubscriptionRequest, locale: str, margin: timedelta) -> Checkout:
        """A hosted Checkout Session that begins a subscription; the same request and key answer the same session."""
        price = self._price(request.terms, request.currency)
        marks = {"purser_account": request.account_id, "purser_subscription": request.subscription_id}
        params: SessionCreateParams = {
            "mode": "subscription",
            "line_items": [{"quantity": 1, "price_data": price}],
            "client_reference_id": request.subscription_id,
            "metadata": marks,
            "subscription_data": {"metadata": marks, "description": request.description},
            "payment_method_collection": "always",
            "expires_at": math.ceil((request.expires_at + margin).timestamp()),
            "locale": locale,
            "adaptive_pricing": {"enabled": False},
            "success_url": request.success_url,
            "cancel_url": request.cancel_url,
        }
        if request.email:
            params["customer_email"] = request.email
        if request.trial_days:
            params["subscription_data"]["trial_period_days"] = request.trial_days
        with asking():
            answer = self._client.v1.checkout.sessions.create(params, {"idempotency_key": request.idempotency_key})
        session = answer.to_dict()
        if not session.get("url"):
            raise ProviderRefused("checkout_without_url", f"{session['id']} has no page for the customer.")
        return Checkout(session["id"], session["url"], datetime.fromtimestamp(session["expires_at"], UTC))

    def end_checkout(self, session_id: str) -> None:
        """Expire a session that is open: Stripe refuses to expire any other."""
        if self._session(session_id)["status"] == "open":
            with asking():
                self._client.v1.checkout.sessions.expire(session_id)

    def has_ended(self, session_id: str) -> bool:
        return bool(self._session(session_id)["status"] == "expired")

    def preview(self, change: SubscriptionChange) -> Prorated:
        """What Stripe would charge for a change now, by its own proration."""
        subscription, _ = self._get(change.reference)
        with asking():
            answer = self._client.v1.invoices.create_preview(
                {
                    "subscription": change.reference,
                    "subscription_details": {
                        "items": [self._item(subscription, change.terms)],
                        "proration_behavior": "always_invoice",
                        "proration_date": _proration_date(subscription, change),
                    },
                }
            )
        invoice = answer.to_dict()
        total_minor = invoice["total"] + invoice["starting_balance"]
        return Prorated(amount_due(invoice).minor, total_minor - invoice["amount_due"])

    def change(self, change: SubscriptionChange) -> tuple[ProviderFact, ...]:
        """Another plan, once for its key."""
        subscription, _ = self._get(change.reference)
        if not self._is_done(subscription, change.idempotency_key):
            if subscription.get("pause_collection"):
                raise ProviderRefused("subscription_paused", "A paused subscription is resumed before it is changed.")
            if change.is_now:
                self._change_now(subscription, change)
            else:
                self._change_next(subscription, change)
        return self.told(change.reference)

    def act(self, reference: str, act: Act, key: str) -> tuple[ProviderFact, ...]:
        """Cancel at the period's end, take that back, pause or resume; what is so already is not asked for."""
        subscription, _ = self._get(reference)
        if self._is_done(subscription, key):
            return self.told(reference)
        wanted: SubscriptionUpdateParams = {}
        match act:
            case "cancel":
                self._release(subscription, key)
                wanted["cancel_at_period_end"] = True
            case "reactivate":
                self._release(subscription, key)
                wanted["cancel_at_period_end"] = False
            case "pause":
                wanted["pause_collection"] = {"behavior": "void"}
            case "resume":
                wanted["pause_collection"] = ""
                (told,) = subscription_fact(subscription, self._paid_last(reference), 0)
                if _unix(told.period_end) <= self._now(reference):
                    wanted["billing_cycle_anchor"] = {"type": "now"}
                    wanted["proration_behavior"] = "none"
                    wanted["payment_behavior"] = "error_if_incomplete"
        self._update(reference, wanted, key)
        return self.told(reference)

    def told(self, name: str) -> tuple[ProviderFact, ...]:
        """A subscription with its newest invoices, by its id or by its checkout's; empty before it began."""
        reference = self._begun(name) if name.startswith("cs_") else name
        if reference is None:
            return ()
        subscription, seen = self._get(reference)
        if not marks_of(subscription):
            return ()
        paid_last = self._paid_last(reference) if subscription.get("pause_collection") else None
        facts: tuple[ProviderFact, ...] = subscription_fact(subscription, paid_last, seen)
        with asking():
            page = self._client.v1.invoices.list(
                {"subscription": reference, "limit": NEWEST, "expand": ["data.payments"]}
            )
        for invoice in page.data:
            facts += invoice_fact(invoice.to_dict(), seen_at(page))
        return facts

    def by_invoice(self, invoice_id: str) -> tuple[ProviderFact, ...]:
        with asking():
            answer = self._client.v1.invoices.retrieve(invoice_id, {"expand": ["payments"]})
        return invoice_fact(answer.to_dict(), seen_at(answer))

    def marks_of_intent(self, intent_id: str) -> Mapping[str, str]:
        """What we wrote into the subscription whose invoice this payment intent pays; empty where it pays none."""
        with asking():
            page = self._client.v1.invoice_payments.list(
                {
                    "payment": {"type": "payment_intent", "payment_intent": intent_id},
                    "limit": 1,
                    "expand": ["data.invoice"],
                }
            )
        return marks_of(page.data[0].to_dict()["invoice"]) if page.data else {}

    def _change_now(self, subscription: Json, change: SubscriptionChange) -> None:
        self._release(subscription, change.idempotency_key)
        wanted: SubscriptionUpdateParams = {"cancel_at_period_end": False}
        if not _sells(subscription, change.terms):
            is_trial = subscription["status"] == "trialing"
            wanted["items"] = [self._item(subscription, change.terms)]
            wanted["proration_behavior"] = "none" if is_trial else "always_invoice"
            wanted["payment_behavior"] = "error_if_incomplete"
            if not is_trial:
                wanted["proration_date"] = _proration_date(subscription, change)
        self._update(change.reference, wanted, change.idempotency_key)

    def _change_next(self, subscription: Json, change: SubscriptionChange) -> None:
        """A schedule of two phases: what is sold until the period's end, and what is sold then."""
        key = change.idempotency_key
        if subscription["cancel_at_period_end"]:
            with asking():
                self._client.v1.subscriptions.update(
                    change.reference, {"cancel_at_period_end": False}, {"idempotency_key": f"{key}:stays"}
                )
        schedule = subscription.get("schedule")
        if schedule is None:
            with asking():
                answer = self._client.v1.subscription_schedules.create(
                    {"from_subscription": change.reference}, {"idempotency_key": f"{key}:schedule"}
                )
            schedule = answer.to_dict()
        item = item_of(subscription)
        price = self._price(change.terms, subscription["currency"].upper())
        with asking():
            self._client.v1.subscription_schedules.update(
                schedule["id"],
                {
                    "end_behavior": "release",
                    "metadata": {"purser_next": product_id(change.terms), "purser_change": key},
                    "phases": [
                        {
                            "items": [{"price": item["price"]["id"], "quantity": 1}],
                            "start_date": schedule["current_phase"]["start_date"],
                            "end_date": item["current_period_end"],
                            "proration_behavior": "none",
                        },
                        {
                            "items": [{"price_data": price, "quantity": 1}],
                            "duration": {"interval": change.terms.interval, "interval_count": 1},
                            "proration_behavior": "none",
                        },
                    ],
                },
                {"idempotency_key": key},
            )

    def _release(self, subscription: Json, key: str) -> None:
        """Take back what is planned for the next period: a subscription under a schedule is changed by it alone."""
        schedule = subscription.get("schedule")
        if schedule is not None and schedule["status"] in ("active", "not_started"):
            with asking():
                self._client.v1.subscription_schedules.release(
                    schedule["id"], None, {"idempotency_key": f"{key}:release"}
                )

    def _update(self, reference: str, wanted: SubscriptionUpdateParams, key: str) -> None:
        wanted["metadata"] = {"purser_change": key}
        with asking():
            self._client.v1.subscriptions.update(reference, wanted, {"idempotency_key": key})

    def _get(self, reference: str) -> tuple[Json, int]:
        with asking():
            answer = self._client.v1.subscriptions.retrieve(reference, {"expand": ["schedule"]})
        return answer.to_dict(), seen_at(answer)

    def _now(self, reference: str) -> int:
        """The present by Stripe's clock."""
        return self._get(reference)[1]

    def _begun(self, session_id: str) -> str | None:
        reference: str | None = self._session(session_id).get("subscription")
        return reference

    def _session(self, session_id: str) -> Json:
        with asking():
            return self._client.v1.checkout.sessions.retrieve(session_id).to_dict()

    def _paid_last(self, reference: str) -> Json | None:
        """The newest invoice that was paid and pays for a whole period."""
        with asking():
            page = self._client.v1.invoices.list({"subscription": reference, "status": "paid", "limit": 10})
        return next((told for told in (each.to_dict() for each in page.data) if is_covering(told)), None)

    def _is_done(self, subscription: Json, key: str) -> bool:
        """Whether this key's change was made: by now the answer alone is missing."""
        schedule = subscription.get("schedule")
        planned = (schedule.get("metadata") or {}).get("purser_change") if schedule else None
        return key in (subscription["metadata"].get("purser_change"), planned)

    def _item(self, subscription: Json, terms: Terms) -> Any:  # noqa: ANN401 (three types of the SDK have this one shape)
        return {
            "id": item_of(subscription)["id"],
            "price_data": self._price(terms, subscription["currency"].upper()),
            "quantity": 1,
        }

    def _price(self, terms: Terms, currency: str) -> Any:  # noqa: ANN401 (three types of the SDK have this one shape)
        """A price of ours for a plan by an interval; its product is made where Stripe does not have it yet."""
        product = product_id(terms)
        if product not in self._products:
            self._make_product(product, f"{terms.plan.name} ({'monthly' if terms.interval == 'month' else 'yearly'})")
        return {
            "currency": currency.lower(),
            "product": product,
            "unit_amount": stripe_minor(Money(terms.price_minor, currency)),
            "recurring": {"interval": terms.interval},
        }

    def _make_product(self, product: str, name: str) -> None:
        try:
            with asking():
                self._client.v1.products.create(
                    {"id": product, "name": name}, {"idempotency_key": f"product:{product}"}
                )
        except ProviderRefused as error:
            if error.code != "resource_already_exists":
                raise
        self._products.add(product)


def _sells(subscription: Json, terms: Terms) -> bool:
    price: dict[str, Any] = item_of(subscription)["price"]
    return (price["product"], price["unit_amount"]) == (
        product_id(terms),
        stripe_minor(Money(terms.price_minor, subscription["currency"].upper())),
    )


def _proration_date(subscription: Json, change: SubscriptionChange) -> int:
    """The change's instant in whole seconds, within the period."""
    return max(_unix(change.at), int(item_of(subscription)["current_period_start"]))


def _unix(at: datetime) -> int:
    return int(at.timestamp())
