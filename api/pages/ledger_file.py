"""The ledger as a file to keep: every row that the usage page's filters show, oldest first."""

from collections.abc import Iterator

from litestar.response import Stream

from api.csv_text import csv_text, safe_cell
from api.instants import instant
from engine.flows.expiry import settled_wallet
from engine.rules.ledger import Transaction
from engine.runtime import Runtime
from engine.store import history
from engine.store.database import reading

WINDOW = 2_000
"""How many rows a file in the making holds at a time."""
HEADER = (
    "createdAt",
    "transactionId",
    "type",
    "amountCredits",
    "balanceAfter",
    "debtAfter",
    "description",
    "referenceType",
    "referenceId",
)


def ledger_file(runtime: Runtime, account_id: str, kind: str | None, span: history.Span) -> Stream:
    """The rows of `span`, of one type or of all, as CSV that is made while it is sent.

    No row is ever written before the last one there was when this began, so each window is a read of its own.
    """
    wallet = settled_wallet(runtime, account_id, runtime.clock.now())
    with reading(runtime.db) as session:
        first, last = history.seqs_in(session, wallet, span)
    headers = {"content-disposition": 'attachment; filename="ledger.csv"', "cache-control": "private, no-store"}
    return Stream(_lines(runtime, account_id, kind, first - 1, last), media_type="text/csv", headers=headers)


def _lines(runtime: Runtime, account_id: str, kind: str | None, after: int, last: int) -> Iterator[str]:
    yield csv_text([HEADER])
    while after < last:
        with reading(runtime.db) as session:
            found = history.rows_after(session, account_id, after, last, kind, WINDOW)
        if not found:
            return
        after = found[-1].seq
        yield csv_text(map(_cells, found))


def _cells(row: Transaction) -> tuple[object, ...]:
    return (
        instant(row.created_at),
        row.transaction_id,
        row.type,
        row.amount_credits,
        row.balance_after,
        row.debt_after,
        safe_cell(row.description),
        row.reference_type or "",
        safe_cell(row.reference_id),
    )
