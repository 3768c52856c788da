"""Stripe's billing in memory: subscriptions, their invoices, prorations and schedules, moved by the test's clock.

`advance` does what time does at Stripe; `card_declines` is what the customer's bank does. Prorations are reckoned as
Stripe does: by the second, each line rounded for itself.
"""

from calendar import monthrange
from datetime import UTC, datetime

from tests.psp.stripe_billing_objects import (
    new_invoice,
    new_invoice_payment,
    new_item,
    new_line,
    new_phase,
    new_price,
    new_product,
    new_schedule,
    new_subscription,
)
from tests.psp.stripe_objects import Json, new_intent, new_session
from tests.psp.stripe_world import StripeSaysNo, StripeWorld

MONTHS = {"month": 1, "year": 12}


class StripeBilling(StripeWorld):
    """A Stripe account that also keeps subscriptions."""

    card_declines = False

    def make_session(self, given: Json, base_url: str) -> Json:
        if given.get("mode") != "subscription":
            return super().make_session(given, base_url)
        session_id = self._id("cs_test")
        price = self._price(given["line_items"][0]["price_data"])
        shown = given | {"line_items": [{"quantity": 1, "price_data": price}]}
        session = new_session(session_id, shown, self._unix(), self.livemode, f"{base_url}/c/pay/{session_id}")
        if given["subscription_data"].get("trial_period_days"):
            session |= {"amount_subtotal": 0, "amount_total": 0}
        session |= {"customer_creation": None, "subscription": None}
        self._objects[f"given:{session_id}"] = given["subscription_data"] | {"price": price}
        return self._keep(session)

    def make_product(self, given: Json) -> Json:
        if given["id"] in self._objects:
            raise StripeSaysNo(400, "resource_already_exists", "Product already exists.")
        return self._keep(new_product(given, self._unix(), self.livemode))

    def subscribe(self, session_id: str) -> str:
        """The customer completes the checkout of a subscription; its id."""
        with self.lock:
            session = self._open_session(session_id)
            wanted = self._objects[f"given:{session_id}"]
            now, price = self._unix(), wanted["price"]
            trial_end = now + 86_400 * wanted["trial_period_days"] if wanted.get("trial_period_days") else None
            end = trial_end or self._end(now, now, price)
            subscription_id = self._id("sub")
            item = new_item(self._id("si"), subscription_id, price, now, end, now)
            subscription = new_subscription(
                subscription_id, item, self._id("cus"), wanted, trial_end or now, trial_end=trial_end
            )
            subscription["status"] = "trialing" if trial_end else "active"
            self._keep(subscription)
            self._emit("customer.subscription.created", subscription)
            line = self._line(item, 0 if trial_end else price["unit_amount"], now, end)
            self._bill(subscription, "subscription_create", [line])
            session |= {"status": "complete", "url": None, "subscription": subscription_id, "payment_status": "paid"}
            self._emit("checkout.session.completed", session)
            return subscription_id

    def advance(self) -> None:
        """What has become due by now: periods that end, phases that begin, subscriptions that are cancelled."""
        with self.lock:
            for subscription in reversed(self.every("subscription")):
                while subscription["status"] != "canceled" and self._item(subscription)["current_period_end"] <= (
                    self._unix()
                ):
                    self._next_period(subscription)

    def pay_open(self, subscription_id: str) -> None:
        """Stripe tries the invoices again that were not paid; the customer has a better card by now."""
        with self.lock:
            subscription = self.get(subscription_id, "subscription")
            for invoice in reversed(self.invoices_of(subscription_id, "open")):
                self._collect(invoice)
            if not self.invoices_of(subscription_id, "open"):
                subscription["status"] = "active"
                self._emit("customer.subscription.updated", subscription)

    def end(self, subscription_id: str) -> None:
        """Cancelled at once, in the dashboard or because nobody paid."""
        with self.lock:
            subscription = self.get(subscription_id, "subscription")
            subscription |= {"status": "canceled", "ended_at": self._unix(), "canceled_at": self._unix()}
            self._emit("customer.subscription.deleted", subscription)

    def invoices_of(self, subscription_id: str, status: str | None = None) -> list[Json]:
        """Newest first."""
        found = []
        for invoice in self.every("invoice"):
            is_of = invoice["parent"]["subscription_details"]["subscription"] == subscription_id
            if is_of and status in (None, invoice["status"]):
                found.append(invoice)
        return found

    def payments_of(self, invoice_id: str) -> list[Json]:
        return self.every("invoice_payment", invoice=invoice_id)

    # What the adapter asks for

    def preview_change(self, given: Json) -> Json:
        subscription = self.get(given["subscription"], "subscription")
        details = given["subscription_details"]
        price = self._price(details["items"][0]["price_data"])
        lines = self._proration(subscription, price, details["proration_date"])
        balance = self._balance(subscription)
        return new_invoice(self._id("upcoming_in"), subscription, "subscription_update", lines, balance, self._unix())

    def update_subscription(self, subscription_id: str, given: Json) -> Json:
        subscription = self.get(subscription_id, "subscription")
        if subscription["status"] == "canceled":
            raise StripeSaysNo(404, "resource_missing", f"No such subscription: '{subscription_id}'")
        if subscription["schedule"] and ({"items", "cancel_at_period_end"} & given.keys()):
            raise StripeSaysNo(400, None, "The subscription is managed by a subscription schedule.")
        if self.card_declines and given.get("payment_behavior") == "error_if_incomplete":
            raise StripeSaysNo(402, "card_declined", "Your card was declined.", "card_error")
        if "cancel_at_period_end" in given:
            subscription["cancel_at_period_end"] = given["cancel_at_period_end"]
        if "pause_collection" in given:
            subscription["pause_collection"] = given["pause_collection"] or None
        subscription["metadata"] |= given.get("metadata", {})
        if "items" in given:
            self._switch(subscription, given)
        if given.get("billing_cycle_anchor") == {"type": "now"}:
            now, item = self._unix(), self._item(subscription)
            subscription["billing_cycle_anchor"] = now
            item |= {"current_period_start": now, "current_period_end": self._end(now, now, item["price"])}
            line = self._line(item, item["price"]["unit_amount"], now, item["current_period_end"])
            self._bill(subscription, "subscription_update", [line])
        self._emit("customer.subscription.updated", subscription)
        return subscription

    def make_schedule(self, given: Json) -> Json:
        subscription = self.get(given["from_subscription"], "subscription")
        if subscription["schedule"] or subscription["cancel_at_period_end"]:
            raise StripeSaysNo(400, None, "This subscription can't be migrated to a subscription schedule.")
        schedule = self._keep(new_schedule(self._id("sub_sched"), subscription, self._unix()))
        subscription["schedule"] = schedule["id"]
        return schedule

    def update_schedule(self, schedule_id: str, given: Json) -> Json:
        schedule = self.get(schedule_id, "subscription_schedule")
        now, then = given["phases"]
        if schedule["status"] != "active" or now["start_date"] != schedule["current_phase"]["start_date"]:
            raise StripeSaysNo(400, None, "You can not modify a phase that has already started.")
        price = self._price(then["items"][0]["price_data"])
        current = self._objects[now["items"][0]["price"]]
        ends = self._end(now["end_date"], now["end_date"], price)
        schedule["phases"] = [
            new_phase(current, now["start_date"], now["end_date"]),
            new_phase(price, now["end_date"], ends),
        ]
        schedule["current_phase"]["end_date"] = now["end_date"]
        schedule["metadata"] |= given["metadata"]
        self._emit("customer.subscription.updated", self._objects[schedule["subscription"]])
        return schedule

    def release_schedule(self, schedule_id: str) -> Json:
        schedule = self.get(schedule_id, "subscription_schedule")
        if schedule["status"] != "active":
            raise StripeSaysNo(400, None, f"The schedule is {schedule['status']}.")
        subscription = self._objects[schedule["subscription"]]
        subscription["schedule"] = None
        schedule |= {"status": "released", "subscription": None, "released_subscription": subscription["id"]}
        self._emit("customer.subscription.updated", subscription)
        return schedule

    # Inside

    def _next_period(self, subscription: Json) -> None:
        if subscription["cancel_at_period_end"]:
            self.end(subscription["id"])
            return
        item, start = self._item(subscription), self._item(subscription)["current_period_end"]
        schedule = self._objects.get(subscription["schedule"] or "")
        if schedule is not None and len(schedule["phases"]) > 1:
            phase = schedule["phases"][1]
            if start >= phase["end_date"]:
                self.release_schedule(schedule["id"])
            elif start >= phase["start_date"]:
                item["price"] = self._objects[phase["items"][0]["price"]]
                schedule["current_phase"] = {"start_date": phase["start_date"], "end_date": phase["end_date"]}
        end = self._end(subscription["billing_cycle_anchor"], start, item["price"])
        item |= {"current_period_start": start, "current_period_end": end}
        if subscription["status"] == "trialing":
            subscription["status"] = "active"
        self._emit("customer.subscription.updated", subscription)
        self._bill(subscription, "subscription_cycle", [self._line(item, item["price"]["unit_amount"], start, end)])

    def _switch(self, subscription: Json, given: Json) -> None:
        price = self._price(given["items"][0]["price_data"])
        if given["proration_behavior"] == "always_invoice":
            lines = self._proration(subscription, price, given["proration_date"])
            self._item(subscription)["price"] = price
            self._bill(subscription, "subscription_update", lines)
        else:
            self._item(subscription)["price"] = price

    def _proration(self, subscription: Json, price: Json, at: int) -> list[Json]:
        item = self._item(subscription)
        start, end = item["current_period_start"], item["current_period_end"]
        if not start <= at <= end:
            raise StripeSaysNo(400, None, "The proration date is outside the current period.")
        parts = []
        for of, sign in ((item["price"], -1), (price, 1)):
            amount = (2 * of["unit_amount"] * (end - at) + (end - start)) // (2 * (end - start))
            period = {"start": at, "end": end}
            parts.append(new_line(self._id("il"), item, of, sign * amount, period, is_part=True))
        return parts

    def _bill(self, subscription: Json, reason: str, lines: list[Json]) -> Json:
        invoice = self._keep(
            new_invoice(self._id("in"), subscription, reason, lines, self._balance(subscription), self._unix())
        )
        subscription["latest_invoice"] = invoice["id"]
        self._objects[f"balance:{subscription['customer']}"] = {"minor": invoice["ending_balance"]}
        if subscription["pause_collection"]:
            invoice["status"] = "void"
            self._emit("invoice.voided", invoice)
            return invoice
        self._emit("invoice.finalized", invoice)
        self._collect(invoice)
        if invoice["status"] == "open":
            subscription["status"] = "past_due"
            self._emit("customer.subscription.updated", subscription)
        return invoice

    def _collect(self, invoice: Json) -> None:
        if invoice["amount_due"] > 0:
            invoice |= {"attempt_count": invoice["attempt_count"] + 1, "attempted": True}
            there = self.payments_of(invoice["id"])
            if not there:
                intent = new_intent(
                    self._id("pi"), invoice["amount_due"], invoice["currency"], {}, self._unix(), self.livemode
                )
                self._keep(intent)
                there = [self._keep(new_invoice_payment(self._id("inpay"), invoice, intent["id"], self._unix()))]
            intent = self._objects[there[0]["payment"]["payment_intent"]]
            if self.card_declines:
                self._fail(intent)
                self._emit("invoice.payment_failed", invoice)
                return
            self._succeed(intent)
            there[0] |= {"status": "paid", "amount_paid": invoice["amount_due"]}
        invoice |= {"status": "paid", "amount_paid": invoice["amount_due"], "amount_remaining": 0}
        self._emit("invoice.paid", invoice)

    def _price(self, given: Json) -> Json:
        self.get(given["product"], "product")
        return self._keep(new_price(self._id("price"), given, self._unix(), self.livemode))

    def _item(self, subscription: Json) -> Json:
        item: Json = subscription["items"]["data"][0]
        return item

    def _line(self, item: Json, amount_minor: int, start: int, end: int) -> Json:
        period = {"start": start, "end": end}
        return new_line(self._id("il"), item, item["price"], amount_minor, period, is_part=False)

    def _balance(self, subscription: Json) -> int:
        return int(self._objects.get(f"balance:{subscription['customer']}", {"minor": 0})["minor"])

    def _end(self, anchor: int, start: int, price: Json) -> int:
        """The end of the period that begins at `start`: the anchor's day, months on."""
        first, at = datetime.fromtimestamp(anchor, UTC), datetime.fromtimestamp(start, UTC)
        years, month = divmod(at.month - 1 + MONTHS[price["recurring"]["interval"]], 12)
        day = min(first.day, monthrange(at.year + years, month + 1)[1])
        return int(at.replace(year=at.year + years, month=month + 1, day=day).timestamp())
