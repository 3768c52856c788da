"""Documents as issued: numbers without gaps, frozen data, and the PDF once it was made."""

from collections.abc import Sequence

from sqlalchemy import func, text, update
from sqlmodel import Session, col, select

from engine.store.tables import DocumentRow


def has_document(session: Session, account_id: str, purchase_id: str, kind: str, cause: str) -> bool:
    """Whether this document was issued: one per purchase, kind and cause."""
    return find_document(session, account_id, purchase_id, kind, cause) is not None


def find_document(session: Session, account_id: str, purchase_id: str, kind: str, cause: str) -> DocumentRow | None:
    return session.exec(
        select(DocumentRow).where(
            DocumentRow.account_id == account_id,
            DocumentRow.purchase_id == purchase_id,
            DocumentRow.kind == kind,
            DocumentRow.cause == cause,
        )
    ).first()


def documents_of(session: Session, account_id: str, purchase_id: str) -> list[DocumentRow]:
    """Every document of a purchase, oldest first."""
    return list(
        session.exec(
            select(DocumentRow)
            .where(DocumentRow.account_id == account_id, DocumentRow.purchase_id == purchase_id)
            .order_by(col(DocumentRow.issued_at), col(DocumentRow.number))
        ).all()
    )


def receipt_ids(session: Session, account_id: str, purchase_ids: Sequence[str]) -> dict[str, str]:
    """The receipt's id of each purchase that has one."""
    rows = session.exec(
        select(DocumentRow.purchase_id, DocumentRow.document_id).where(
            DocumentRow.account_id == account_id,
            DocumentRow.kind != "credit_note",
            DocumentRow.cause == "payment",
            col(DocumentRow.purchase_id).in_(purchase_ids),
        )
    ).all()
    return dict(rows)


def take_number(session: Session, series: str) -> int:
    """The next number of a series. The row stays locked to the end, so take it last; a rollback leaves no gap."""
    taken = session.execute(
        text(
            "INSERT INTO document_series (series, last) VALUES (:series, 1) "
            "ON CONFLICT (series) DO UPDATE SET last = document_series.last + 1 RETURNING last"
        ),
        {"series": series},
    )
    return int(taken.scalar_one())


def get_document(session: Session, account_id: str, document_id: str) -> DocumentRow | None:
    return session.get(DocumentRow, (account_id, document_id))


def list_documents(session: Session, account_id: str, page: int, limit: int) -> tuple[list[DocumentRow], int]:
    """One page, newest first, and how many there are in all."""
    total = session.exec(
        select(func.count()).select_from(DocumentRow).where(DocumentRow.account_id == account_id)
    ).one()
    rows = session.exec(
        select(DocumentRow)
        .where(DocumentRow.account_id == account_id)
        .order_by(col(DocumentRow.issued_at).desc(), col(DocumentRow.document_id).desc())
        .offset((page - 1) * limit)
        .limit(limit)
    ).all()
    return list(rows), total


def keep_pdf(session: Session, account_id: str, document_id: str, pdf: bytes, pdf_digest: str) -> None:
    """Keep the PDF of a document that has none yet; the first one made stays."""
    session.execute(
        update(DocumentRow)
        .where(
            col(DocumentRow.account_id) == account_id,
            col(DocumentRow.document_id) == document_id,
            col(DocumentRow.pdf).is_(None),
        )
        .values(pdf=pdf, pdf_digest=pdf_digest)
    )
