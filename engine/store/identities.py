"""People of an OIDC issuer, each bound to one account by (issuer, subject), as the host says and nobody else."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import CursorResult, delete, func
from sqlmodel import Session, col, select

from engine.store.tables import IdentityRow

IdentityRole = Literal["owner", "member"]


@dataclass(frozen=True, slots=True)
class Identity:
    """A person as the issuer names them, the account they act for, and as what."""

    issuer: str
    subject: str
    identity_id: str
    account_id: str
    role: IdentityRole
    created_at: datetime


def find_identity(session: Session, issuer: str, subject: str) -> IdentityRow | None:
    return session.get(IdentityRow, (issuer, subject))


def add_identity(session: Session, identity: Identity) -> IdentityRow:
    row = IdentityRow(**{name: getattr(identity, name) for name in identity.__slots__})
    session.add(row)
    session.flush()
    return row


def identities_of(session: Session, account_id: str, page: int, limit: int) -> tuple[list[IdentityRow], int]:
    """A page of the account's people, newest first, and how many there are."""
    mine = col(IdentityRow.account_id) == account_id
    total = session.exec(select(func.count()).select_from(IdentityRow).where(mine)).one()
    newest = (col(IdentityRow.created_at).desc(), col(IdentityRow.identity_id).desc())
    rows = session.exec(select(IdentityRow).where(mine).order_by(*newest).offset((page - 1) * limit).limit(limit))
    return list(rows.all()), total


def remove_identity(session: Session, account_id: str, identity_id: str) -> bool:
    """Unbind a person of this account. Whether there was one."""
    done = session.execute(
        delete(IdentityRow).where(
            col(IdentityRow.identity_id) == identity_id, col(IdentityRow.account_id) == account_id
        )
    )
    assert isinstance(done, CursorResult)
    return done.rowcount == 1
