"""Paddle: checkouts and refunds asked for, and the transactions behind its events fetched.

Paddle sells to the customer (it is the merchant of record), so its own invoice is the tax document. An event is only
a pointer to a transaction, which is fetched with all its adjustments: payment, refunds and chargebacks are then told
from one answer and can't contradict each other. Paddle knows no idempotency keys, so before anything is made again
what the first attempt made is looked for: a transaction by our purchase in its custom data, a refund by our reversal
in its reason. `paddle_wire.py` speaks to it, `paddle_events.py` says which bytes are an event, `paddle_facts.py`
what an object means; subscriptions are `paddle_subscriptions.py`'s.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from paddle_billing.Entities.Shared import (
    Action,
    AdjustmentTaxMode,
    AdjustmentType,
    CurrencyCode,
    CustomData,
    PriceQuantity,
    TaxCategory,
    TaxMode,
)
from paddle_billing.Entities.Shared import Money as PaddleMoney
from paddle_billing.Resources.Adjustments.Operations import CreateAdjustment, CreateAdjustmentItem
from paddle_billing.Resources.Transactions.Operations import CreateTransaction
from paddle_billing.Resources.Transactions.Operations.Create import TransactionCreateItemWithPrice
from paddle_billing.Resources.Transactions.Operations.Price import (
    TransactionNonCatalogPriceWithProduct,
    TransactionNonCatalogProduct,
)

from engine.payments import (
    Act,
    Checkout,
    CheckoutRequest,
    Event,
    Fact,
    Polled,
    ProviderFact,
    ProviderRefused,
    RefundRequest,
)
from engine.recurring import Prorated, SubscriptionChange, SubscriptionRequest
from psp import paddle_polling
from psp.paddle_events import is_id, subscription_id, transaction_id, verified_event
from psp.paddle_facts import (
    Json,
    adjustments_of,
    marks_of,
    paid_amount,
    reason_of,
    returned_facts,
    tax_mode,
    transaction_facts,
)
from psp.paddle_subscriptions import PaddleSubscriptions
from psp.paddle_wire import PaddleWire
from psp.signed import json_object

LOOK_BACK = timedelta(minutes=5)
"""How much earlier than our own clock says an attempt is looked for: Paddle's clock may run behind ours."""

_PENDING_REFUND = "adjustment_pending_refund_request"
_UNPAYABLE = frozenset({"canceled"})
_TEXT_MAX = 200


class Paddle:
    """The `paddle` rail of one Paddle account: a `PaymentProvider` that may be shared between threads.

    `webhook_secrets` are all endpoint secrets that are valid now: two while one is being replaced. `api_base` points
    at another server than Paddle's. `is_live` is what the key says.
    """

    name: str = "paddle"
    account: str = "default"
    can_refund: bool = True
    verifies_at_once: bool = True
    stays_payable: bool = True
    merchant_of_record: str | None = "Paddle"

    def __init__(
        self,
        api_key: str,
        webhook_secrets: Sequence[str],
        api_base: str | None = None,
        timeout_seconds: float = 15,
    ) -> None:
        """Raises `ValueError` for a key of one mode at an address of the other, and for blank webhook secrets."""
        if isinstance(webhook_secrets, str) or not webhook_secrets:
            raise ValueError("Paddle needs a list of webhook secrets with at least one in it.")
        if any(not secret.strip() for secret in webhook_secrets):
            raise ValueError("A Paddle webhook secret is blank.")
        self._secrets = tuple(webhook_secrets)
        self._wire = PaddleWire(api_key, api_base, timeout_seconds)
        self.is_live = self._wire.is_live
        self._subscriptions = PaddleSubscriptions(self._wire)

    def start_checkout(self, request: CheckoutRequest) -> Checkout:
        """A transaction for one purchase at the price we name, and Paddle's page for it.

        Where an earlier attempt may have made one, it is that one.
        """
        found = self._made_before(request) if request.asked_since is not None else None
        transaction = found or self._wire.make("/transactions", _transaction(request))
        url = (transaction.get("checkout") or {}).get("url")
        if not url:
            raise ProviderRefused("checkout_without_url", f"{transaction['id']} has no page for the customer.")
        return Checkout(transaction["id"], url, request.expires_at)

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Event:
        """The event in these raw bytes, signed with one of our secrets; raises `WebhookRefused`."""
        return verified_event(headers, body, self._secrets, now)

    def facts(self, event: Event) -> tuple[ProviderFact, ...]:
        """The transaction or the subscription a verified event is about, as it stands now; empty for what is not ours
        or not followed.

        Raises `ProviderUnreachable` to be asked again, and `ProviderRefused` where Paddle knows no such transaction.
        """
        told = json_object(event.payload)
        subscribed, named = subscription_id(told), transaction_id(told)
        if subscribed is not None:
            return self._subscriptions.told(subscribed, with_returns=True)
        return self._paid(named) if named is not None else ()

    def payment(self, session_id: str) -> tuple[Fact, ...]:
        """A transaction and its adjustments, fetched; empty where it is not one of ours."""
        return transaction_facts(self._transaction(session_id), self.is_live)

    def start_subscription(self, request: SubscriptionRequest) -> Checkout:
        """A transaction that begins a subscription, and Paddle's page for it."""
        return self._subscriptions.start(request)

    def preview_change(self, change: SubscriptionChange) -> Prorated:
        """What a change now would cost, by Paddle's own preview of the charge."""
        return self._subscriptions.preview(change)

    def change_subscription(self, change: SubscriptionChange) -> tuple[ProviderFact, ...]:
        """Another plan, now or with the next period, once per idempotency key."""
        return self._subscriptions.change(change)

    def act_on_subscription(self, reference: str, act: Act, idempotency_key: str) -> tuple[ProviderFact, ...]:
        return self._subscriptions.act(reference, act)

    def subscription(self, reference: str) -> tuple[ProviderFact, ...]:
        """The subscription and its newest transactions, fetched by its id or by that of its checkout."""
        return self._subscriptions.told(reference, with_returns=True)

    def manage_url(self, reference: str) -> str | None:
        """Paddle's page where the customer gives another card for a subscription."""
        return self._subscriptions.manage_url(reference)

    def refund(self, request: RefundRequest) -> tuple[Fact, ...]:
        """Give money back, once per `reversal_id` however often it is asked. Paddle decides later: it is pending."""
        transaction = self._transaction(request.payment_id)
        is_for_it = marks_of(transaction).get("purser_purchase") == request.purchase_id
        if not is_for_it and not self._subscriptions.is_of(transaction, request.account_id):
            raise ProviderRefused(
                "payment_of_another_purchase", f"{request.payment_id} does not pay {request.purchase_id}."
            )
        made = self._own_refund(transaction, request.reversal_id)
        if made:
            return made
        try:
            adjustment = self._wire.make("/adjustments", _adjustment(request, transaction))
        except ProviderRefused as refused:
            made = (
                self._own_refund(self._transaction(request.payment_id), request.reversal_id)
                if refused.code == _PENDING_REFUND
                else ()
            )
            if not made:
                raise
            return made
        return self._own_refund(transaction | {"adjustments": [adjustment]}, request.reversal_id)

    def poll(self, cursor: str | None, now: datetime) -> Polled:
        return paddle_polling.poll(self._wire, cursor, now)

    def _paid(self, named: str) -> tuple[ProviderFact, ...]:
        """A transaction of a purchase, or one of a subscription, told with the subscription."""
        transaction = self._transaction(named)
        facts = transaction_facts(transaction, self.is_live)
        reference = transaction.get("subscription_id")
        if facts or not reference:
            return facts
        return self._subscriptions.told(reference, named, with_returns=True)

    def _transaction(self, transaction_id: str) -> Json:
        if not is_id(transaction_id):
            raise ProviderRefused("not_an_id", "This is not the id of a transaction of Paddle's.")
        return self._wire.get(f"/transactions/{transaction_id}", {"include": "adjustment"})

    def _made_before(self, request: CheckoutRequest) -> Json | None:
        """The transaction that an earlier attempt made for this purchase."""
        assert request.asked_since is not None
        since = (request.asked_since - LOOK_BACK).strftime("%Y-%m-%dT%H:%M:%SZ")
        for transaction in self._wire.every("/transactions", {"created_at[GTE]": since, "order_by": "id[ASC]"}):
            is_for_it = marks_of(transaction).get("purser_purchase") == request.purchase_id
            if is_for_it and transaction["status"] not in _UNPAYABLE:
                return transaction
        return None

    def _own_refund(self, transaction: Json, reversal_id: str) -> tuple[Fact, ...]:
        told = transaction_facts(transaction, self.is_live) or returned_facts(transaction, self.is_live)
        return tuple(fact for fact in told if fact.own_reference == reversal_id)


def _transaction(request: CheckoutRequest) -> CreateTransaction:
    """Our request in Paddle's words: one thing, at the price and in the currency that were agreed."""
    currency = CurrencyCode(request.amount.currency)
    if not currency.is_known():
        raise ProviderRefused("currency_not_supported", f"Paddle does not sell in {request.amount.currency}.")
    price = TransactionNonCatalogPriceWithProduct(
        description=request.description[:_TEXT_MAX],
        name=request.description[:_TEXT_MAX],
        unit_price=PaddleMoney(str(request.amount.minor), currency),
        product=TransactionNonCatalogProduct(request.description[:_TEXT_MAX], TaxCategory.Standard),
        tax_mode=TaxMode.External if request.tax_on_top else TaxMode.Internal,
        quantity=PriceQuantity(1, 1),
    )
    return CreateTransaction(
        items=[TransactionCreateItemWithPrice(price, 1)],
        currency_code=currency,
        custom_data=CustomData({"purser_purchase": request.purchase_id, "purser_account": request.account_id}),
    )


def _adjustment(request: RefundRequest, transaction: Json) -> CreateAdjustment:
    """A refund of all that was paid where nothing of it was taken back, else of a part of its one line."""
    is_first = not any(one["status"] in ("approved", "pending_approval") for one in adjustments_of(transaction))
    reason = reason_of(request.reversal_id)
    if is_first and request.amount == paid_amount(transaction):
        return CreateAdjustment.full(Action.Refund, reason, request.payment_id)
    lines = transaction["details"]["line_items"]
    if len(lines) != 1 or request.amount.currency != transaction["currency_code"]:
        raise ProviderRefused("not_refundable_in_part", f"{request.payment_id} is not what was sold.")
    item = CreateAdjustmentItem(lines[0]["id"], AdjustmentType.Partial, str(request.amount.minor))
    mode = AdjustmentTaxMode.External if tax_mode(transaction) == "external" else AdjustmentTaxMode.Internal
    return CreateAdjustment.partial(Action.Refund, [item], reason, request.payment_id, mode)
