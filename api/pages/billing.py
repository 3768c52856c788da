"""`/account/billing`: payments with their documents, saved cards, auto-recharge and what it decided."""

from dataclasses import dataclass
from typing import Any

from litestar import Response

from api.pages import recharging
from api.pages.frame import Visit
from api.receipt_files import pdf_of
from api.topups import Payment, payment
from engine.rules.errors import Invalid, NotFound
from engine.store import documents, purchases
from engine.store.database import reading
from engine.store.tables import DocumentRow, PurchaseRow
from receipts.render import Renderer

ROWS = 20
PAGES_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Bill:
    """One payment with its documents, oldest first."""

    row: PurchaseRow
    payment: Payment
    documents: tuple[DocumentRow, ...]


DONE = {
    "recharge": "Auto-recharge was saved.",
    "default": "The default card was changed.",
    "removed": "The card was removed, and auto-recharge that used it was switched off.",
}
"""What the page says after a form was carried out."""


def show(visit: Visit) -> Response[str]:
    """Payments, newest first, a page at a time; below them the cards and auto-recharge."""
    return _page(visit, recharging.shown(visit) if visit.may("settings.read") else None)


def save_recharge(visit: Visit) -> Response[Any]:
    """Change auto-recharge, or show its form again with what was wrong."""
    saved = recharging.save(visit)
    return saved if isinstance(saved, Response) else _page(visit, saved, status=400)


def _page(visit: Visit, recharge: dict[str, Any] | None, status: int = 200) -> Response[str]:
    page = _page_number(visit.query.get("page", "1"))
    with reading(visit.runtime.db) as session:
        rows, total = purchases.list_purchases(session, visit.account_id, page, ROWS)
        bills = []
        for row in rows:
            issued = documents.documents_of(session, visit.account_id, row.purchase_id)
            bills.append(Bill(row, payment(visit.runtime, row, None), tuple(issued)))
    done = visit.query.get("done", "") if visit.request.method == "GET" else ""
    return visit.page(
        "billing.html",
        status,
        bills=bills,
        total=total,
        page=page,
        pages=max(1, -(-total // ROWS)),
        recharge=recharge,
        done=DONE.get(done),
        done_part="recharge" if done == "recharge" else "cards",
        may_write=visit.may("settings.write"),
        currency=visit.runtime.catalog.pricing.currency,
        plans={plan.id: plan.name for plan in visit.runtime.catalog.plans},
    )


async def pdf(visit: Visit, renderer: Renderer) -> Response[Any]:
    """One document of this account as a file to keep."""
    name = visit.path["file"]
    if not name.endswith(".pdf"):
        raise NotFound("receipt")
    row, content = await pdf_of(visit.runtime, renderer, visit.account_id, name.removesuffix(".pdf"))
    headers = {"content-disposition": f'attachment; filename="{row.number}.pdf"'}
    return Response(content, media_type="application/pdf", headers=headers)


def _page_number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= len(text) <= 6 or not 1 <= int(text) <= PAGES_MAX:
        raise Invalid("page", "There is no such page.")
    return int(text)
