"""Three keepers of the same books: the pure rules in memory, and the store on SQLite or PostgreSQL.

All of them take batches and answer outcomes; `books` shows everything kept of one wallet, comparable with `==`. The
one in memory shares nothing with the store: it hands `decide_all` the whole wallet and keeps what comes out.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any, Protocol

import msgspec
from msgspec import structs
from sqlalchemy import insert, update
from sqlmodel import Session, select

from engine import book
from engine.group_commit import in_threads
from engine.rules.commands import Command, Outcome
from engine.rules.decisions import Terms, decide_all
from engine.rules.holds import Hold
from engine.rules.ledger import KeyUse, Page, Transaction, Wallet
from engine.rules.lots import NEVER, Lot, spend_order
from engine.store import alerts
from engine.store.database import Database, reading, writing
from engine.store.tables import Base, OutboxRow
from tests.engine.support import DAY_0, counting_terms, create_accounts, holds_of, lots_of, rows_of, wallet_of


@dataclass(frozen=True, slots=True)
class WalletBooks:
    """All that is kept of one wallet: its row, its ledger by `seq`, its lots by the `seq` that granted them."""

    wallet: Wallet
    rows: tuple[Transaction, ...]
    lots: tuple[Lot, ...]
    holds: tuple[Hold, ...] = ()
    notices: tuple[str, ...] = ()
    """What the customer was told and at which `seq`, in order of their names."""


class Backend(Protocol):
    terms: Terms

    def open(self, account_id: str, now: datetime) -> None:
        """An empty, active wallet."""
        ...

    def post(self, commands: Sequence[Command], now: datetime) -> list[Outcome]:
        """Carry out one batch and keep it."""
        ...

    def crash(self, commands: Sequence[Command], now: datetime) -> None:
        """Carry out one batch and lose it before the commit."""
        ...

    def set_status(self, account_id: str, status: str) -> None: ...

    def set_limits(self, account_id: str, daily: int | None, per_call: int | None) -> None: ...

    def set_key(self, account_id: str, api_key_id: str, daily: int | None, per_call: int | None) -> None:
        """An API key with limits of its own, made if it is not there."""
        ...

    def set_threshold(self, account_id: str, credits: int | None) -> None: ...

    def books(self, account_id: str) -> WalletBooks: ...


@dataclass
class InMemory:
    """The rules alone, on wallets that are loaded whole."""

    terms: Terms = field(default_factory=counting_terms)
    kept: dict[str, WalletBooks] = field(default_factory=dict)
    keys: dict[tuple[str, str], KeyUse] = field(default_factory=dict)
    key_days: dict[tuple[str, str, date], int] = field(default_factory=dict)

    def open(self, account_id: str, now: datetime) -> None:
        wallet = Wallet(account_id, "active", 0, b"", 0, [0, 0, 0], [0, 0, 0], NEVER, now, now.date(), 0)
        self.kept[account_id] = WalletBooks(wallet, (), ())

    def post(self, commands: Sequence[Command], now: datetime) -> list[Outcome]:
        pages = self._pages(commands, now)
        outcomes = decide_all(pages, commands, self.terms)
        for account_id, page in pages.items():
            rows = (*self.kept[account_id].rows, *page.written)
            lots = tuple(sorted(page.lots.values(), key=lambda lot: lot.granted_seq))
            holds = tuple(sorted(page.holds.values(), key=lambda hold: hold.hold_id))
            told = [named(m.payload) for m in page.messages if m.kind == "notice"]
            notices = tuple(sorted((*self.kept[account_id].notices, *told)))
            self.kept[account_id] = WalletBooks(page.wallet, rows, lots, holds, notices)
            for key in page.keys.values():
                self.key_days[account_id, key.api_key_id, page.at.date()] = key.spent_credits
        return outcomes

    def crash(self, commands: Sequence[Command], now: datetime) -> None:
        decide_all(self._pages(commands, now), commands, self.terms)

    def set_status(self, account_id: str, status: str) -> None:
        books = self.kept[account_id]
        self.kept[account_id] = replace(books, wallet=structs.replace(books.wallet, status=status))

    def set_limits(self, account_id: str, daily: int | None, per_call: int | None) -> None:
        books = self.kept[account_id]
        wallet = structs.replace(books.wallet, daily_limit_credits=daily, per_call_limit_credits=per_call)
        self.kept[account_id] = replace(books, wallet=wallet)

    def set_key(self, account_id: str, api_key_id: str, daily: int | None, per_call: int | None) -> None:
        self.keys[account_id, api_key_id] = KeyUse(api_key_id, False, daily, per_call)

    def set_threshold(self, account_id: str, credits: int | None) -> None:
        books = self.kept[account_id]
        self.kept[account_id] = replace(books, wallet=structs.replace(books.wallet, low_balance_credits=credits))

    def books(self, account_id: str) -> WalletBooks:
        return self.kept[account_id]

    def _pages(self, commands: Sequence[Command], now: datetime) -> dict[str, Page]:
        named = {command.account_id for command in commands} & self.kept.keys()
        pages = {account_id: whole_page(self.kept[account_id], now) for account_id in sorted(named)}
        for (account_id, api_key_id), key in self.keys.items():
            if account_id in pages:
                page = pages[account_id]
                spent = self.key_days.get((account_id, api_key_id, page.at.date()), 0)
                page.keys[api_key_id] = structs.replace(key, spent_credits=spent)
        return pages


def named(payload: dict[str, Any]) -> str:
    """A notice and the `seq` at which it was told, where it says so: `lowBalance@12`."""
    return f"{payload['notice']}@{payload['seq']}" if "seq" in payload else str(payload["notice"])


def whole_page(books: WalletBooks, now: datetime) -> Page:
    """A page with everything on it, made of copies, so that deciding on it leaves the books alone."""
    wallet = structs.replace(books.wallet, available=list(books.wallet.available), held=list(books.wallet.held))
    at = max(now, wallet.last_at)
    lots = {lot.lot_id: structs.replace(lot) for lot in books.lots}
    open_lots = sorted((lot for lot in lots.values() if lot.remaining_credits > 0), key=spend_order)
    page = Page(wallet=wallet, at=at, lots=lots, order=open_lots)
    page.later_expiry = min((lot.expires_at for lot in open_lots if lot.expires_at > at), default=NEVER)
    page.holds = {hold.hold_id: structs.replace(hold) for hold in books.holds}
    ends = (hold.expires_at for hold in books.holds if hold.status == "open" and hold.expires_at > at)
    page.later_hold_expiry = min(ends, default=NEVER)
    for place, row in enumerate(books.rows):
        page.debits[row.transaction_id] = row
        if row.reverses_id is not None:
            undone = page.reversed.setdefault(row.reverses_id, {})
            for entry in row.entries:
                undone[entry.lot_id] = undone.get(entry.lot_id, 0) + entry.credits
        if row.reference_type == "campaign" and row.reference_id is not None:
            page.campaigns[row.reference_id] = row
        if row.operation is not None and row.idempotency_key is not None:
            answer = books.rows[place : place + row.command_rows]
            page.answered[(row.operation, row.idempotency_key)] = answer
    return page


class Crash(Exception):
    """The process died before its commit."""


@dataclass
class Stored:
    """The whole write path, in one of the two databases: in a transaction of its own, or by group commit."""

    db: Database
    terms: Terms = field(default_factory=counting_terms)
    is_grouped: bool = False

    def open(self, account_id: str, now: datetime) -> None:
        create_accounts(self.db, account_id, now=now)

    def post(self, commands: Sequence[Command], now: datetime) -> list[Outcome]:
        if self.is_grouped:
            return self._submit(commands, now)
        with writing(self.db) as session:
            return book.post(session, commands, self.terms, now)

    def crash(self, commands: Sequence[Command], now: datetime) -> None:
        try:
            with writing(self.db) as session:
                book.post(session, commands, self.terms, now)
                raise Crash
        except Crash:
            pass

    def _submit(self, commands: Sequence[Command], now: datetime) -> list[Outcome]:
        writer = in_threads(self.db, self.terms, lambda: now, lanes=1)
        try:
            return [future.result(timeout=60) for future in writer.submit_all(commands)]
        finally:
            writer.close()

    def set_status(self, account_id: str, status: str) -> None:
        table = Base.metadata.tables["wallets"]
        with writing(self.db) as session:
            session.connection().execute(update(table).where(table.c.account_id == account_id).values(status=status))

    def books(self, account_id: str) -> WalletBooks:
        with reading(self.db) as session:
            return WalletBooks(
                wallet_of(session, account_id),
                tuple(rows_of(session, account_id)),
                tuple(lots_of(session, account_id)),
                tuple(holds_of(session, account_id)),
                self._notices(session, account_id),
            )

    def _notices(self, session: Session, account_id: str) -> tuple[str, ...]:
        mine = select(OutboxRow).where(OutboxRow.account_id == account_id, OutboxRow.kind == "notice")
        return tuple(sorted(named(msgspec.json.decode(row.payload)) for row in session.exec(mine).all()))

    def set_threshold(self, account_id: str, credits: int | None) -> None:
        with writing(self.db) as session:
            alerts.set_threshold(session, account_id, credits)

    def set_limits(self, account_id: str, daily: int | None, per_call: int | None) -> None:
        table = Base.metadata.tables["wallets"]
        limits = {"daily_limit_credits": daily, "per_call_limit_credits": per_call}
        with writing(self.db) as session:
            session.connection().execute(update(table).where(table.c.account_id == account_id).values(**limits))

    def set_key(self, account_id: str, api_key_id: str, daily: int | None, per_call: int | None) -> None:
        table = Base.metadata.tables["credentials"]
        limits = {"daily_limit_credits": daily, "per_call_limit_credits": per_call}
        made = {
            "key_hash": f"{account_id}/{api_key_id}",
            "role": "account",
            "name": "",
            "hint": "",
            "created_at": DAY_0,
        }
        with writing(self.db) as session:
            found = session.connection().execute(
                update(table).where(table.c.credential_id == api_key_id).values(**limits).returning(table.c.role)
            )
            if found.first() is None:
                row = {"account_id": account_id, "credential_id": api_key_id, **limits, **made}
                session.connection().execute(insert(table).values(**row))
