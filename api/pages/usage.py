"""`/account/usage`: what can be spent and in which order, what was spent each day, and every row of the ledger."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from litestar import Response

from api.pages.charts import Bar, Slice, bars, slices
from api.pages.frame import Visit
from api.pages.ledger_file import ledger_file
from api.pages.tongues import Tongue
from api.pages.words import TYPE_NAMES
from engine.flows.expiry import settled_wallet
from engine.rules.catalog import Catalog
from engine.rules.errors import Invalid, NotFound
from engine.rules.lots import BUCKETS, Lot
from engine.rules.periods import period_start
from engine.store import balances, history, usage
from engine.store.balances import BalanceView
from engine.store.bucket_use import spent_by_bucket
from engine.store.database import reading

DAYS = (7, 30, 90)
ROWS = 25
MONTHS_BACK = 24


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month in UTC, `[start, end)`, under the name the filter sends."""

    key: str
    name: str
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a wallet holds, as the pages draw it. `next_lot` is what the next spend draws from first; `plans` are the
    names of the plans that gave lots, by the lots' ids, where the ledger says it."""

    view: BalanceView
    slices: tuple[Slice, ...]
    lots: tuple[Lot, ...]
    next_lot: Lot | None
    plans: Mapping[str, str]


def show(visit: Visit) -> Response[str]:
    """The whole page: balance, chart and one page of the ledger."""
    runtime = visit.runtime
    wallet = settled_wallet(runtime, visit.account_id, visit.now)
    span = int(visit.query.get("days", "30")) if visit.query.get("days", "30") in map(str, DAYS) else 30
    months = months_until(visit.now, visit.tongue)
    month = next((m for m in months if m.key == visit.query.get("month")), None)
    kind = _kind(visit)
    query = history.StatementQuery(
        type=kind or None,
        start=month.start if month else None,
        end=month.end if month else None,
        before_seq=_before(visit.query.get("before", "")),
        limit=ROWS,
    )
    held = holdings(visit, visit.account_id)
    with reading(runtime.db) as session:
        statement = history.statement(session, wallet, query)
    return visit.page(
        "usage.html",
        holdings=held,
        chart=spend_chart(visit, span),
        buckets=[bucket for bucket in BUCKETS if bucket in runtime.catalog.buckets],
        span=span,
        spans=DAYS,
        statement=statement,
        types=TYPE_NAMES,
        months=months,
        month=month.key if month else "",
        kind=kind,
        is_later_page=query.before_seq is not None,
    )


def download(visit: Visit) -> Response[Any]:
    """The ledger, or what the filters leave of it, as a file to keep."""
    wanted = visit.query.get("month", "")
    month = next((m for m in months_until(visit.now, visit.tongue) if m.key == wanted), None)
    if wanted and month is None:
        raise Invalid("month", "There is no such month here.")
    span = (month.start, month.end) if month else (None, None)
    return ledger_file(visit.runtime, visit.account_id, _kind(visit) or None, span)


def _kind(visit: Visit) -> str:
    """The type that the filter asks for, empty for all."""
    kind = visit.query.get("type", "")
    if kind and kind not in TYPE_NAMES:
        raise Invalid("type", "There is no such type of transaction.")
    return kind


def holdings(visit: Visit, account_id: str) -> Holdings:
    """The present balance of an account, what has expired gone; `NotFound` without such an account."""
    settled_wallet(visit.runtime, account_id, visit.now)
    with reading(visit.runtime.db) as session:
        view = balances.balance(session, account_id, visit.now)
        if view is None:
            raise NotFound("account")
        monthly = {lot.granted_seq: lot for b in view.buckets for lot in b.lots if lot.source == "subscription"}
        words = history.descriptions(session, account_id, monthly)
    catalog = visit.runtime.catalog
    shown = [b for b in view.buckets if b.bucket in catalog.buckets or b.available_credits + b.held_credits > 0]
    lots = tuple(lot for bucket in shown for lot in bucket.lots)
    return Holdings(
        view=view,
        slices=slices([(b.bucket, b.available_credits) for b in shown]),
        lots=lots,
        next_lot=next((lot for lot in lots if lot.remaining_credits > 0), None),
        plans={monthly[seq].lot_id: name for seq, text in words.items() if (name := _plan_in(catalog, text))},
    )


def _plan_in(catalog: Catalog, text: str) -> str:
    """The plan's name in what the ledger says of its monthly credits; empty where the words were others then."""
    before, _, after = catalog.descriptions.monthly_credit.partition("{plan}")
    return text.removeprefix(before).removesuffix(after) if text.startswith(before) and text.endswith(after) else ""


def spend_chart(visit: Visit, days: int) -> tuple[Bar, ...]:
    """One bar for each of the last days, today included, oldest first; by bucket unless the ledger is too long."""
    today = visit.now.astimezone(timezone.utc).date()
    first = today - timedelta(days=days - 1)
    with reading(visit.runtime.db) as session:
        spent = usage.spent_by_day(session, visit.account_id, first, today)
        wallet = history.find_wallet(session, visit.account_id)
        by_bucket = spent_by_bucket(session, wallet, first) if wallet is not None else None
    dates = [first + timedelta(days=n) for n in range(days)]
    return bars([(date, spent.get(date, 0)) for date in dates], by_bucket)


def months_until(now: datetime, tongue: Tongue) -> tuple[Month, ...]:
    """The last months, this one first, named in this language."""
    here = now.astimezone(timezone.utc)
    oldest = datetime(here.year - MONTHS_BACK // 12, here.month, 1, tzinfo=timezone.utc)
    found = []
    for place in range(MONTHS_BACK, -1, -1):
        start = period_start(oldest, place)
        found.append(Month(f"{start:%Y-%m}", tongue.month(start), start, period_start(oldest, place + 1)))
    return tuple(found)


def _before(text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Invalid("before", "This is no place in the ledger.")
    return int(text)
