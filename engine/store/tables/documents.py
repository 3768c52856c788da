"""Receipts, invoices and credit notes, and the series that number them."""

from datetime import datetime

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import Field

from engine.store.tables.base import Base, big, of_account, one_of, raw


class DocumentRow(Base, table=True):
    """A document as it was issued: frozen data, its digest and its link in the series' chain; the PDF once it was
    made, sealed to that link, with the `press` that made it.

    `purchase_id` is the order it is about: a purchase, or a subscription's payment. `replaced_by` names the document
    that took its place; nothing else of an issued row ever changes.
    """

    __tablename__ = "documents"
    __table_args__ = (
        of_account(),
        UniqueConstraint("account_id", "purchase_id", "kind", "cause"),
        one_of("kind", "receipt", "invoice", "credit_note", "payment_confirmation"),
        Index("ix_documents_series", "series", "number_in_series"),
        Index("ix_documents_issued_at", "account_id", "issued_at"),
    )
    account_id: str = Field(primary_key=True, max_length=64)
    document_id: str = Field(primary_key=True)
    purchase_id: str
    kind: str
    cause: str
    series: str
    number_in_series: int = big()
    number: str
    original_number: str | None = None
    amount_minor: int = big()
    tax_minor: int = big()
    currency: str
    data: str
    digest: str
    chain: str | None = None
    replaced_by: str | None = None
    pdf: bytes | None = raw(nullable=True)
    pdf_digest: str | None = None
    pdf_seal: str | None = None
    press: str | None = None
    issued_at: datetime


class DocumentSeriesRow(Base, table=True):
    """The last number taken in a series and its link; taken in the transaction that writes the document, so no gap
    is left."""

    __tablename__ = "document_series"
    series: str = Field(primary_key=True)
    last: int = big(default=0)
    head: str | None = None
