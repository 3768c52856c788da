"""Charts as numbers for SVG: integer coordinates, so that templates draw and never compute."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from engine.rules.lots import BUCKETS

WIDTH = 1000
"""Of the stacked bar and of the daily chart, in user units."""
HEIGHT = 200
SLICE_MIN = 24
"""The narrowest slice of something that is there at all."""
_GAP_SHARE = 4
"""One part in four of a day's width stays empty."""


@dataclass(frozen=True, slots=True)
class Slice:
    """One bucket of the stacked bar: from `x` on, `width` wide, nothing where it is empty."""

    bucket: str
    credits: int
    x: int
    width: int


@dataclass(frozen=True, slots=True)
class Part:
    """What a day took from one bucket, as a piece of its bar."""

    bucket: str
    credits: int
    y: int
    height: int


@dataclass(frozen=True, slots=True)
class Bar:
    """One day of the daily chart; `y` is its top, counted downwards. `parts` fill it from the bottom up, in spend
    order, where it is known what was taken from which bucket."""

    date: date
    credits: int
    x: int
    y: int
    width: int
    height: int
    parts: tuple[Part, ...] = ()


def slices(buckets: Sequence[tuple[str, int]]) -> tuple[Slice, ...]:
    """The buckets side by side in the order given, `WIDTH` wide together; the widest gives way to the narrow ones."""
    total = sum(credits for _, credits in buckets)
    widths = [0 if credits == 0 else max(SLICE_MIN, credits * WIDTH // total) for _, credits in buckets]
    if total:
        widest = widths.index(max(widths))
        widths[widest] += WIDTH - sum(widths)
    found, x = [], 0
    for (bucket, credits), width in zip(buckets, widths, strict=True):
        found.append(Slice(bucket, credits, x, width))
        x += width
    return tuple(found)


def bars(
    days: Sequence[tuple[date, int]], by_bucket: Mapping[date, Mapping[str, int]] | None = None
) -> tuple[Bar, ...]:
    """One bar a day, the highest `HEIGHT` high; a day on which anything was spent shows at least a line."""
    highest = max((credits for _, credits in days), default=0)
    step = WIDTH // max(1, len(days))
    width = step - step // _GAP_SHARE
    found = []
    for place, (day, credits) in enumerate(days):
        height = max(2, credits * HEIGHT // highest) if credits > 0 else 0
        pieces = _parts(by_bucket.get(day, {}), credits, height) if by_bucket is not None else ()
        found.append(Bar(day, credits, place * step, HEIGHT - height, width, height, pieces))
    return tuple(found)


def _parts(buckets: Mapping[str, int], credits: int, height: int) -> tuple[Part, ...]:
    """A bar's pieces, as high as the bar together; none where they do not add up to it."""
    spent = [(bucket, buckets[bucket]) for bucket in BUCKETS if buckets.get(bucket, 0) > 0]
    if sum(count for _, count in spent) != credits:
        return ()
    found, below, counted = [], 0, 0
    for bucket, count in spent:
        counted += count
        top = counted * height // credits
        found.append(Part(bucket, count, HEIGHT - top, top - below))
        below = top
    return tuple(found)
