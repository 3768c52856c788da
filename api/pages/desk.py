"""`/support`: find a payment, see why it may or may not be reversed, reverse it, and decide others' proposals."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from litestar import Response

from api.pages.amounts import plain_amount
from api.pages.desk_queues import Task, queue_counts
from api.pages.frame import Visit
from api.pages.topup import see_other
from api.pages.usage import holdings
from api.payments import Payment, payment
from api.problems import KINDS
from api.scope import checked_key
from engine.clock import new_id
from engine.flows import refunds
from engine.flows.policy_refunds import Offer, refund_offer
from engine.rules.errors import Invalid, NotFound, Refusal
from engine.rules.lots import Lot
from engine.rules.money import Money
from engine.store import documents, history, purchases, queues, search
from engine.store.database import reading
from engine.store.tables import AccountRow, DocumentRow, PurchaseRow, ReversalRow

REASON_MAX = 500
LEDGER_ROWS = 50
WAITING_ROWS = 20
NOTICES = {
    "reversed": "The credits were taken back and the refund is on its way to the provider.",
    "proposed": "The credits were taken back. A second person must approve before the money goes back.",
    "approved": "Approved: the refund is on its way to the provider.",
    "rejected": "Rejected: the credits were given back.",
    "refunded": "The credits were taken back and the refund is on its way to the provider.",
    "corrected": "The correction is in the ledger.",
    "correction-proposed": "Nothing has moved yet. A second person must approve this correction.",
}
"""What a page says after an act, by the name in its address."""


@dataclass(frozen=True, slots=True)
class Case:
    """A purchase as support sees it. `refusal` is why it can't be reversed now; `None` means it can."""

    row: PurchaseRow
    payment: Payment
    account: AccountRow
    lots: tuple[Lot, ...]
    reversals: tuple[ReversalRow, ...]
    documents: tuple[DocumentRow, ...]
    refusal: Refusal | None
    window_ends_at: datetime | None
    needs_approval: bool
    offer: Offer


def home(visit: Visit) -> Response[str]:
    """The search, what it found, and what waits for approval."""
    words = visit.query.get("q", "").strip()
    with reading(visit.runtime.db) as session:
        found = search.find(session, words) if words else None
        waiting = queues.queue_page(session, "approvals", 1, WAITING_ROWS)[0]
        counts = queue_counts(session)
    return visit.page(
        "desk.html",
        q=words,
        found=found,
        purchases=[(row, payment(visit.runtime, row, None)) for row in found.purchases] if found else [],
        waiting=[Task.of(visit, each, "approvals") for each in waiting],
        counts=counts,
        notice=NOTICES.get(visit.query.get("done", "")),
    )


def account(visit: Visit, problem: Refusal | None = None) -> Response[str]:
    """One account: what it holds, what it bought, and the newest rows of its ledger."""
    account_id = visit.path["account_id"]
    held = holdings(visit, account_id)
    with reading(visit.runtime.db) as session:
        row = session.get(AccountRow, account_id)
        wallet = history.find_wallet(session, account_id)
        bought, _ = purchases.list_purchases(session, account_id, 1, LEDGER_ROWS)
        assert wallet is not None, "what has a balance has a wallet"
        ledger = history.statement(session, wallet, history.StatementQuery(limit=LEDGER_ROWS))
    return visit.page(
        "desk_account.html",
        KINDS[type(problem)].status if problem is not None else 200,
        account=row,
        holdings=held,
        purchases=[(one, payment(visit.runtime, one, None)) for one in bought],
        ledger=ledger,
        may_correct=visit.may("admin"),
        problem=problem,
        form=visit.form,
        view=new_id("view", visit.now),
        notice=NOTICES.get(visit.query.get("done", "")),
    )


def purchase(visit: Visit) -> Response[str]:
    """One purchase with all that decides its reversal."""
    return case_page(visit, None)


def reverse(visit: Visit) -> Response[Any]:
    """Reverse, or propose to; a refusal shows the case again with the reason."""
    purchase_id = visit.path["purchase_id"]
    reason = visit.form.get("reason", "").strip()
    if not reason or len(reason) > REASON_MAX:
        problem = Invalid("reason", f"Write a reason of at most {REASON_MAX} characters: it stands in the audit log.")
        return case_page(visit, problem)
    try:
        key = checked_key(visit.form.get("view"))
        made, _ = refunds.reverse_purchase(visit.runtime, purchase_id, reason, visit.actor, key)
    except NotFound:
        raise
    except Refusal as refusal:
        return case_page(visit, refusal)
    visit.runtime.wake_jobs()
    done = "proposed" if made.status == "pending_approval" else "reversed"
    return see_other(f"/support/purchases/{purchase_id}?done={done}")


def decide(visit: Visit) -> Response[Any]:
    """Approve or reject another person's proposal."""
    reversal_id, decision = visit.path["reversal_id"], visit.path["decision"]
    if decision not in ("approve", "reject"):
        raise NotFound("decision")
    reason = visit.form.get("reason", "").strip()[:REASON_MAX]
    approve = decision == "approve"
    row, _ = refunds.decide_reversal(visit.runtime, reversal_id, visit.actor, approve=approve, reason=reason)
    visit.runtime.wake_jobs()
    done = "approved" if approve else "rejected"
    return see_other(f"/support/purchases/{row.purchase_id}?done={done}")


def case_page(visit: Visit, problem: Refusal | None) -> Response[str]:
    case = _case(visit, visit.path["purchase_id"])
    return visit.page(
        "desk_purchase.html",
        KINDS[type(problem)].status if problem is not None else 200,
        case=case,
        problem=problem,
        reason=visit.form.get("reason", ""),
        policy=visit.runtime.catalog.refunds.policy,
        refund_amount=_amount_shown(visit, case),
        view=new_id("view", visit.now),
        left=_left(case, visit.now),
        window_hours=visit.runtime.catalog.refunds.window_hours,
        approval_above=visit.runtime.catalog.refunds.approval_above,
        may_approve=visit.may("approve"),
        actor=visit.actor,
        notice=NOTICES.get(visit.query.get("done", "")),
    )


def _amount_shown(visit: Visit, case: Case) -> str:
    """What the refund's field holds: what was typed, else the unspent share, else the most."""
    offer = case.offer
    shown = min(offer.unspent_minor or offer.max_minor, offer.max_minor)
    return visit.form.get("amount") or plain_amount(Money(shown, case.row.currency))


def _case(visit: Visit, purchase_id: str) -> Case:
    runtime = visit.runtime
    rules = runtime.catalog.refunds
    with reading(runtime.db) as session:
        account_id = purchases.find_account(session, purchase_id)
        row = purchases.get_purchase(session, account_id, purchase_id) if account_id is not None else None
        if account_id is None or row is None:
            raise NotFound("purchase")
        owner = session.get(AccountRow, account_id)
        assert owner is not None, "a purchase has an account"
        refusal = refunds.reversal_refusal(session, runtime, row)
        if refusal is not None and not isinstance(refusal, Refusal):
            raise refusal
        return Case(
            row=row,
            payment=payment(runtime, row, None),
            account=owner,
            lots=purchases.purchase_lots(session, account_id, purchase_id),
            reversals=tuple(purchases.reversals_of(session, account_id, purchase_id)),
            documents=tuple(documents.documents_of(session, account_id, purchase_id)),
            refusal=refusal,
            window_ends_at=row.landed_at + timedelta(hours=rules.window_hours) if row.landed_at else None,
            needs_approval=row.amount_minor > rules.approval_above,
            offer=refund_offer(session, runtime, row, is_admin=visit.may("admin")),
        )


def _left(case: Case, now: datetime) -> timedelta | None:
    """What is left of the window; `None` where it is over or never began."""
    if case.window_ends_at is None or now >= case.window_ends_at:
        return None
    return case.window_ends_at - now
