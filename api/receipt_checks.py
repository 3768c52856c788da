"""Verifying documents: each is rendered again from its frozen data and compared with the bytes that were kept."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

import msgspec

from engine.rules import documents as rules
from engine.rules.audit import Finding
from engine.store import documents
from engine.store.database import Database, reading
from engine.store.tables import DocumentRow
from receipts import RenderFailed
from receipts.edition import edition
from receipts.render import Renderer

CHUNK = 50


@dataclass(slots=True)
class Verified:
    """What was compared. `older` were made by another edition of the press, whose bytes may differ with reason;
    `unmade` have no PDF yet."""

    documents: int = 0
    same: int = 0
    older: int = 0
    unmade: int = 0
    findings: list[Finding] = field(default_factory=list)


def verify_documents(
    db: Database, renderer: Renderer, progress: Callable[[int], None] = lambda documents: None
) -> Verified:
    """Render every document that this edition made and compare; every other is at least rendered."""
    verified = Verified()
    after = ("", "")
    while rows := _chunk(db, after):
        rendered: list[tuple[DocumentRow, Future[bytes]]] = []
        for row in rows:
            verified.documents += 1
            try:
                rendered.append((row, renderer.submit(rules.read(row.data.encode()))))
            except msgspec.MsgspecError:
                verified.findings.append(Finding(row.number, "its frozen data is no document"))
        for row, made in rendered:
            _compare(row, made, verified)
        after = (rows[-1].account_id, rows[-1].document_id)
        progress(verified.documents)
    return verified


def _chunk(db: Database, after: tuple[str, str]) -> list[DocumentRow]:
    with reading(db) as session:
        return documents.all_documents(session, after, CHUNK)


def _compare(row: DocumentRow, made: "Future[bytes]", verified: Verified) -> None:
    try:
        pdf = made.result()
    except RenderFailed as error:
        verified.findings.append(Finding(row.number, f"it can't be rendered again: {error}"))
        return
    if row.pdf is None:
        verified.unmade += 1
    elif bytes(row.pdf) == pdf:
        verified.same += 1
    elif row.press != edition():
        verified.older += 1
    else:
        verified.findings.append(Finding(row.number, "rendered again it is another file than the one kept"))
