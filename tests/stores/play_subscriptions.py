"""Google Play's subscriptions in memory: bought, renewed, failed, paused, replaced, refunded; what is told of them."""

import itertools
import uuid
from datetime import datetime, timedelta
from typing import Any

from engine.rules.periods import period_start
from tests.engine.support import FakeClock
from tests.stores.google_types import problems
from tests.stores.loopback import Answer

Json = dict[str, Any]
STATE = "SUBSCRIPTION_STATE_"
PRICES = {"base": 1_099, "pro": 4_599, "elite": 14_999}
"""What customers pay in their own currency, in cents of a euro."""

GONE = (410, {"error": {"code": 410, "message": "The subscription purchase is no longer available for query."}})
UNKNOWN = (404, {"error": {"code": 404, "message": "No such order."}})


class PlaySubscriptions:
    """`subscriptions` by token and `orders` by id, as they stand; `voids` in the order Google recorded them."""

    def __init__(self, clock: FakeClock, numbers: "itertools.count[int]") -> None:
        self.clock = clock
        self.numbers = numbers
        self.subscriptions: dict[str, Json] = {}
        self.orders: dict[str, Json] = {}
        self.voids: list[Json] = []
        self.acknowledged: list[str] = []

    # What customers and Google do

    def subscribe(self, account: str | None = None, product: str = "pro", plan: str = "month", **more: Any) -> str:
        """A subscription bought now; its token. `trial=7` days, `test=True`, `state="PENDING"` for a slow payment."""
        token = f"sub{next(self.numbers):04d}.AO-J1Oy{uuid.uuid4().hex}"
        told: Json = {
            "kind": "androidpublisher#subscriptionPurchaseV2",
            "subscriptionState": f"{STATE}PENDING",
            "acknowledgementState": "ACKNOWLEDGEMENT_STATE_PENDING",
            "regionCode": "DE",
            "lineItems": [self.line(product, plan)],
            "etag": "e1",
        }
        if account is not None:
            told["externalAccountIdentifiers"] = {"obfuscatedExternalAccountId": account}
        if more.get("test"):
            told["testPurchase"] = {}
        self.subscriptions[token] = told | more.get("told", {})
        if more.get("state") != "PENDING":
            self.pay(token, trial=more.get("trial"))
        return token

    def line(self, product: str, plan: str) -> Json:
        return {
            "productId": product,
            "offerDetails": {"basePlanId": plan},
            "autoRenewingPlan": {"autoRenewEnabled": True},
        }

    def pay(self, token: str, trial: int | None = None) -> None:
        """The first period is paid."""
        start = self.clock.now()
        end = start + timedelta(days=trial) if trial else self.end_of(token, start)
        phase = "freeTrialDetails" if trial else "baseDetails"
        self.charge(token, start, end, {phase: {}}, cents=0 if trial else None)
        self.subscriptions[token] |= {"subscriptionState": f"{STATE}ACTIVE", "startTime": text(start)}

    def end_of(self, token: str, start: datetime) -> datetime:
        plan = self.subscriptions[token]["lineItems"][0]["offerDetails"]["basePlanId"]
        return period_start(start, 12 if plan == "year" else 1)

    def charge(self, token: str, start: datetime, end: datetime, phase: Json, cents: int | None = None) -> str:
        """An order that pays `[start, end)`, and the subscription runs until then."""
        (line, *_) = self.subscriptions[token]["lineItems"]
        latest = line.get("latestSuccessfulOrderId")
        if latest is None or self.orders[latest]["purchaseToken"] != token:
            order_id = f"GPA.3300-1111-2222-{next(self.numbers):05d}"
        else:
            first, _, n = latest.partition("..")
            order_id = f"{first}..{int(n) + 1 if n else 0}"
        cents = PRICES[line["productId"]] if cents is None else cents
        self.orders[order_id] = {
            "orderId": order_id,
            "purchaseToken": token,
            "state": "PROCESSED",
            "createTime": text(self.clock.now()),
            "lastEventTime": text(self.clock.now()),
            "total": euros(cents),
            "lineItems": [
                {
                    "productId": line["productId"],
                    "total": euros(cents),
                    "subscriptionDetails": {
                        "basePlanId": line["offerDetails"]["basePlanId"],
                        "offerPhaseDetails": phase,
                        "servicePeriodStartTime": text(start),
                        "servicePeriodEndTime": text(end),
                    },
                }
            ],
        }
        line |= {"latestSuccessfulOrderId": order_id, "expiryTime": text(end)}
        return order_id

    def renew(self, token: str, at: datetime | None = None) -> str:
        """The next period is paid; it begins where the last one ended, or at `at` after a pause or a hold."""
        told = self.subscriptions[token]
        (line, *rest) = told["lineItems"]
        start = at or instant(self.last_order(token)["lineItems"][0]["subscriptionDetails"]["servicePeriodEndTime"])
        if "deferredItemReplacement" in line:
            told["lineItems"] = rest
        told["subscriptionState"] = f"{STATE}ACTIVE"
        return self.charge(token, start, self.end_of(token, start), {"baseDetails": {}})

    def last_order(self, token: str) -> Json:
        return self.orders[self.subscriptions[token]["lineItems"][0]["latestSuccessfulOrderId"]]

    def put(self, token: str, state: str, expires: datetime | None = None, **more: Any) -> None:
        """The subscription is in another state, and runs until then."""
        told = self.subscriptions[token]
        told.pop("canceledStateContext", None)
        told |= {"subscriptionState": f"{STATE}{state}"} | more
        if expires is not None:
            told["lineItems"][0]["expiryTime"] = text(expires)
        if "autoRenewingPlan" in told["lineItems"][0]:
            told["lineItems"][0]["autoRenewingPlan"]["autoRenewEnabled"] = state not in ("CANCELED", "EXPIRED")

    def cancel(self, token: str) -> None:
        at = {"cancelTime": text(self.clock.now())}
        self.put(token, "CANCELED", canceledStateContext={"userInitiatedCancellation": at})

    def refund(self, order_id: str, cents: int | None = None) -> None:
        """All the money of one order goes back, or a part of it."""
        order = self.orders[order_id]
        now = text(self.clock.now())
        order["lastEventTime"] = now
        if cents is None:
            order["state"] = "REFUNDED"
            order["orderHistory"] = {"refundEvent": {"eventTime": now, "refundReason": "OTHER"}}
            self.voids.append(self.void_of(order))
            return
        event: Json = {
            "createTime": now,
            "processTime": now,
            "state": "PROCESSED_SUCCESSFULLY",
            "refundDetails": {"total": euros(cents)},
        }
        order["state"] = "PARTIALLY_REFUNDED"
        order.setdefault("orderHistory", {}).setdefault("partialRefundEvents", []).append(event)

    def void_of(self, order: Json) -> Json:
        millis = str(int(self.clock.now().timestamp() * 1000))
        return {
            "kind": "androidpublisher#voidedPurchase",
            "purchaseToken": order["purchaseToken"],
            "orderId": order["orderId"],
            "purchaseTimeMillis": millis,
            "voidedTimeMillis": millis,
            "voidedSource": 0,
            "voidedReason": 1,
        }

    def replace(self, old: str, product: str, mode: str, plan: str = "month", account: str | None = None) -> str:
        """Another plan takes this one's place, under a new token; the old one is over."""
        was = self.subscriptions[old]
        line, now = was["lineItems"][0], self.clock.now()
        expires, before = instant(line["expiryTime"]), (line["productId"], line["offerDetails"]["basePlanId"])
        known = was.get("externalAccountIdentifiers", {}).get("obfuscatedExternalAccountId")
        token = self.subscribe(account or known, product, plan, state="PENDING", told={"linkedPurchaseToken": old})
        new = self.subscriptions[token]
        if mode == "DEFERRED":
            new["lineItems"] = [line | {"deferredItemReplacement": {"productId": product}}, *new["lineItems"]]
            new |= {"subscriptionState": f"{STATE}ACTIVE", "startTime": text(now)}
        else:
            new["lineItems"][0]["itemReplacement"] = {
                "productId": before[0],
                "basePlanId": before[1],
                "replacementMode": mode,
            }
            end, cents = self._bought(mode, token, (before[0], expires), product)
            carried = {"prorationPeriodDetails": {"originalOfferPhase": "BASE"}}
            self.charge(token, now, end, carried, cents)
            new |= {"subscriptionState": f"{STATE}ACTIVE", "startTime": text(now)}
        over: Json = {"canceledStateContext": {"replacementCancellation": {}}}
        was["lineItems"] = [dict(line)]
        self.put(old, "EXPIRED", now, **over)
        return token

    def _bought(self, mode: str, token: str, was: tuple[str, datetime], product: str) -> tuple[datetime, int]:
        """Until when a change runs and what it costs."""
        now, (before, expires) = self.clock.now(), was
        left = expires - now
        carried = left * PRICES[before] // PRICES[product]
        match mode:
            case "CHARGE_PRORATED_PRICE":
                return expires, (PRICES[product] - PRICES[before]) * left // timedelta(days=30)
            case "CHARGE_FULL_PRICE":
                return self.end_of(token, now) + carried, PRICES[product]
            case "WITH_TIME_PRORATION":
                return now + carried, 0
        assert mode == "WITHOUT_PRORATION"
        return expires, 0

    # What is asked of it

    def answer(self, method: str, parts: list[str], given: dict[str, list[str]]) -> Answer | None:
        match method, parts:
            case "GET", ["purchases", "subscriptionsv2", "tokens", token]:
                return self._told(self.subscriptions.get(token), "SubscriptionPurchaseV2", GONE)
            case "POST", ["purchases", "subscriptions", product, "tokens", act] if act.endswith(":acknowledge"):
                return self._acknowledge(product, act.removesuffix(":acknowledge"))
            case "GET", ["orders:batchGet"]:
                if any(order_id not in self.orders for order_id in given["orderIds"]):
                    return UNKNOWN
                listed = {"orders": [self.orders[order_id] for order_id in given["orderIds"]]}
                return self._told(listed, "BatchGetOrdersResponse", UNKNOWN)
            case "GET", ["orders", order_id]:
                return self._told(self.orders.get(order_id), "Order", UNKNOWN)
            case "POST", ["orders", act] if act.removesuffix(":refund") in self.orders:
                return self._refund(act.removesuffix(":refund"), given)
        return None

    def _told(self, told: Json | None, name: str, missing: Answer) -> Answer:
        if told is None:
            return missing
        assert not (wrong := problems(told, name)), wrong
        return 200, told

    def _acknowledge(self, product: str, token: str) -> Answer:
        told = self.subscriptions.get(token)
        if told is None or told["lineItems"][0]["productId"] != product or token in self.acknowledged:
            return 400, {"error": {"code": 400, "message": "The subscription can't be acknowledged."}}
        told["acknowledgementState"] = "ACKNOWLEDGEMENT_STATE_ACKNOWLEDGED"
        self.acknowledged.append(token)
        return 204, None

    def _refund(self, order_id: str, given: dict[str, list[str]]) -> Answer:
        if self.orders[order_id]["state"] != "PROCESSED":
            return 400, {"error": {"code": 400, "message": "The order can't be refunded."}}
        assert given == {"revoke": ["false"]}, "the subscription goes on"
        self.refund(order_id)
        return 204, None


def text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def instant(told: str) -> datetime:
    return datetime.fromisoformat(told)


def euros(cents: int) -> Json:
    units, rest = divmod(cents, 100)
    return {"currencyCode": "EUR", "units": str(units), "nanos": rest * 10_000_000}
