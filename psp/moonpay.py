"""MoonPay: a signed link to its widget, its webhooks checked, and the transactions behind them fetched.

The customer buys a stablecoin that MoonPay sends to our wallet; the fiat amount is locked to the price, and the
purchase is credited once MoonPay says `completed`. The link is made here, without asking MoonPay, so making it
again is the same link. MoonPay gives no money back from here: that is a payout by hand.
"""

import base64
import hmac
import json
import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from urllib.parse import quote, urlencode

import httpx

from engine.payments import (
    Checkout,
    CheckoutRequest,
    Event,
    Fact,
    Polled,
    ProviderRefused,
    ProviderUnreachable,
    RefundRequest,
)
from engine.rules.errors import WebhookRefused
from engine.rules.money import major_text
from psp.moonpay_facts import is_evm, payment_facts
from psp.signed import check_age, check_signature, json_object

WIDGETS = {True: "https://buy.moonpay.com", False: "https://buy-sandbox.moonpay.com"}
API = "https://api.moonpay.com"

_HEADER = re.compile(r"t=([0-9]{1,12}),s=([0-9a-f]{64})")
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FOLLOWED = frozenset({"transaction_created", "transaction_updated", "transaction_failed"})
_LATER = frozenset({401, 403, 408, 409, 425, 429})
_LIVE = {"publishable": "pk_live_", "secret": "sk_live_"}


class MoonPay:
    """The `moonpay` rail: a `PaymentProvider` that may be shared between threads. `is_live` is what the keys say."""

    name: str = "moonpay"
    account: str = "default"
    can_refund: bool = False
    verifies_at_once: bool = True
    stays_payable: bool = True
    merchant_of_record: str | None = None

    def __init__(
        self,
        publishable_key: str,
        secret_key: str,
        webhook_key: str,
        wallet_address: str,
        api_base: str = API,
        timeout_seconds: float = 15,
    ) -> None:
        """Raises `ValueError` for keys of two modes and for a blank webhook key or address."""
        if not webhook_key.strip() or not wallet_address.strip():
            raise ValueError("MoonPay's webhook key or our wallet's address is blank.")
        is_live = publishable_key.startswith(_LIVE["publishable"])
        if is_live != secret_key.startswith(_LIVE["secret"]):
            raise ValueError("One of MoonPay's keys is a live key and the other is not.")
        self.is_live = is_live
        self._publishable_key = publishable_key
        self._secret_key = secret_key
        self._webhook_key = webhook_key
        self._wallet_address = wallet_address
        self._api_base = api_base.rstrip("/")
        self._timeout_seconds = timeout_seconds

    def start_checkout(self, request: CheckoutRequest) -> Checkout:
        """The link to the widget, signed over its query exactly as it is sent; the purchase is the session."""
        query = urlencode(
            {
                "apiKey": self._publishable_key,
                "currencyCode": "usdc" if is_evm(self._wallet_address) else "usdc_sol",
                "walletAddress": self._wallet_address,
                "baseCurrencyCode": request.amount.currency.lower(),
                "baseCurrencyAmount": major_text(request.amount),
                "lockAmount": "true",
                "externalTransactionId": request.purchase_id,
                "externalCustomerId": request.account_id,
                "redirectURL": request.success_url.replace("{CHECKOUT_SESSION_ID}", quote(request.purchase_id)),
                **({"email": request.email} if request.email else {}),
                **({"language": request.locale.split("-")[0]} if request.locale else {}),
            }
        )
        digest = hmac.digest(self._secret_key.encode(), f"?{query}".encode(), "sha256")
        signature = urlencode({"signature": base64.b64encode(digest).decode()})
        return Checkout(request.purchase_id, f"{WIDGETS[self.is_live]}?{query}&{signature}", request.expires_at)

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Event:
        """The event in these raw bytes; raises `WebhookRefused`.

        MoonPay's events have no id: one is its transaction in one state at one time, so a repeat is recognised.
        """
        header = _HEADER.fullmatch(headers.get("moonpay-signature-v2", ""))
        if header is None:
            raise WebhookRefused("The Moonpay-Signature-V2 header is missing, doubled or malformed.")
        check_age(header[1], now)
        check_signature(header[1].encode() + b"." + body, [header[2]], [self._webhook_key])
        told = json_object(body)
        event_type = told.get("type")
        if not isinstance(event_type, str) or not event_type:
            raise WebhookRefused("The event has no type.")
        data = told.get("data")
        about = data if isinstance(data, dict) else {}
        if event_type in _FOLLOWED and not _is_id(about.get("id")):
            raise WebhookRefused("The event names no transaction.")
        stamp = (event_type, about.get("id"), about.get("status"), about.get("updatedAt"))
        digest = hmac.digest(b"moonpay event", json.dumps(stamp, default=str).encode(), "sha256").hex()
        return Event(f"mp_{digest[:40]}", event_type, body)

    def facts(self, event: Event) -> tuple[Fact, ...]:
        """The transaction a verified event is about, fetched: its payload may be older than what is true."""
        if event.type not in _FOLLOWED:
            return ()
        transaction_id = json_object(event.payload)["data"]["id"]
        return self._told(f"/v1/transactions/{transaction_id}")

    def payment(self, session_id: str) -> tuple[Fact, ...]:
        """Every transaction made from one link, fetched; none where the customer never began."""
        if not _is_id(session_id):
            raise ProviderRefused("not_an_id", "This is not the id of a purchase.")
        try:
            return self._told(f"/v1/transactions/ext/{session_id}")
        except ProviderRefused as refused:
            if refused.code == "http_404":
                return ()
            raise

    def poll(self, cursor: str | None, now: datetime) -> Polled:
        """No events: MoonPay lists none. Reconciliation asks for each open purchase's transactions all the same."""
        return Polled((), cursor or "", has_list=False)

    def refund(self, request: RefundRequest) -> tuple[Fact, ...]:
        """Never: MoonPay pays nothing back on request."""
        raise ProviderRefused("manual_payout", "MoonPay makes no refunds from here; it is a payout by hand.")

    def _told(self, path: str) -> tuple[Fact, ...]:
        told = self._fetched(path)
        found = [one for one in (told if isinstance(told, list) else [told]) if isinstance(one, dict)]
        try:
            return payment_facts(found, self.is_live, self._wallet_address)
        except (KeyError, TypeError, ValueError) as error:
            raise ProviderUnreachable(f"MoonPay's transaction can't be read: {error}") from error

    def _fetched(self, path: str) -> object:
        headers = {"Authorization": f"Api-Key {self._secret_key}"}
        given = {"apiKey": self._publishable_key}
        try:
            answer = httpx.get(f"{self._api_base}{path}", params=given, headers=headers, timeout=self._timeout_seconds)
        except httpx.HTTPError as error:
            raise ProviderUnreachable(f"MoonPay: {type(error).__name__}") from error
        if 400 <= answer.status_code < 500 and answer.status_code not in _LATER:
            raise ProviderRefused(f"http_{answer.status_code}", "MoonPay knows no such transaction.")
        if answer.status_code != 200:
            raise ProviderUnreachable(f"MoonPay, HTTP {answer.status_code}")
        try:
            return json.loads(answer.content, parse_float=Decimal)
        except ValueError as error:
            raise ProviderUnreachable("MoonPay's answer is not JSON.") from error


def _is_id(value: object) -> bool:
    return isinstance(value, str) and _ID.fullmatch(value) is not None
