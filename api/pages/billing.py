"""`/account/billing`: payments with their documents, and `/account/subscribe`: the plans as the catalogue has them."""

from dataclasses import dataclass
from typing import Any

from litestar import Response

from api.pages.frame import Visit
from api.receipt_files import pdf_of
from api.topups import Payment, payment
from engine.rules.errors import Invalid, NotFound
from engine.store import documents, purchases
from engine.store.database import reading
from engine.store.tables import AccountRow, DocumentRow, PurchaseRow
from receipts.render import Renderer

ROWS = 20
PAGES_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Bill:
    """One payment with its documents, oldest first."""

    row: PurchaseRow
    payment: Payment
    documents: tuple[DocumentRow, ...]


def show(visit: Visit) -> Response[str]:
    """Payments, newest first, a page at a time."""
    page = _page_number(visit.query.get("page", "1"))
    with reading(visit.runtime.db) as session:
        rows, total = purchases.list_purchases(session, visit.account_id, page, ROWS)
        bills = []
        for row in rows:
            issued = documents.documents_of(session, visit.account_id, row.purchase_id)
            bills.append(Bill(row, payment(visit.runtime, row, None), tuple(issued)))
    return visit.page("billing.html", bills=bills, total=total, page=page, pages=max(1, -(-total // ROWS)))


async def pdf(visit: Visit, renderer: Renderer) -> Response[Any]:
    """One document of this account as a file to keep."""
    name = visit.path["file"]
    if not name.endswith(".pdf"):
        raise NotFound("receipt")
    row, content = await pdf_of(visit.runtime, renderer, visit.account_id, name.removesuffix(".pdf"))
    headers = {"content-disposition": f'attachment; filename="{row.number}.pdf"'}
    return Response(content, media_type="application/pdf", headers=headers)


def subscribe(visit: Visit) -> Response[str]:
    """The plans side by side, the account's own marked."""
    catalog = visit.runtime.catalog
    with reading(visit.runtime.db) as session:
        account = session.get(AccountRow, visit.account_id)
    if account is None:
        raise NotFound("account")
    plans = sorted(catalog.plans, key=lambda plan: plan.rank)
    return visit.page("subscribe.html", plans=plans, current=account.plan, currency=catalog.pricing.currency)


def _page_number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= len(text) <= 6 or not 1 <= int(text) <= PAGES_MAX:
        raise Invalid("page", "There is no such page.")
    return int(text)
