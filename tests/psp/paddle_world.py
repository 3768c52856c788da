"""A Paddle account in memory: its transactions and adjustments, what customers, banks and Paddle do, and the events.

Each act checks what Paddle checks and emits the events that Paddle emits, in its order. Every change has a time of
its own, a microsecond after the last.
"""

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal

from tests.psp.paddle_contract import object_problems
from tests.psp.paddle_objects import (
    Json,
    new_adjustment,
    new_event,
    new_payment,
    new_transaction,
    parts_of,
)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class PaddleSaysNo(Exception):
    """A request that Paddle refuses: the HTTP status, its code and what it says."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.error = {
            "type": "request_error",
            "code": code,
            "detail": detail,
            "documentation_url": f"https://developer.paddle.com/v1/errors/{code}",
        }


class PaddleWorld:
    """`refund_status` is what a new refund is born with; `tax_percent` is what Paddle takes of every sale."""

    def __init__(self, now: Callable[[], datetime] = _utc_now) -> None:
        self.now = now
        self.refund_status: Literal["pending_approval", "approved"] = "pending_approval"
        self.tax_percent = 0
        self.payment_page = "https://shop.example/pay"
        self.transactions: dict[str, Json] = {}
        self.adjustments: dict[str, Json] = {}
        self.events: list[Json] = []
        self.problems: list[str] = []
        self._made = 0

    # What is asked for over the API

    def make_transaction(self, given: Json) -> Json:
        price = given["items"][0]["price"]
        if len(given["items"]) != 1 or given["items"][0]["quantity"] != 1:
            raise PaddleSaysNo(400, "bad_request", "This account sells one thing at a time.")
        if not price["unit_price"]["amount"].isdigit() or int(price["unit_price"]["amount"]) == 0:
            raise PaddleSaysNo(400, "bad_request", "The amount must be a string of digits in minor units.")
        if price["unit_price"]["currency_code"] != given["currency_code"]:
            raise PaddleSaysNo(400, "transaction_currency_code_mismatch", "One transaction has one currency.")
        transaction_id = self._id("txn")
        ids = {"price": self._id("pri"), "product": self._id("pro"), "line": self._id("txnitm")}
        parts = parts_of(int(price["unit_price"]["amount"]), self.tax_percent, price["tax_mode"])
        url = f"{self.payment_page}?_ptxn={transaction_id}"
        transaction = new_transaction(transaction_id, given, ids, parts, self._at(), url)
        self.transactions[transaction_id] = transaction
        self._emit("transaction.created", transaction)
        return transaction

    def make_adjustment(self, given: Json) -> Json:
        """A refund asked for; only one may wait for Paddle's approval at a time."""
        transaction = self.transaction(given["transaction_id"])
        if transaction["status"] != "completed":
            raise PaddleSaysNo(400, "adjustment_transaction_invalid_status_for_refund", "It is not completed.")
        refunds = [one for one in self._of(transaction["id"]) if one["action"] == "refund"]
        if any(one["status"] == "pending_approval" for one in refunds):
            raise PaddleSaysNo(400, "adjustment_pending_refund_request", "A refund is already pending.")
        total = int(transaction["details"]["totals"]["total"])
        left = total - sum(int(one["totals"]["total"]) for one in self._of(transaction["id"]) if _takes(one))
        if given["type"] == "full":
            parts = {name: transaction["details"]["totals"][name] for name in ("subtotal", "tax", "total")}
        else:
            line = given["items"][0]
            if line["item_id"] != transaction["details"]["line_items"][0]["id"] or line["type"] != "partial":
                raise PaddleSaysNo(400, "adjustment_invalid_transaction_item", "There is no such line.")
            parts = parts_of(int(line["amount"]), self.tax_percent, given["tax_mode"])
        if int(parts["total"]) > left or (given["type"] == "full" and left < total):
            raise PaddleSaysNo(400, "adjustment_total_amount_above_remaining_allowed", "More than is left.")
        return self._adjust(transaction, given, parts, self.refund_status)

    def transaction(self, transaction_id: str) -> Json:
        found = self.transactions.get(transaction_id)
        if found is None:
            raise PaddleSaysNo(404, "not_found", f"Entity {transaction_id} not found")
        return found

    def with_adjustments(self, transaction_id: str) -> Json:
        return self.transaction(transaction_id) | {"adjustments": self._of(transaction_id)}

    # What the customer does

    def pay(self, transaction_id: str, *, is_completed: bool = True) -> None:
        """The card is charged (`paid`), then Paddle has done its own part (`completed`)."""
        transaction = self.transaction(transaction_id)
        assert transaction["status"] in ("draft", "ready", "past_due"), transaction["status"]
        self._known_customer(transaction)
        self._attempt(transaction, "captured")
        self._move(transaction, "paid")
        if is_completed:
            self.complete(transaction_id)

    def complete(self, transaction_id: str) -> None:
        transaction = self.transaction(transaction_id)
        transaction["details"]["totals"] |= {"balance": "0", "fee": "0", "earnings": "0"}
        transaction |= {"invoice_id": self._id("inv"), "invoice_number": "325-10566", "billed_at": self._at()}
        self._move(transaction, "completed")

    def decline(self, transaction_id: str) -> None:
        """An attempt the bank declines: the transaction stays open for another."""
        transaction = self.transaction(transaction_id)
        self._known_customer(transaction)
        self._attempt(transaction, "error")
        self._touch(transaction)
        self._emit("transaction.payment_failed", transaction)

    def cancel(self, transaction_id: str) -> None:
        self._move(self.transaction(transaction_id), "canceled")

    def fall_due(self, transaction_id: str) -> None:
        self._move(self.transaction(transaction_id), "past_due")

    # What the dashboard, Paddle and the bank do

    def refund(self, transaction_id: str, minor: int | None = None) -> str:
        """A refund made in the dashboard."""
        given: Json = {"action": "refund", "reason": "error", "transaction_id": transaction_id}
        if minor is None:
            return str(self.make_adjustment(given | {"type": "full"})["id"])
        line_id = self.transaction(transaction_id)["details"]["line_items"][0]["id"]
        line = {"item_id": line_id, "type": "partial", "amount": str(minor)}
        mode = self.transaction(transaction_id)["items"][0]["price"]["tax_mode"]
        return str(self.make_adjustment(given | {"type": "partial", "items": [line], "tax_mode": mode})["id"])

    def decide(self, adjustment_id: str, status: Literal["approved", "rejected"]) -> None:
        """Paddle approves or rejects a refund."""
        self._set(self.adjustments[adjustment_id], status)

    def charge_back(self, transaction_id: str, minor: int | None = None, action: str = "chargeback") -> str:
        """The customer's bank takes the money, or warns that it may (`chargeback_warning`)."""
        transaction = self.transaction(transaction_id)
        total = int(transaction["details"]["totals"]["total"]) if minor is None else minor
        mode = transaction["items"][0]["price"]["tax_mode"]
        parts = parts_of(total, self.tax_percent, "internal" if mode != "external" or minor is None else mode)
        given: Json = {"action": action, "type": "partial", "reason": "fraud"}
        return str(self._adjust(transaction, given, parts, "approved")["id"])

    def reverse_chargeback(self, adjustment_id: str, minor: int | None = None, *, is_marked: bool = True) -> None:
        """Paddle wins: the money, or a part of it, comes back by an adjustment of its own, and the first says so."""
        chargeback = self.adjustments[adjustment_id]
        transaction = self.transaction(chargeback["transaction_id"])
        parts = {name: chargeback["totals"][name] for name in ("subtotal", "tax", "total")}
        if minor is not None:
            parts = parts_of(minor, self.tax_percent, "internal")
        given: Json = {"action": f"{chargeback['action']}_reverse", "type": "partial", "reason": "won"}
        self._adjust(transaction, given, parts, "approved")
        if is_marked:
            self._set(chargeback, "reversed")

    # Inside

    def told(self, paddle_object: Json) -> Json:
        """A copy that may leave the account, held against the SDK's types."""
        copied = copy.deepcopy(paddle_object)
        self.problems += object_problems(copied)
        return copied

    def _adjust(self, transaction: Json, given: Json, parts: Json, status: str) -> Json:
        adjustment = new_adjustment(self._id("adj"), transaction, given, parts, status, self._at())
        self.adjustments[adjustment["id"]] = adjustment
        self._emit("adjustment.created", adjustment)
        return adjustment

    def _set(self, adjustment: Json, status: str) -> None:
        adjustment["status"] = status
        self._touch(adjustment)
        self._emit("adjustment.updated", adjustment)

    def _of(self, transaction_id: str) -> list[Json]:
        return [one for one in self.adjustments.values() if one["transaction_id"] == transaction_id]

    def _known_customer(self, transaction: Json) -> None:
        if transaction["customer_id"] is None:
            transaction |= {"customer_id": self._id("ctm"), "address_id": self._id("add"), "status": "ready"}

    def _attempt(self, transaction: Json, status: str) -> None:
        total = transaction["details"]["totals"]["total"]
        attempt_id = f"937640dd-e3dc-40df-a16c-{self._made:012d}"
        payment = new_payment(attempt_id, self._id("paymtd"), total, status, self._at())
        transaction["payments"].insert(0, payment)

    def _move(self, transaction: Json, status: str) -> None:
        transaction["status"] = status
        self._touch(transaction)
        self._emit(f"transaction.{status}", transaction)

    def _touch(self, paddle_object: Json) -> None:
        paddle_object["updated_at"] = self._at()

    def _emit(self, event_type: str, about: Json) -> None:
        self.events.append(self.told(new_event(self._id("evt"), event_type, self.told(about), self._at())))

    def _id(self, prefix: str) -> str:
        self._made += 1
        return f"{prefix}_01fake{self._made:020d}"

    def _at(self) -> str:
        self._made += 1
        at = self.now().astimezone(UTC) + timedelta(microseconds=self._made)
        return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _takes(adjustment: Json) -> bool:
    """Whether an adjustment takes or may take money back."""
    return adjustment["status"] in ("approved", "pending_approval") and "_" not in adjustment["action"]
