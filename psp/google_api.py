"""Google's Play Developer API over HTTP: the few methods we use, signed in as a service account."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request
from google.oauth2.service_account import Credentials

from engine.payments import ProviderRefused, ProviderUnreachable
from psp.google_wire import Order, Orders, Subscription, Told

API_BASE = "https://androidpublisher.googleapis.com"
SCOPE = "https://www.googleapis.com/auth/androidpublisher"
_LATER = frozenset({401, 403, 408, 409, 425, 429})

T = TypeVar("T")


class Offer(msgspec.Struct, rename="camel"):
    quantity: int = 1
    refundable_quantity: int | None = None
    consumption_state: str = ""


class Line(msgspec.Struct, rename="camel"):
    product_id: str
    product_offer_details: Offer = msgspec.field(default_factory=Offer)


class StateContext(msgspec.Struct, rename="camel"):
    purchase_state: str = ""


class Purchase(msgspec.Struct, rename="camel"):
    """`ProductPurchaseV2`, as much of it as we read."""

    product_line_item: list[Line] = []
    purchase_state_context: StateContext = msgspec.field(default_factory=StateContext)
    purchase_completion_time: str | None = None
    order_id: str | None = None
    obfuscated_external_account_id: str | None = None
    test_purchase_context: dict[str, Any] | None = None


class VoidedPurchase(msgspec.Struct, rename="camel"):
    purchase_token: str
    order_id: str = ""
    voided_time_millis: str = "0"
    voided_quantity: int | None = None


class TokenPagination(msgspec.Struct, rename="camel"):
    next_page_token: str | None = None


class VoidedPage(msgspec.Struct, rename="camel"):
    voided_purchases: list[VoidedPurchase] = []
    token_pagination: TokenPagination | None = None


class PlayApi:
    """The API of one package; may be shared between threads. `account` is the service account's file."""

    def __init__(self, package_name: str, account: Path, api_base: str | None = None, timeout_seconds: float = 10):
        """Raises `ValueError` for a file that is no service account's key."""
        info = json.loads(account.read_text(encoding="utf-8"))
        self._credentials = Credentials.from_service_account_info(info, scopes=[SCOPE])  # type: ignore[no-untyped-call]
        self._lock = threading.Lock()
        root = f"{(api_base or API_BASE).rstrip('/')}/androidpublisher/v3/applications/{quote(package_name, safe='')}"
        self._client = httpx.Client(base_url=root, timeout=timeout_seconds, trust_env=False)

    def close(self) -> None:
        self._client.close()

    def purchase(self, token: str) -> Purchase:
        return self._read(self._ask("GET", f"/purchases/productsv2/tokens/{_part(token)}"), Purchase)

    def consume(self, product_id: str, token: str) -> None:
        self._ask("POST", f"/purchases/products/{_part(product_id)}/tokens/{_part(token)}:consume")

    def subscription(self, token: str) -> Told:
        """The subscription as it stands now, by Google's own clock."""
        answer = self._ask("GET", f"/purchases/subscriptionsv2/tokens/{_part(token)}")
        try:
            at = parsedate_to_datetime(answer.headers["date"])
        except (KeyError, ValueError) as error:
            raise ProviderUnreachable("Google's answer has no date.") from error
        return Told(self._read(answer, Subscription), int(at.timestamp()) * 1000)

    def orders(self, order_ids: Sequence[str]) -> list[Order]:
        """These orders; one that Google does not know makes it refuse them all."""
        if len(order_ids) == 1:
            return [self._read(self._ask("GET", f"/orders/{_part(order_ids[0])}"), Order)]
        answer = self._ask("GET", "/orders:batchGet", params={"orderIds": list(order_ids)})
        return self._read(answer, Orders).orders

    def acknowledge(self, product_id: str, token: str) -> None:
        path = f"/purchases/subscriptions/{_part(product_id)}/tokens/{_part(token)}:acknowledge"
        self._ask("POST", path, body={})

    def refund(self, order_id: str, *, revoke: bool = True) -> None:
        """The whole order's money goes back, and with `revoke` what was bought."""
        self._ask("POST", f"/orders/{_part(order_id)}:refund", params={"revoke": "true" if revoke else "false"})

    def review_refund(self, order_id: str, told: Mapping[str, object]) -> None:
        self._ask("POST", f"/orders/{_part(order_id)}:reviewrefund", body=told)

    def voided(self, since: datetime, until: datetime, *, subscriptions: bool = False) -> Iterator[VoidedPurchase]:
        """Purchases whose void Google recorded in between, those of a part of the quantity too; with `subscriptions`,
        theirs as well."""
        asked = {
            "type": "1" if subscriptions else "0",
            "startTime": str(int(since.timestamp() * 1000)),
            "endTime": str(int(until.timestamp() * 1000)),
            "includeQuantityBasedPartialRefund": "true",
        }
        page_token: str | None = None
        while True:
            params = asked | ({"token": page_token} if page_token else {})
            page = self._read(self._ask("GET", "/purchases/voidedpurchases", params=params), VoidedPage)
            yield from page.voided_purchases
            page_token = page.token_pagination.next_page_token if page.token_pagination else None
            if not page_token:
                return

    def _ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | list[str]] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> httpx.Response:
        """One request. A no is `ProviderRefused`; no answer, or one that may change, `ProviderUnreachable`."""
        headers = {"Authorization": f"Bearer {self._access_token()}"}
        content = msgspec.json.encode(body) if body is not None else None
        if content is not None:
            headers["Content-Type"] = "application/json"
        try:
            answer = self._client.request(method, path, params=params, content=content, headers=headers)
        except httpx.RequestError as error:
            raise ProviderUnreachable(f"Google does not answer: {error!r}") from error
        status = answer.status_code
        if 200 <= status < 300:
            return answer
        if 400 <= status < 500 and status not in _LATER:
            raise ProviderRefused(f"http_{status}", answer.text[:300])
        raise ProviderUnreachable(f"Google answered HTTP {status}.")

    def _access_token(self) -> str:
        """A token that lives for a while yet, asked for by one thread at a time."""
        with self._lock:
            try:
                if not self._credentials.valid:
                    self._credentials.refresh(Request())
            except (GoogleAuthError, OSError) as error:
                raise ProviderUnreachable(f"Google did not let us in: {error}") from error
            return str(self._credentials.token)

    @staticmethod
    def _read(answer: httpx.Response, shape: type[T]) -> T:
        try:
            return msgspec.json.decode(answer.content, type=shape)
        except msgspec.MsgspecError as error:
            raise ProviderUnreachable(f"Google's answer can't be read: {error}") from error


def _part(text: str) -> str:
    return quote(text, safe="")
