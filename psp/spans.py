"""Lists that are asked for by a span of time: where the next span begins, with an hour's overlap."""

from datetime import datetime, timedelta

OVERLAP = timedelta(hours=1)
FIRST_LOOK = timedelta(days=3)
"""How far back the first look goes: longer than a store tries to deliver."""


def span_since(cursor: str | None, now: datetime, kept: timedelta) -> datetime:
    """Since when to ask: the last span's end less the overlap, or what is kept there at all."""
    since = datetime.fromtimestamp(int(cursor), now.tzinfo) - OVERLAP if cursor is not None else now - FIRST_LOOK
    return max(since, now - kept)


def span_cursor(now: datetime) -> str:
    return str(int(now.timestamp()))
