"""Instants as the contract writes them: UTC, ISO 8601, microseconds where there are any, `Z`."""

from datetime import datetime, timezone


def instant(at: datetime) -> str:
    """`2026-11-21T02:14:00Z`."""
    return at.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def instant_or_none(at: datetime | None) -> str | None:
    return None if at is None else instant(at)
