"""`/account/billing`: payments with their documents, invoices on request, saved cards, auto-recharge, the company."""

from dataclasses import dataclass
from typing import Any

from litestar import Response

from api.pages import recharging
from api.pages.forms import call_of, see_other, text_or_none
from api.pages.frame import Visit
from api.payments import Payment, payment
from api.problems import KINDS
from api.receipt_files import pdf_of
from api.receipts import InvoiceBody, post_invoice
from engine.flows.document_parts import buyer_of
from engine.rules.errors import AlreadyRefunded, Invalid, NotFound
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

    def may_replace(self, document: DocumentRow) -> bool:
        """Whether an invoice may be asked for in place of this document."""
        is_paid = self.payment.status in ("completed", "partially_refunded")
        return is_paid and document.kind in ("receipt", "invoice") and document.replaced_by is None


DONE = {
    "invoice": "Your invoice is ready below.",
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


def invoice(visit: Visit) -> Response[Any]:
    """An invoice for the company in place of a receipt, or the page again with why there is none."""
    ask = {"purchaseOrder": text_or_none(visit.form.get("purchase_order", ""))}
    try:
        post_invoice(call_of(visit, InvoiceBody, ask, file=visit.path["file"]))
    except (Invalid, AlreadyRefunded) as refusal:
        status = KINDS[type(refusal)].status
        return _page(visit, recharging.shown(visit), status, visit.tongue.say(refusal.detail))
    return see_other("/account/billing?done=invoice#payments")


def _page(visit: Visit, recharge: dict[str, Any] | None, status: int = 200, invoice_problem: str = "") -> Response[str]:
    page = _page_number(visit.query.get("page", "1"))
    with reading(visit.runtime.db) as session:
        rows, total = purchases.list_purchases(session, visit.account_id, page, ROWS)
        bills = []
        for row in rows:
            issued = documents.documents_of(session, visit.account_id, row.purchase_id)
            bills.append(Bill(row, payment(visit.runtime, row, None), tuple(issued)))
        account = session.get_one(AccountRow, visit.account_id)
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
        done_part={"recharge": "recharge", "invoice": "payments"}.get(done, "cards"),
        buyer=buyer_of(account),
        invoice_problem=invoice_problem,
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
