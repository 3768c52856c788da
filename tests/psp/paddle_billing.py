"""Paddle's billing in memory: subscriptions and the transactions they make, moved by the test's clock.

`advance` does what time does at Paddle; `card_declines` is what the customer's bank does. What Paddle refuses near a
renewal, of an overdue, paused or trialing subscription, and below its least charge, the fake refuses too.
"""

import copy
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.psp.paddle_billing_objects import new_item, new_subscription, preview_of
from tests.psp.paddle_objects import Json, new_transaction, parts_of
from tests.psp.paddle_world import PaddleSaysNo, PaddleWorld

MONTHS = {"month": 1, "year": 12}
LOCK = timedelta(minutes=30)
LEAST_MINOR = 70


class PaddleBilling(PaddleWorld):
    """A Paddle account that also keeps subscriptions."""

    card_declines = False
    is_slow = False
    """Whether a charge is still being settled when it is answered."""

    @property
    def subscriptions(self) -> dict[str, Json]:
        kept: dict[str, Json] = self.__dict__.setdefault("_subscriptions", {})
        return kept

    def subscribe(self, transaction_id: str) -> str:
        """The customer completes the checkout of a subscription; its id."""
        transaction = self.transaction(transaction_id)
        given = transaction["items"][0]["price"]
        assert given["billing_cycle"] is not None and transaction["status"] in ("draft", "ready")
        self._known_customer(transaction)
        trial = given["trial_period"]
        if trial is None:
            self._attempt(transaction, "captured")
        now = self.now()
        ends = now + timedelta(days=trial["frequency"]) if trial else after(now, now, given["billing_cycle"])
        transaction["billing_period"] = {"starts_at": text(now), "ends_at": text(ends)}
        self._move(transaction, "paid")
        ids = {"price": given["id"], "product": given["product_id"]}
        line = transaction["details"]["line_items"][0]
        status = "trialing" if trial else "active"
        item = new_item(ids, given | {"product": line["product"]}, status, text(now), text(ends))
        subscription = new_subscription(self._id("sub"), transaction, item, text(now), text(ends))
        self.subscriptions[subscription["id"]] = subscription
        self._changed(subscription, "created", transaction_id=transaction_id)
        self._changed(subscription, "trialing" if trial else "activated")
        transaction["subscription_id"] = subscription["id"]
        self.complete(transaction_id)
        return str(subscription["id"])

    def advance(self) -> None:
        """What has become due by now: renewals, ends of trials, scheduled pauses and cancellations."""
        for subscription in list(self.subscriptions.values()):
            while (period := subscription["current_billing_period"]) is not None:
                if at(period["ends_at"]) > self.now():
                    break
                self._next_period(subscription, at(period["ends_at"]))

    def pay_overdue(self, subscription_id: str) -> None:
        """Paddle tries again what was not paid; the customer has a better card by now."""
        for transaction in self.of(subscription_id):
            if transaction["status"] == "past_due":
                self._attempt(transaction, "captured")
                self._move(transaction, "paid")
                self.complete(transaction["id"])
        subscription = self.subscription(subscription_id)
        subscription["status"] = "active"
        self._changed(subscription, "updated")

    def settle(self, subscription_id: str) -> None:
        """A charge that was under way is paid."""
        for transaction in self.of(subscription_id):
            if transaction["status"] == "ready":
                self._collect(transaction)

    def end(self, subscription_id: str) -> None:
        """Cancelled at once, in the dashboard or because nobody paid."""
        self._end(self.subscription(subscription_id), self.now())

    def replace_in_dashboard(self, subscription_id: str, price_minor: int, sells: str) -> None:
        """Somebody puts another plan on a subscription with Paddle's own proration, billed at once."""
        subscription = self.subscription(subscription_id)
        item = subscription["items"][0]
        start, end = (at(subscription["current_billing_period"][name]) for name in ("starts_at", "ends_at"))
        minutes, whole = (end - self.now()) // timedelta(minutes=1), (end - start) // timedelta(minutes=1)
        old_minor = int(item["price"]["unit_price"]["amount"])
        credit, charge = (minor * minutes // whole for minor in (old_minor, price_minor))
        first = self.of(subscription_id)[-1]
        given: Json = {"action": "credit", "type": "partial", "reason": "proration"}
        parts = parts_of(credit, self.tax_percent, "internal")
        self._adjust(first, given, parts, "approved")["items"][0]["type"] = "proration"
        item["price"]["unit_price"]["amount"] = str(price_minor)
        item["price"]["custom_data"] = {"purser_sells": sells}
        made = self._transact(subscription, self._asked_again(item), "subscription_update", charge)
        part = {"starts_at": text(self.now()), "ends_at": text(end)}
        made["items"][0]["proration"] = {"rate": f"{minutes / whole:.4f}", "billing_period": part}
        made["details"]["totals"] |= {"credit": str(credit), "grand_total": str(charge - credit)}
        self._collect(made)
        self._changed(subscription, "updated")

    def of(self, subscription_id: str) -> list[Json]:
        """A subscription's transactions, newest first."""
        found = [one for one in self.transactions.values() if one["subscription_id"] == subscription_id]
        return sorted(found, key=lambda one: str(one["id"]), reverse=True)

    # What is asked for over the API

    def make_transaction(self, given: Json) -> Json:
        made = super().make_transaction(given)
        if given["items"][0]["price"].get("trial_period"):
            nothing = {"subtotal": "0", "tax": "0", "total": "0", "grand_total": "0", "balance": "0"}
            made["details"]["totals"] |= nothing
        return made

    def subscription(self, subscription_id: str) -> Json:
        found = self.subscriptions.get(subscription_id)
        if found is None:
            raise PaddleSaysNo(404, "not_found", f"Entity {subscription_id} not found")
        return found

    def update(self, subscription_id: str, given: Json) -> Json:
        subscription = self.subscription(subscription_id)
        self._put(subscription, given)
        self._changed(subscription, "updated")
        return subscription

    def preview_update(self, subscription_id: str, given: Json) -> Json:
        would = copy.deepcopy(self.subscription(subscription_id))
        self._put(would, given)
        return preview_of(would, None, self._would(would, self._asked_again(would["items"][0])))

    def charge(self, subscription_id: str, given: Json) -> Json:
        subscription = self.subscription(subscription_id)
        price, minor = self._chargeable(subscription, given)
        if self.card_declines:
            raise PaddleSaysNo(400, "subscription_payment_declined", "The payment was declined.")
        made = self._transact(subscription, price, "subscription_charge", minor)
        if not self.is_slow:
            self._collect(made)
        return subscription

    def preview_charge(self, subscription_id: str, given: Json) -> Json:
        subscription = self.subscription(subscription_id)
        price, _ = self._chargeable(subscription, given)
        return preview_of(
            subscription,
            self._would(subscription, price),
            self._would(subscription, self._asked_again(subscription["items"][0])),
        )

    def pause(self, subscription_id: str, given: Json) -> Json:
        assert given["effective_from"] == "next_billing_period"
        return self._schedule(subscription_id, "pause")

    def cancel_subscription(self, subscription_id: str, given: Json) -> Json:
        if given["effective_from"] == "immediately":
            self.end(subscription_id)
            return self.subscription(subscription_id)
        return self._schedule(subscription_id, "cancel")

    def resume(self, subscription_id: str, given: Json) -> Json:
        subscription = self.subscription(subscription_id)
        if subscription["status"] != "paused":
            raise PaddleSaysNo(400, "subscription_is_not_paused", "Only a paused subscription is resumed.")
        if self.card_declines:
            raise PaddleSaysNo(400, "subscription_payment_declined", "The payment was declined.")
        assert given == {"effective_from": "immediately", "on_resume": "start_new_billing_period"}
        subscription |= {"status": "active", "paused_at": None}
        self._begin_period(subscription, self.now(), self.now(), "subscription_update")
        self._changed(subscription, "resumed")
        return subscription

    # Inside

    def _put(self, subscription: Json, given: Json) -> None:
        """What an update changes, after all that Paddle refuses."""
        if "scheduled_change" in given and given["scheduled_change"] is not None:
            raise PaddleSaysNo(400, "subscription_scheduled_change_invalid_update", "It can only be set to null.")
        if "items" in given:
            self._check_open(subscription)
            if given.get("proration_billing_mode") != "do_not_bill":
                raise PaddleSaysNo(400, "subscription_items_update_missing_proration_billing_mode", "Missing.")
            asked, item = given["items"][0]["price"], subscription["items"][0]
            is_other_cycle = asked["billing_cycle"] != subscription["billing_cycle"]
            ids = {"price": self._id("pri"), "product": self._id("pro")}
            fresh = new_item(ids, asked, item["status"], self._at(), subscription["next_billed_at"])
            subscription["items"] = [fresh | {"trial_dates": item["trial_dates"]}]
            subscription["billing_cycle"] = dict(asked["billing_cycle"])
            if is_other_cycle and "next_billed_at" not in given:
                start = at(subscription["current_billing_period"]["starts_at"])
                self._move_end(subscription, after(start, start, asked["billing_cycle"]))
        if "next_billed_at" in given:
            self._move_end(subscription, at(given["next_billed_at"]))
        if "scheduled_change" in given:
            subscription["scheduled_change"] = None
        if "custom_data" in given:
            subscription["custom_data"] = given["custom_data"]

    def _move_end(self, subscription: Json, ends: datetime) -> None:
        subscription["next_billed_at"] = text(ends)
        subscription["current_billing_period"]["ends_at"] = text(ends)

    def _check_open(self, subscription: Json) -> None:
        if subscription["status"] not in ("active", "trialing"):
            raise PaddleSaysNo(400, "subscription_update_when_past_due", f"It is {subscription['status']}.")
        if at(subscription["next_billed_at"]) - self.now() < LOCK:
            raise PaddleSaysNo(400, "subscription_locked_renewal", "It renews within thirty minutes.")

    def _chargeable(self, subscription: Json, given: Json) -> tuple[Json, int]:
        self._check_open(subscription)
        price = given["items"][0]["price"]
        minor = int(price["unit_price"]["amount"])
        if minor < LEAST_MINOR:
            code = "subscription_update_transaction_balance_less_than_charge_limit"
            raise PaddleSaysNo(400, code, "Transaction balance is less than what we can charge.")
        assert given["effective_from"] == "immediately" and "billing_cycle" not in price
        return price, minor

    def _schedule(self, subscription_id: str, action: str) -> Json:
        subscription = self.subscription(subscription_id)
        if subscription["scheduled_change"] is not None:
            raise PaddleSaysNo(400, "subscription_locked_pending_changes", "pending scheduled changes")
        ends_at = subscription["current_billing_period"]["ends_at"]
        subscription["scheduled_change"] = {"action": action, "effective_at": ends_at, "resume_at": None}
        self._changed(subscription, "updated")
        return subscription

    def _next_period(self, subscription: Json, start: datetime) -> None:
        action = (subscription["scheduled_change"] or {}).get("action")
        if action == "cancel":
            self._end(subscription, start)
            return
        if action == "pause":
            gone: Json = {"current_billing_period": None, "next_billed_at": None, "scheduled_change": None}
            subscription |= gone | {"status": "paused", "paused_at": text(start)}
            self._changed(subscription, "paused")
            return
        was_trial = subscription["status"] == "trialing"
        subscription["status"] = "active"
        subscription["items"][0] |= {"status": "active", "trial_dates": None}
        if was_trial:
            subscription["first_billed_at"] = text(start)
        anchor = at(subscription["first_billed_at"])
        self._begin_period(subscription, anchor, start, "subscription_recurring")
        if was_trial:
            self._changed(subscription, "activated")
        self._changed(subscription, "updated" if subscription["status"] == "active" else "past_due")

    def _begin_period(self, subscription: Json, anchor: datetime, start: datetime, origin: str) -> None:
        item, ends = subscription["items"][0], after(anchor, start, subscription["billing_cycle"])
        subscription["current_billing_period"] = {"starts_at": text(start), "ends_at": text(ends)}
        subscription["next_billed_at"] = text(ends)
        minor = int(item["price"]["unit_price"]["amount"])
        made = self._transact(subscription, self._asked_again(item), origin, minor)
        made["billing_period"] = dict(subscription["current_billing_period"])
        self._collect(made)
        if made["status"] == "past_due":
            subscription["status"] = "past_due"

    def _transact(self, subscription: Json, price: Json, origin: str, minor: int) -> Json:
        """A transaction that a subscription makes: its custom data is the subscription's."""
        asked = price | {"unit_price": price["unit_price"] | {"amount": str(minor)}}
        made = self._would(subscription, asked)
        made["items"][0]["price"]["unit_price"] = dict(price["unit_price"])
        made |= {
            "origin": origin,
            "status": "ready",
            "subscription_id": subscription["id"],
            "customer_id": subscription["customer_id"],
            "address_id": subscription["address_id"],
            "checkout": {"url": None},
        }
        self.transactions[made["id"]] = made
        self._emit("transaction.created", made)
        return made

    def _would(self, subscription: Json, price: Json) -> Json:
        """A transaction of one line at this price, kept nowhere."""
        ids = {name: self._id(prefix) for name, prefix in (("price", "pri"), ("product", "pro"), ("line", "txnitm"))}
        given = {"items": [{"price": price}], "custom_data": copy.deepcopy(subscription["custom_data"])}
        parts = parts_of(int(price["unit_price"]["amount"]), self.tax_percent, price["tax_mode"])
        return new_transaction(self._id("txn"), given, ids, parts, self._at(), "")

    def _collect(self, transaction: Json) -> None:
        if self.card_declines:
            self._attempt(transaction, "error")
            self._emit("transaction.payment_failed", transaction)
            self._move(transaction, "past_due")
            return
        self._attempt(transaction, "captured")
        self._move(transaction, "paid")
        self.complete(transaction["id"])

    def _asked_again(self, item: Json) -> Json:
        return item["price"] | {"product": item["product"]}

    def _end(self, subscription: Json, when: datetime) -> None:
        gone: Json = {"current_billing_period": None, "next_billed_at": None, "scheduled_change": None}
        subscription |= gone | {"status": "canceled", "canceled_at": text(when)}
        self._changed(subscription, "canceled")

    def _changed(self, subscription: Json, what: str, **more: Any) -> None:
        """Tell of it: an event's subscription has no management URLs."""
        self._touch(subscription)
        about = {name: value for name, value in subscription.items() if name != "management_urls"}
        self._emit(f"subscription.{what}", about | more)


def after(anchor: datetime, start: datetime, cycle: Json) -> datetime:
    """The end of the period that begins at `start`: the anchor's day, months on."""
    years, month = divmod(start.month - 1 + MONTHS[cycle["interval"]] * cycle["frequency"], 12)
    day = min(anchor.day, monthrange(start.year + years, month + 1)[1])
    return start.replace(year=start.year + years, month=month + 1, day=day)


def at(given: str) -> datetime:
    return datetime.fromisoformat(given)


def text(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
