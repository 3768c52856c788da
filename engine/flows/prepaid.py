"""What finance must know of payments whose credits come later: how much went back, and since when nothing more comes.

A payment that a person still decides of goes on holding its money: nothing of it is over.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session

from engine.flows.granting import commit_of
from engine.flows.subscription_months import COVERING, cover_of, credits_to_come
from engine.rules.finance import PaidLot
from engine.rules.prepaid import LotCost, Prepaid, is_prepaid
from engine.store import finance, subscriptions
from engine.store.tables import PurchaseRow, SubscriptionInvoiceRow

DECIDED = ("paid", "partially_refunded")


def prepaid_of(session: Session, account_id: str, lots: Sequence[PaidLot]) -> list[Prepaid]:
    """An account's payments of which more was paid than came with them; `lots` are all that cost it money."""
    bought: dict[str | None, list[LotCost]] = defaultdict(list)
    for lot in lots:
        bought[lot.purchase_id].append(LotCost(lot.granted_seq, lot.granted_at, lot.cost_minor))
    found = []
    for row in finance.payments_ahead(session, account_id):
        assert row.landed_at is not None
        own = tuple(bought[row.purchase_id])
        if not is_prepaid(row.amount_minor, row.landed_at, own) or not _is_for_credits(session, row):
            continue
        is_to_come = sum(lot.minor for lot in own) < row.amount_minor and _is_to_come(session, row)
        if not own and not is_to_come:
            continue
        found.append(
            Prepaid(
                account_id=account_id,
                purchase_id=row.purchase_id,
                source="commit" if row.subscription_id is None else "subscription",
                currency=row.currency,
                amount_minor=row.amount_minor,
                granted_at=row.landed_at,
                lots=own,
                backs=finance.money_back(session, row),
                ends_at=None if is_to_come else _end(session, row, own),
            )
        )
    return found


def _is_for_credits(session: Session, row: PurchaseRow) -> bool:
    """Whether it pays for credits: a plan may have none, and a subscription's other invoices are for no month."""
    bought = _invoices(session, row) if row.subscription_id is not None else []
    return row.subscription_id is None or any(each.monthly_credits > 0 for each in bought)


def _invoices(session: Session, row: PurchaseRow) -> list[SubscriptionInvoiceRow]:
    """What a subscription's payment paid for, and of an upgrade what it raised."""
    assert row.subscription_id is not None
    invoices = subscriptions.invoices_of(session, row.account_id, row.subscription_id)
    bought = [each for each in invoices if each.purchase_id == row.purchase_id]
    raised = [cover_of(invoices, each.period_start_at) for each in bought if each.kind == "proration"]
    kinds = (*COVERING, "proration")
    return [each for each in (*bought, *raised) if each is not None and each.kind in kinds]


def _is_to_come(session: Session, row: PurchaseRow) -> bool:
    """Whether credits are still to come of it, or a person must say so first."""
    if row.is_disputed or row.status not in DECIDED:
        return True
    commit = commit_of(session, row)
    if commit is not None:
        return commit.parts_landed < commit.parts
    return credits_to_come(session, row) > 0


def _end(session: Session, row: PurchaseRow, lots: Sequence[LotCost]) -> datetime:
    """The end of what it pays for, which a change may have brought forward; or its last lot, should that be later."""
    assert row.landed_at is not None
    last = max((lot.at for lot in lots), default=row.landed_at)
    if row.subscription_id is None:
        return last
    return max(last, min((each.period_end_at for each in _invoices(session, row)), default=last))
