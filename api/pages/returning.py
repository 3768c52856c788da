"""The page a customer comes back to from a provider: what the purchase says, whatever the address bar claims.

While the provider's word is not here yet the page waits: a script asks `…/return/status`, without one the page loads
itself again. Now and then the provider is asked directly, in case its webhook was lost.
"""

import threading
from typing import Any, Literal

import structlog
from litestar import Response

from api.pages.frame import Visit
from api.pages.topup import PATH as TOP_UP_PATH
from api.pages.topup import own_purchase
from api.payments import PAYMENT_STATUS
from engine.clock import monotonic
from engine.flows import receive
from engine.payments import ProviderRefused, ProviderUnreachable
from engine.rules.errors import NotFound
from engine.store import documents
from engine.store.database import reading
from engine.store.tables import PurchaseRow

PATH = f"{TOP_UP_PATH}/return"
Outcome = Literal["paid", "waiting", "cancelled", "failed", "expired", "review", "refunded", "disputed"]

ASK_AFTER_SECONDS = 4.0
"""How long the webhook is waited for before the provider is asked; then once in `ASK_AGAIN_SECONDS`."""
ASK_AGAIN_SECONDS = 20.0
ASKED_MAX = 10_000
log = structlog.get_logger()


class Patience:
    """When a waiting purchase's provider may be asked: not at once, and not at every look. One per process."""

    def __init__(self) -> None:
        self._due: dict[str, float] = {}
        self._lock = threading.Lock()

    def is_over(self, purchase_id: str) -> bool:
        """Whether to ask now; the first look only starts the wait."""
        now = monotonic()
        with self._lock:
            if len(self._due) >= ASKED_MAX:
                self._due.clear()
            due = self._due.setdefault(purchase_id, now + ASK_AFTER_SECONDS)
            if now < due:
                return False
            self._due[purchase_id] = now + ASK_AGAIN_SECONDS
            return True


def outcome_of(purchase: PurchaseRow, *, says_cancelled: bool = False) -> Outcome:
    """What came of a purchase. An open one that its customer left is called cancelled: nobody paid it."""
    if purchase.is_disputed:
        return "disputed"
    if purchase.status == "cancelled" or (says_cancelled and purchase.status in ("created", "open")):
        return "cancelled"
    if purchase.status == "paid":
        return "paid"
    status = PAYMENT_STATUS[purchase.status]
    by_status: dict[str, Outcome] = {
        "pending": "waiting",
        "failed": "failed",
        "expired": "expired",
        "review": "review",
        "refunded": "refunded",
        "partially_refunded": "refunded",
    }
    return by_status[status]


def show(visit: Visit, patience: Patience) -> Response[str]:
    """The outcome in words; the query names the purchase and is believed in nothing else."""
    purchase = _fresh(visit, patience)
    outcome = outcome_of(purchase, says_cancelled=visit.query.get("status") == "cancelled")
    with reading(visit.runtime.db) as session:
        receipt = documents.receipt_ids(session, visit.account_id, [purchase.purchase_id]).get(purchase.purchase_id)
    credits = purchase.base_credits + purchase.bonus_credits
    return visit.page("return.html", outcome=outcome, purchase=purchase, credits=credits, receipt_id=receipt)


def status(visit: Visit, patience: Patience) -> Response[Any]:
    """`{"outcome": …}` for the script of the page that waits."""
    purchase = _fresh(visit, patience)
    return Response({"outcome": outcome_of(purchase)}, media_type="application/json")


def _fresh(visit: Visit, patience: Patience) -> PurchaseRow:
    """The purchase the query names, after its provider was asked if it is time to."""
    purchase_id = visit.query.get("purchase", "")
    if not purchase_id:
        raise NotFound("order")
    purchase = own_purchase(visit, purchase_id)
    if outcome_of(purchase) != "waiting" or not patience.is_over(purchase_id):
        return purchase
    try:
        receive.refresh(visit.runtime, purchase)
    except (ProviderUnreachable, ProviderRefused) as error:
        log.info("payment not known yet", purchase_id=purchase_id, problem=str(error))
        return purchase
    visit.runtime.wake_jobs()
    return own_purchase(visit, purchase_id)
