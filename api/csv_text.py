"""CSV as RFC 4180 has it, with cells that a spreadsheet reads as text and never runs as formulas."""

import csv
from collections.abc import Iterable, Sequence
from io import StringIO

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def safe_cell(text: str | None) -> str:
    """Text from outside as a cell: nothing for none, an apostrophe before what would start a formula."""
    if text is None:
        return ""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Rows as lines that end in CR LF; a cell with a comma, a quote or a line break stands in quotes."""
    buffer = StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue()
