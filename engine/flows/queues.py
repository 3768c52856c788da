"""Deciding what waits in a queue of the desk: one entry for every kind, whichever flow carries it out.

Deciding again in the same way answers the same; in another way it is refused, for somebody was faster.
"""

from dataclasses import dataclass, replace
from typing import Literal

from sqlmodel import Session

from engine.flows import cases, proposals, quarantine, refunds, send_back, unclaimed
from engine.rules.errors import AlreadyRefunded, Forbidden, Invalid, NotFound
from engine.rules.stores import price_of
from engine.runtime import Runtime
from engine.store import proposals as rows
from engine.store import purchases
from engine.store.database import reading
from engine.store.queues import Queue, Waiting, queue_page
from engine.store.tables import ReversalRow

Action = Literal["approve", "reject", "credit", "refund", "dismiss", "bind", "retry"]

ACTIONS: dict[str, tuple[Action, ...]] = {
    "purchase": ("credit", "refund", "dismiss"),
    "invoice": ("refund", "dismiss"),
    "second_payment": ("refund", "dismiss"),
    "payment": ("bind", "refund", "dismiss"),
    "event": ("retry", "dismiss"),
    "foreign_refund": ("dismiss",),
    "host_grant": ("approve", "reject"),
    "admin_grant": ("approve", "reject"),
    "admin_debit": ("approve", "reject"),
    "reversal": ("approve", "reject"),
    "refund": ("approve", "reject"),
}
"""What may be decided of each kind of thing that waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a person decides of one thing in a queue. `may_approve`: an approver or an administrator."""

    queue: Queue
    item_id: str
    action: Action
    reason: str
    actor: str
    may_approve: bool
    account_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """How it stands after the decision."""

    status: str
    account_id: str | None
    decided_by: str | None
    purchase_id: str | None = None
    transaction_id: str | None = None
    reversal_id: str | None = None
    is_replay: bool = False


def waiting_page(session: Session, runtime: Runtime, queue: Queue, page: int, limit: int) -> tuple[list[Waiting], int]:
    """One page of a queue, newest first, and how much waits in all; a store's purchase at the catalogue's price."""
    rows, total = queue_page(session, queue, page, limit)
    return [_priced(runtime, row) for row in rows], total


def _priced(runtime: Runtime, row: Waiting) -> Waiting:
    told = row.sighting
    if told is None or row.provider is None:
        return row
    price = price_of(runtime.catalog, row.provider, told.product_id, told.quantity)
    if price is None:
        return row
    return replace(
        row,
        amount_minor=price.amount.minor,
        currency=price.amount.currency,
        credits=price.base_credits + price.bonus_credits,
    )


def resolve(runtime: Runtime, verdict: Verdict) -> Resolved:
    """Carry a decision out. Raises `NotFound` for what is not in that queue, or the act's own refusal."""
    if verdict.queue == "approvals" and not verdict.may_approve:
        raise Forbidden("An approver or an administrator decides this.")
    if verdict.account_id is not None and verdict.action != "bind":
        raise Invalid("accountId", "Only a payment that is bound names an account.")
    prefix = verdict.item_id.partition("_")[0]
    match verdict.queue, prefix:
        case ("quarantined" | "review", "pay"):
            return _purchase(runtime, verdict)
        case ("review", "sec"):
            return _second_payment(runtime, verdict)
        case ("review", "cas"):
            return _case(runtime, verdict)
        case ("unclaimed", "unc"):
            return _payment(runtime, verdict)
        case ("review" | "approvals", "prp"):
            return _proposal(runtime, verdict)
        case ("approvals", "rev"):
            return _reversal(runtime, verdict)
        case _:
            raise NotFound(f"entry in the queue {verdict.queue}")


def _check_action(verdict: Verdict, kind: str) -> None:
    if verdict.action not in ACTIONS[kind]:
        raise Invalid("action", f"It is one of {', '.join(ACTIONS[kind])}.")


def _purchase(runtime: Runtime, verdict: Verdict) -> Resolved:
    """Crediting a payment that is above the approval limit is not for support alone; of an invoice that a subscription
    did not ask for, nothing is credited."""
    _check_action(verdict, "purchase")
    assert verdict.action in ("credit", "refund", "dismiss")
    with reading(runtime.db) as session:
        account_id = purchases.find_account(session, verdict.item_id)
        row = purchases.get_purchase(session, account_id, verdict.item_id) if account_id is not None else None
    if row is None:
        raise NotFound("purchase")
    if row.subscription_id is not None:
        _check_action(verdict, "invoice")
    is_large = row.amount_minor > runtime.catalog.refunds.approval_above
    if verdict.action == "credit" and is_large and not verdict.may_approve:
        raise Forbidden("Above the approval limit an approver or an administrator decides this.")
    ruling = quarantine.Ruling(
        purchase_id=verdict.item_id, action=verdict.action, reason=verdict.reason, actor=verdict.actor
    )
    ruled = quarantine.rule(runtime, ruling)
    return Resolved(
        status=ruled.purchase.status,
        account_id=ruled.purchase.account_id,
        decided_by=ruled.resolution.actor,
        purchase_id=ruled.purchase.purchase_id,
        reversal_id=ruled.resolution.reversal_id,
        is_replay=ruled.is_replay,
    )


def _second_payment(runtime: Runtime, verdict: Verdict) -> Resolved:
    """Above the approval limit its money is not sent back by support alone."""
    _check_action(verdict, "second_payment")
    row = send_back.find(runtime, verdict.item_id)
    is_large = row.amount_minor > runtime.catalog.refunds.approval_above
    if verdict.action == "refund" and is_large and not verdict.may_approve:
        raise Forbidden("Above the approval limit an approver or an administrator decides this.")
    is_refund = verdict.action == "refund"
    done = send_back.decide(runtime, verdict.item_id, verdict.actor, verdict.reason, send_back=is_refund)
    return Resolved(
        status=done.row.status,
        account_id=done.row.account_id,
        decided_by=done.row.decided_by,
        purchase_id=done.row.purchase_id,
        is_replay=done.is_replay,
    )


def _case(runtime: Runtime, verdict: Verdict) -> Resolved:
    """What a provider said in vain: an event is tried again at once, or let go."""
    _check_action(verdict, cases.find(runtime, verdict.item_id).kind)
    assert verdict.action in ("retry", "dismiss")
    done = cases.decide(runtime, verdict.item_id, verdict.action, verdict.actor, verdict.reason)
    return Resolved(
        status=done.row.status,
        account_id=done.row.account_id,
        decided_by=done.row.decided_by,
        purchase_id=done.row.purchase_id,
        is_replay=done.is_replay,
    )


def _payment(runtime: Runtime, verdict: Verdict) -> Resolved:
    """What is above the approval limit is not given to anybody, nor sent back, by support alone."""
    _check_action(verdict, "payment")
    price = unclaimed.price_of_row(runtime, unclaimed.find(runtime, verdict.item_id))
    is_large = price is not None and price.amount.minor > runtime.catalog.refunds.approval_above
    if verdict.action != "dismiss" and is_large and not verdict.may_approve:
        raise Forbidden("Above the approval limit an approver or an administrator decides this.")
    if verdict.action == "bind":
        if verdict.account_id is None:
            raise Invalid("accountId", "Name the account that the payment is bound to.")
        done = unclaimed.bind(runtime, verdict.item_id, verdict.account_id, verdict.actor, verdict.reason)
    elif verdict.action == "refund":
        done = unclaimed.refund(runtime, verdict.item_id, verdict.actor, verdict.reason)
    else:
        done = unclaimed.dismiss(runtime, verdict.item_id, verdict.actor, verdict.reason)
    return Resolved(
        status=done.row.status,
        account_id=done.row.account_id,
        decided_by=done.row.decided_by,
        purchase_id=done.row.purchase_id,
        is_replay=done.is_replay,
    )


def _proposal(runtime: Runtime, verdict: Verdict) -> Resolved:
    """A review stands in its queue and corrections in theirs: neither is decided through the other."""
    with reading(runtime.db) as session:
        found = rows.find_proposal(session, verdict.item_id)
    if found is None or (found.kind == "host_grant") != (verdict.queue == "review"):
        raise NotFound("proposal")
    _check_action(verdict, found.kind)
    done = proposals.decide(
        runtime, verdict.item_id, verdict.actor, verdict.reason, approve=verdict.action == "approve"
    )
    return Resolved(
        status=done.row.status,
        account_id=done.row.account_id,
        decided_by=done.row.decided_by,
        transaction_id=done.row.transaction_id,
        is_replay=done.is_replay,
    )


def _reversal(runtime: Runtime, verdict: Verdict) -> Resolved:
    with reading(runtime.db) as session:
        before = purchases.find_reversal(session, verdict.item_id)
    if before is None:
        raise NotFound("reversal")
    _check_action(verdict, before.kind)
    approve = verdict.action == "approve"
    try:
        row, _ = refunds.decide_reversal(
            runtime, verdict.item_id, verdict.actor, approve=approve, reason=verdict.reason
        )
    except AlreadyRefunded:
        with reading(runtime.db) as session:
            there = purchases.find_reversal(session, verdict.item_id)
        if there is None or there.decided_by is None or (there.status != "rejected") != approve:
            raise
        return _reversed(there, is_replay=True)
    return _reversed(row, is_replay=False)


def _reversed(row: ReversalRow, *, is_replay: bool) -> Resolved:
    return Resolved(
        status=row.status,
        account_id=row.account_id,
        decided_by=row.decided_by,
        purchase_id=row.purchase_id,
        reversal_id=row.reversal_id,
        is_replay=is_replay,
    )
