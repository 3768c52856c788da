"""What the audit keeps of one wallet while its rows pass, and which row is the first that does not fit."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import msgspec

from engine.rules import commands as c
from engine.rules.holds import Hold, Part, by_lot, counted_on, taken
from engine.rules.ledger import Entry, Transaction
from engine.rules.usage import NO_PROVIDER

ADDS = frozenset(
    {
        "deposit",
        "auto_recharge",
        "volume_discount",
        "coupon_credit",
        "promo_credit",
        "monthly_credit",
        "commit_credit",
        "admin_credit",
    }
)
RETURNS = frozenset({"refund", "refund_failed", "dispute", "dispute_won"})
LEAVES = frozenset({"expiry", "forfeit"})
FIELDS = Transaction.__struct_fields__
ENTRIES = FIELDS.index("entries")
CREATED = FIELDS.index("created_at")
API_KEY = FIELDS.index("api_key_id")
Row = tuple[Any, ...]
"""A ledger row as it is stored, in the order of `Transaction`'s fields, entries as their text."""

Debits = Mapping[tuple[str, str], tuple[Row, int]]
"""Debits by account and id, with what was given back of each before the rows at hand."""

Holds = Mapping[Row, Hold]
"""Holds by account and id, as they stand now."""

_encode = msgspec.json.Encoder().encode
_entries = msgspec.json.Decoder(tuple[Entry, ...])
_told = msgspec.json.Decoder(dict[str, str])


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not add up: where (`account/seq` or an object's id) and what."""

    where: str
    what: str


@dataclass(frozen=True, slots=True)
class Granted:
    """The row that made a lot, and what it says was granted."""

    row: Row
    credits: int


@dataclass(slots=True)
class OpenHold:
    """A hold as its rows have made it until here."""

    parts: tuple[Part, ...]
    expires_at: datetime


@dataclass(slots=True)
class Kept:
    """What a wallet's rows make together: held against what is stored beside them."""

    count: int = 0
    balance: int = 0
    debt: int = 0
    head: bytes = b""
    last: Row | None = None
    is_readable: bool = True
    left: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    held: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    ended: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    granted: dict[str, Granted] = field(default_factory=dict)
    returned: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    uses: dict[tuple[date, str], tuple[int, int, str | None]] = field(default_factory=dict)
    holds: dict[str, OpenHold] = field(default_factory=dict)
    coupons: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    spent_on: date | None = None
    spent: int = 0
    keys: dict[tuple[str, date], int] = field(default_factory=lambda: defaultdict(int))


class WalletCheck:
    """One wallet's rows in order of `seq`. Only the first broken row is named."""

    def __init__(self, account_id: str, links: Sequence[Callable[[bytes, bytes], bytes]]) -> None:
        self.account_id = account_id
        self.kept = Kept()
        self.broken: Finding | None = None
        self._links = links
        self._undone: dict[str, int] = {}

    def begin_chunk(self) -> None:
        """More rows follow, with debits that say what was given back until here."""
        self._undone.clear()

    def take(self, seq: int, row: Row | None, debits: Debits, holds: Holds) -> None:
        """The next row, or `None` for one that can't be read."""
        kept = self.kept
        kept.count += 1
        entries = None if row is None else _read(row)
        if row is None or entries is None:
            kept.is_readable = False
            self._break(seq, "it can't be read")
            return
        if self.broken is None:
            what = self._wrong(row, entries)
            if what is not None:
                self._break(seq, what)
        kept.balance += row[4]
        kept.head = row[-1]
        kept.last = row
        left, kind = kept.left, row[3]
        for entry in entries:
            left[entry.lot_id] += entry.credits
        if kind == "debit" and row[9] != "hold":
            self._count_use(row, -row[4], 1)
            self._count_spent(row, -row[4])
        else:
            self._take_rare(row, entries, debits, holds)
        kept.debt = row[6]

    def _break(self, seq: int, what: str) -> None:
        if self.broken is None:
            self.broken = Finding(f"{self.account_id}/{seq}", what)

    def _wrong(self, row: Row, entries: tuple[Entry, ...]) -> str | None:
        """What is wrong with this row by itself, all before it being right."""
        kept = self.kept
        if row[1] != kept.count:
            return f"row {kept.count} is missing"
        if sum([entry.credits for entry in entries]) != row[4]:
            return "its entries do not sum up to its amount"
        if kept.balance + row[4] != row[5]:
            return f"its balance is {row[5]}, the rows before it make {kept.balance + row[4]}"
        covered = (*row[:ENTRIES], msgspec.Raw(row[ENTRIES].encode()), *row[CREATED:API_KEY])
        canonical = b"1" + _encode(covered) if row[API_KEY] is None else b"2" + _encode((*covered, row[API_KEY]))
        for link in self._links:
            if link(kept.head, canonical) == row[-1]:
                return None
        return "its hash does not fit its text and the row before it"

    def _take_rare(self, row: Row, entries: tuple[Entry, ...], debits: Debits, holds: Holds) -> None:
        """What every kind of row but a plain debit leaves behind."""
        kept, kind = self.kept, row[3]
        for entry in entries:
            if kind in ("hold", "hold_release"):
                kept.held[entry.lot_id] -= entry.credits
            elif kind in LEAVES:
                kept.ended[entry.lot_id] -= entry.credits
            if kind in ADDS or entry.lot_id not in kept.granted:  # what finds its own lot full makes a new one
                kept.granted[entry.lot_id] = Granted(row, entry.credits)
        if kind in RETURNS and row[12] is not None:
            kept.returned[row[12]] += row[6] - kept.debt - row[4]
        elif kind == "coupon_credit" and row[22] == "coupon":
            kept.coupons[row[23]] += 1
        if row[11] is not None:
            self._take_reversal(row, debits, holds)
        if row[9] == "hold" and kind in ("hold", "hold_release", "debit"):
            self._take_hold(row, entries, holds.get((row[0], row[10])))

    def _take_reversal(self, row: Row, debits: Debits, holds: Holds) -> None:
        debit, before = debits.get((row[0], row[11]), (None, 0))
        undone = self._undone.get(row[11], before)
        if debit is None or debit[3] != "debit" or debit[1] >= row[1] or undone + row[4] > -debit[4]:
            self._break(row[1], "it gives back more than its debit took, or has no debit")
        if debit is None:
            return
        self._undone[row[11]] = undone + row[4]
        if row[3] != "debit_reversal":
            return
        self._count_use(debit, -row[4], -1 if undone + row[4] == -debit[4] else 0, is_named=False)
        day = row[CREATED].date()
        if debit[CREATED].date() == day:
            held = holds.get((row[0], debit[10])) if debit[9] == "hold" else None
            counted = -debit[4] if held is None else held.counted_credits
            self._count_spent(row, min(undone, counted) - min(undone + row[4], counted))

    def _take_hold(self, row: Row, entries: tuple[Entry, ...], hold: Hold | None) -> None:
        """A row of a hold, against the hold as it stands now."""
        kind, hold_id, day = row[3], row[10], row[CREATED].date()
        if hold is None:
            self._break(row[1], "it names a hold that is not there or does not add up")
            return
        if kind == "hold":
            what = self._reserved(row, entries, hold)
            self._count_spent(row, -row[4])
        elif kind == "hold_release":
            what = self._released(row, entries, hold)
            self._count_spent(row, -counted_on(day, hold.parts))
        else:
            self._count_use(row, -row[4], 1)
            kept_today = counted_on(day, taken(hold.parts, hold.captured_credits))
            counted = kept_today + max(0, hold.captured_credits - hold.credits)
            what = (hold.status, hold.captured_credits, hold.counted_credits) == ("captured", -row[4], counted)
            self._count_spent(row, counted)
        if not what:
            self._break(row[1], f"the hold {hold_id} is kept as something else than its rows say")

    def _reserved(self, row: Row, entries: tuple[Entry, ...], hold: Hold) -> bool:
        """Whether the row that makes or extends a hold says of it what is kept."""
        day = row[CREATED].date()
        parts = tuple(Part(e.lot_id, e.bucket, -e.credits, day) for e in entries)
        made = self.kept.holds.get(hold.hold_id)
        same = (hold.provider_id, hold.provider_name, hold.capability_id, hold.call_id) == (*row[13:16], row[17])
        if made is not None:
            try:
                ends = datetime.fromisoformat(_told.decode(row[19])["expiresAt"])
            except (msgspec.MsgspecError, KeyError, ValueError):
                return False
            self.kept.holds[hold.hold_id] = OpenHold(made.parts + parts, ends)
            return same
        ends = row[CREATED] + timedelta(seconds=hold.ttl_seconds)
        self.kept.holds[hold.hold_id] = OpenHold(parts, ends)
        first = (hold.actor, hold.created_at, hold.metadata) == (row[18], row[CREATED], row[19])
        return same and first and hold.description in ("", row[8]) and _is_as_asked(row, hold)

    def _released(self, row: Row, entries: tuple[Entry, ...], hold: Hold) -> bool:
        """Whether a hold that has ended is kept as its rows made it, and as this one ended it."""
        made = self.kept.holds.pop(hold.hold_id, None)
        if made is None or hold.status == "open" or hold.ended_at != row[CREATED]:
            return False
        if (hold.parts, hold.expires_at) != (made.parts, made.expires_at):
            return False
        if (hold.status == "expired") != (row[18] == "system"):
            return False
        if (hold.captured_credits > 0) != (hold.status == "captured"):
            return False
        draws = [(draw.lot_id, draw.bucket, draw.credits) for draw in by_lot(tuple(reversed(hold.parts)))]
        return draws == [(entry.lot_id, entry.bucket, entry.credits) for entry in entries]

    def _count_spent(self, row: Row, credits: int) -> None:
        """What counts on the limits of the row's day: the wallet's, of the last day alone, and its key's."""
        if credits != 0:
            kept, day = self.kept, row[CREATED].date()
            kept.spent = (kept.spent if kept.spent_on == day else 0) + credits
            kept.spent_on = day
            if row[API_KEY] is not None:
                kept.keys[row[API_KEY], day] += credits

    def _count_use(self, debit: Row, credits: int, calls: int, *, is_named: bool = True) -> None:
        """Credits and calls on a debit's own day and provider."""
        key = (debit[CREATED].date(), debit[13] or NO_PROVIDER)
        spent, called, name = self.kept.uses.get(key, (0, 0, None))
        if is_named and debit[14] is not None:
            name = debit[14]
        self.kept.uses[key] = (spent + credits, called + calls, name)


def _is_as_asked(row: Row, hold: Hold) -> bool:
    """Whether a keyed request for a hold asked for this one, as long as it lasts or as long as the catalogue says."""
    if row[24] is None:
        return True
    asked = c.Hold(
        account_id=row[0],
        actor=row[18],
        credits=-row[4],
        ttl_seconds=hold.ttl_seconds,
        description=hold.description,
        provider_id=row[13],
        provider_name=row[14],
        capability_id=row[15],
        call_id=row[17],
        api_key_id=hold.api_key_id,
        metadata=row[19],
    )
    return row[24] in (c.fingerprint(asked), c.fingerprint(msgspec.structs.replace(asked, ttl_seconds=None)))


def _read(row: Row) -> tuple[Entry, ...] | None:
    """The row's entries, if it is a row that could be ours; SQLite keeps any value in any column."""
    if not (type(row[1]) is type(row[4]) is type(row[5]) is type(row[6]) is type(row[25]) is int):
        return None
    if type(row[ENTRIES]) is not str or type(row[CREATED]) is not datetime or type(row[-1]) is not bytes:
        return None
    try:
        return _entries.decode(row[ENTRIES])
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return None
