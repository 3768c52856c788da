"""Documents as issued: numbers without gaps, frozen data, and the PDF once it was made."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import and_, func, or_, text, update
from sqlmodel import Session, col, select

from engine.store.tables import DocumentRow, DocumentSeriesRow, FactRow, TransactionRow

CANCELS = "refund_failed"
"""How the cause of a document begins that cancels the credit note of a refund that failed."""

CHARGES_AGAIN = f"{CANCELS}_late:"
"""The same where the document that the note is on was replaced before: what it charges again stands alone."""

PART = "#"
"""Between a refund's id and the number of its further notes, where one document can't bear all of it."""


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


def payment_document(session: Session, account_id: str, order_id: str) -> DocumentRow | None:
    """The document that the payment of an order called for, whatever its kind."""
    return session.exec(
        select(DocumentRow).where(
            DocumentRow.account_id == account_id,
            DocumentRow.purchase_id == order_id,
            DocumentRow.cause == "payment",
        )
    ).first()


def current_document(session: Session, account_id: str, order_id: str) -> DocumentRow:
    """The receipt or invoice of an order that no other has replaced."""
    return session.exec(
        select(DocumentRow).where(
            DocumentRow.account_id == account_id,
            DocumentRow.purchase_id == order_id,
            DocumentRow.kind != "credit_note",
            col(DocumentRow.replaced_by).is_(None),
            ~col(DocumentRow.cause).startswith(CANCELS),
        )
    ).one()


def charges(session: Session, account_id: str, order_id: str) -> list[DocumentRow]:
    """What a refund of an order may be credited on: the document that stands, then what charges again beside it."""
    head = current_document(session, account_id, order_id)
    rows = documents_of(session, account_id, order_id)
    return [head, *(row for row in rows if row.cause.startswith(CHARGES_AGAIN))]


def notes_of(session: Session, account_id: str, order_id: str, fact_id: str) -> list[DocumentRow]:
    """The credit notes of one refund, which are one unless one document could not bear all of it."""
    rows = documents_of(session, account_id, order_id)
    return [row for row in rows if row.kind == "credit_note" and row.cause.partition(PART)[0] == fact_id]


def part_of(fact_id: str, n: int) -> str:
    """The cause of the `n`th note of a refund."""
    return fact_id if n == 1 else f"{fact_id}{PART}{n}"


def cancelling(session: Session, note: DocumentRow) -> DocumentRow | None:
    """The document that cancels this credit note, if there is one."""
    return session.exec(
        select(DocumentRow).where(
            DocumentRow.account_id == note.account_id,
            DocumentRow.purchase_id == note.purchase_id,
            DocumentRow.original_number == note.number,
            col(DocumentRow.cause).startswith(CANCELS),
        )
    ).first()


def last_note(session: Session, account_id: str, order_id: str) -> DocumentRow:
    """The newest credit note of an order that has one."""
    return [row for row in documents_of(session, account_id, order_id) if row.kind == "credit_note"][-1]


def notes_on(session: Session, account_id: str, order_id: str, number: str) -> list[DocumentRow]:
    """The credit notes on the document of that number that stand, oldest first: their refunds did not fail."""
    rows = documents_of(session, account_id, order_id)
    notes = [row for row in rows if row.kind == "credit_note" and row.original_number == number]
    return [note for note in notes if not _is_cancelled(session, note)]


def _is_cancelled(session: Session, note: DocumentRow) -> bool:
    """Whether a credit note's refund failed after all: it counts no more against what may be credited."""
    fact = session.get(FactRow, (note.account_id, note.purchase_id, note.cause.partition(PART)[0]))
    return fact is not None and fact.state == "failed"


def balance_after(session: Session, account_id: str, purchase_id: str) -> int | None:
    """The balance once the last of a purchase's credits had been added."""
    added = ("deposit", "auto_recharge", "volume_discount", "coupon_credit", "commit_credit")
    return session.exec(
        select(TransactionRow.balance_after)
        .where(
            TransactionRow.account_id == account_id,
            TransactionRow.purchase_id == purchase_id,
            col(TransactionRow.type).in_(added),
        )
        .order_by(col(TransactionRow.seq).desc())
        .limit(1)
    ).first()


def receipt_ids(session: Session, account_id: str, purchase_ids: Sequence[str]) -> dict[str, str]:
    """The id of each purchase's receipt or invoice, the one that stands, where it has one."""
    rows = session.exec(
        select(DocumentRow.purchase_id, DocumentRow.document_id).where(
            DocumentRow.account_id == account_id,
            DocumentRow.kind != "credit_note",
            col(DocumentRow.replaced_by).is_(None),
            ~col(DocumentRow.cause).startswith(CANCELS),
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


def series_head(session: Session, series: str) -> str | None:
    """The link of the series' last document; its row is locked by the number just taken."""
    return session.get_one(DocumentSeriesRow, series, populate_existing=True).head


def set_series_head(session: Session, series: str, head: str) -> None:
    session.execute(update(DocumentSeriesRow).where(col(DocumentSeriesRow.series) == series).values(head=head))


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


def issued_between(session: Session, account_id: str, start: datetime, end: datetime, limit: int) -> list[DocumentRow]:
    """The documents of a span of time, oldest first."""
    return list(
        session.exec(
            select(DocumentRow)
            .where(DocumentRow.account_id == account_id, DocumentRow.issued_at >= start, DocumentRow.issued_at < end)
            .order_by(col(DocumentRow.issued_at), col(DocumentRow.number))
            .limit(limit)
        ).all()
    )


def issued_by_series(
    session: Session, start: datetime, end: datetime, after: tuple[str, int], limit: int
) -> list[DocumentRow]:
    """The next documents of a span of time over all accounts, by series and number."""
    series, number = after
    return list(
        session.exec(
            select(DocumentRow)
            .where(
                DocumentRow.issued_at >= start,
                DocumentRow.issued_at < end,
                or_(
                    col(DocumentRow.series) > series,
                    and_(col(DocumentRow.series) == series, col(DocumentRow.number_in_series) > number),
                ),
            )
            .order_by(col(DocumentRow.series), col(DocumentRow.number_in_series))
            .limit(limit)
        ).all()
    )


def all_documents(session: Session, after: tuple[str, str], limit: int) -> list[DocumentRow]:
    """The next documents by account and id."""
    account_id, document_id = after
    return list(
        session.exec(
            select(DocumentRow)
            .where(
                or_(
                    col(DocumentRow.account_id) > account_id,
                    and_(col(DocumentRow.account_id) == account_id, col(DocumentRow.document_id) > document_id),
                )
            )
            .order_by(col(DocumentRow.account_id), col(DocumentRow.document_id))
            .limit(limit)
        ).all()
    )


def keep_pdf(
    session: Session, account_id: str, document_id: str, *, pdf: bytes, digest: str, seal: str, press: str
) -> None:
    """Keep the PDF of a document that has none yet; the first one made stays."""
    session.execute(
        update(DocumentRow)
        .where(
            col(DocumentRow.account_id) == account_id,
            col(DocumentRow.document_id) == document_id,
            col(DocumentRow.pdf).is_(None),
        )
        .values(pdf=pdf, pdf_digest=digest, pdf_seal=seal, press=press)
    )
