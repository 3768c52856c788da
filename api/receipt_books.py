"""A month of documents for the operator's books: one table over all accounts, and each PDF if they are wanted."""

import csv
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from api.csv_text import safe_cell
from api.receipt_exports import COLUMNS, cells_of, month_of
from engine.rules import documents as rules
from engine.store import documents
from engine.store.database import Database, reading
from engine.store.tables import DocumentRow
from receipts.render import Renderer

CHUNK = 200


@dataclass(frozen=True, slots=True)
class Written:
    """What was written."""

    documents: int
    files: tuple[Path, ...]


def write_month(
    db: Database,
    month: str,
    zone: str,
    out: Path,
    renderer: Renderer | None = None,
    progress: Callable[[int], None] = lambda documents: None,
) -> Written:
    """Write the table of a month, in the order of its series, into `out`; with a `renderer` the PDFs beside it.

    Months are the seller's, of that time zone. The table has its name once it is whole; a PDF that was not kept is
    made now and not kept.
    """
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{month}-receipts.csv"
    start, end = month_of(month, zone)
    count = 0
    files = [target]
    with tempfile.TemporaryDirectory(dir=out, prefix=".receipts-") as made:
        table = Path(made) / target.name
        with table.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\r\n")
            writer.writerow(("accountId", *COLUMNS))
            for row in _rows(db, start, end):
                writer.writerow((safe_cell(row.account_id), *cells_of(row)))
                if renderer is not None:
                    files.append(_write_pdf(row, renderer, out))
                count += 1
                progress(count)
            file.flush()
            os.fsync(file.fileno())
        table.replace(target)
    return Written(count, tuple(files))


def _rows(db: Database, start: datetime, end: datetime) -> Iterator[DocumentRow]:
    after = ("", 0)
    while True:
        with reading(db) as session:
            rows = documents.issued_by_series(session, start, end, after, CHUNK)
        yield from rows
        if len(rows) < CHUNK:
            return
        after = (rows[-1].series, rows[-1].number_in_series)


def _write_pdf(row: DocumentRow, renderer: Renderer, out: Path) -> Path:
    pdf = bytes(row.pdf) if row.pdf is not None else renderer.submit(rules.read(row.data.encode())).result()
    target = out / f"{row.number}.pdf"
    target.write_bytes(pdf)
    return target
