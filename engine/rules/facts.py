"""Facts: what a payment provider has said of one of its objects."""

from dataclasses import dataclass
from typing import Literal

from engine.rules.money import Money

FactKind = Literal["payment", "refund", "dispute"]
PaymentState = Literal["open", "processing", "paid", "failed", "expired", "cancelled"]
RefundState = Literal["pending", "succeeded", "failed"]
DisputeState = Literal["inquiry", "open", "won", "lost", "prevented"]


@dataclass(frozen=True, slots=True)
class Fact:
    """One provider object as it stood at `version`: the newest version of each object counts, nothing else.

    `object_id` is the provider's own id (`pi_…`, `re_…`, `dp_…`). `parent_id` names the payment a refund or
    dispute belongs to. `purchase_id` and `account_id` are what we wrote into the provider's object when it was
    ours to write; `own_reference` is our reversal id in a refund that we made. `amount` is what was paid before
    tax on top, or what is refunded or disputed. `version` orders two sightings of one object: the provider's own
    time or counter, never ours.
    """

    kind: FactKind
    object_id: str
    state: PaymentState | RefundState | DisputeState
    amount: Money
    version: int
    live: bool
    parent_id: str | None = None
    purchase_id: str | None = None
    account_id: str | None = None
    own_reference: str | None = None
    session_id: str | None = None
    receipt_url: str | None = None
