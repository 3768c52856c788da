"""Receipts, invoices and credit notes: the list, the PDF, an invoice asked for later, "send again", and the month."""

import asyncio
from typing import Annotated, Any

from litestar.response import Response
from msgspec import Meta
from sqlmodel import Session

from api.body import Body, PageQuery
from api.instants import instant
from api.receipt_exports import ExportQuery, export_month
from api.receipt_files import pdf_of
from api.scope import Answer, Call, Resource
from api.transactions import Pagination
from engine.flows.receipt_mails import send_again
from engine.flows.reissues import issue_invoice
from engine.rules.errors import AlreadyRefunded, Invalid, NotFound, RateLimited, Unavailable
from engine.rules.fields import Email, Text
from engine.store import documents
from engine.store.database import reading, transact
from engine.store.tables import AccountRow, DocumentRow
from receipts.letters import letter
from receipts.render import Renderer

RECIPIENTS_MAX = 5


class Receipt(Body, frozen=True, kw_only=True):
    id: str
    kind: str
    number: str
    original_number: str | None
    purchase_id: str
    amount_minor: int
    currency: str
    issued_at: str


class Receipts(Body, frozen=True, kw_only=True):
    receipts: tuple[Receipt, ...]
    pagination: Pagination


class InvoiceBody(Body, frozen=True, kw_only=True):
    """`purchaseOrder` is the company's own order number, printed on the invoice."""

    purchase_order: Text | None = None


class SendBody(Body, frozen=True, kw_only=True):
    """Who gets the document by mail: the account's own address unless others are named."""

    recipients: Annotated[tuple[Email, ...], Meta(min_length=1, max_length=RECIPIENTS_MAX)] | None = None


class Sent(Body, frozen=True, kw_only=True):
    recipients: tuple[str, ...]


def list_receipts(call: Call[PageQuery]) -> Answer:
    """Every document of the account, newest first."""
    ask = call.ask
    with reading(call.runtime.db) as session:
        if session.get(AccountRow, call.account_id) is None:
            raise NotFound("account")
        rows, total = documents.list_documents(session, call.account_id, ask.page, ask.limit)
    return Answer(
        Receipts(
            receipts=tuple(receipt(row) for row in rows),
            pagination=Pagination(page=ask.page, limit=ask.limit, total=total),
        )
    )


def receipt(row: DocumentRow) -> Receipt:
    """One document in the contract's words."""
    return Receipt(
        id=row.document_id,
        kind=row.kind,
        number=row.number,
        original_number=row.original_number,
        purchase_id=row.purchase_id,
        amount_minor=row.amount_minor,
        currency=row.currency,
        issued_at=instant(row.issued_at),
    )


def post_invoice(call: Call[InvoiceBody]) -> Answer:
    """The invoice for the company that the profile names: a new one cancels what stood before."""
    row, is_new = issue_invoice(call.runtime, call.account_id, call.path["file"], call.ask.purchase_order)
    if is_new:
        call.runtime.wake_jobs()
    return Answer(receipt(row), status=201 if is_new else 200)


def resources(renderer: Renderer) -> tuple[Resource[Any], ...]:
    """The resources, with PDFs made by this renderer."""
    return (
        Resource(
            method="GET",
            path="receipts",
            may="read",
            handler=list_receipts,
            asks=PageQuery,
            answers=Receipts,
            refuses=(NotFound,),
            summary="List receipts, invoices and credit notes.",
        ),
        *_files(renderer),
        Resource(
            method="POST",
            path="receipts/{file:str}/invoice",
            may="settings.write",
            handler=post_invoice,
            asks=InvoiceBody,
            answers=Receipt,
            refuses=(NotFound, Invalid, AlreadyRefunded),
            summary="An invoice for the company in the profile, in place of a receipt: cancelled and issued anew.",
        ),
        _sending(renderer),
    )


def _files(renderer: Renderer) -> tuple[Resource[Any], ...]:
    async def get_pdf(call: Call[None]) -> Response[bytes]:
        name = call.path["file"]
        if not name.endswith(".pdf"):
            raise NotFound("receipt")
        row, pdf = await pdf_of(call.runtime, renderer, call.account_id, name.removesuffix(".pdf"))
        headers = {"content-disposition": f'inline; filename="{row.number}.pdf"', "cache-control": "private, no-store"}
        return Response(pdf, media_type="application/pdf", headers=headers)

    async def get_export(call: Call[ExportQuery]) -> Response[bytes]:
        return await export_month(call, renderer)

    return (
        Resource(
            method="GET",
            path="receipts/export",
            may="read",
            handler=get_export,
            asks=ExportQuery,
            refuses=(NotFound, Unavailable),
            summary="A month's documents: a ZIP of PDFs with a CSV, or the CSV alone.",
        ),
        Resource(
            method="GET",
            path="receipts/{file:str}",
            may="read",
            handler=get_pdf,
            refuses=(NotFound, Unavailable),
            summary="One document as PDF: {receiptId}.pdf.",
        ),
    )


def _sending(renderer: Renderer) -> Resource[Any]:
    async def send(call: Call[SendBody]) -> Answer:
        """The PDF is made first, so that the mail never waits for it."""
        runtime, named = call.runtime, call.ask.recipients
        row, _ = await pdf_of(runtime, renderer, call.account_id, call.path["file"])
        words = letter(row.data.encode(), runtime.catalog.name)

        def work(session: Session) -> tuple[str, ...]:
            return send_again(session, row, words.subject, words.text, named, runtime.clock.now())

        sent = await asyncio.to_thread(transact, runtime.db, work)
        runtime.wake_jobs()
        return Answer(Sent(recipients=sent))

    return Resource(
        method="POST",
        path="receipts/{file:str}/send",
        may="settings.write",
        handler=send,
        asks=SendBody,
        answers=Sent,
        refuses=(NotFound, RateLimited, Unavailable),
        summary="Mail a document again, with its PDF.",
    )
