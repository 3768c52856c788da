"""A month of documents for the bookkeeper: a CSV with one row each, alone or in a ZIP beside the PDFs."""

import asyncio
import io
import zipfile
from datetime import datetime, timezone
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from litestar.response import Response
from msgspec import Meta

from api.body import Body
from api.csv_text import csv_text, safe_cell
from api.receipt_files import pdf_of
from api.scope import Call
from engine.rules import documents as rules
from engine.rules.errors import Invalid, NotFound
from engine.rules.money import Money, major_text
from engine.store import documents
from engine.store.database import reading
from engine.store.tables import AccountRow, DocumentRow
from receipts.render import Renderer

DOCUMENTS_MAX = 1_000
COLUMNS = (
    "number", "kind", "issuedAt", "originalNumber", "replacesNumber", "cancelsNumber", "orderId", "paymentId",
    "provider", "buyer", "taxId", "country", "purchaseOrder", "currency", "net", "taxCategory", "taxPercent", "tax",
    "total", "credits", "nationalCurrency", "nationalTax", "exchangeRate",
)  # fmt: skip
"""What credit notes take back is negative, so that each column sums up."""


class ExportQuery(Body, frozen=True, kw_only=True):
    """The month, as documents are dated, in the seller's time zone."""

    month: Annotated[str, Meta(pattern=r"\A20\d\d-(0[1-9]|1[0-2])\Z")]
    format: Literal["zip", "csv"] = "zip"


async def export_month(call: Call[ExportQuery], renderer: Renderer) -> Response[bytes]:
    """`Invalid` for a month with more documents than one file should hold."""
    rows = await asyncio.to_thread(_rows, call)
    table = _table(rows).encode()
    name = f"receipts-{call.ask.month}"
    if call.ask.format == "csv":
        return _download(table, f"{name}.csv", "text/csv")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for row in rows:
            _, pdf = await pdf_of(call.runtime, renderer, call.account_id, row.document_id)
            archive.writestr(_entry(f"{row.number}.pdf", row.issued_at), pdf)
        last = rows[-1].issued_at if rows else datetime(2020, 1, 1, tzinfo=timezone.utc)
        archive.writestr(_entry(f"{name}.csv", last), table, compress_type=zipfile.ZIP_DEFLATED)
    return _download(packed.getvalue(), f"{name}.zip", "application/zip")


def month_of(month: str, zone: str) -> tuple[datetime, datetime]:
    """`2026-11` in that time zone: from its first midnight to the next month's, in UTC."""
    year, number = map(int, month.split("-"))
    first = datetime(year, number, 1, tzinfo=ZoneInfo(zone))
    after = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=ZoneInfo(zone))
    return first.astimezone(timezone.utc), after.astimezone(timezone.utc)


def _rows(call: Call[ExportQuery]) -> list[DocumentRow]:
    start, end = month_of(call.ask.month, call.runtime.catalog.seller.timezone)
    with reading(call.runtime.db) as session:
        if session.get(AccountRow, call.account_id) is None:
            raise NotFound("account")
        rows = documents.issued_between(session, call.account_id, start, end, DOCUMENTS_MAX + 1)
    if len(rows) > DOCUMENTS_MAX:
        raise Invalid("month", f"This month has more than {DOCUMENTS_MAX} documents: read them one by one.")
    return rows


def _table(rows: list[DocumentRow]) -> str:
    return csv_text((COLUMNS, *(cells_of(row) for row in rows)))


def cells_of(row: DocumentRow) -> tuple[str, ...]:
    """A document as one line of the table."""
    document, national = rules.read(row.data.encode()), ""
    sign = -1 if document.kind == "credit_note" else 1
    stated = document.national_tax

    def money(minor: int, currency: str = document.currency) -> str:
        return f"{'-' if sign < 0 and minor else ''}{major_text(Money(minor, currency))}"

    if stated is not None and stated.minor is not None:
        national = money(stated.minor, stated.currency)
    texts = (
        document.number, row.kind, document.issued_at.strftime("%Y-%m-%dT%H:%M:%SZ"), document.original_number,
        document.replaces_number, document.cancels_number, document.order_id, document.payment_id, document.provider,
        document.buyer.company or document.buyer.name, document.buyer.tax_id, document.buyer.country,
        document.purchase_order,
    )  # fmt: skip
    amounts = (
        document.currency, money(document.net_minor), document.tax_category or "", document.tax_percent,
        money(document.tax_minor), money(document.total_minor), str(sign * document.credits_total),
        stated.currency if stated else "", national, stated.rate if stated else "",
    )  # fmt: skip
    return (*map(safe_cell, texts), *amounts)


def _entry(name: str, at: datetime) -> zipfile.ZipInfo:
    """An entry dated as its document, so that the same month is the same file."""
    return zipfile.ZipInfo(name, at.astimezone(timezone.utc).timetuple()[:6])


def _download(content: bytes, name: str, media_type: str) -> Response[bytes]:
    headers = {"content-disposition": f'attachment; filename="{name}"', "cache-control": "private, no-store"}
    return Response(content, media_type=media_type, headers=headers)
