"""A wallet's balance as it is, and as it was: totals by bucket and the lots behind them."""

from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta

import msgspec
from msgspec import structs
from sqlalchemy import and_, func, or_, select, text
from sqlmodel import Session

from engine.rules.ledger import Entry, Wallet
from engine.rules.lots import BUCKETS, NEVER, Bucket, Lot, is_live, spend_order
from engine.store import books
from engine.store.bulk import select_first, select_rows
from engine.store.front_lots import present
from engine.store.history import find_wallet, first_seq
from engine.store.holds import over_at
from engine.store.tables import Base

LOTS_MAX = 100
"""How many lots of one bucket a balance shows."""
EXPIRING_WITHIN = timedelta(days=60)
"""How far the calendar of what expires looks ahead."""
EXPIRING_MAX = 50
"""How many entries that calendar has at most."""

_ROWS = Base.metadata.tables["transactions"].c
_entries = msgspec.json.Decoder(tuple[Entry, ...])


@dataclass(frozen=True, slots=True)
class BucketView:
    """One bucket: its totals and its first lots in spend order, at most `LOTS_MAX`."""

    bucket: Bucket
    available_credits: int
    held_credits: int
    next_expiry_at: datetime | None
    lots: tuple[Lot, ...]


@dataclass(frozen=True, slots=True)
class Expiring:
    """Credits of one bucket that leave at one instant unless they are spent before; what is held is not among them."""

    expires_at: datetime
    bucket: Bucket
    credits: int


@dataclass(frozen=True, slots=True)
class BalanceView:
    """A wallet at one instant; buckets stand in spend order, all of them.

    `is_due`: something in the totals has expired, a lot or a hold, and its ledger row is still to be written. The
    limits and the alert threshold are the present ones.
    """

    status: str
    available_credits: int
    held_credits: int
    debt_credits: int
    spent_today_credits: int
    buckets: tuple[BucketView, ...]
    expiring: tuple[Expiring, ...] = ()
    is_due: bool = False
    daily_limit_credits: int | None = None
    per_call_limit_credits: int | None = None
    low_balance_credits: int | None = None


def balance(session: Session, account_id: str, now: datetime) -> BalanceView | None:
    """The present balance in a snapshot: totals and lots of one and the same state, or `None` without the account."""
    return balances(session, [(account_id, now)]).get((account_id, now))


def balances(session: Session, asked: Sequence[tuple[str, datetime]]) -> dict[tuple[str, datetime], BalanceView]:
    """Present balances of many accounts in a snapshot, each at its caller's instant, a statement a bucket for all."""
    wanted = sorted({account_id for account_id, _ in asked})
    rows = select_rows(session, "wallets", books.WALLET, ("account_id",), [(account_id,) for account_id in wanted])
    wallets = {row[0]: books.wallet_of(row) for row in rows}
    lots = _present_lots(session, wallets, min((now for _, now in asked), default=NEVER))
    return {
        (account_id, now): _present_view(session, wallets[account_id], lots[account_id], now)
        for account_id, now in asked
        if account_id in wallets
    }


def _present_view(session: Session, wallet: Wallet, lots: list[Lot], now: datetime) -> BalanceView:
    live = [lot for lot in lots if lot.expires_at > now or lot.held_credits > 0]
    view = _view(wallet, live, wallet.available, wallet.held, wallet.spent_today(now.date()))
    if wallet.next_expiry_at > now + EXPIRING_WITHIN:
        expiring: tuple[Expiring, ...] = ()
    elif any(len(bucket.lots) == LOTS_MAX for bucket in view.buckets):
        expiring = _present_expiring(session, wallet, now)
    else:
        expiring = expiring_of(live, now)
    return replace(view, expiring=expiring, is_due=wallet.is_due(now))


def expiring_of(lots: Iterable[Lot], at: datetime) -> tuple[Expiring, ...]:
    """What of these lots expires after an instant and soon, the soonest first, then in spend order."""
    return _soonest({}, lots, at)


def _soonest(sums: dict[tuple[datetime, int], int], lots: Iterable[Lot], at: datetime) -> tuple[Expiring, ...]:
    """The same, with what was summed up of other lots."""
    for lot in lots:
        if lot.remaining_credits > 0 and at < lot.expires_at <= at + EXPIRING_WITHIN:
            key = (lot.expires_at, BUCKETS.index(lot.bucket))
            sums[key] = sums.get(key, 0) + lot.remaining_credits
    found = sorted(sums.items())[:EXPIRING_MAX]
    return tuple(Expiring(expires_at, BUCKETS[order], credits) for (expires_at, order), credits in found)


def _present_expiring(session: Session, wallet: Wallet, now: datetime) -> tuple[Expiring, ...]:
    """The same for the wallet as it is, added up by the database: it has more lots than were read."""
    c = Base.metadata.tables["lots"].c
    carried = [] if wallet.front is None else [wallet.front.lot]
    rows = session.execute(
        select(c.expires_at, c.bucket_order, func.sum(c.remaining_credits))
        .where(c.account_id == wallet.account_id, text("is_open"), c.bucket_order.in_(range(len(BUCKETS))))
        .where(c.lot_id.not_in([lot.lot_id for lot in carried]))
        .where(c.expires_at > now, c.expires_at <= now + EXPIRING_WITHIN)
        .group_by(c.expires_at, c.bucket_order)
        .order_by(c.expires_at, c.bucket_order)
        .limit(EXPIRING_MAX)
    )
    return _soonest({(expires_at, order): int(credits) for expires_at, order, credits in rows}, carried, now)


def _present_lots(session: Session, wallets: Mapping[str, Wallet], now: datetime) -> dict[str, list[Lot]]:
    """The first lots of each bucket that hold something to draw or something held, by account."""
    lots: dict[str, list[Lot]] = {account_id: [] for account_id in wallets}
    for order, bucket in enumerate(BUCKETS):
        open_ones = [wallet.account_id for wallet in wallets.values() if wallet.available[order] > 0]
        is_open = f"is_open AND bucket_order = {order} AND expires_at > {{0}}"
        found = _first_lots(session, wallets, open_ones, is_open, now)
        pinned = [wallet.account_id for wallet in wallets.values() if wallet.held[order] > 0]
        if pinned:
            is_held = f"NOT is_open AND held_credits > 0 AND bucket = '{bucket}' AND expires_at > {{0}}"
            ever = datetime.min.replace(tzinfo=UTC)
            for account_id, held in _first_lots(session, wallets, pinned, is_held, ever).items():
                found[account_id] = sorted([*found[account_id], *held], key=spend_order)
        for account_id, of_bucket in found.items():
            lots[account_id] += of_bucket[:LOTS_MAX]
    return lots


def _first_lots(
    session: Session, wallets: Mapping[str, Wallet], owners: Sequence[str], where: str, bound: datetime
) -> dict[str, list[Lot]]:
    rows = select_first(
        session,
        "lots",
        books.LOT,
        owners,
        where=where,
        bounds=[(bound,)] * len(owners),
        order=books.ORDER,
        limit=LOTS_MAX,
    )
    found: dict[str, list[Lot]] = defaultdict(list)
    for row in rows:
        found[row[0]].append(present(books.lot_of(row), wallets[row[0]].front))
    return defaultdict(list, {owner: sorted(lots, key=spend_order) for owner, lots in found.items()})


def _view(
    wallet: Wallet, lots: list[Lot], available: list[int], held: list[int], spent_today_credits: int
) -> BalanceView:
    by_bucket: dict[Bucket, list[Lot]] = defaultdict(list)
    for lot in sorted(lots, key=spend_order):
        by_bucket[lot.bucket].append(lot)
    buckets = []
    for order, bucket in enumerate(BUCKETS):
        ends = [lot.expires_at for lot in by_bucket[bucket] if lot.remaining_credits > 0 and lot.expires_at < NEVER]
        shown = tuple(by_bucket[bucket][:LOTS_MAX])
        buckets.append(BucketView(bucket, available[order], held[order], min(ends, default=None), shown))
    return BalanceView(
        status=wallet.status,
        available_credits=sum(available),
        held_credits=sum(held),
        debt_credits=wallet.debt_credits,
        spent_today_credits=spent_today_credits,
        buckets=tuple(buckets),
        daily_limit_credits=wallet.daily_limit_credits,
        per_call_limit_credits=wallet.per_call_limit_credits,
        low_balance_credits=wallet.low_balance_credits,
    )


def balance_at(session: Session, account_id: str, at: datetime) -> BalanceView | None:
    """The balance as it was at a past instant, in a snapshot: the present lots, rolled back by every later row.

    The status is the present one; what had expired by then counts as gone, and the holds that were over by then as
    released, whenever their rows were written.
    """
    wallet = find_wallet(session, account_id)
    return None if wallet is None else _rolled_back(session, wallet, at)


def _rolled_back(session: Session, wallet: Wallet, at: datetime) -> BalanceView:
    account_id = wallet.account_id
    last = first_seq(session, wallet, at, is_after=True) - 1
    moved: dict[str, int] = defaultdict(int)
    released: dict[str, int] = defaultdict(int)
    over = over_at(session, account_id, at)
    for part in (part for hold in over.values() if hold.status == "open" for part in hold.parts):
        moved[part.lot_id] -= part.credits
        released[part.lot_id] -= part.credits
    later = select(_ROWS.type, _ROWS.entries, _ROWS.reference_id).where(
        _ROWS.account_id == account_id, _ROWS.seq > last
    )
    for kind, entries, reference_id in session.execute(later, execution_options={"yield_per": 2_000}):
        if kind == "hold_release" and reference_id in over:
            continue
        for entry in _entries.decode(entries):
            moved[entry.lot_id] += entry.credits
            if kind in ("hold", "hold_release"):
                released[entry.lot_id] += entry.credits
    lots = []
    for lot in _all_lots(session, wallet, set(moved)):
        remaining = lot.remaining_credits - moved[lot.lot_id]
        then = structs.replace(
            lot,
            remaining_credits=remaining if is_live(lot, at) else 0,
            held_credits=lot.held_credits + released[lot.lot_id],
        )
        if lot.granted_seq <= last and then.remaining_credits + then.held_credits > 0:
            lots.append(then)
    available = [sum(lot.remaining_credits for lot in lots if lot.bucket == bucket) for bucket in BUCKETS]
    held = [sum(lot.held_credits for lot in lots if lot.bucket == bucket) for bucket in BUCKETS]
    rows = select_rows(session, "transactions", books.TRANSACTION, ("account_id", "seq"), [(account_id, last)])
    debt = books.transaction_of(rows[0]).debt_after if rows else 0
    past = structs.replace(wallet, debt_credits=debt)
    view = _view(past, lots, available, held, _spent_on_day_of(session, wallet, at, last, over))
    return replace(view, expiring=expiring_of(lots, at))


def _all_lots(session: Session, wallet: Wallet, moved: set[str]) -> list[Lot]:
    """Lots that hold something now, and those that later rows moved."""
    account_id = wallet.account_id
    table = Base.metadata.tables["lots"]
    holding = select(*(table.c[name] for name in books.LOT)).where(
        table.c.account_id == account_id, or_(table.c.is_open, table.c.held_credits > 0)
    )
    lots = {row[1]: books.lot_of(tuple(row)) for row in session.execute(holding)}
    missing = [(account_id, lot_id) for lot_id in moved if lot_id not in lots]
    rows = select_rows(session, "lots", books.LOT, ("account_id", "lot_id"), missing)
    return [present(lot, wallet.front) for lot in (*lots.values(), *map(books.lot_of, rows))]


def _spent_on_day_of(session: Session, wallet: Wallet, at: datetime, last: int, over: Container[str]) -> int:
    """What counted on the UTC day of `at` until then: its debits and holds, less what came back of those very ones.

    Of a hold that ended, only what was held on the day itself counts or comes back: the last of what it drew.
    """
    midnight = datetime.combine(at.astimezone(UTC).date(), time(), UTC)
    start = first_seq(session, wallet, midnight)
    names = ("type", "amount_credits", "transaction_id", "reference_type", "reference_id", "reverses_id")
    of_day = and_(_ROWS.account_id == wallet.account_id, _ROWS.seq >= start, _ROWS.seq <= last)
    kinds = _ROWS.type.in_(("debit", "hold", "hold_release", "debit_reversal"))
    held: dict[str, int] = defaultdict(int)
    released: dict[str, int] = {}
    counted: dict[str, int] = {}
    for kind, credits, transaction_id, reference_type, reference_id, reverses_id in session.execute(
        select(*(_ROWS[name] for name in names)).where(of_day, kinds).order_by(_ROWS.seq)
    ):
        if kind == "hold":
            held[reference_id] -= credits
        elif kind == "hold_release":
            released[reference_id] = credits - held.pop(reference_id, 0)
        elif kind == "debit":
            earlier = released[reference_id] if reference_type == "hold" else 0
            counted[transaction_id] = max(0, -credits - earlier)
        elif reverses_id in counted:
            counted[reverses_id] = max(0, counted[reverses_id] - credits)
    return sum(credits for hold_id, credits in held.items() if hold_id not in over) + sum(counted.values())
