"""The App Store in memory: what customers buy in one app, what Apple refunds, and the notifications it sends.

Every object it signs is read back through the library's own types, so a misspelt or mistyped field fails the test.
"""

import itertools
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from appstoreserverlibrary.models.JWSTransactionDecodedPayload import JWSTransactionDecodedPayload
from appstoreserverlibrary.models.LibraryUtility import _get_cattrs_converter
from appstoreserverlibrary.models.ResponseBodyV2DecodedPayload import ResponseBodyV2DecodedPayload
from cryptography.hazmat.primitives.asymmetric import ec

from tests.engine.support import FakeClock
from tests.stores.apple_chain import Chain

BUNDLE, APP_ID = "com.alphio.app", 4_123_456
PRODUCT = "com.alphio.credits.1000"
Json = dict[str, Any]


def check_shape(told: Json, shape: type) -> None:
    """The object survives a round trip through the library's type: no field it does not know, none mistyped."""
    converter = _get_cattrs_converter(shape)
    assert converter.unstructure(converter.structure(told, shape)) == told, f"not Apple's {shape.__name__}: {told}"


@dataclass
class AppleWorld:
    """`transactions` are the objects as they stand now; `notifications` everything Apple has sent, signed.

    `standings` says of each subscription, by its first transaction, which is its last, how it stands, what comes next.
    """

    clock: FakeClock
    chain: Chain = field(default_factory=Chain)
    environment: str = "Production"
    transactions: dict[str, Json] = field(default_factory=dict)
    notifications: list[Json] = field(default_factory=list)
    undelivered: list[str] = field(default_factory=list)
    standings: dict[str, tuple[str, int, Json]] = field(default_factory=dict)
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(2_000_000_000_000_001))
    api_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    ticks: int = 0

    def buy(self, token: str | None = None, product: str = PRODUCT, quantity: int = 1, **more: Any) -> str:
        """A consumable bought; its transaction id."""
        number = str(next(self.numbers))
        at = self.millis()
        bought: Json = {
            "transactionId": number,
            "originalTransactionId": number,
            "bundleId": BUNDLE,
            "productId": product,
            "purchaseDate": at,
            "originalPurchaseDate": at,
            "quantity": quantity,
            "type": "Consumable",
            "inAppOwnershipType": "PURCHASED",
            "environment": self.environment,
            "transactionReason": "PURCHASE",
            "storefront": "DEU",
            "storefrontId": "143443",
            "price": 11_990,
            "currency": "EUR",
        }
        if token is not None:
            bought["appAccountToken"] = token
        self.transactions[number] = bought | more
        return number

    def refund(self, number: str, percentage: int | None = None) -> None:
        """Apple gives the money back, or a share of it in thousandths of a percent."""
        self.transactions[number] |= {"revocationDate": self.millis(), "revocationReason": 1}
        kind = "REFUND_FULL" if percentage is None else "REFUND_PRORATED"
        self.transactions[number] |= {"revocationType": kind}
        if percentage is not None:
            self.transactions[number]["revocationPercentage"] = percentage

    def undo_refund(self, number: str) -> None:
        for name in ("revocationDate", "revocationReason", "revocationType", "revocationPercentage"):
            self.transactions[number].pop(name, None)

    def signed(self, number: str, **change: Any) -> str:
        """The transaction as it stands, signed now."""
        told = self.transactions[number] | {"signedDate": self.millis()} | change
        check_shape(told, JWSTransactionDecodedPayload)
        return self.chain.sign(told)

    def notify(self, kind: str, number: str | None = None, subtype: str | None = None, **data: Any) -> Json:
        """A notification as the body Apple posts."""
        inner: Json = {"appAppleId": APP_ID, "bundleId": BUNDLE, "environment": self.environment} | data
        if number is not None:
            inner["signedTransactionInfo"] = self.signed(number)
        told: Json = {
            "notificationType": kind,
            "notificationUUID": str(uuid.uuid4()),
            "data": inner,
            "version": "2.0",
            "signedDate": self.millis(),
        }
        if subtype is not None:
            told["subtype"] = subtype
        check_shape(told, ResponseBodyV2DecodedPayload)
        body = {"signedPayload": self.chain.sign(told)}
        self.notifications.append(body)
        return body

    def at(self) -> datetime:
        """Each signature is a second younger than the one before."""
        self.ticks += 1
        return self.clock.now() + timedelta(seconds=self.ticks)

    def millis(self) -> int:
        return int(self.at().timestamp() * 1000)
