"""Billing periods: counted from the anchor, cut to the month's end, without a gap."""

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.rules.periods import period_at, period_start

INSTANTS = st.datetimes(
    min_value=datetime(1990, 1, 1),  # noqa: DTZ001 - the strategy adds the zone
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.just(timezone.utc),
)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def test_an_anchor_on_the_31st_comes_back_after_short_months() -> None:
    anchor = utc("2026-01-31T09:30:00.000001")
    days = [period_start(anchor, n).date().isoformat() for n in range(14)]
    assert days == [
        "2026-01-31",
        "2026-02-28",
        "2026-03-31",
        "2026-04-30",
        "2026-05-31",
        "2026-06-30",
        "2026-07-31",
        "2026-08-31",
        "2026-09-30",
        "2026-10-31",
        "2026-11-30",
        "2026-12-31",
        "2027-01-31",
        "2027-02-28",
    ]
    assert {period_start(anchor, n).timetz() for n in range(14)} == {anchor.timetz()}


@pytest.mark.parametrize(
    ("anchor", "n", "start"),
    [
        ("2026-01-31", 25, "2028-02-29"),
        ("2024-02-29", 12, "2025-02-28"),
        ("2024-02-29", 48, "2028-02-29"),
        ("2026-12-15", 1, "2027-01-15"),
        ("2026-01-30", 1, "2026-02-28"),
        ("2099-12-31", 2, "2100-02-28"),
    ],
)
def test_a_period_starts_on_the_anchors_day_or_the_months_last(anchor: str, n: int, start: str) -> None:
    assert period_start(utc(anchor), n) == utc(start)


@pytest.mark.parametrize(
    ("now", "period"),
    [
        ("2026-01-31T12:00:00", 0),
        ("2026-02-28T11:59:59.999999", 0),
        ("2026-02-28T12:00:00", 1),
        ("2026-03-01T00:00:00", 1),
        ("2026-03-31T11:59:59", 1),
        ("2026-03-31T12:00:00", 2),
        ("2027-01-31T12:00:00", 12),
    ],
)
def test_an_instant_at_a_boundary_is_in_the_period_that_starts(now: str, period: int) -> None:
    assert period_at(utc("2026-01-31T12:00:00"), utc(now)) == period


def test_there_is_no_period_before_the_anchor() -> None:
    anchor = utc("2026-01-31")
    with pytest.raises(AssertionError):
        period_at(anchor, anchor - timedelta(microseconds=1))
    with pytest.raises(AssertionError):
        period_start(anchor, -1)


@given(INSTANTS, st.integers(0, 1_200))
def test_each_period_holds_its_start_and_ends_where_the_next_starts(anchor: datetime, n: int) -> None:
    start, end = period_start(anchor, n), period_start(anchor, n + 1)
    assert timedelta(days=27) < end - start < timedelta(days=32)
    assert period_at(anchor, start) == n
    assert period_at(anchor, end - timedelta(microseconds=1)) == n


@given(INSTANTS, INSTANTS)
def test_every_instant_is_in_exactly_one_period(one: datetime, other: datetime) -> None:
    anchor, now = min(one, other), max(one, other)
    n = period_at(anchor, now)
    assert period_start(anchor, n) <= now < period_start(anchor, n + 1)
