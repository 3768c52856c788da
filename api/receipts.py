"""Receipts and credit notes: the list, and the PDF made from the frozen data."""

import asyncio
import hashlib
from typing import Any

from litestar.response import Response

from api.body import Body, PageQuery
from api.instants import instant
from api.scope import Answer, Call, Resource
from api.transactions import Pagination
from engine.rules import documents as rules
from engine.rules.errors import NotFound, Unavailable
from engine.runtime import Runtime
from engine.store import documents
from engine.store.database import reading, transact
from engine.store.tables import AccountRow, DocumentRow
from receipts import RenderFailed
from receipts.render import Renderer


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


async def pdf_of(runtime: Runtime, renderer: Renderer, account_id: str, document_id: str) -> tuple[DocumentRow, bytes]:
    """The document and its PDF: kept bytes, or made now in a worker process and kept."""
    row = await asyncio.to_thread(_find, runtime, account_id, document_id)
    if row.pdf is not None:
        return row, bytes(row.pdf)
    try:
        pdf = await asyncio.wrap_future(renderer.submit(rules.read(row.data.encode())))
    except RenderFailed as error:
        raise Unavailable("The document can't be made right now; try again.") from error
    digest = hashlib.sha256(pdf).hexdigest()
    await asyncio.to_thread(
        transact,
        runtime.db,
        lambda session: documents.keep_pdf(session, account_id, document_id, pdf, digest),
    )
    return row, pdf


def _find(runtime: Runtime, account_id: str, document_id: str) -> DocumentRow:
    with reading(runtime.db) as session:
        row = documents.get_document(session, account_id, document_id)
    if row is None:
        raise NotFound("receipt")
    return row


def resources(renderer: Renderer) -> tuple[Resource[Any], ...]:
    """The resources, with PDFs made by this renderer."""

    async def get_pdf(call: Call[None]) -> Response[bytes]:
        name = call.path["file"]
        if not name.endswith(".pdf"):
            raise NotFound("receipt")
        row, pdf = await pdf_of(call.runtime, renderer, call.account_id, name.removesuffix(".pdf"))
        headers = {"content-disposition": f'inline; filename="{row.number}.pdf"', "cache-control": "private, no-store"}
        return Response(pdf, media_type="application/pdf", headers=headers)

    return (
        Resource(
            method="GET",
            path="receipts",
            may="read",
            handler=list_receipts,
            asks=PageQuery,
            answers=Receipts,
            refuses=(NotFound,),
            summary="List receipts and credit notes.",
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
