"""The ledger: records that are never changed, the page a wallet's batch is decided on, and the hash chain.

Invariants of a page, before and after every command:

* `sum(available) ` = Σ `remaining_credits` of its lots that have not left by expiry = `balance_after` of its last row;
* `debt > 0` only while nothing is available: whatever comes in pays debt first;
* `seq` grows by one a row, `created_at` never runs backwards, and every row's hash covers the row before it.
"""

import hmac
import re
from bisect import insort
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Literal, Protocol

import msgspec

from engine.rules.holds import Hold
from engine.rules.keyed_hash import hmac_sha256
from engine.rules.lots import BUCKETS, NEVER, Bucket, Draw, Lot, purchase_order, spend_order

_SEQ = re.compile(r"[0-9A-F]{10}", re.ASCII)


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One leg of a transaction: signed credits of one lot."""

    lot_id: str
    bucket: Bucket
    credits: int


class Transaction(msgspec.Struct, frozen=True):
    """One ledger row. `amount_credits` is signed and equals Σ of its entries; `metadata` is JSON text.

    A row that opens a keyed command also carries the key, the request's fingerprint and how many rows the
    command wrote (`command_rows`), so that the first answer can be given again for good.
    """

    account_id: str
    seq: int
    transaction_id: str
    type: str
    amount_credits: int
    balance_after: int
    debt_after: int
    source: str | None
    description: str
    reference_type: str | None
    reference_id: str | None
    reverses_id: str | None
    purchase_id: str | None
    provider_id: str | None
    provider_name: str | None
    capability_id: str | None
    outcome: str | None
    call_id: str | None
    actor: str
    metadata: str
    entries: tuple[Entry, ...]
    created_at: datetime
    operation: str | None = None
    idempotency_key: str | None = None
    fingerprint: str | None = None
    command_rows: int = 1
    api_key_id: str | None = None
    hash: bytes = b""

    def draws(self) -> tuple[Draw, ...]:
        """The entries of a debit as positive draws, in the order they were taken."""
        return tuple(Draw(e.lot_id, e.bucket, -e.credits) for e in self.entries)


SEQ_DIGITS = 10


def transaction_id(minted: str, seq: int) -> str:
    """A row's id: what was minted, and at its end the row's `seq`, so that the ledger's own key finds it again.

    An index of ids would be one more page for every spend to write.
    """
    return f"{minted}{seq:0{SEQ_DIGITS}X}"


def seq_in(transaction_id: str) -> int | None:
    """The `seq` at the end of a row's id, or `None` in a text that is no such id."""
    digits = transaction_id[-SEQ_DIGITS:]
    return int(digits, 16) if _SEQ.fullmatch(digits) else None


def chain_hash(key: bytes, before: bytes, row: Transaction) -> bytes:
    """HMAC-SHA256 over the hash before and the row's canonical text (its fields in order as a JSON array)."""
    return hmac_sha256(key)(before, canonical(row))


def canonical(row: Transaction) -> bytes:
    """The bytes the chain covers: every column but the hash itself, prefixed with the form's version.

    Form 1 is of rows that name no API key, form 2 has the key at its end.
    """
    values = msgspec.structs.astuple(row)[:-1]
    return b"1" + msgspec.json.encode(values[:-1]) if row.api_key_id is None else b"2" + msgspec.json.encode(values)


class Mint(Protocol):
    """Makes ids: `mint("lot", at)`. The real one is `engine.clock.new_id`; tests pass a counter."""

    def __call__(self, prefix: str, at: datetime) -> str: ...


class DayUse(msgspec.Struct, frozen=True, array_like=True):
    """What was spent on one UTC day on one provider (`''` where none was named); as a change, numbers may be negative.

    `provider_name` is the last one that a spend of the day gave.
    """

    day: date
    provider_id: str
    provider_name: str | None
    credits_spent: int
    call_count: int

    def plus(self, other: "DayUse") -> "DayUse":
        """Both together; the other one is the later."""
        return DayUse(
            self.day,
            self.provider_id,
            other.provider_name if other.provider_name is not None else self.provider_name,
            self.credits_spent + other.credits_spent,
            self.call_count + other.call_count,
        )


class FrontLot(msgspec.Struct, array_like=True):
    """The lot that a wallet's spends draw from, carried in the wallet's own row.

    What remains of the lot is said by this copy; the lot's own row follows when it is drained, changed in another way
    or no longer the first, and says `row_credits` until then.
    """

    row_credits: int
    lot: Lot


class Wallet(msgspec.Struct):
    """The wallet row: the unit of locking, with totals that spare a spend from reading every lot."""

    account_id: str
    status: str
    seq: int
    head: bytes
    debt_credits: int
    available: list[int]
    held: list[int]
    next_expiry_at: datetime
    last_at: datetime
    spent_on: date
    spent_credits: int
    next_hold_expiry_at: datetime = NEVER
    daily_limit_credits: int | None = None
    per_call_limit_credits: int | None = None
    low_balance_credits: int | None = None
    limit_alerted_on: date | None = None
    recharge_at_credits: int | None = None
    """Where a change that leaves no more than this asks for an auto-recharge; `None` while nobody waits for that."""
    uses: tuple[DayUse, ...] = ()
    """The newest uses, all of one day, beside those in the days' own table (`engine/rules/usage.py`)."""
    front: "FrontLot | None" = None
    """The first lot in spend order, if the wallet carries it."""

    @property
    def available_credits(self) -> int:
        limited_time, monthly, recharge = self.available
        return limited_time + monthly + recharge

    def is_due(self, now: datetime) -> bool:
        """Whether a lot or a hold may be past its end, with its row still to be written."""
        return min(self.next_expiry_at, self.next_hold_expiry_at) <= now

    def spent_today(self, today: date) -> int:
        """Credits debited or held on the UTC day `today`, less what came back of them on that same day."""
        return self.spent_credits if self.spent_on == today else 0


class Message(msgspec.Struct, frozen=True):
    """What a batch has to tell once it is committed: an outgoing event, or a notice to the customer."""

    kind: Literal["event", "notice"]
    payload: dict[str, object]


class KeyUse(msgspec.Struct):
    """One API key of the account: its own limits, and what was spent with it on the UTC day of the page.

    `stored_credits` is what the store has of that day, `None` before the key's first use on it.
    """

    api_key_id: str
    is_revoked: bool
    daily_limit_credits: int | None
    per_call_limit_credits: int | None
    spent_credits: int = 0
    stored_credits: int | None = None


class Page(msgspec.Struct):
    """A wallet as loaded for a batch, and what the batch has written on it so far.

    `order` holds lots with something to draw, in spend order: all of them, or at least enough for every draw of
    the batch. `lots` also holds those that the batch reaches by purchase or by an earlier transaction. `past_uses`
    are those that the wallet carries no longer: they go to the days' own table. `stored` is the store's own note of
    what it read, under the lot's id or the account's, so that it writes only what changed. `front` is the lot that was
    first in spend order as the page was loaded, where the page can tell.
    """

    wallet: Wallet
    at: datetime
    lots: dict[str, Lot] = msgspec.field(default_factory=dict)
    order: list[Lot] = msgspec.field(default_factory=list)
    front: Lot | None = None
    later_expiry: datetime = NEVER
    holds: dict[str, Hold] = msgspec.field(default_factory=dict)
    later_hold_expiry: datetime = NEVER
    debits: dict[str, Transaction] = msgspec.field(default_factory=dict)
    reversed: dict[str, dict[str, int]] = msgspec.field(default_factory=dict)
    answered: dict[tuple[str, str], tuple[Transaction, ...]] = msgspec.field(default_factory=dict)
    campaigns: dict[str, Transaction] = msgspec.field(default_factory=dict)
    written: list[Transaction] = msgspec.field(default_factory=list)
    new_lots: list[Lot] = msgspec.field(default_factory=list)
    touched: dict[str, Lot] = msgspec.field(default_factory=dict)
    new_holds: list[Hold] = msgspec.field(default_factory=list)
    touched_holds: dict[str, Hold] = msgspec.field(default_factory=dict)
    keys: dict[str, KeyUse] = msgspec.field(default_factory=dict)
    messages: list[Message] = msgspec.field(default_factory=list)
    past_uses: list[DayUse] = msgspec.field(default_factory=list)
    stored: dict[str, tuple[object, ...]] = msgspec.field(default_factory=dict)
    is_changed: bool = False

    def move(self, lot: Lot, credits: int) -> Entry:
        """Change what remains of a lot, and the bucket's total with it; the leg of the row that says so."""
        was_open = lot.remaining_credits > 0
        lot.remaining_credits += credits
        assert 0 <= lot.remaining_credits <= lot.granted_credits, "a lot holds between nothing and what it was"
        self.wallet.available[BUCKETS.index(lot.bucket)] += credits
        self.touched[lot.lot_id] = lot
        if not was_open and lot.remaining_credits > 0:
            self.open(lot)
        return Entry(lot.lot_id, lot.bucket, credits)

    def open(self, lot: Lot) -> None:
        """Put a lot that has credits again (or anew) at its place in the spend order.

        One past its expiry makes the page due: the expiry that was next before stays known as the one after it.
        """
        if not any(other is lot for other in self.order):
            insort(self.order, lot, key=spend_order)
        if lot.expires_at <= self.at < self.wallet.next_expiry_at:
            self.later_expiry = min(self.later_expiry, self.wallet.next_expiry_at)
        self.wallet.next_expiry_at = min(self.wallet.next_expiry_at, lot.expires_at)

    def pin(self, lot: Lot, credits: int) -> None:
        """Change what is held of a lot, and the bucket's total with it."""
        lot.held_credits += credits
        assert 0 <= lot.held_credits <= lot.granted_credits, "a lot pins between nothing and what it was"
        self.wallet.held[BUCKETS.index(lot.bucket)] += credits
        self.touched[lot.lot_id] = lot

    def add(self, row: Transaction) -> Transaction:
        """Keep a row the batch wrote."""
        assert sum([e.credits for e in row.entries]) == row.amount_credits
        self.written.append(row)
        self.is_changed = True
        self.wallet.last_at = self.at
        return row

    def front_lot(self) -> Lot | None:
        """The lot that is first in spend order now, or `None` where lots that were not loaded may come before."""
        if self.front is None or self.front.remaining_credits == 0:
            return None
        return next(lot for lot in self.order if lot.remaining_credits > 0)

    def purchase_lots(self, purchase_id: str) -> list[Lot]:
        """The lots one purchase was granted, base before bonus."""
        lots = [lot for lot in self.lots.values() if lot.purchase_id == purchase_id]
        return sorted(lots, key=purchase_order)


def pages_in_order(pages: Iterable[Page]) -> list[Page]:
    """Pages by account id: the order in which they are saved."""
    return sorted(pages, key=lambda page: page.wallet.account_id)


def first_broken_row(key: Sequence[bytes], rows: Iterable[Transaction], before: bytes = b"") -> Transaction | None:
    """The first row whose hash no key explains, or `None`; rows are one wallet's, in order of `seq`."""
    for row in rows:
        if not any(hmac.compare_digest(chain_hash(k, before, row), row.hash) for k in key):
            return row
        before = row.hash
    return None
