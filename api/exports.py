"""`purser export`: a month for the books, as CSV files that finance can load.

Money is integers of minor units with their currency. `roll-forward` closes by itself (opening + sold − recognised −
breakage − refunded = closing), `cost-basis` is the same lot by lot, `recognised-revenue` and `breakage` are its parts
by day and by lot, and `journal` is all of it in double entry: the lines of each transaction sum up to zero. What was
paid and has no lot yet goes by its payment's id.
"""

import csv
import re
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Protocol

from api.csv_text import safe_cell
from api.instants import instant
from engine.finance import LotMonth, month_in_money
from engine.flows.prepaid import prepaid_of
from engine.rules.finance import Movement, RollForward, journal
from engine.rules.periods import period_start
from engine.store.database import Database, snapshot

FIGURES = ("openingMinor", "soldMinor", "recognisedMinor", "breakageMinor", "refundedMinor", "closingMinor")
LOT = ("accountId", "lotId", "purchaseId", "source", "currency")
HEADERS: dict[str, tuple[str, ...]] = {
    "roll-forward": ("currency", *FIGURES),
    "recognised-revenue": ("accountId", "date", "currency", "credits", "recognisedMinor"),
    "breakage": (*LOT, "createdAt", "transactionId", "type", "credits", "breakageMinor"),
    "cost-basis": (*LOT, "grantedAt", "grantedCredits", "costMinor", "leftCredits", *FIGURES),
    "journal": (
        "createdAt",
        "accountId",
        "transactionId",
        "type",
        "lotId",
        "currency",
        "ledgerAccount",
        "debitMinor",
        "creditMinor",
    ),
}


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month in UTC, `[start, end)`."""

    name: str
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Exported:
    """The files that were written, and the roll-forward of each currency."""

    files: tuple[Path, ...]
    figures: dict[str, RollForward]


class Writer(Protocol):
    """A CSV file being written."""

    def writerow(self, row: Sequence[object], /) -> object: ...


def read_month(text: str) -> Month:
    """`2026-10` as a month; `ValueError` for anything else."""
    if re.fullmatch(r"2[0-9]{3}-(0[1-9]|1[0-2])", text, re.ASCII) is None:
        raise ValueError(f"{text!r} is not a month such as 2026-10")
    start = datetime(int(text[:4]), int(text[5:]), 1, tzinfo=timezone.utc)
    return Month(text, start, period_start(start, 1))


def export_month(
    db: Database, month: Month, out: Path, progress: Callable[[int], None] = lambda rows: None
) -> Exported:
    """Write the month's files into `out`, put there once all of them are whole; `progress` counts the movements."""
    out.mkdir(parents=True, exist_ok=True)
    names = {kind: f"{month.name}-{kind}.csv" for kind in HEADERS}
    with tempfile.TemporaryDirectory(dir=out, prefix=".export-") as made:
        figures = _write(db, month, {kind: Path(made) / name for kind, name in names.items()}, progress)
        for name in names.values():
            (Path(made) / name).replace(out / name)
    return Exported(tuple(out / name for name in names.values()), figures)


def _write(
    db: Database, month: Month, paths: dict[str, Path], progress: Callable[[int], None]
) -> dict[str, RollForward]:
    totals: dict[str, RollForward] = defaultdict(RollForward)
    daily: dict[tuple[str, date, str], tuple[int, int]] = {}
    count = 0
    with ExitStack() as stack:
        writers: dict[str, Writer] = {}
        for kind, path in paths.items():
            file = stack.enter_context(path.open("w", encoding="utf-8", newline=""))
            writers[kind] = csv.writer(file, lineterminator="\r\n")
            writers[kind].writerow(HEADERS[kind])
        session = stack.enter_context(snapshot(db))
        for found in month_in_money(session, month.start, month.end, prepaid_of):
            if isinstance(found, LotMonth):
                totals[found.lot.currency].add_all(found.figures)
                writers["cost-basis"].writerow(_lot_cells(found))
                continue
            if daily and found.lot.account_id != next(iter(daily))[0]:
                _flush_days(writers, daily)
            _write_movement(writers, found, daily)
            count += 1
            progress(count)
        _flush_days(writers, daily)
        for currency in sorted(totals):
            writers["roll-forward"].writerow((currency, *_figures(totals[currency])))
    return dict(sorted(totals.items()))


def _write_movement(
    writers: dict[str, Writer], moved: Movement, daily: dict[tuple[str, date, str], tuple[int, int]]
) -> None:
    line, lot = moved.line, moved.lot
    at = instant(line.created_at)
    for side in journal(moved):
        writers["journal"].writerow(
            (
                at,
                safe_cell(lot.account_id),
                line.transaction_id,
                line.type,
                lot.lot_id,
                lot.currency,
                side.ledger_account,
                side.debit_minor,
                side.credit_minor,
            )
        )
    if moved.kind == "recognised":
        key = (lot.account_id, line.created_at.astimezone(timezone.utc).date(), lot.currency)
        credits, minor = daily.get(key, (0, 0))
        daily[key] = (credits + moved.credits, minor + moved.minor)
    elif moved.kind == "breakage":
        cells = (*_named(moved), at, line.transaction_id, line.type, moved.credits, moved.minor)
        writers["breakage"].writerow(cells)


def _flush_days(writers: dict[str, Writer], daily: dict[tuple[str, date, str], tuple[int, int]]) -> None:
    """An account's movements are all there: write its days, at most one a currency and day of the month."""
    for (account_id, day, currency), sums in sorted(daily.items()):
        writers["recognised-revenue"].writerow((safe_cell(account_id), day.isoformat(), currency, *sums))
    daily.clear()


def _lot_cells(found: LotMonth) -> tuple[object, ...]:
    lot = found.lot
    left = lot.granted_credits - lot.gone_credits
    return (
        *_named(found),
        instant(lot.granted_at),
        lot.granted_credits,
        lot.cost_minor,
        left,
        *_figures(found.figures),
    )


def _named(found: Movement | LotMonth) -> tuple[str, ...]:
    lot = found.lot
    return safe_cell(lot.account_id), lot.lot_id, lot.purchase_id or "", lot.source, lot.currency


def _figures(of: RollForward) -> tuple[int, ...]:
    return of.opening, of.sold, of.recognised, of.breakage, of.refunded, of.closing
