"""Google: purchase tokens that apps post, Play's real-time notifications, and what is asked of the Play API.

A token and a notification only point: the purchase is fetched before anything is believed. It is consumed after its
credits are in the books, for Google gives the money back for what nobody acknowledges within three days.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from engine.payments import (
    Checkout,
    CheckoutRequest,
    Event,
    Fact,
    Polled,
    ProviderRefused,
    ProviderUnreachable,
    RefundQuestion,
    RefundRequest,
    StoreNews,
)
from engine.rules.errors import Invalid
from engine.rules.store_renewals import Renewal
from engine.rules.stores import MILLI_PERCENT, Sighting, Usage, refund_id
from psp import google_subscriptions
from psp.google_api import PlayApi, Purchase, VoidedPurchase
from psp.google_facts import Unreadable, is_consumed, only_line, purchase_sighting, wholly_voided
from psp.google_push import Notification, PushKeys, Voided, read_notification, verified_push
from psp.spans import span_cursor, span_since

SUBSCRIPTION, ONE_TIME = 1, 2
"""A void's product type."""

KEPT = timedelta(days=29)
"""Google lists the voids of thirty days."""

IN_FULL = 1
"""A void's refund type where it is not of a part of the quantity."""


class Google:
    """The `google` rail of one package: a `Store` that may be shared between threads. Without `api` it only listens."""

    name: str = "google"
    is_live: bool = True
    can_refund: bool = True
    merchant_of_record: str | None = "Google"
    needs_finish: bool = True

    def __init__(
        self, package_name: str, push_audience: str, push_email: str, keys: PushKeys, api: PlayApi | None = None
    ) -> None:
        """Play has no mode of its own: a purchase by a licence tester says that it is a test."""
        self.account = package_name
        self._audience = push_audience
        self._email = push_email
        self._keys = keys
        self._api_or_none = api

    def close(self) -> None:
        self._keys.close()
        if self._api_or_none is not None:
            self._api_or_none.close()

    def start_checkout(self, request: CheckoutRequest) -> Checkout:
        raise ProviderRefused("bought_in_app", "Google's purchases begin in the app.")

    def payment(self, session_id: str) -> tuple[Fact, ...]:
        return ()

    def facts(self, event: Event) -> tuple[Fact, ...]:
        return ()

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Event:
        """The notification in these raw bytes, pushed by our own account; raises `WebhookRefused`."""
        return verified_push(headers, body, self._keys, self._audience, self._email, now)

    def posted(self, proof: Mapping[str, str]) -> Sighting:
        """The purchase of a token, fetched; `Invalid` where it is of another product."""
        token = proof["purchaseToken"]
        purchase = self._api().purchase(token)
        try:
            sighting = purchase_sighting(token, purchase)
        except Unreadable as error:
            raise Invalid("purchaseToken", str(error)) from error
        if sighting.product_id != proof["productId"]:
            raise Invalid("productId", "The purchase is of another product.")
        return sighting

    def news(self, event: Event) -> StoreNews:
        """The purchase a notification points at, fetched; or a question about one."""
        told = read_notification(event)
        if told.package_name != self.account:
            return StoreNews()
        review = told.pending_refund_review_notification
        if review is not None:
            question = RefundQuestion(None, review.order_id, review.pending_refund_token, needs_consent=False)
            return StoreNews(question=question)
        renewals = self._renewals_told(told)
        if renewals:
            return StoreNews(renewals=renewals)
        token, voided = None, None
        if told.one_time_product_notification is not None:
            token = told.one_time_product_notification.purchase_token
        elif told.voided_purchase_notification is not None:
            void = told.voided_purchase_notification
            token = void.purchase_token if void.product_type == ONE_TIME else None
            voided = 0 if void.refund_type == IN_FULL else void.voided_quantity
        if token is None:
            return StoreNews()
        return StoreNews((self._seen(token, voided),))

    def _renewals_told(self, told: Notification) -> tuple[Renewal, ...]:
        """The payments of a subscription that a notification points at, fetched."""
        void = told.voided_purchase_notification
        if told.subscription_notification is not None:
            return self.renewals(told.subscription_notification.purchase_token)
        if void is not None and void.product_type == SUBSCRIPTION:
            return google_subscriptions.voided_renewals(self._api(), void.purchase_token, void.order_id)
        return ()

    def renewals(self, reference: str) -> tuple[Renewal, ...]:
        return google_subscriptions.renewals(self._api(), reference)

    def posted_subscription(self, proof: Mapping[str, str]) -> tuple[Renewal, ...]:
        """The subscription of a token, fetched; `Invalid` where it is of another product, or not paid yet."""
        found = self.renewals(proof["purchaseToken"])
        if not found:
            raise Invalid("purchaseToken", "This subscription is not paid yet; show it again when it is.")
        if proof["productId"] not in (found[-1].product_id, found[-1].product_id.partition(":")[0]):
            raise Invalid("productId", "The purchase is of another product.")
        return found

    def acknowledge(self, reference: str) -> None:
        google_subscriptions.acknowledge(self._api(), reference)

    def _seen(self, token: str, voided_quantity: int | None) -> Sighting:
        """The purchase fetched. One that Google has forgotten and that was voided in full is told by the void alone."""
        try:
            return self._sighting(token, self._api().purchase(token), voided_quantity)
        except ProviderRefused:
            if voided_quantity != 0:
                raise
            return wholly_voided(token)

    def refund(self, request: RefundRequest) -> tuple[Fact, ...]:
        """Give the whole order's money back, once: an order whose money went back already is the answer.

        Google refunds orders, not amounts: less than all of it is `ProviderRefused`.
        """
        if not request.is_whole:
            raise ProviderRefused("whole_orders_only", "Google gives back a whole order or nothing.")
        token = request.payment_id
        if google_subscriptions.is_order(token):
            return (google_subscriptions.refund(self._api(), request),)
        purchase = self._api().purchase(token)
        sighting = self._sighting(token, purchase)
        if sighting.refunded_parts < sighting.parts:
            if sighting.refunded_parts > 0:
                raise ProviderRefused("partly_refunded", "A part of this order's quantity was refunded before.")
            if sighting.order_id is None:
                raise ProviderRefused("no_order", "The purchase has no order, so no money to give back.")
            self._api().refund(sighting.order_id)
        return (
            Fact(
                kind="refund",
                object_id=refund_id(token),
                state="succeeded",
                amount=request.amount,
                version=sighting.quantity,
                live=sighting.live,
                parent_id=token,
                own_reference=request.reversal_id,
            ),
        )

    def answer(self, question: RefundQuestion, usage: Usage) -> None:
        """Tell Google the share that was used: a bank asks for the money of an order back."""
        assert question.order_id is not None
        spent = usage.spent_milli_percent
        self._api().review_refund(
            question.order_id,
            {
                "pendingRefundToken": question.reply_to,
                "sampleContentProvided": usage.has_free_sample,
                "refundPreference": "APPROVE" if spent == 0 else "DECLINE" if spent == MILLI_PERCENT else "NEUTRAL",
                "consumptionPercentageMilliunits": spent,
            },
        )

    def finish(self, object_id: str) -> None:
        """Consume the purchase, which acknowledges it; one that is consumed or was wholly given back is finished."""
        purchase = self._api().purchase(object_id)
        sighting = self._sighting(object_id, purchase)
        if sighting.refunded_parts < sighting.parts and not is_consumed(purchase):
            self._api().consume(only_line(purchase).product_id, object_id)

    def poll(self, cursor: str | None, now: datetime) -> Polled:
        """The voids that Google recorded since; without an API they can't be asked for."""
        since = span_since(cursor, now, KEPT)
        return Polled(tuple(self.missed(since, now)), span_cursor(now))

    def missed(self, since: datetime, until: datetime) -> Iterator[Event]:
        """The voids that Google recorded in between. Its list of all of them does not say which are of subscriptions;
        those that its list of one-time purchases lacks are."""
        if self._api_or_none is None:
            return
        one_time = list(self._api_or_none.voided(since, until))
        known = {(void.purchase_token, void.order_id, void.voided_time_millis) for void in one_time}
        for void in one_time:
            yield self._void_event(void, ONE_TIME)
        for void in self._api_or_none.voided(since, until, subscriptions=True):
            if (void.purchase_token, void.order_id, void.voided_time_millis) not in known:
                yield self._void_event(void, SUBSCRIPTION)

    def _void_event(self, void: VoidedPurchase, product_type: int) -> Event:
        """A void found by asking, in the words of a notification. One without a quantity is of all of it."""
        told = Notification(
            package_name=self.account,
            voided_purchase_notification=Voided(
                purchase_token=void.purchase_token,
                order_id=void.order_id,
                product_type=product_type,
                refund_type=0 if void.voided_quantity else IN_FULL,
                voided_quantity=void.voided_quantity,
            ),
        )
        name = void.purchase_token if product_type == ONE_TIME else void.order_id
        event_id = f"void:{name}:{void.voided_time_millis}:{void.voided_quantity or 0}"
        at = datetime.fromtimestamp(int(void.voided_time_millis) // 1000, UTC)
        return Event(event_id, told.kind, msgspec.json.encode(told), at, is_told=False)

    def _sighting(self, token: str, purchase: Purchase, voided_quantity: int | None = None) -> Sighting:
        try:
            return purchase_sighting(token, purchase, voided_quantity)
        except Unreadable as error:
            raise ProviderRefused("unreadable", str(error)) from error

    def _api(self) -> PlayApi:
        if self._api_or_none is None:
            raise ProviderUnreachable("No service account is set to call Google with.")
        return self._api_or_none
