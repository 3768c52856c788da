"""The PDFs of documents: made in a worker process, kept and sealed once, the same bytes ever after."""

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import Future

import structlog
from sqlmodel import Session

from engine.rules import documents as rules
from engine.rules.document_chain import FIRST, seal
from engine.rules.errors import NotFound, Unavailable
from engine.runtime import Runtime
from engine.store import documents
from engine.store.database import reading, transact
from engine.store.tables import DocumentRow
from receipts import RenderFailed
from receipts.edition import edition
from receipts.render import Renderer

log = structlog.get_logger()


async def pdf_of(runtime: Runtime, renderer: Renderer, account_id: str, document_id: str) -> tuple[DocumentRow, bytes]:
    """The document and its PDF: kept bytes, or made now in a worker process and kept."""
    row = await asyncio.to_thread(find_document, runtime, account_id, document_id)
    if row.pdf is not None:
        return row, bytes(row.pdf)
    try:
        pdf = await asyncio.wrap_future(renderer.submit(rules.read(row.data.encode())))
    except RenderFailed as error:
        raise Unavailable("The document can't be made right now; try again.") from error
    return row, await asyncio.to_thread(_keep, runtime, row, pdf)


def pdf_maker(renderer: Renderer) -> Callable[[Runtime, str, dict[str, str]], None]:
    """The outbox handler for kind `pdf`: has the PDF of a new document made while other jobs go on.

    It waits for nothing: a PDF that is not made now is made when somebody asks for it.
    """

    def make(runtime: Runtime, account_id: str, payload: dict[str, str]) -> None:
        row = find_document(runtime, account_id, payload["documentId"])
        if row.pdf is None:
            future = renderer.submit(rules.read(row.data.encode()))
            future.add_done_callback(lambda made: _keep_made(runtime, row, made))

    return make


def find_document(runtime: Runtime, account_id: str, document_id: str) -> DocumentRow:
    """The document, or `NotFound`."""
    with reading(runtime.db) as session:
        row = documents.get_document(session, account_id, document_id)
    if row is None:
        raise NotFound("receipt")
    return row


def _keep_made(runtime: Runtime, row: DocumentRow, made: "Future[bytes]") -> None:
    if made.cancelled():
        return
    try:
        _keep(runtime, row, made.result())
    except Exception:
        log.exception("a PDF was not made at issue", number=row.number)


def _keep(runtime: Runtime, row: DocumentRow, pdf: bytes) -> bytes:
    """Keep the PDF, sealed to its document; the one kept first, if somebody was faster."""
    digest = hashlib.sha256(pdf).hexdigest()
    sealed = seal(runtime.terms.chain_key, row.chain or FIRST, digest)

    def work(session: Session) -> bytes:
        documents.keep_pdf(
            session, row.account_id, row.document_id, pdf=pdf, digest=digest, seal=sealed, press=edition()
        )
        session.flush()
        kept = documents.get_document(session, row.account_id, row.document_id)
        assert kept is not None and kept.pdf is not None
        return bytes(kept.pdf)

    return transact(runtime.db, work)
