"""Paddle's transactions with their adjustments, as plain JSON just fetched, told as facts: pure, no network.

Ours is what carries `purser_purchase` in its custom data. Adjustments carry nothing of ours, so they are told with
the transaction they belong to; a refund that we made says so in its reason. A fact's version is Paddle's own
`updated_at`, in microseconds.

Paddle undoes an adjustment by another one: a `chargeback` by a `chargeback_reverse`. Both are told as one dispute,
of what is left of it. A chargeback is `lost` from its first sighting: Paddle makes it when the customer's bank has
taken the money. A warning moves no money and is an inquiry.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from engine.payments import DisputeState, Fact, PaymentState, RefundState
from engine.rules.money import Money
from psp.paddle_values import minor_of as _minor
from psp.paddle_values import version_of as _version

Json = dict[str, Any]
_Taken = Literal["refund", "dispute"]

_REVERSAL = re.compile(r"\[((?:rev|sec)_[0-9A-Za-z_]{1,64})\]")
_PAYMENT_STATES: dict[str, PaymentState] = {
    "paid": "paid",
    "completed": "paid",
    "canceled": "cancelled",
    "past_due": "failed",
}
"""`draft`, `ready` and `billed` wait for the customer; an attempt that fails leaves a transaction `ready`."""
_REFUND_STATES: dict[str, RefundState] = {"approved": "succeeded", "rejected": "failed", "reversed": "failed"}


def transaction_facts(transaction: Json, is_live: bool) -> tuple[Fact, ...]:
    """The payment and everything that was taken back of it; empty where the transaction is not one of ours.

    Amounts are counted as the price is: with tax where the price includes it, before tax where it comes on top.
    """
    purchase_id = marks_of(transaction).get("purser_purchase")
    if purchase_id is None:
        return ()
    teller = _Teller(
        transaction["id"], purchase_id, marks_of(transaction).get("purser_account"), is_live, tax_mode(transaction)
    )
    return (teller.payment(transaction), *teller.returns(adjustments_of(transaction)))


def returned_facts(transaction: Json, is_live: bool) -> tuple[Fact, ...]:
    """What was taken back of a payment that is none of a purchase's, as a subscription's. A proration's credit is none:
    it lowers what the next transaction asks for."""
    adjustments = [one for one in adjustments_of(transaction) if not _is_proration(one)]
    return _Teller(transaction["id"], None, None, is_live, tax_mode(transaction)).returns(adjustments)


@dataclass(frozen=True, slots=True)
class _Teller:
    """What every fact of one transaction has in common."""

    transaction_id: str
    purchase_id: str | None
    account_id: str | None
    is_live: bool
    tax_mode: str

    def payment(self, transaction: Json) -> Fact:
        return Fact(
            kind="payment",
            object_id=self.transaction_id,
            state=_PAYMENT_STATES.get(transaction["status"], "open"),
            amount=paid_amount(transaction),
            version=_version(transaction),
            live=self.is_live,
            purchase_id=self.purchase_id,
            account_id=self.account_id,
            session_id=self.transaction_id,
        )

    def returns(self, adjustments: list[Json]) -> tuple[Fact, ...]:
        """Refunds, credits, chargebacks and the warnings of them."""
        return (
            *(fact for fact in map(self.refund, adjustments) if fact is not None),
            *self.taken_back(adjustments, "credit", "credit_reverse", "refund"),
            *self.taken_back(adjustments, "chargeback", "chargeback_reverse", "dispute"),
            *self.warnings(adjustments),
        )

    def refund(self, adjustment: Json) -> Fact | None:
        """A refund; one that somebody else asked for is nothing yet while Paddle may still reject it."""
        if adjustment["action"] != "refund":
            return None
        state = _REFUND_STATES.get(adjustment["status"], "pending")
        fact = self._about(adjustment, "refund", state, self._minor(adjustment), _version(adjustment))
        return None if state == "pending" and fact.own_reference is None else fact

    def taken_back(self, adjustments: Iterable[Json], action: str, undoing: str, kind: _Taken) -> Iterable[Fact]:
        """Credits and chargebacks, oldest first, each less what later adjustments undid of it."""
        undone = [one for one in adjustments if one["action"] == undoing and one["status"] == "approved"]
        undone_minor = sum(self._minor(one) for one in undone)
        latest = max(map(_version, undone), default=0)
        for one in adjustments:
            if one["action"] != action:
                continue
            whole = self._minor(one)
            covered = min(whole, undone_minor)
            undone_minor -= covered
            version = max(_version(one), latest) if covered else _version(one)
            is_undone = covered == whole or (one["status"] == "reversed" and not undone)
            left = whole if is_undone else whole - covered
            yield self._about(one, kind, _state_of(kind, one["status"], is_undone=is_undone), left, version)

    def warnings(self, adjustments: Iterable[Json]) -> Iterable[Fact]:
        """Early warnings of a chargeback: an inquiry as long as nothing was taken back."""
        for one in adjustments:
            if one["action"] == "chargeback_warning":
                yield self._about(one, "dispute", "inquiry", self._minor(one), _version(one))

    def _about(
        self, adjustment: Json, kind: _Taken, state: RefundState | DisputeState, minor: int, version: int
    ) -> Fact:
        found = _REVERSAL.search(adjustment.get("reason") or "")
        return Fact(
            kind=kind,
            object_id=adjustment["id"],
            state=state,
            amount=Money(minor, adjustment["currency_code"]),
            version=version,
            live=self.is_live,
            parent_id=self.transaction_id,
            purchase_id=self.purchase_id,
            account_id=self.account_id,
            own_reference=found[1] if found and kind == "refund" else None,
        )

    def _minor(self, adjustment: Json) -> int:
        """What the adjustment moves, positive whichever way it goes."""
        return abs(_minor(adjustment["totals"]["subtotal" if self.tax_mode == "external" else "total"]))


def reason_of(reversal_id: str) -> str:
    """The reason of a refund that we make, which is all we may write into it; `transaction_facts` reads it back."""
    return f"Refund [{reversal_id}]"


def paid_amount(transaction: Json) -> Money:
    """What was agreed and paid, as the price counts it; what a credit balance paid of it counts as well."""
    totals = transaction["details"]["totals"]
    if tax_mode(transaction) == "external":
        minor = _minor(totals["subtotal"]) - _minor(totals["discount"])
    else:
        minor = _minor(totals["total"])
    return Money(minor, transaction["currency_code"])


def tax_mode(transaction: Json) -> str:
    """`internal` where the price includes the tax, `external` where it comes on top."""
    items = transaction["items"]
    return "external" if items and items[0]["price"]["tax_mode"] == "external" else "internal"


def marks_of(paddle_object: Json) -> dict[str, str]:
    """What we wrote into a transaction, a subscription or a price."""
    found = paddle_object.get("custom_data")
    return found if isinstance(found, dict) else {}


def adjustments_of(transaction: Json) -> list[Json]:
    """Its adjustments, oldest first."""
    return sorted(transaction.get("adjustments") or [], key=lambda one: (one["created_at"], one["id"]))


def _is_proration(adjustment: Json) -> bool:
    """Whether a credit gives back the rest of a period that another plan took the place of."""
    items = adjustment.get("items") or []
    return bool(items) and all(item.get("type") == "proration" for item in items)


def _state_of(kind: _Taken, status: str, *, is_undone: bool) -> RefundState | DisputeState:
    if is_undone or status == "rejected":
        return "failed" if kind == "refund" else "won"
    if status == "pending_approval":
        return "pending" if kind == "refund" else "open"
    return "succeeded" if kind == "refund" else "lost"
