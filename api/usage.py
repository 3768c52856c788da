"""Usage over HTTP: what was spent by day or by provider, how long the rest will last, and every debit as CSV."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date, timedelta, timezone
from typing import Annotated, Any, Literal

from litestar.response import Stream
from msgspec import UNSET, Meta, UnsetType, field

from api.body import Body
from api.csv_text import csv_text, safe_cell
from api.instants import instant, read_date
from api.scope import Answer, Call, Resource
from api.transactions import View, instant_of
from engine.flows.expiry import settled_wallet
from engine.rules.errors import Invalid
from engine.rules.ledger import DayUse
from engine.rules.money import usd_text
from engine.rules.usage import FORECAST_DAYS, days_to_empty
from engine.runtime import Runtime
from engine.store import history
from engine.store.database import reading
from engine.store.usage import DebitLine, debits_after, spent_between, usage_between

DAYS_BEFORE = timedelta(days=29)
"""Where `from` is not given: 30 days, the last of which is `to`."""
DAYS_MAX = 366
WINDOW = 2_000
"""How many debits an export holds at a time."""
HEADER = (
    "createdAt",
    "transactionId",
    "callId",
    "providerId",
    "capabilityId",
    "creditsCharged",
    "outcome",
    "description",
)


class DateRange(View, frozen=True, kw_only=True):
    """UTC dates, both included."""

    from_: date = field(name="from")
    to: date


class UsageSummary(View, frozen=True, kw_only=True):
    """The whole range. `totalUsdcSpent` is null where a credit has no USD value, as every `…Usdc` here."""

    total_credits_spent: str
    total_usdc_spent: str | None
    total_calls: int
    date_range: DateRange


class ProviderUse(View, frozen=True, kw_only=True):
    """What was spent on one provider; its id is null where spends named none."""

    provider_id: str | None
    provider_name: str | None
    credits_spent: str
    usdc_spent: str | None
    call_count: int


class DailyUse(View, frozen=True, kw_only=True):
    """One UTC day on which something was spent, the provider that cost most first."""

    date: date
    credits_spent: str
    usdc_spent: str | None
    call_count: int
    provider_breakdown: tuple[ProviderUse, ...]


class Forecast(View, frozen=True, kw_only=True):
    """Whole days until nothing is left at the average of the last seven full days; null if nothing was spent."""

    days_to_empty: int | None


class UsageAnswer(View, frozen=True, kw_only=True):
    """`daily` (oldest first) or, with `groupBy=provider`, `providers` (the most spent first)."""

    summary: UsageSummary
    forecast: Forecast
    daily: tuple[DailyUse, ...] | UnsetType = UNSET
    providers: tuple[ProviderUse, ...] | UnsetType = UNSET


Text = Annotated[str, Meta(max_length=40)]


class UsageQuery(Body, frozen=True, kw_only=True):
    """`from` and `to` are UTC dates, both included; without them, the last 30 days."""

    from_: Text | None = field(name="from", default=None)
    to: Text | None = None
    group_by: Literal["day", "provider"] = "day"


class ExportQuery(Body, frozen=True, kw_only=True):
    """`from` and `to` are dates, both included, or instants, of which `to` is excluded; without them, everything."""

    from_: Text | None = field(name="from", default=None)
    to: Text | None = None


def get_usage(call: Call[UsageQuery]) -> Answer:
    """Daily totals, as the spends themselves kept them."""
    runtime, ask = call.runtime, call.ask
    now = runtime.clock.now()
    today = now.astimezone(timezone.utc).date()
    first, last = date_range(ask.from_, ask.to, today)
    wallet = settled_wallet(runtime, call.account_id, now)
    with reading(runtime.db) as session:
        uses = usage_between(session, call.account_id, first, last)
        yesterday = today - timedelta(days=1)
        lately = spent_between(session, call.account_id, today - timedelta(days=FORECAST_DAYS), yesterday)
    rate = runtime.catalog.unit.credits_per_usd
    total = sum(use.credits_spent for use in uses)
    return Answer(
        UsageAnswer(
            summary=UsageSummary(
                total_credits_spent=str(total),
                total_usdc_spent=usd_text(total, rate),
                total_calls=sum(use.call_count for use in uses),
                date_range=DateRange(from_=first, to=last),
            ),
            forecast=Forecast(days_to_empty=days_to_empty(wallet.available_credits, lately)),
            daily=_daily(uses, rate) if ask.group_by == "day" else UNSET,
            providers=_providers(uses, rate) if ask.group_by == "provider" else UNSET,
        )
    )


def date_range(first: str | None, last: str | None, today: date) -> tuple[date, date]:
    """The days asked for, both included; `Invalid` for what is no date, runs backwards or is too long."""
    end = _date_of("to", last) if last is not None else today
    start = _date_of("from", first) if first is not None else max(end, date.min + DAYS_BEFORE) - DAYS_BEFORE
    if start > end:
        raise Invalid("from", "It is later than `to`.")
    if (end - start).days >= DAYS_MAX:
        raise Invalid("from", f"A range has at most {DAYS_MAX} days.")
    return start, end


def _date_of(name: str, text: str) -> date:
    try:
        return read_date(text)
    except ValueError as error:
        raise Invalid(name, "It is a UTC date such as 2026-01-31.") from error


def _daily(uses: Sequence[DayUse], rate: int | None) -> tuple[DailyUse, ...]:
    by_day: dict[date, list[DayUse]] = defaultdict(list)
    for use in uses:
        by_day[use.day].append(use)
    days = []
    for day, parts in by_day.items():
        spent = sum(use.credits_spent for use in parts)
        days.append(
            DailyUse(
                date=day,
                credits_spent=str(spent),
                usdc_spent=usd_text(spent, rate),
                call_count=sum(use.call_count for use in parts),
                provider_breakdown=_providers(parts, rate),
            )
        )
    return tuple(days)


def _providers(uses: Sequence[DayUse], rate: int | None) -> tuple[ProviderUse, ...]:
    """By provider, under its last name; uses come in the order of days."""
    sums: dict[str, DayUse] = {}
    for use in uses:
        before = sums.get(use.provider_id)
        sums[use.provider_id] = before.plus(use) if before is not None else use
    ordered = sorted(sums.values(), key=lambda use: (-use.credits_spent, use.provider_id))
    return tuple(
        ProviderUse(
            provider_id=use.provider_id or None,
            provider_name=use.provider_name,
            credits_spent=str(use.credits_spent),
            usdc_spent=usd_text(use.credits_spent, rate),
            call_count=use.call_count,
        )
        for use in ordered
    )


def get_export(call: Call[ExportQuery]) -> Stream:
    """Every debit, oldest first."""
    start = instant_of("from", call.ask.from_) if call.ask.from_ is not None else None
    end = instant_of("to", call.ask.to, is_end=True) if call.ask.to is not None else None
    if start is not None and end is not None and start >= end:
        raise Invalid("from", "It is not before `to`.")
    return export(call.runtime, call.account_id, (start, end))


def export(runtime: Runtime, account_id: str, span: history.Span) -> Stream:
    """The account's debits in a span, as a file that is made while it is sent.

    The ledger never changes behind the last row it had when this began, so each window is a read of its own: nothing
    stays open while a slow client reads, and a million rows take no more memory than one window.
    """
    wallet = settled_wallet(runtime, account_id, runtime.clock.now())
    with reading(runtime.db) as session:
        lowest, highest = history.seqs_in(session, wallet, span)
    headers = {"content-disposition": 'attachment; filename="usage.csv"', "cache-control": "private, no-store"}
    lines = _lines(runtime, account_id, lowest - 1, highest)
    return Stream(lines, media_type="text/csv", headers=headers)


def _lines(runtime: Runtime, account_id: str, after: int, highest: int) -> Iterator[str]:
    yield csv_text([HEADER])
    while after < highest:
        with reading(runtime.db) as session:
            found = debits_after(session, account_id, after, highest, WINDOW)
        if not found:
            return
        after = found[-1].seq
        yield csv_text(map(_cells, found))


def _cells(line: DebitLine) -> tuple[object, ...]:
    return (
        instant(line.created_at),
        line.transaction_id,
        safe_cell(line.call_id),
        safe_cell(line.provider_id),
        safe_cell(line.capability_id),
        -line.amount_credits,
        safe_cell(line.outcome),
        safe_cell(line.description),
    )


RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="GET",
        path="usage",
        may="read",
        handler=get_usage,
        asks=UsageQuery,
        answers=UsageAnswer,
        summary="What was spent by day or by provider, and how long the rest will last.",
    ),
    Resource(
        method="GET",
        path="usage/export",
        may="read",
        handler=get_export,
        asks=ExportQuery,
        summary="Every debit as CSV, oldest first.",
    ),
)
