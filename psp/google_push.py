"""Google's pushes: which bytes Pub/Sub sent on our own account's behalf, and the notification in them.

A push carries a token that Google signed for a service account. Anybody has one, so ours is known by its e-mail and
its audience. Google's keys are kept and fetched again only when a token names one that is not among them.
"""

import threading
from base64 import b64decode
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import httpx
import jwt
import msgspec

from engine.clock import monotonic
from engine.payments import Event
from engine.rules.errors import Unavailable, WebhookRefused

JWKS_URL = "https://www.googleapis.com/oauth2/v3/certs"
ISSUERS = frozenset({"https://accounts.google.com", "accounts.google.com"})
SKEW = timedelta(seconds=60)
KEEP_SECONDS = 6 * 3600.0
PAUSE_SECONDS = 30.0
"""How soon after one fetch of the keys a token may cause the next, so that forgeries can't make us ask for ever."""


class Message(msgspec.Struct, rename="camel"):
    message_id: str
    data: str = ""


class Push(msgspec.Struct, rename="camel"):
    """What Pub/Sub posts: a message, its data in base64."""

    message: Message


class OneTime(msgspec.Struct, rename="camel"):
    purchase_token: str
    notification_type: int = 0


class SubscriptionTold(msgspec.Struct, rename="camel"):
    """`notification_type` says what happened; what is so since is fetched, whatever it was."""

    purchase_token: str
    notification_type: int = 0


class Voided(msgspec.Struct, rename="camel"):
    purchase_token: str
    order_id: str = ""
    product_type: int = 2
    refund_type: int = 0
    voided_quantity: int | None = None
    """Only in what we write ourselves, when a poll found the void."""


class RefundReview(msgspec.Struct, rename="camel"):
    pending_refund_token: str
    order_id: str


class Notification(msgspec.Struct, rename="camel"):
    """A developer notification: at most one of its parts is there, and it only points."""

    package_name: str
    one_time_product_notification: OneTime | None = None
    voided_purchase_notification: Voided | None = None
    pending_refund_review_notification: RefundReview | None = None
    subscription_notification: SubscriptionTold | None = None
    test_notification: dict[str, Any] | None = None

    @property
    def kind(self) -> str:
        names = ("oneTimeProduct", "voidedPurchase", "pendingRefundReview", "subscription", "test")
        parts = (
            self.one_time_product_notification,
            self.voided_purchase_notification,
            self.pending_refund_review_notification,
            self.subscription_notification,
            self.test_notification,
        )
        return next((name for name, part in zip(names, parts, strict=True) if part is not None), "unknown")


class PushKeys:
    """Google's public keys, by their ids; shared between threads."""

    def __init__(self, url: str | None = None, timeout_seconds: float = 10) -> None:
        self._url = url or JWKS_URL
        self._client = httpx.Client(timeout=timeout_seconds, trust_env=False)
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_at: float | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        self._client.close()

    def key(self, key_id: str) -> jwt.PyJWK | None:
        """The key, fetched if it is not known and the last fetch is not recent; `Unavailable` if that fails."""
        with self._lock:
            age = None if self._fetched_at is None else monotonic() - self._fetched_at
            is_missing = key_id not in self._keys and (age is None or age > PAUSE_SECONDS)
            if is_missing or age is None or age > KEEP_SECONDS:
                self._fetch()
            return self._keys.get(key_id)

    def _fetch(self) -> None:
        try:
            answer = self._client.get(self._url)
            answer.raise_for_status()
            keys = jwt.PyJWKSet.from_json(answer.text).keys
        except (httpx.HTTPError, jwt.PyJWTError, ValueError) as error:
            raise Unavailable("Google's keys can't be read now; send it again.") from error
        self._keys = {key.key_id: key for key in keys if key.key_id}
        self._fetched_at = monotonic()


def verified_push(
    headers: Mapping[str, str], body: bytes, keys: PushKeys, audience: str, email: str, now: datetime
) -> Event:
    """The notification in these raw bytes, pushed by the service account `email` to `audience`.

    Raises `WebhookRefused`. The event's id is Pub/Sub's, its payload the notification itself.
    """
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise WebhookRefused("The push carries no token.")
    _check_claims(_claims(token, keys), audience, email, now)
    try:
        push = msgspec.json.decode(body, type=Push)
        data = b64decode(push.message.data, validate=True)
        told = msgspec.json.decode(data, type=Notification)
    except (msgspec.MsgspecError, ValueError) as error:
        raise WebhookRefused("The push holds no developer notification.") from error
    if not 0 < len(push.message.message_id) <= 200:
        raise WebhookRefused("The push has no message id.")
    return Event(push.message.message_id, told.kind, data)


def read_notification(event: Event) -> Notification:
    """The notification of a stored event."""
    return msgspec.json.decode(event.payload, type=Notification)


def _claims(token: str, keys: PushKeys) -> dict[str, Any]:
    try:
        header = jwt.get_unverified_header(token)
        key_id = header.get("kid")
        key = keys.key(key_id) if isinstance(key_id, str) and header.get("alg") == "RS256" else None
        if key is None:
            raise WebhookRefused("The push's token is not signed with a key of Google's.")
        unchecked: Any = {f"verify_{name}": False for name in ("exp", "iat", "nbf", "aud")}
        unchecked["require"] = ["iss", "aud", "exp"]
        return jwt.decode(token, key, algorithms=["RS256"], options=unchecked)
    except jwt.PyJWTError as error:
        raise WebhookRefused("The push's token is not signed with a key of Google's.") from error


def _check_claims(claims: Mapping[str, Any], audience: str, email: str, now: datetime) -> None:
    """Issuer, audience, account, age: each must be right, and a clock may be a minute off."""
    if claims["iss"] not in ISSUERS:
        raise WebhookRefused("The push's token has another issuer.")
    if claims["aud"] != audience:
        raise WebhookRefused("The push's token is for another audience.")
    if claims.get("email") != email or claims.get("email_verified") is not True:
        raise WebhookRefused("The push's token is another account's.")
    ends, begins = claims["exp"], claims.get("iat", 0)
    if not isinstance(ends, int) or not isinstance(begins, int):
        raise WebhookRefused("The push's token has no times.")
    if now.timestamp() >= ends + SKEW.total_seconds() or now.timestamp() < begins - SKEW.total_seconds():
        raise WebhookRefused("The push's token is not of now.")
