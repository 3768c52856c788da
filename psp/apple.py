"""Apple: transactions that apps post, the App Store's notifications, and what is asked of its server.

A posted transaction and a notification about it are the same signed object, so either may come first. Refunds are
Apple's to decide: it tells us, and it asks before, how much of a purchase was used.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import msgspec
import requests
from appstoreserverlibrary.api_client import APIException, AppStoreServerAPIClient, GetTransactionHistoryVersion
from appstoreserverlibrary.models.ConsumptionRequest import ConsumptionRequest
from appstoreserverlibrary.models.DeliveryStatus import DeliveryStatus
from appstoreserverlibrary.models.JWSTransactionDecodedPayload import JWSTransactionDecodedPayload
from appstoreserverlibrary.models.NotificationHistoryRequest import NotificationHistoryRequest
from appstoreserverlibrary.models.RefundPreference import RefundPreference
from appstoreserverlibrary.models.ResponseBodyV2DecodedPayload import ResponseBodyV2DecodedPayload
from appstoreserverlibrary.models.StatusResponse import StatusResponse
from appstoreserverlibrary.models.TransactionHistoryRequest import TransactionHistoryRequest

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
from engine.rules.errors import Invalid, WebhookRefused
from engine.rules.store_renewals import Renewal
from engine.rules.stores import MILLI_PERCENT, Sighting, Usage
from psp.apple_facts import FOLLOWED, is_for_credits, transaction_sighting
from psp.apple_signed import ENVIRONMENTS, EnvironmentName, NotGenuine, SignedData, check_not_future
from psp.apple_subscription_facts import FOLLOWED as RENEWALS
from psp.apple_subscription_facts import is_subscription, renewal_of, shown_renewal
from psp.spans import span_cursor, span_since

_LATER = frozenset({401, 403, 408, 429})
FIELD = "signedTransaction"
KEPT = timedelta(days=170)
"""Apple keeps its notifications for 180 days."""


@dataclass(frozen=True, slots=True)
class AppleKey:
    """The key with which Apple's server is asked."""

    issuer_id: str
    key_id: str
    private_key: str


class Body(msgspec.Struct, rename="camel"):
    """A notification as Apple posts it."""

    signed_payload: str


class Apple:
    """The `apple` rail of one app: a `Store` that may be shared between threads. Without a key it only listens."""

    name: str = "apple"
    can_refund: bool = False
    merchant_of_record: str | None = "Apple"
    needs_finish: bool = False

    def __init__(
        self,
        bundle_id: str,
        app_apple_id: int,
        environment: EnvironmentName,
        roots: Sequence[bytes] = (),
        key: AppleKey | None = None,
        api_base: str | None = None,
    ) -> None:
        """Raises `ValueError` for an environment, a root certificate or a private key that can't be used."""
        self._signed = SignedData(bundle_id, app_apple_id, environment, roots)
        self.account = bundle_id
        self.is_live = environment == "Production"
        self._client: AppStoreServerAPIClient | None = None
        if key is not None:
            self._client = AppStoreServerAPIClient(
                key.private_key.encode(), key.key_id, key.issuer_id, bundle_id, ENVIRONMENTS[environment]
            )
            if api_base is not None:
                self._client._base_url = api_base.rstrip("/")

    def start_checkout(self, request: CheckoutRequest) -> Checkout:
        raise ProviderRefused("bought_in_app", "Apple's purchases begin in the app.")

    def payment(self, session_id: str) -> tuple[Fact, ...]:
        return ()

    def refund(self, request: RefundRequest) -> tuple[Fact, ...]:
        raise ProviderRefused("refunds_are_apples", "Apple decides its own refunds.")

    def facts(self, event: Event) -> tuple[Fact, ...]:
        return ()

    def posted(self, proof: Mapping[str, str]) -> Sighting:
        """The consumable in a signed transaction that an app posted; `Invalid` for anything else."""
        try:
            transaction = self._signed.transaction(proof[FIELD], is_new=True)
            if not is_for_credits(transaction):
                raise Invalid(FIELD, "Only a consumable that the customer bought becomes credits.")
            return transaction_sighting(transaction, self.is_live)
        except NotGenuine as error:
            raise Invalid(FIELD, str(error)) from error

    def posted_subscription(self, proof: Mapping[str, str]) -> tuple[Renewal, ...]:
        """The payment in a signed transaction that an app posted, if it is one of a subscription."""
        try:
            transaction = self._signed.transaction(proof[FIELD], is_new=True)
            return (shown_renewal(transaction, self.is_live),) if is_subscription(transaction) else ()
        except NotGenuine as error:
            raise Invalid(FIELD, str(error)) from error

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Event:
        """The notification in these raw bytes, signed by Apple for this app; raises `WebhookRefused`."""
        try:
            signed = msgspec.json.decode(body, type=Body).signed_payload
            told = self._signed.notification(signed, is_new=True)
            check_not_future(told.signedDate, now)
            if told.data is not None and told.data.signedTransactionInfo:
                self._signed.transaction(told.data.signedTransactionInfo)
            return _event(told, body)
        except (NotGenuine, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise WebhookRefused(f"The body is no notification of Apple's for this app: {error}") from error

    def news(self, event: Event) -> StoreNews:
        """What a notification says of a one-time purchase; nothing for the rest."""
        try:
            told = self._signed.notification(msgspec.json.decode(event.payload, type=Body).signed_payload)
            info = told.data.signedTransactionInfo if told.data else None
            kind = told.rawNotificationType
            if info is None or kind not in FOLLOWED | RENEWALS:
                return StoreNews()
            transaction = self._signed.transaction(info)
            if kind in RENEWALS and is_subscription(transaction):
                return StoreNews(renewals=(self._renewal(told, transaction),))
            if kind not in FOLLOWED or not is_for_credits(transaction):
                return StoreNews()
            is_reversed = told.rawNotificationType == "REFUND_REVERSED"
            sighting = transaction_sighting(transaction, self.is_live, is_reversed=is_reversed)
        except NotGenuine as error:
            raise ProviderRefused("not_genuine", str(error)) from error
        question = None
        if told.rawNotificationType == "CONSUMPTION_REQUEST":
            question = RefundQuestion(sighting.object_id, None, sighting.object_id, needs_consent=True)
        return StoreNews((sighting,), question)

    def _renewal(self, told: ResponseBodyV2DecodedPayload, transaction: JWSTransactionDecodedPayload) -> Renewal:
        assert told.data is not None
        signed = told.data.signedRenewalInfo
        info = self._signed.renewal_info(signed) if signed else None
        signed_at = told.signedDate or transaction.signedDate or 0
        return renewal_of(transaction, info, told.data.rawStatus, signed_at, self.is_live)

    def renewals(self, reference: str) -> tuple[Renewal, ...]:
        """The subscription's newest payment and how it stands; without a key it can't be asked for."""
        if self._client is None:
            return ()
        with _asking():
            told = self._client.get_all_subscription_statuses(reference)
        try:
            return tuple(self._standing(told, reference))
        except NotGenuine as error:
            raise ProviderUnreachable(f"Apple's answer is not signed by Apple: {error}") from error

    def _standing(self, told: StatusResponse, reference: str) -> Iterator[Renewal]:
        for item in (item for group in told.data or () for item in group.lastTransactions or ()):
            if item.originalTransactionId != reference or not item.signedTransactionInfo:
                continue
            transaction = self._signed.transaction(item.signedTransactionInfo)
            info = self._signed.renewal_info(item.signedRenewalInfo) if item.signedRenewalInfo else None
            if is_subscription(transaction):
                yield renewal_of(transaction, info, item.rawStatus, transaction.signedDate or 0, self.is_live)

    def acknowledge(self, reference: str) -> None:
        """Nothing: the app finishes its transactions."""

    def answer(self, question: RefundQuestion, usage: Usage) -> None:
        """Tell Apple the share that was used, and what we would do: refund what was not."""
        spent = usage.spent_milli_percent
        preference = RefundPreference.GRANT_PRORATED
        if spent == 0:
            preference = RefundPreference.GRANT_FULL
        elif spent == MILLI_PERCENT:
            preference = RefundPreference.DECLINE
        told = ConsumptionRequest(
            customerConsented=True,
            sampleContentProvided=usage.has_free_sample,
            deliveryStatus=DeliveryStatus.DELIVERED if usage.is_delivered else DeliveryStatus.UNDELIVERED_OTHER,
            consumptionPercentage=spent,
            refundPreference=preference,
        )
        with _asking():
            self._api().send_consumption_information(question.reply_to, told)

    def finish(self, object_id: str) -> None:
        """Nothing: the app finishes its transaction when we have answered."""

    def poll(self, cursor: str | None, now: datetime) -> Polled:
        """The notifications since then that Apple could not deliver."""
        return Polled(tuple(self.missed(span_since(cursor, now, KEPT), now)), span_cursor(now))

    def missed(self, since: datetime, until: datetime) -> Iterator[Event]:
        """Notifications of these days that Apple could not deliver. Without a key there are none to be asked for."""
        if self._client is None:
            return
        span = NotificationHistoryRequest(
            startDate=int(since.timestamp() * 1000), endDate=int(until.timestamp() * 1000), onlyFailures=True
        )
        token = None
        while True:
            with _asking():
                page = self._client.get_notification_history(token, span)
            for item in page.notificationHistory or ():
                if item.signedPayload:
                    yield self._kept(item.signedPayload)
            token = page.paginationToken
            if not page.hasMore or token is None:
                return

    def refund_history(self, transaction_id: str) -> Iterator[Sighting]:
        """Every refunded consumable of the customer who made this transaction."""
        revision = None
        while True:
            with _asking():
                page = self._api().get_refund_history(transaction_id, revision)
            yield from self._sightings(page.signedTransactions)
            revision = page.revision
            if not page.hasMore:
                return

    def history(self, transaction_id: str) -> Iterator[Sighting]:
        """Every consumable that the customer who made this transaction has bought."""
        revision = None
        wanted = TransactionHistoryRequest()
        while True:
            with _asking():
                page = self._api().get_transaction_history(
                    transaction_id, revision, wanted, GetTransactionHistoryVersion.V2
                )
            yield from self._sightings(page.signedTransactions)
            revision = page.revision
            if not page.hasMore:
                return

    def transaction(self, transaction_id: str) -> Sighting | None:
        """One transaction as it stands now; `None` if it is no consumable."""
        with _asking():
            told = self._api().get_transaction_info(transaction_id)
        return next(self._sightings([told.signedTransactionInfo or ""]), None)

    def _sightings(self, signed: Sequence[str] | None) -> Iterator[Sighting]:
        for each in signed or ():
            try:
                transaction = self._signed.transaction(each)
                if is_for_credits(transaction):
                    yield transaction_sighting(transaction, self.is_live)
            except NotGenuine as error:
                raise ProviderUnreachable(f"Apple's answer is not signed by Apple: {error}") from error

    def _kept(self, signed: str) -> Event:
        try:
            told = self._signed.notification(signed)
            event = _event(told, msgspec.json.encode({"signedPayload": signed}))
            return replace(event, at=datetime.fromtimestamp((told.signedDate or 0) // 1000, UTC))
        except NotGenuine as error:
            raise ProviderUnreachable(f"Apple's answer is not signed by Apple: {error}") from error

    def _api(self) -> AppStoreServerAPIClient:
        if self._client is None:
            raise ProviderRefused("no_key", "No key is set to call Apple with.")
        return self._client


def _event(told: ResponseBodyV2DecodedPayload, body: bytes) -> Event:
    if not told.notificationUUID or len(told.notificationUUID) > 100:
        raise NotGenuine("The notification has no id.")
    kind = told.rawNotificationType or "UNKNOWN"
    return Event(told.notificationUUID, f"{kind}.{told.rawSubtype}" if told.rawSubtype else kind, body)


@contextmanager
def _asking() -> Iterator[None]:
    """Apple's errors as ours, around one request."""
    try:
        yield
    except APIException as error:
        status = error.http_status_code
        if 400 <= status < 500 and status not in _LATER:
            raise ProviderRefused(str(error.raw_api_error or f"http_{status}"), error.error_message or "") from error
        raise ProviderUnreachable(f"Apple answered HTTP {status}.") from error
    except (requests.RequestException, ValueError) as error:
        raise ProviderUnreachable(f"Apple does not answer: {error!r}") from error
