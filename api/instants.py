"""Instants as the contract writes them: UTC, ISO 8601, microseconds where there are any, `Z`."""

from datetime import datetime, timezone


def instant(at: datetime) -> str:
    """`2026-11-21T02:14:00Z`."""
    if at.tzinfo is not timezone.utc:
        at = at.astimezone(timezone.utc)
    return f"{at.isoformat()[:-6]}Z"


def instant_or_none(at: datetime | None) -> str | None:
    return None if at is None else instant(at)
