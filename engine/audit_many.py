"""The audit by several processes: each takes spans of accounts and reads them in one and the same snapshot."""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

from engine.audit import Progress, Report, audit, audit_rest, audit_span
from engine.store.database import Database, open_reader, shared_snapshot, snapshot
from engine.store.scan import Span, count_rows, spans

ROWS_MIN = 500_000
"""With fewer rows, starting processes costs more than they save."""

SPANS_EACH = 4
"""Spans for each process, so that one with slow accounts does not end alone."""


def audit_many(
    db: Database, chain_keys: Sequence[bytes], processes: int, progress: Progress = lambda rows: None
) -> Report:
    """The same report as `audit`, its findings in the order of accounts.

    On SQLite the processes share no snapshot, so nothing may write meanwhile: a file that is not ours is read by one.
    """
    with snapshot(db) as session:
        is_alone = processes < 2 or (db.is_sqlite and db.lock_file is None)
        is_small = is_alone or count_rows(session) < ROWS_MIN
        if not is_small:
            name, pieces = shared_snapshot(db, session), spans(session, processes * SPANS_EACH)
            report = _joined(_read_spans(db.url, name, pieces, tuple(chain_keys), processes, progress))
            audit_rest(session, chain_keys, report)
            return report
    return audit(db, chain_keys, progress)


def _joined(reports: Sequence[Report]) -> Report:
    whole = Report()
    for report in reports:
        whole.rows += report.rows
        whole.findings += report.findings
        for coupon, count in report.coupons.items():
            whole.coupons[coupon] += count
    return whole


def _read_spans(
    url: str, name: str | None, pieces: Sequence[Span], keys: tuple[bytes, ...], processes: int, progress: Progress
) -> list[Report]:
    """A report for each span, in their order."""
    context = multiprocessing.get_context("spawn")
    rows = 0
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        waiting = [pool.submit(_read_span, url, name, span, keys) for span in pieces]
        for done in as_completed(waiting):
            rows += done.result().rows
            progress(rows)
    return [each.result() for each in waiting]


def _read_span(url: str, name: str | None, span: Span, keys: tuple[bytes, ...]) -> Report:
    """In a process of its own."""
    report = Report()
    db = open_reader(url)
    try:
        with snapshot(db, name) as session:
            audit_span(session, span, keys, report)
    finally:
        db.close()
    return report
