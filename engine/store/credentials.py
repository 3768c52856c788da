"""Keys, one-time links and browser sessions, each stored only as the keyed hash of what its holder shows.

Lookups take every hash the operator's secrets give, so a rotated secret still finds what an older one wrote.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import ColumnElement, CursorResult, Update, exists, func, or_, update
from sqlmodel import Session, col, select

from engine.store.tables import CredentialRow, IdentityRow, PortalSessionRow

KeyRole = Literal["service", "account", "support", "approver", "admin", "auditor"]


@dataclass(frozen=True, slots=True)
class Credential:
    """A key as stored; `hint` is its last four characters. `account_id` stands on account keys only.

    It works until `expires_at`, and for the actions that `scopes` lists (words with blanks between) if it lists any.
    """

    key_hash: str
    credential_id: str
    role: KeyRole
    account_id: str | None
    name: str
    hint: str
    created_at: datetime
    daily_limit_credits: int | None = None
    per_call_limit_credits: int | None = None
    expires_at: datetime | None = None
    scopes: str | None = None


@dataclass(frozen=True, slots=True)
class PortalSession:
    """A one-time link or the browser session that it opened: for one account, or with none for a member of staff."""

    token_hash: str
    kind: Literal["link", "session"]
    role: str
    subject: str
    account_id: str | None
    created_at: datetime
    expires_at: datetime
    credential_id: str | None = None


def add_credential(session: Session, credential: Credential) -> None:
    session.add(CredentialRow(**{name: getattr(credential, name) for name in credential.__slots__}))


def find_credential(session: Session, hashes: Sequence[str], now: datetime) -> CredentialRow | None:
    """The key with one of these hashes, unless it was revoked or its end has come."""
    return session.exec(select(CredentialRow).where(col(CredentialRow.key_hash).in_(hashes), *_works(now))).first()


def _works(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """That a key was not revoked and did not end."""
    ends = col(CredentialRow.expires_at)
    return col(CredentialRow.revoked_at).is_(None), or_(ends.is_(None), ends > now)


def revoke_credential(session: Session, credential_id: str, account_id: str | None, now: datetime) -> bool:
    """End a key; with `account_id` only if it is that account's. Whether it worked until now."""
    statement = update(CredentialRow).where(
        col(CredentialRow.credential_id) == credential_id, col(CredentialRow.revoked_at).is_(None)
    )
    if account_id is not None:
        statement = statement.where(col(CredentialRow.account_id) == account_id)
    return _changed(session, statement.values(revoked_at=now)) == 1


def operator_keys(session: Session, now: datetime) -> Sequence[CredentialRow]:
    """The keys of the host and of staff that work, newest first."""
    return session.exec(
        select(CredentialRow)
        .where(col(CredentialRow.account_id).is_(None), *_works(now))
        .order_by(col(CredentialRow.created_at).desc(), col(CredentialRow.credential_id).desc())
    ).all()


def account_keys(
    session: Session, account_id: str, page: int, limit: int, now: datetime
) -> tuple[list[CredentialRow], int]:
    """A page of the account's keys that work, newest first, and how many there are."""
    mine = (
        col(CredentialRow.account_id) == account_id,
        col(CredentialRow.role) == "account",
        *_works(now),
    )
    total = session.exec(select(func.count()).select_from(CredentialRow).where(*mine)).one()
    newest = (col(CredentialRow.created_at).desc(), col(CredentialRow.credential_id).desc())
    rows = session.exec(select(CredentialRow).where(*mine).order_by(*newest).offset((page - 1) * limit).limit(limit))
    return list(rows.all()), total


def get_account_key(session: Session, account_id: str, credential_id: str) -> CredentialRow | None:
    """One key of an account, revoked or not."""
    return session.exec(
        select(CredentialRow).where(
            col(CredentialRow.credential_id) == credential_id, col(CredentialRow.account_id) == account_id
        )
    ).first()


def note_use(session: Session, credential_id: str, now: datetime) -> None:
    """Note that a key was used just now."""
    _changed(
        session,
        update(CredentialRow).where(col(CredentialRow.credential_id) == credential_id).values(last_used_at=now),
    )


def add_portal_session(session: Session, portal: PortalSession) -> None:
    session.add(PortalSessionRow(**{name: getattr(portal, name) for name in portal.__slots__}))


def use_link(session: Session, hashes: Sequence[str], now: datetime) -> PortalSessionRow | None:
    """Use a one-time link up; `None` if it is unknown, used or past its end. Of two users at once one gets it."""
    used = _changed(
        session,
        update(PortalSessionRow)
        .where(
            col(PortalSessionRow.token_hash).in_(hashes),
            col(PortalSessionRow.kind) == "link",
            col(PortalSessionRow.used_at).is_(None),
            col(PortalSessionRow.expires_at) > now,
        )
        .values(used_at=now),
    )
    if used != 1:
        return None
    return session.exec(select(PortalSessionRow).where(col(PortalSessionRow.token_hash).in_(hashes))).one()


def find_portal_session(
    session: Session, hashes: Sequence[str], now: datetime, engine_now: datetime
) -> PortalSessionRow | None:
    """The browser session with one of these hashes, until its end or that of the key it was opened with.

    `now` is real time, by which sessions end; keys end by the engine's. One that a person of the OIDC issuer opened
    ends when they are unbound, or become something else to the account.
    """
    opener = col(PortalSessionRow.credential_id)
    works = exists().where(col(CredentialRow.credential_id) == opener, *_works(engine_now))
    is_bound = exists().where(
        col(IdentityRow.identity_id) == opener,
        col(IdentityRow.account_id) == col(PortalSessionRow.account_id),
        col(IdentityRow.role) == col(PortalSessionRow.role),
    )
    return session.exec(
        select(PortalSessionRow).where(
            col(PortalSessionRow.token_hash).in_(hashes),
            PortalSessionRow.kind == "session",
            PortalSessionRow.expires_at > now,
            or_(opener.is_(None), works, is_bound),
        )
    ).first()


def scopes_of(session: Session, credential_id: str | None) -> str | None:
    """What a session's key is narrowed to, and so the session that it opened; `None`: not at all."""
    return session.exec(select(CredentialRow.scopes).where(col(CredentialRow.credential_id) == credential_id)).first()


def end_portal_session(session: Session, hashes: Sequence[str], now: datetime) -> None:
    """Sign a browser out."""
    _changed(
        session,
        update(PortalSessionRow).where(col(PortalSessionRow.token_hash).in_(hashes)).values(expires_at=now),
    )


def _changed(session: Session, statement: Update) -> int:
    done = session.execute(statement)
    assert isinstance(done, CursorResult)
    return int(done.rowcount)
