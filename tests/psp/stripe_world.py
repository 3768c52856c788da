"""A Stripe account in memory: its objects, what customers, banks and the dashboard do to them, and the events.

Amounts are minor units. Each act checks what Stripe checks and emits the events that Stripe emits, in its order.
"""

import copy
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

import stripe

from tests.psp.stripe_contract import object_problems
from tests.psp.stripe_objects import (
    Json,
    new_balance_transaction,
    new_charge,
    new_dispute,
    new_event,
    new_intent,
    new_refund,
    new_session,
)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class StripeSaysNo(Exception):
    """A request that Stripe refuses: the HTTP status and its error object."""

    def __init__(self, status: int, code: str | None, message: str, kind: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.status = status
        self.error: Json = {"type": kind, "code": code, "message": message}


class StripeWorld:
    """`refund_status` is what a new refund is born with. `problems` lists where an object broke Stripe's types."""

    def __init__(self, now: Callable[[], datetime] = _utc_now, livemode: bool = False) -> None:
        self.now = now
        self.livemode = livemode
        self.refund_status: Literal["succeeded", "pending", "requires_action", "failed"] = "succeeded"
        self.events: list[Json] = []
        self.problems: list[str] = []
        self.lock = threading.RLock()
        self._objects: dict[str, Json] = {}
        self._made = 0

    # What the adapter asks for

    def make_session(self, given: Json, base_url: str) -> Json:
        if given.get("mode") != "payment" or len(given.get("line_items", [])) != 1:
            raise StripeSaysNo(400, "parameter_missing", "This account sells one thing at a time.")
        lifetime_seconds = given.get("expires_at", self._unix() + 86_400) - self._unix()
        if not 1_800 <= lifetime_seconds <= 86_400:
            raise StripeSaysNo(400, None, "`expires_at` must be 30 minutes to 24 hours from now.")
        session_id = self._id("cs_live" if self.livemode else "cs_test")
        url = f"{base_url}/c/pay/{session_id}"
        session = new_session(session_id, given, self._unix(), self.livemode, url)
        if session["currency"] == "usd" and session["amount_total"] < 50:
            raise StripeSaysNo(400, "amount_too_small", "The total must be at least $0.50 usd.")
        self._objects[f"given:{session_id}"] = given.get("payment_intent_data", {})
        return self._keep(session)

    def make_refund(self, given: Json) -> Json:
        intent = self.get(given["payment_intent"], "payment_intent")
        charge = self._objects.get(intent["latest_charge"] or "")
        if charge is None or charge["status"] != "succeeded":
            raise StripeSaysNo(400, None, "This PaymentIntent does not have a successful charge to refund.")
        left_minor = charge["amount"] - charge["amount_refunded"]
        if left_minor == 0:
            raise StripeSaysNo(400, "charge_already_refunded", f"Charge {charge['id']} has already been refunded.")
        if charge["disputed"]:
            raise StripeSaysNo(400, "charge_disputed", f"Charge {charge['id']} has been charged back.")
        amount_minor = given.get("amount", left_minor)
        if not 0 < amount_minor <= left_minor:
            raise StripeSaysNo(400, None, "Refund amount is greater than unrefunded amount on charge.")
        refund = self._keep(
            new_refund(
                self._id("re"),
                charge,
                amount_minor,
                self.refund_status,
                given.get("metadata", {}),
                self._unix(),
            )
        )
        self._count_refunds(charge)
        self._emit("refund.created", refund)
        self._emit("charge.refunded", charge)
        return refund

    def get(self, object_id: str, kind: str) -> Json:
        found = self._objects.get(object_id)
        if found is None or found.get("object") != kind:
            raise StripeSaysNo(404, "resource_missing", f"No such {kind}: '{object_id}'")
        return found

    def every(self, kind: str, **fields: str) -> list[Json]:
        """All objects of a kind with these field values, newest first, as Stripe lists them."""
        wanted = {"object": kind, **fields}
        return [o for o in reversed(self._objects.values()) if wanted.items() <= o.items()]

    # What the customer does

    def pay(self, session_id: str, *, later: bool = False, discount_minor: int = 0, tax_minor: int = 0) -> str | None:
        """Complete a checkout and answer its payment intent; `later` leaves it unpaid until `settle`.

        A discount of the whole price completes it with nothing to pay and no intent.
        """
        with self.lock:
            session = self._open_session(session_id)
            total_minor = session["amount_subtotal"] - discount_minor + tax_minor
            session["total_details"] |= {"amount_discount": discount_minor, "amount_tax": tax_minor}
            session |= {"amount_total": total_minor, "status": "complete", "url": None}
            if total_minor == 0:
                session["payment_status"] = "no_payment_required"
                self._emit("checkout.session.completed", session)
                return None
            intent = self._intent_of(session)
            intent["amount"] = total_minor
            if later:
                intent["status"] = "processing"
                self._attempt(intent, "pending")
                self._emit("payment_intent.processing", intent)
            else:
                self._succeed(intent)
                session["payment_status"] = "paid"
            self._emit("checkout.session.completed", session)
            return str(intent["id"])

    def settle(self, session_id: str, *, succeeds: bool) -> None:
        """What a slow payment method ends in."""
        with self.lock:
            session = self.get(session_id, "checkout.session")
            intent = self._objects[session["payment_intent"]]
            assert session["status"] == "complete" and intent["status"] == "processing"
            if succeeds:
                self._succeed(intent)
                session["payment_status"] = "paid"
                self._emit("checkout.session.async_payment_succeeded", session)
            else:
                self._fail(intent)
                self._emit("checkout.session.async_payment_failed", session)

    def decline(self, session_id: str) -> str:
        """An attempt the bank declines: the session stays open for another."""
        with self.lock:
            intent = self._intent_of(self._open_session(session_id))
            self._fail(intent)
            return str(intent["id"])

    def expire(self, session_id: str) -> None:
        with self.lock:
            session = self._open_session(session_id)
            session |= {"status": "expired", "url": None}
            if session["payment_intent"]:
                intent = self._objects[session["payment_intent"]]
                intent |= {"status": "canceled", "canceled_at": self._unix()}
                self._emit("payment_intent.canceled", intent)
            self._emit("checkout.session.expired", session)

    def charge_saved_card(
        self,
        amount_minor: int,
        currency: str,
        metadata: Json,
        ends: Literal["succeeded", "failed", "processing", "canceled"] = "succeeded",
    ) -> str:
        """An off-session payment intent that no checkout owns."""
        with self.lock:
            intent = self._keep(
                new_intent(self._id("pi"), amount_minor, currency, metadata, self._unix(), self.livemode)
            )
            if ends == "succeeded":
                self._succeed(intent)
            elif ends == "failed":
                self._fail(intent)
            else:
                intent["status"] = ends
                self._emit(f"payment_intent.{ends}", intent)
            return str(intent["id"])

    # What the dashboard and the bank do

    def refund(self, payment_id: str, amount_minor: int | None = None, metadata: Json | None = None) -> str:
        """A refund made in the dashboard."""
        given: Json = {"payment_intent": payment_id, "metadata": metadata or {}}
        if amount_minor is not None:
            given["amount"] = amount_minor
        with self.lock:
            return str(self.make_refund(given)["id"])

    def move_refund(self, refund_id: str, status: Literal["succeeded", "failed", "canceled", "pending"]) -> None:
        """A refund goes on, or comes back days later (`failed`)."""
        with self.lock:
            refund = self.get(refund_id, "refund")
            refund["status"] = status
            if status == "failed":
                refund["failure_reason"] = "expired_or_canceled_card"
            self._count_refunds(self._objects[refund["charge"]])
            self._emit("refund.updated", refund)
            self._emit("charge.refund.updated", refund)
            if status == "failed":
                self._emit("refund.failed", refund)

    def dispute(self, payment_id: str, amount_minor: int | None = None, status: str = "needs_response") -> str:
        """A dispute (`needs_response`), or an inquiry that moves no money yet (`warning_needs_response`)."""
        with self.lock:
            charge = self._objects[self.get(payment_id, "payment_intent")["latest_charge"]]
            amount = charge["amount"] if amount_minor is None else amount_minor
            dispute = self._keep(new_dispute(self._id("dp"), charge, amount, status, self._unix()))
            charge["disputed"] = True
            self._emit("charge.dispute.created", dispute)
            if status == "needs_response":
                self._move_money(dispute, -amount, "funds_withdrawn")
            return str(dispute["id"])

    def move_dispute(self, dispute_id: str, status: str) -> None:
        with self.lock:
            dispute = self.get(dispute_id, "dispute")
            dispute["status"] = status
            withdrawn_minor = -sum(row["amount"] for row in dispute["balance_transactions"])
            if status == "needs_response" and withdrawn_minor == 0:
                self._move_money(dispute, -dispute["amount"], "funds_withdrawn")
            if status in ("won", "prevented") and withdrawn_minor > 0:
                self._move_money(dispute, withdrawn_minor, "funds_reinstated")
            is_closed = status in ("won", "lost", "warning_closed", "prevented")
            self._emit(f"charge.dispute.{'closed' if is_closed else 'updated'}", dispute)

    def success_page(self, session_id: str) -> str:
        """Where the customer is sent after paying, with Stripe's placeholder filled in."""
        url: str = self.get(session_id, "checkout.session")["success_url"]
        return url.replace("{CHECKOUT_SESSION_ID}", session_id)

    # Inside

    def told(self, stripe_object: Json) -> Json:
        """A copy that may leave the account, held against Stripe's types."""
        copied = copy.deepcopy(stripe_object)
        self.problems += object_problems(copied, closed_enums=True)
        return copied

    def _open_session(self, session_id: str) -> Json:
        session = self.get(session_id, "checkout.session")
        if session["status"] != "open":
            raise StripeSaysNo(400, None, f"The session is {session['status']}.")
        return session

    def _intent_of(self, session: Json) -> Json:
        if session["payment_intent"] is None:
            wanted = self._objects[f"given:{session['id']}"]
            intent = new_intent(
                self._id("pi"),
                session["amount_total"],
                session["currency"],
                wanted.get("metadata", {}),
                self._unix(),
                self.livemode,
            )
            intent["description"] = wanted.get("description")
            intent["setup_future_usage"] = wanted.get("setup_future_usage")
            session["payment_intent"] = self._keep(intent)["id"]
        return self._objects[session["payment_intent"]]

    def _attempt(self, intent: Json, status: str) -> Json:
        charge_id = self._id("ch")
        receipt_url = f"https://pay.stripe.com/receipts/{charge_id}"
        intent["latest_charge"] = charge_id
        return self._keep(new_charge(charge_id, intent, status, self._unix(), receipt_url))

    def _succeed(self, intent: Json) -> None:
        charge = self._attempt(intent, "succeeded")
        intent |= {"status": "succeeded", "amount_received": intent["amount"], "last_payment_error": None}
        self._emit("charge.succeeded", charge)
        self._emit("payment_intent.succeeded", intent)

    def _fail(self, intent: Json) -> None:
        charge = self._attempt(intent, "failed")
        intent["status"] = "requires_payment_method"
        intent["last_payment_error"] = {"type": "card_error", "code": "card_declined", "charge": charge["id"]}
        self._emit("charge.failed", charge)
        self._emit("payment_intent.payment_failed", intent)

    def _count_refunds(self, charge: Json) -> None:
        refunds = self.every("refund", charge=charge["id"])
        charge["amount_refunded"] = sum(r["amount"] for r in refunds if r["status"] not in ("failed", "canceled"))
        charge["refunded"] = charge["amount_refunded"] == charge["amount"]

    def _move_money(self, dispute: Json, amount_minor: int, what: str) -> None:
        row = new_balance_transaction(self._id("txn"), amount_minor, dispute["currency"], self._unix())
        dispute["balance_transactions"].append(row)
        self._emit(f"charge.dispute.{what}", dispute)

    def _emit(self, event_type: str, about: Json) -> None:
        version = stripe.api_version
        event = new_event(self._id("evt"), event_type, self.told(about), self._unix(), version)
        event["livemode"] = self.livemode
        self.events.append(self.told(event))

    def _keep(self, stripe_object: Json) -> Json:
        self._objects[stripe_object["id"]] = stripe_object
        return stripe_object

    def _id(self, prefix: str) -> str:
        self._made += 1
        return f"{prefix}_{self._made:06d}fake"

    def _unix(self) -> int:
        return int(self.now().timestamp())
