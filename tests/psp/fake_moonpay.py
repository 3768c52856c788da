"""MoonPay over HTTP on loopback, stateful: links opened as its widget does, transactions, webhooks signed as v2.

```
with FakeMoonPay() as fake:
    rail = MoonPay(*fake.keys, api_base=fake.base_url)
    checkout = rail.start_checkout(…)
    transaction_id = fake.buy(checkout.url)   # refuses a link whose signature does not hold
    fake.complete(transaction_id)
```

Amounts are JSON numbers, as MoonPay writes them.
"""

import base64
import copy
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.psp.fake_api import FakeApi, Request, post

Json = dict[str, Any]
WALLET = "0xc216eD2D6c295579718dbd4a797845CdA70B3C36"


def _utc_now() -> datetime:
    return datetime.now(UTC)


class FakeMoonPay(FakeApi):
    """`events` is what it told, oldest first."""

    def __init__(self, *, now: Callable[[], datetime] = _utc_now) -> None:
        super().__init__()
        self.now = now
        self.keys = ("pk_test_fake", "sk_test_fake", "wk_test_fake", WALLET)
        self.transactions: dict[str, Json] = {}
        self.events: list[Json] = []
        self._made = 0
        self._delivered = 0

    # What the customer does

    def buy(self, url: str, **changed: Any) -> str:
        """Open a link and begin; `changed` is what the customer or MoonPay made different."""
        given = self.opened(url)
        self._made += 1
        transaction_id = f"bda09e91-559f-4e7a-807a-{self._made:012d}"
        self.transactions[transaction_id] = {
            "id": transaction_id,
            "createdAt": self._at(),
            "updatedAt": self._at(),
            "status": "waitingPayment",
            "baseCurrencyAmount": _number(given["baseCurrencyAmount"]),
            "quoteCurrencyAmount": 24.3319,
            "feeAmount": 3.99,
            "extraFeeAmount": 0,
            "networkFeeAmount": 0.56,
            "areFeesIncluded": False,
            "walletAddress": given["walletAddress"],
            "walletAddressTag": None,
            "cryptoTransactionId": None,
            "failureReason": None,
            "baseCurrency": {"code": given["baseCurrencyCode"], "type": "fiat"},
            "currency": {"code": given["currencyCode"], "type": "crypto"},
            "externalTransactionId": given["externalTransactionId"],
            "externalCustomerId": given["externalCustomerId"],
            **changed,
        }
        self._emit("transaction_created", transaction_id)
        return transaction_id

    def opened(self, url: str) -> dict[str, str]:
        """What a link asks for; a link that was changed after it was signed is refused."""
        query = urlsplit(url).query
        signed, _, _ = query.rpartition("&signature=")
        given = dict(parse_qsl(query))
        digest = hmac.new(self.keys[1].encode(), f"?{signed}".encode(), hashlib.sha256).digest()
        assert given["signature"] == base64.b64encode(digest).decode(), "the link was not signed with our secret key"
        assert given["apiKey"] == self.keys[0] and given["lockAmount"] == "true"
        return given

    # What MoonPay does

    def move(self, transaction_id: str, status: str) -> None:
        transaction = self.transactions[transaction_id]
        transaction |= {"status": status, "updatedAt": self._at()}
        self._emit("transaction_failed" if status == "failed" else "transaction_updated", transaction_id)

    def complete(self, transaction_id: str) -> None:
        """The card was charged, then the coins were sent."""
        self.move(transaction_id, "pending")
        self.transactions[transaction_id]["cryptoTransactionId"] = "0x6751c8fc"
        self.move(transaction_id, "completed")

    def signed(self, event: Json, at: datetime | None = None, key: str | None = None) -> tuple[bytes, dict[str, str]]:
        """An event as a webhook, with both of its signatures; only the second counts."""
        body = json.dumps(event, indent=2).encode()
        header = moonpay_header(body, int((at or self.now()).timestamp()), key or self.keys[2])
        return body, {"content-type": "application/json", "moonpay-signature": "old", "moonpay-signature-v2": header}

    def deliver(self, url: str) -> list[int]:
        """Post every event not yet delivered, in order; the statuses."""
        waiting = self.events[self._delivered :]
        self._delivered = len(self.events)
        return [post(url, *self.signed(event)) for event in waiting]

    def handle(self, request: Request) -> tuple[int, Any]:
        if request.headers.get("authorization") != f"Api-Key {self.keys[1]}":
            return 401, {"type": "UnauthorizedError", "message": "Invalid API key"}
        named = request.path.removeprefix("/v1/transactions/")
        if named.startswith("ext/"):
            wanted = named.removeprefix("ext/")
            found = [t for t in self.transactions.values() if t["externalTransactionId"] == wanted]
            return (200, copy.deepcopy(found)) if found else (404, {"type": "NotFoundError", "message": "Not found"})
        if named in self.transactions:
            return 200, copy.deepcopy(self.transactions[named])
        return 404, {"type": "NotFoundError", "message": "Transaction not found"}

    def _emit(self, event_type: str, transaction_id: str) -> None:
        transaction = copy.deepcopy(self.transactions[transaction_id])
        self.events.append(
            {"type": event_type, "data": transaction, "externalCustomerId": transaction["externalCustomerId"]}
        )

    def _at(self) -> str:
        self._made += 1
        at = self.now().astimezone(UTC) + timedelta(milliseconds=self._made)
        return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def moonpay_header(body: bytes, ts: int, key: str) -> str:
    """`t=…,s=…` over the time and the raw bytes."""
    return f"t={ts},s={hmac.new(key.encode(), f'{ts}.'.encode() + body, hashlib.sha256).hexdigest()}"


def _number(text: str) -> int | float:
    """`25.00` leaves MoonPay as `25`, `19.99` as `19.99`."""
    return int(float(text)) if float(text).is_integer() else float(text)
