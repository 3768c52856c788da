"""Apple's App Store Server API over real HTTP: it checks who asks and what is asked, and answers from the world."""

import json
from typing import Any
from urllib.parse import parse_qs

import jwt
from appstoreserverlibrary.models.ConsumptionRequest import ConsumptionRequest
from appstoreserverlibrary.models.HistoryResponse import HistoryResponse
from appstoreserverlibrary.models.NotificationHistoryResponse import NotificationHistoryResponse
from appstoreserverlibrary.models.RefundHistoryResponse import RefundHistoryResponse
from appstoreserverlibrary.models.StatusResponse import StatusResponse
from appstoreserverlibrary.models.TransactionInfoResponse import TransactionInfoResponse

from tests.stores.apple_world import APP_ID, BUNDLE, AppleWorld, Json, check_shape
from tests.stores.loopback import Answer, Loopback

ISSUER, KEY_ID = "57246542-96fe-1a63-e053-0824d011072a", "2X9R4HXF34"
PAGE = 2
"""Apple's pages hold twenty; two make a test of paging short."""

NOT_FOUND = (404, {"errorCode": 4040010, "errorMessage": "Transaction id not found."})


class FakeApple(Loopback):
    """`consumption` is what was told of each transaction, in order; `trouble` are statuses of the next answers."""

    def __init__(self, world: AppleWorld) -> None:
        super().__init__()
        self.world = world
        self.consumption: list[tuple[str, Json]] = []
        self.trouble: list[int] = []

    def answer(self, method: str, path: str, query: str, headers: Any, body: bytes) -> Answer:
        if self.trouble:
            return self.trouble.pop(0), {"errorCode": 5000000, "errorMessage": "An unknown error occurred."}
        if not self._is_allowed(headers.get("authorization", "")):
            return 401, None
        given = parse_qs(query)
        parts = path.strip("/").split("/")
        match method, parts:
            case "GET", ["inApps", "v1", "transactions", number]:
                if number not in self.world.transactions:
                    return NOT_FOUND
                return self._told({"signedTransactionInfo": self.world.signed(number)}, TransactionInfoResponse)
            case "GET", ["inApps", "v1", "subscriptions", number]:
                return self._statuses(number)
            case "GET", ["inApps", "v2", "history", number]:
                return self._page(number, given, HistoryResponse, is_refunds=False)
            case "GET", ["inApps", "v2", "refund", "lookup", number]:
                return self._page(number, given, RefundHistoryResponse, is_refunds=True)
            case "POST", ["inApps", "v1", "notifications", "history"]:
                return self._notifications(given, json.loads(body))
            case "PUT", ["inApps", "v2", "transactions", "consumption", number]:
                return self._consumed(number, json.loads(body))
        return 404, {"errorCode": 4040000, "errorMessage": "No such path."}

    def _is_allowed(self, shown: str) -> bool:
        token = shown.removeprefix("Bearer ")
        try:
            claims = jwt.decode(
                token,
                self.world.api_key.public_key(),
                algorithms=["ES256"],
                audience="appstoreconnect-v1",
                issuer=ISSUER,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.PyJWTError:
            return False
        return claims.get("bid") == BUNDLE and jwt.get_unverified_header(token)["kid"] == KEY_ID

    def _told(self, told: Json, shape: type) -> Answer:
        check_shape(told, shape)
        return 200, told

    def _page(self, number: str, given: dict[str, list[str]], shape: type, *, is_refunds: bool) -> Answer:
        if number not in self.world.transactions:
            return NOT_FOUND
        begin = int(given.get("revision", ["0"])[0])
        every = [n for n, t in self.world.transactions.items() if not is_refunds or "revocationDate" in t]
        told: Json = {
            "revision": str(begin + PAGE),
            "hasMore": len(every) > begin + PAGE,
            "signedTransactions": [self.world.signed(n) for n in every[begin : begin + PAGE]],
        }
        if not is_refunds:
            told |= {"bundleId": BUNDLE, "appAppleId": APP_ID, "environment": self.world.environment}
        return self._told(told, shape)

    def _statuses(self, number: str) -> Answer:
        if number not in self.world.standings:
            return NOT_FOUND
        last, status, info = self.world.standings[number]
        item: Json = {
            "status": status,
            "originalTransactionId": number,
            "signedTransactionInfo": self.world.signed(last),
            "signedRenewalInfo": self.world.chain.sign(info | {"signedDate": self.world.millis()}),
        }
        told: Json = {
            "environment": self.world.environment,
            "bundleId": BUNDLE,
            "appAppleId": APP_ID,
            "data": [{"subscriptionGroupIdentifier": "21000000", "lastTransactions": [item]}],
        }
        return self._told(told, StatusResponse)

    def _notifications(self, given: dict[str, list[str]], asked: Json) -> Answer:
        assert set(asked) == {"startDate", "endDate", "onlyFailures"} and asked["startDate"] < asked["endDate"]
        begin = int(given.get("paginationToken", ["0"])[0])
        page = self.world.undelivered[begin : begin + PAGE]
        attempt = {"attemptDate": asked["startDate"], "sendAttemptResult": "NO_RESPONSE"}
        told: Json = {
            "notificationHistory": [{"signedPayload": p, "sendAttempts": [attempt]} for p in page],
            "hasMore": len(self.world.undelivered) > begin + PAGE,
        }
        if told["hasMore"]:
            told["paginationToken"] = str(begin + PAGE)
        return self._told(told, NotificationHistoryResponse)

    def _consumed(self, number: str, told: Json) -> Answer:
        """What Apple refuses: no consent, an unknown field, a share that does not fit the delivery."""
        check_shape(told, ConsumptionRequest)
        if told["customerConsented"] is not True:
            return 400, {"errorCode": 4000075, "errorMessage": "Invalid customer consented value."}
        share = told.get("consumptionPercentage")
        is_share = isinstance(share, int) and 0 <= share <= 100_000
        if not is_share or (told["deliveryStatus"] != "DELIVERED" and share != 0):
            return 400, {"errorCode": 4000000, "errorMessage": "Bad request."}
        if number not in self.world.transactions:
            return NOT_FOUND
        self.consumption.append((number, told))
        return 202, None
