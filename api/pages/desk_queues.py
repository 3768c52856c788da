"""`/support/queues/…`: what waits for a person, each with the forms of what may be decided of it."""

from dataclasses import dataclass
from typing import Any

from litestar import Response
from sqlmodel import Session

from api.pages.frame import Visit
from api.pages.topup import see_other
from api.problems import KINDS
from api.queues import action_of
from engine.flows.queues import ACTIONS, Action, Verdict, resolve, waiting_page
from engine.rules.errors import Invalid, NotFound, Refusal
from engine.rules.refunds import is_same_person
from engine.store import queues
from engine.store.database import reading
from engine.store.queues import QUEUES, Queue, Waiting

ROWS = 20
PAGES_MAX = 500
REASON_MAX = 500

LABELS: dict[Action, str] = {
    "approve": "Approve",
    "reject": "Reject",
    "credit": "Credit what the order says",
    "refund": "Send the money back",
    "dismiss": "Dismiss",
    "bind": "Give it to this account",
    "retry": "Try it again now",
}
"""What the button of each decision says."""

NOTICES: dict[Action, str] = {
    "approve": "Approved.",
    "reject": "Rejected.",
    "credit": "Credited: the customer has the credits.",
    "refund": "The refund is asked for: the money goes back through the provider.",
    "dismiss": "Dismissed: nothing was moved.",
    "bind": "Bound: the account has the credits.",
    "retry": "It is tried again now; should it fail, it waits here once more.",
}


@dataclass(frozen=True, slots=True)
class Task:
    """One thing that waits, as this reader sees it: `actions` is what they may decide, with the buttons' words."""

    item: Waiting
    queue: Queue
    actions: tuple[tuple[Action, str], ...]
    is_own: bool
    needs_approver: bool

    @staticmethod
    def of(visit: Visit, item: Waiting, queue: Queue) -> "Task":
        is_own = item.requested_by is not None and is_same_person(item.requested_by, visit.actor)
        needs_approver = queue == "approvals" and not visit.may("approve")
        actions = () if is_own or needs_approver else tuple((name, LABELS[name]) for name in ACTIONS[item.kind])
        return Task(item, queue, actions, is_own, needs_approver)


def queue_counts(session: Session) -> dict[str, int]:
    """How much waits in each queue."""
    return {queue: queues.queue_total(session, queue) for queue in QUEUES}


def show(visit: Visit, problem: Refusal | None = None) -> Response[str]:
    """One queue, a page at a time."""
    queue = _queue(visit)
    page = _page(visit.query.get("page", "1"))
    with reading(visit.runtime.db) as session:
        rows, total = waiting_page(session, visit.runtime, queue, page, ROWS)
        counts = queue_counts(session)
    done = action_of(visit.query.get("done", ""))
    return visit.page(
        "desk_queue.html",
        KINDS[type(problem)].status if problem is not None else 200,
        queue=queue,
        tasks=[Task.of(visit, row, queue) for row in rows],
        counts=counts,
        page=page,
        pages=max(1, -(-total // ROWS)),
        problem=problem,
        form=visit.form,
        failed_id=visit.path.get("item_id"),
        notice=NOTICES[done] if done is not None else None,
    )


def decide(visit: Visit) -> Response[Any]:
    """Carry a decision out; a refusal shows the queue again with the reason."""
    queue, action = _queue(visit), action_of(visit.form.get("action", ""))
    reason = visit.form.get("reason", "").strip()
    try:
        if action is None:
            raise Invalid("action", "Choose what is to be done.")
        if not reason or len(reason) > REASON_MAX:
            raise Invalid("reason", f"Write a reason of at most {REASON_MAX} characters: it stands in the audit log.")
        account_id = visit.form.get("account", "").strip() or None
        verdict = Verdict(
            queue=queue,
            item_id=visit.path["item_id"],
            action=action,
            reason=reason,
            actor=visit.actor,
            may_approve=visit.may("approve"),
            account_id=account_id if action == "bind" else None,
        )
        resolve(visit.runtime, verdict)
    except Refusal as refusal:
        return show(visit, refusal)
    visit.runtime.wake_jobs()
    return see_other(f"/support/queues/{queue}?done={action}")


def _queue(visit: Visit) -> Queue:
    for queue in QUEUES:
        if queue == visit.path["queue"]:
            return queue
    raise NotFound("queue")


def _page(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= len(text) <= 6 or not 1 <= int(text) <= PAGES_MAX:
        raise Invalid("page", "There is no such page.")
    return int(text)
