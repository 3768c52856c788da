"""Google in memory and over real HTTP: tokens for service accounts, the Play API, its keys, and Pub/Sub's pushes.

Subscriptions and their orders are kept by `tests/stores/play_subscriptions.py`.
"""

import itertools
import json
import uuid
from base64 import b64encode
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.engine.support import FakeClock
from tests.stores.google_types import problems
from tests.stores.loopback import Answer, Loopback
from tests.stores.play_subscriptions import PlaySubscriptions

PACKAGE = "com.alphio.app"
AUDIENCE = "https://wallet.example/webhooks/google"
EMAIL = "push@alphio.iam.gserviceaccount.com"
CALLER = "purser@alphio.iam.gserviceaccount.com"
ROOT = f"/androidpublisher/v3/applications/{PACKAGE}"
ACCESS = "ya29.fake"
TOKEN_AUDIENCE = "https://oauth2.googleapis.com/token"
PAGE = 2
Json = dict[str, Any]

SAYS_NO = (404, {"error": {"code": 404, "message": "The purchase token was not found."}})


@cache
def rsa_key(number: int) -> rsa.RSAPrivateKey:
    """The nth key of this run: they are slow to make."""
    return rsa.generate_private_key(65537, 2048)


class FakeGoogle(Loopback):
    """`purchases` by token as they stand, `voids` in the order Google recorded them."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock
        self.keys = {"key-1": rsa_key(1)}
        self.caller_key = rsa_key(0)
        self.purchases: dict[str, Json] = {}
        self.voids: list[Json] = []
        self.refunded: list[str] = []
        self.reviews: list[tuple[str, Json]] = []
        self.consumed: list[str] = []
        self.trouble: dict[str, list[int]] = {}
        self.numbers = itertools.count(1)
        self.play = PlaySubscriptions(clock, self.numbers)

    # What customers and Google do

    def buy(self, account: str | None = None, product: str = "credits_1000", quantity: int = 1, **more: Any) -> str:
        """A product bought; its token. `state="PENDING"` is paid later, `test=True` by a licence tester."""
        number = next(self.numbers)
        token = f"tok{number:04d}.AO-J1Oz{uuid.uuid4().hex}"
        offer: Json = {"refundableQuantity": quantity, "consumptionState": "CONSUMPTION_STATE_YET_TO_BE_CONSUMED"}
        if quantity != 1:
            offer["quantity"] = quantity
        self.purchases[token] = {
            "kind": "androidpublisher#productPurchaseV2",
            "productLineItem": [{"productId": product, "productOfferDetails": offer}],
            "purchaseStateContext": {"purchaseState": "PENDING"},
            "orderId": f"GPA.3300-0000-0000-{number:05d}",
            "acknowledgementState": "ACKNOWLEDGEMENT_STATE_PENDING",
            "regionCode": "DE",
        }
        if account is not None:
            self.purchases[token]["obfuscatedExternalAccountId"] = account
        if more.get("test"):
            self.purchases[token]["testPurchaseContext"] = {"fopType": "TEST"}
        if more.get("state") != "PENDING":
            self.pay(token)
        return token

    def pay(self, token: str) -> None:
        at = self.clock.now().isoformat().replace("+00:00", "Z")
        self.purchases[token] |= {
            "purchaseStateContext": {"purchaseState": "PURCHASED"},
            "purchaseCompletionTime": at,
        }

    def cancel(self, token: str) -> None:
        self.purchases[token]["purchaseStateContext"] = {"purchaseState": "CANCELLED"}

    def void(self, token: str, quantity: int | None = None) -> None:
        """The money of all of it, or of a part of the quantity, went back."""
        purchase = self.purchases[token]
        offer = purchase["productLineItem"][0]["productOfferDetails"]
        told: Json = {
            "kind": "androidpublisher#voidedPurchase",
            "purchaseToken": token,
            "orderId": purchase["orderId"],
            "purchaseTimeMillis": self._millis(),
            "voidedTimeMillis": self._millis(),
            "voidedSource": 0,
            "voidedReason": 1,
        }
        if quantity is None:
            offer["refundableQuantity"] = 0
            self.cancel(token)
        else:
            offer["refundableQuantity"] -= quantity
            told["voidedQuantity"] = quantity
        assert not (wrong := problems(told, "VoidedPurchase")), wrong
        self.voids.append(told)

    def push(self, notification: Json, message_id: str | None = None, **change: Any) -> tuple[bytes, dict[str, str]]:
        """A notification as Pub/Sub posts it: body and headers. `change` replaces claims of its token."""
        told = {"version": "1.0", "packageName": PACKAGE, "eventTimeMillis": self._millis()} | notification
        message = {
            "data": b64encode(json.dumps(told).encode()).decode(),
            "messageId": message_id or str(next(self.numbers)),
            "publishTime": "2026-11-02T09:30:00.000Z",
        }
        body = json.dumps({"message": message, "subscription": "projects/alphio/subscriptions/play"}).encode()
        return body, {"Authorization": f"Bearer {self.token(**change)}", "Content-Type": "application/json"}

    def token(self, *, key_id: str = "key-1", key: Any = None, algorithm: str = "RS256", **change: Any) -> str:
        now = int(datetime.now(UTC).timestamp())
        claims = {
            "iss": "https://accounts.google.com",
            "aud": AUDIENCE,
            "email": EMAIL,
            "email_verified": True,
            "sub": "1",
            "iat": now,
            "exp": now + 3600,
        } | change
        kept = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(kept, key or self.keys[key_id], algorithm, headers={"kid": key_id})

    def service_account(self, folder: Path) -> Path:
        """The file with which an operator lets Purser call Google."""
        pem = self.caller_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path = folder / "service-account.json"
        told = {
            "type": "service_account",
            "client_email": CALLER,
            "private_key_id": "k",
            "private_key": pem.decode(),
            "token_uri": f"{self.base_url}/token",
        }
        path.write_text(json.dumps(told))
        return path

    def date(self) -> float:
        return self.clock.now().timestamp()

    # What is asked of it

    def answer(self, method: str, path: str, query: str, headers: Any, body: bytes) -> Answer:
        if path == "/certs":
            return self._or_trouble("certs") or (200, {"keys": [_public(n, k) for n, k in self.keys.items()]})
        if path == "/token":
            return self._token(parse_qs(body.decode()))
        if headers.get("authorization") != f"Bearer {ACCESS}":
            return 401, {"error": {"code": 401, "message": "Request had invalid authentication credentials."}}
        assert path.startswith(ROOT), path
        rest, given = unquote(path.removeprefix(ROOT)), {n: v[0] for n, v in parse_qs(query).items()}
        parts = rest.strip("/").split("/")
        found = self._or_trouble(parts[1]) if parts[0] == "purchases" else None
        found = found or self.play.answer(method, parts, parse_qs(query))
        if found is not None:
            return found
        match method, parts:
            case "GET", ["purchases", "productsv2", "tokens", token]:
                return self._or_trouble("get") or self._purchase(token)
            case "POST", ["purchases", "products", product, "tokens", act] if act.endswith(":consume"):
                return self._or_trouble("consume") or self._consume(product, act.removesuffix(":consume"))
            case "GET", ["purchases", "voidedpurchases"]:
                return self._or_trouble("voids") or self._voided(given)
            case "POST", ["orders", act] if act.endswith(":refund"):
                return self._or_trouble("refund") or self._refund(act.removesuffix(":refund"), given)
            case "POST", ["orders", act] if act.endswith(":reviewrefund"):
                return self._review(act.removesuffix(":reviewrefund"), json.loads(body))
        return 404, None

    def _or_trouble(self, what: str) -> Answer | None:
        waiting = self.trouble.get(what)
        return (waiting.pop(0), {"error": {"message": "trouble"}}) if waiting else None

    def _token(self, given: dict[str, list[str]]) -> Answer:
        """OAuth's JWT bearer grant, checked as Google does."""
        key = self.caller_key.public_key()
        claims = jwt.decode(given["assertion"][0], key, algorithms=["RS256"], audience=TOKEN_AUDIENCE)
        assert claims["iss"] == CALLER and claims["scope"] == "https://www.googleapis.com/auth/androidpublisher"
        return 200, {"access_token": ACCESS, "expires_in": 3599, "token_type": "Bearer"}

    def _purchase(self, token: str) -> Answer:
        if token not in self.purchases:
            return SAYS_NO
        assert not (wrong := problems(self.purchases[token], "ProductPurchaseV2")), wrong
        return 200, self.purchases[token]

    def _consume(self, product: str, token: str) -> Answer:
        purchase = self.purchases.get(token)
        if purchase is None:
            return SAYS_NO
        (line,) = purchase["productLineItem"]
        is_paid = purchase["purchaseStateContext"]["purchaseState"] == "PURCHASED"
        if line["productId"] != product or not is_paid or token in self.consumed:
            return 400, {"error": {"code": 400, "message": "The purchase can't be consumed."}}
        line["productOfferDetails"]["consumptionState"] = "CONSUMPTION_STATE_CONSUMED"
        purchase["acknowledgementState"] = "ACKNOWLEDGEMENT_STATE_ACKNOWLEDGED"
        self.consumed.append(token)
        return 204, None

    def _voided(self, given: dict[str, str]) -> Answer:
        assert given["includeQuantityBasedPartialRefund"] == "true" and int(given["startTime"]) < int(given["endTime"])
        span = range(int(given["startTime"]), int(given["endTime"]) + 1)
        every = self.voids + (self.play.voids if given.get("type") == "1" else [])
        found = [void for void in every if int(void["voidedTimeMillis"]) in span]
        begin = int(given.get("token", "0"))
        told: Json = {"voidedPurchases": found[begin : begin + PAGE]}
        if len(found) > begin + PAGE:
            told["tokenPagination"] = {"nextPageToken": str(begin + PAGE)}
        assert not (wrong := problems(told, "VoidedPurchasesListResponse")), wrong
        return 200, told

    def _refund(self, order: str, given: dict[str, str]) -> Answer:
        assert given == {"revoke": "true"}
        token = next((t for t, p in self.purchases.items() if p["orderId"] == order), None)
        if token is None or order in self.refunded:
            return 400, {"error": {"code": 400, "message": "The order can't be refunded."}}
        self.refunded.append(order)
        self.void(token)
        return 204, None

    def _review(self, order: str, told: Json) -> Answer:
        assert not (wrong := problems(told, "OrdersReviewRefundRequest")), wrong
        assert {"pendingRefundToken", "refundPreference", "sampleContentProvided"} <= set(told)
        self.reviews.append((order, told))
        return 200, {}

    def _millis(self) -> str:
        return str(int(self.clock.now().timestamp() * 1000))


def _public(key_id: str, key: rsa.RSAPrivateKey) -> Json:
    told: Json = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return told | {"kid": key_id, "alg": "RS256", "use": "sig"}
