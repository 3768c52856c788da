"""Credentials, portal sessions and people of an OIDC issuer; secrets are stored hashed."""

from datetime import datetime

from sqlalchemy import CheckConstraint
from sqlmodel import Field

from engine.store.tables.base import Base, big, one_of


class CredentialRow(Base, table=True):
    """A key: its keyed hash, whom it stands for, what it may do: all of its role, or the `scopes` named alone."""

    __tablename__ = "credentials"
    __table_args__ = (
        one_of("role", "service", "account", "support", "approver", "admin", "auditor"),
        CheckConstraint("daily_limit_credits >= 0", name="daily_limit_not_negative"),
        CheckConstraint("per_call_limit_credits >= 0", name="per_call_limit_not_negative"),
    )
    key_hash: str = Field(primary_key=True)
    credential_id: str = Field(unique=True)
    role: str
    account_id: str | None = Field(default=None, index=True)
    name: str
    hint: str
    created_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    daily_limit_credits: int | None = big(nullable=True)
    per_call_limit_credits: int | None = big(nullable=True)
    expires_at: datetime | None = None
    scopes: str | None = None


class PortalSessionRow(Base, table=True):
    """A one-time link or the browser session it opened, by the hash of its token.

    `credential_id` is the key that it was opened with, or the person of the OIDC issuer who signed in: it works no
    longer than that key does, or than they are bound.
    """

    __tablename__ = "portal_sessions"
    __table_args__ = (one_of("kind", "link", "session"),)
    token_hash: str = Field(primary_key=True)
    kind: str
    role: str
    subject: str
    account_id: str | None = None
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None
    credential_id: str | None = None


class IdentityRow(Base, table=True):
    """A person whom the host bound to an account, as their OIDC issuer names them."""

    __tablename__ = "identities"
    __table_args__ = (one_of("role", "owner", "member"),)
    issuer: str = Field(primary_key=True)
    subject: str = Field(primary_key=True)
    identity_id: str = Field(unique=True)
    account_id: str = Field(max_length=64, index=True)
    role: str
    created_at: datetime
