"""Receipts and credit notes, and the series that number them."""

from datetime import datetime

from sqlalchemy import ForeignKeyConstraint, Index, UniqueConstraint
from sqlmodel import Field

from engine.store.tables.base import Base, big, one_of, raw


class DocumentRow(Base, table=True):
    """A receipt or credit note as it was issued: frozen data, its digest, and the PDF once it was made."""

    __tablename__ = "documents"
    __table_args__ = (
        ForeignKeyConstraint(["account_id", "purchase_id"], ["purchases.account_id", "purchases.purchase_id"]),
        UniqueConstraint("account_id", "purchase_id", "kind", "cause"),
        one_of("kind", "receipt", "invoice", "credit_note", "payment_confirmation"),
        Index("ix_documents_series", "series", "number_in_series"),
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
    pdf: bytes | None = raw(nullable=True)
    pdf_digest: str | None = None
    issued_at: datetime


class DocumentSeriesRow(Base, table=True):
    """The last number taken in a series; taken in the transaction that writes the document, so no gap is left."""

    __tablename__ = "document_series"
    series: str = Field(primary_key=True)
    last: int = big(default=0)
