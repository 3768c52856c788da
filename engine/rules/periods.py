"""Billing periods: period *n* of an account is `[anchor + n months, anchor + (n + 1) months)`.

Each is counted from the anchor, never from the period before, so the 31st comes back after a short month.
"""

from calendar import monthrange
from datetime import datetime


def period_start(anchor: datetime, n: int) -> datetime:
    """The anchor moved `n` ≥ 0 months on: the same time of day, the day cut to the month's last where it must be."""
    assert n >= 0, "periods are counted from the anchor on"
    years, month = divmod(anchor.month - 1 + n, 12)
    year = anchor.year + years
    day = min(anchor.day, monthrange(year, month + 1)[1])
    return anchor.replace(year=year, month=month + 1, day=day)


def period_at(anchor: datetime, now: datetime) -> int:
    """Which period `now` is in; both are UTC, and `now` is not before the anchor."""
    assert now >= anchor, "there is no period before the anchor"
    months = (now.year - anchor.year) * 12 + now.month - anchor.month
    return months if period_start(anchor, months) <= now else months - 1
