"""Accounts: opening one with its wallet, reading one or many, and whose month is over."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
from sqlalchemy import Row, func, select, update
from sqlmodel import Session, col

from engine.rules.ledger import Wallet
from engine.store import books
from engine.store.bulk import ask_rows, insert_rows, select_rows
from engine.store.tables import AccountRow, WalletRow

COUNTED_MAX = 10_000
"""Totals of lists are exact up to here."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An account as it is shown. `next_grant_at` is when its next monthly credits come, if any do."""

    account_id: str
    email: str | None
    name: str | None
    country: str | None
    locale: str
    plan: str | None
    anchor_at: datetime
    next_grant_at: datetime | None
    created_at: datetime
    status: str = "active"


def add_account(session: Session, account: Account) -> None:
    """Write the account and its empty wallet. An id that is taken ends in a constraint error."""
    fields = {name: getattr(account, name) for name in account.__struct_fields__ if name != "status"}
    session.add(AccountRow(**fields))
    session.flush()
    insert_rows(session, "wallets", books.WALLET, [books.new_wallet_row(account.account_id, account.created_at)])


def find_account(session: Session, account_id: str) -> Account | None:
    found = session.execute(_ACCOUNTS.where(col(AccountRow.account_id) == account_id)).first()
    return _account(found) if found is not None else None


@dataclass(frozen=True, slots=True)
class Buyer:
    """What a quote needs to know of an account: its wallet, and its country if it is known."""

    wallet: Wallet
    country: str | None


def buyers(session: Session, account_ids: Sequence[str]) -> dict[str, Buyer]:
    """The buyers there are of many accounts."""
    wanted = [(account_id,) for account_id in account_ids]
    wallets = ask_rows(session, "wallets", books.WALLET, ("account_id",), wanted)
    found = select_rows(session, "accounts", ("account_id", "country"), ("account_id",), wanted)
    countries: dict[str, str | None] = dict(found)
    return {row[0]: Buyer(books.wallet_of(row), countries[row[0]]) for row in wallets()}


def accounts_page(session: Session, page: int, limit: int) -> tuple[list[Account], int]:
    """A page of all accounts, newest first, and how many there are (exact up to `COUNTED_MAX`)."""
    rows = session.execute(
        _ACCOUNTS.order_by(col(AccountRow.created_at).desc(), col(AccountRow.account_id).desc())
        .offset((page - 1) * limit)
        .limit(limit)
    ).all()
    counted = select(col(AccountRow.account_id)).limit(COUNTED_MAX).subquery()
    total = session.execute(select(func.count()).select_from(counted)).scalar_one()
    return [_account(row) for row in rows], total


def due_accounts(session: Session, now: datetime, limit: int) -> list[Account]:
    """Accounts whose next monthly credits are due, longest due first."""
    rows = session.execute(
        _ACCOUNTS.where(col(AccountRow.next_grant_at) <= now)
        .order_by(col(AccountRow.next_grant_at), col(AccountRow.account_id))
        .limit(limit)
    ).all()
    return [_account(row) for row in rows]


def set_next_grant(session: Session, account: Account, next_grant_at: datetime | None) -> None:
    """Note when the next monthly credits come, unless that was changed since `account` was read."""
    session.execute(
        update(AccountRow)
        .where(
            col(AccountRow.account_id) == account.account_id,
            col(AccountRow.next_grant_at) == account.next_grant_at,
            col(AccountRow.plan) == account.plan,
        )
        .values(next_grant_at=next_grant_at)
    )


_ACCOUNTS = select(AccountRow, col(WalletRow.status)).join(
    WalletRow, col(WalletRow.account_id) == col(AccountRow.account_id)
)


def _account(found: Row[AccountRow, str]) -> Account:
    row, status = found
    return Account(
        account_id=row.account_id,
        email=row.email,
        name=row.name,
        country=row.country,
        locale=row.locale,
        plan=row.plan,
        anchor_at=row.anchor_at,
        next_grant_at=row.next_grant_at,
        created_at=row.created_at,
        status=status,
    )
