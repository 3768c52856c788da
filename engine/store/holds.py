"""Holds in the database: loaded and saved with the pages of a batch, and read for the API."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from sqlalchemy import and_, func, or_
from sqlmodel import Session, col, select

from engine.rules.holds import Hold, Part
from engine.rules.ledger import Page
from engine.store.bulk import Row, Rows, ask_first, ask_rows, insert_rows, select_rows, update_rows
from engine.store.pens import AnySession
from engine.store.tables import Base, HoldRow

HOLD = (
    "account_id",
    "hold_id",
    "status",
    "parts",
    "captured_credits",
    "counted_credits",
    "ttl_seconds",
    "expires_at",
    "description",
    "provider_id",
    "provider_name",
    "capability_id",
    "call_id",
    "metadata_json",
    "actor",
    "created_at",
    "ended_at",
    "api_key_id",
)
MOVES = ("status", "parts", "held_credits", "captured_credits", "counted_credits", "expires_at", "ended_at")
IS_DUE = "status = 'open' AND expires_at <= {0}"
IS_LATER = "status = 'open' AND expires_at > {0}"
DUE_MAX = 1_000_000
TOTAL_MAX = 10_000
_PARTS = HOLD.index("parts")
_parts = msgspec.json.Decoder(tuple[Part, ...])


@dataclass(frozen=True, slots=True)
class HoldList:
    """Holds, newest first, and how many there are (exact up to `TOTAL_MAX`)."""

    holds: tuple[Hold, ...]
    total: int


def hold_of(row: Row) -> Hold:
    values = list(row[1:])
    values[_PARTS - 1] = _parts.decode(values[_PARTS - 1])
    return Hold(*values)


def ask_holds(session: AnySession, wanted: Iterable[Row]) -> Rows:
    """The holds of these accounts and ids, open or not."""
    return ask_rows(session, "holds", HOLD, ("account_id", "hold_id"), list(wanted))


def add_holds(pages: dict[str, Page], rows: Iterable[Row]) -> None:
    for row in rows:
        page = pages.get(row[0])
        if page is not None and row[1] not in page.holds:
            page.holds[row[1]] = hold_of(row)


def add_due(session: AnySession, pages: dict[str, Page]) -> None:
    """Holds past their end, and when the next one ends after them."""
    due = [page for page in pages.values() if page.wallet.next_hold_expiry_at <= page.at]
    owners = [page.wallet.account_id for page in due]
    bounds: list[Row] = [(page.at,) for page in due]
    ended = ask_first(session, "holds", HOLD, owners, where=IS_DUE, bounds=bounds, order="expires_at", limit=DUE_MAX)
    columns = ("account_id", "expires_at")
    later = ask_first(session, "holds", columns, owners, where=IS_LATER, bounds=bounds, order="expires_at", limit=1)
    add_holds(pages, ended())
    for account_id, expires_at in later():
        pages[account_id].later_hold_expiry = expires_at


def pinned(pages: dict[str, Page]) -> list[Row]:
    """The keys of the lots that the loaded open holds pin, but those that are loaded."""
    return [
        (account_id, part.lot_id)
        for account_id, page in pages.items()
        for hold in page.holds.values()
        if hold.status == "open"
        for part in hold.parts
        if part.lot_id not in page.lots
    ]


def save_holds(session: AnySession, changed: Sequence[Page]) -> None:
    """Write the holds that a batch made or changed."""
    new: list[Row] = []
    moved: list[Row] = []
    for page in changed:
        account_id = page.wallet.account_id
        for hold in page.new_holds:
            page.touched_holds.pop(hold.hold_id, None)
            new.append((*_hold_row(account_id, hold), hold.credits))
        moved += [(account_id, hold.hold_id, *_moves(hold)) for hold in page.touched_holds.values()]
    insert_rows(session, "holds", (*HOLD, "held_credits"), new)
    update_rows(session, "holds", ("account_id", "hold_id"), MOVES, moved)


def find_hold(session: Session, account_id: str, hold_id: str) -> Hold | None:
    found = select_rows(session, "holds", HOLD, ("account_id", "hold_id"), [(account_id, hold_id)])
    return hold_of(found[0]) if found else None


def open_hold_ids(session: Session, account_id: str) -> list[str]:
    """The holds of an account that have not ended, oldest first."""
    of_account = (col(HoldRow.account_id) == account_id, col(HoldRow.status) == "open")
    return list(session.execute(select(HoldRow.hold_id).where(*of_account).order_by(HoldRow.hold_id)).scalars())


def over_at(session: Session, account_id: str, at: datetime) -> dict[str, Hold]:
    """By id, the holds that time had ended by an instant, though that was written later or still is not."""
    c = Base.metadata.tables["holds"].c
    is_over = and_(c.account_id == account_id, c.expires_at <= at, or_(c.status == "open", c.ended_at > at))
    rows = session.execute(select(*(c[name] for name in HOLD)).where(is_over))
    return {hold.hold_id: hold for hold in (hold_of(tuple(row)) for row in rows)}


def holds_page(session: Session, account_id: str, page: int, limit: int) -> HoldList:
    """A page of the account's holds, newest first."""
    mine = col(HoldRow.account_id) == account_id
    counted = select(HoldRow.hold_id).where(mine).limit(TOTAL_MAX).subquery()
    total = session.execute(select(func.count()).select_from(counted)).scalar_one()
    rows = session.execute(
        select(*(HoldRow.__table__.c[name] for name in HOLD))  # type: ignore[attr-defined]
        .where(mine)
        .order_by(col(HoldRow.created_at).desc(), col(HoldRow.hold_id).desc())
        .offset((page - 1) * limit)
        .limit(limit)
    ).all()
    return HoldList(tuple(hold_of(tuple(row)) for row in rows), total)


def _hold_row(account_id: str, hold: Hold) -> Row:
    return (
        account_id,
        hold.hold_id,
        hold.status,
        _text(hold.parts),
        hold.captured_credits,
        hold.counted_credits,
        hold.ttl_seconds,
        hold.expires_at,
        hold.description,
        hold.provider_id,
        hold.provider_name,
        hold.capability_id,
        hold.call_id,
        hold.metadata,
        hold.actor,
        hold.created_at,
        hold.ended_at,
        hold.api_key_id,
    )


def _moves(hold: Hold) -> Row:
    return (
        hold.status,
        _text(hold.parts),
        hold.credits,
        hold.captured_credits,
        hold.counted_credits,
        hold.expires_at,
        hold.ended_at,
    )


def _text(parts: tuple[Part, ...]) -> str:
    return msgspec.json.encode(parts).decode()
