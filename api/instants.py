"""Instants and dates as the contract writes them: UTC, ISO 8601, microseconds where there are any, `Z`.

Read are RFC 3339's forms of them: an instant has its offset, and a date is a day in UTC.
"""

from datetime import date, datetime, time, timedelta, timezone

import msgspec


def instant(at: datetime) -> str:
    """`2026-11-21T02:14:00Z`."""
    if at.tzinfo is not timezone.utc:
        at = at.astimezone(timezone.utc)
    return f"{at.isoformat()[:-6]}Z"


def instant_or_none(at: datetime | None) -> str | None:
    return None if at is None else instant(at)


def read_date(text: str) -> date:
    """`2026-01-31`; `ValueError` for anything else."""
    return msgspec.convert(text, date)


def read_instant(text: str, *, is_end: bool = False) -> datetime:
    """An instant in UTC, or a date's midnight, with `is_end` the one after it; `ValueError` for anything else.

    No midnight follows the last date there is: it ends with its last microsecond.
    """
    if len(text) == len("2026-01-31"):
        day = read_date(text)
        if is_end and day == date.max:
            return datetime.max.replace(tzinfo=timezone.utc)
        return datetime.combine(day, time(), timezone.utc) + timedelta(days=1 if is_end else 0)
    at = msgspec.convert(text, datetime)
    if at.tzinfo is None:
        raise ValueError("an instant has its offset")
    try:
        return at.astimezone(timezone.utc)
    except OverflowError as error:
        raise ValueError("there is no such instant in UTC") from error
