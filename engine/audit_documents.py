"""The audit of documents: every series is 1, 2, 3 … to the last number taken, and its chain is whole."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Protocol, cast

from sqlalchemy import text
from sqlmodel import Session

from engine.rules.audit import Finding
from engine.rules.document_chain import FIRST, is_link, is_seal

CHUNK = 500
_COLUMNS = "series, number_in_series, document_id, account_id, number, data, digest, chain, pdf, pdf_digest, pdf_seal"
_FIRST_PAGE = f"SELECT {_COLUMNS} FROM documents ORDER BY series, number_in_series, document_id LIMIT :limit"  # noqa: S608
_NEXT_PAGE = (
    f"SELECT {_COLUMNS} FROM documents "  # noqa: S608
    "WHERE (series, number_in_series, document_id) > (:series, :n, :document_id) "
    "ORDER BY series, number_in_series, document_id LIMIT :limit"
)


def audit_documents(session: Session, keys: Sequence[bytes], findings: list[Finding]) -> int:
    """Read every document in the order of its series; how many there are. What is wrong is added to `findings`."""
    heads = {
        series: (last, head)
        for series, last, head in session.execute(text("SELECT series, last, head FROM document_series")).all()
    }
    count = 0
    walk: _Series | None = None
    for row in _rows(session):
        count += 1
        if walk is None or walk.name != row.series:
            if walk is not None:
                walk.end(heads.pop(walk.name, None), findings)
            walk = _Series(row.series)
        walk.take(row, keys, findings)
    if walk is not None:
        walk.end(heads.pop(walk.name, None), findings)
    for series, (last, _) in heads.items():
        if last != 0:
            findings.append(Finding(series, f"its numbers are not 1 to {last}, once each"))
    return count


class Row(Protocol):
    """One document as the audit reads it."""

    series: str
    number_in_series: int
    document_id: str
    account_id: str
    number: str
    data: str
    digest: str
    chain: str | None
    pdf: bytes | None
    pdf_digest: str | None
    pdf_seal: str | None


class _Series:
    """One series as it is read: what the next number must be, and the link before it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.last = 0
        self.has_gap = False
        self.before: str | None = None
        self.is_chained = False

    def take(self, row: Row, keys: Sequence[bytes], findings: list[Finding]) -> None:
        if not all(isinstance(value, str) for value in (row.data, row.number, row.digest, row.account_id)):
            findings.append(Finding(row.document_id, "what is stored of it is no text"))
            return
        self.has_gap |= row.number_in_series != self.last + 1 or not row.number.endswith(f"-{row.number_in_series:07d}")
        self.last = row.number_in_series
        if hashlib.sha256(row.data.encode()).hexdigest() != row.digest:
            findings.append(Finding(row.number, "its frozen data was changed"))
        if row.chain is None:
            if self.is_chained:
                findings.append(Finding(row.number, "it has no link in its series' chain"))
        elif not is_link(keys, row.chain, self.before or FIRST, row.account_id, row.number, row.digest):
            findings.append(Finding(row.number, "its link does not follow the document before it"))
        if row.pdf is not None and not _is_sealed(row, keys):
            findings.append(Finding(row.number, "its PDF is not the one that was made of it"))
        self.is_chained |= row.chain is not None
        self.before = row.chain

    def end(self, known: tuple[int, str | None] | None, findings: list[Finding]) -> None:
        if known is None:
            findings.append(Finding(self.name, "documents without a series"))
            return
        last, head = known
        if self.has_gap or self.last != last:
            findings.append(Finding(self.name, f"its numbers are not 1 to {last}, once each"))
        if head != self.before:
            findings.append(Finding(self.name, "its last document is not the head of its chain"))


def _is_sealed(row: Row, keys: Sequence[bytes]) -> bool:
    """Whether the bytes are those of the digest, and the digest that of the document's own link."""
    assert row.pdf is not None
    digest = hashlib.sha256(row.pdf).hexdigest()
    if digest != row.pdf_digest:
        return False
    return row.chain is None or (row.pdf_seal is not None and is_seal(keys, row.pdf_seal, row.chain, digest))


def _rows(session: Session) -> Iterator[Row]:
    page = session.execute(text(_FIRST_PAGE), {"limit": CHUNK}).all()
    while page:
        yield from cast(Sequence[Row], page)
        series, n, document_id = page[-1][:3]
        place = {"series": series, "n": n, "document_id": document_id, "limit": CHUNK}
        page = session.execute(text(_NEXT_PAGE), place).all()
