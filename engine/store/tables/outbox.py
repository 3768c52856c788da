"""What leaves after a commit, the first answers kept for good, and the audit log."""

from datetime import datetime

from sqlalchemy import Index
from sqlmodel import Field

from engine.store.tables.base import Base, partial_index


class ReplyRow(Base, table=True):
    """The first answer to a keyed request that is not a ledger command (checkout, reversal, account)."""

    __tablename__ = "replies"
    scope: str = Field(primary_key=True, max_length=64)
    operation: str = Field(primary_key=True)
    idempotency_key: str = Field(primary_key=True)
    fingerprint: str
    status: int
    answer: str
    created_at: datetime


class OutboxRow(Base, table=True):
    """Work and messages that must follow a commit: written with it, done by `engine/jobs.py`, once each."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index("ix_outbox_due", "done_at", "due_at"),
        partial_index("ix_outbox_events", "created_at", "outbox_id", where="kind = 'event'"),
    )
    account_id: str = Field(primary_key=True, max_length=64)
    outbox_id: str = Field(primary_key=True)
    kind: str
    payload: str
    due_at: datetime
    attempts: int = 0
    problem: str | None = None
    done_at: datetime | None = None
    created_at: datetime


class MailRow(Base, table=True):
    """A mail as it was written; `sent_at` once a mail server took it (a demo keeps them in its mailbox),
    `problem` once one refused it for good. `document_id` is the document whose PDF goes with it."""

    __tablename__ = "mails"
    account_id: str = Field(primary_key=True, max_length=64)
    mail_id: str = Field(primary_key=True)
    kind: str
    recipient: str
    subject: str
    text: str
    html: str | None = None
    problem: str | None = None
    document_id: str | None = None
    created_at: datetime
    sent_at: datetime | None = None


class AuditRow(Base, table=True):
    """Who did what to whom, when and why: append-only."""

    __tablename__ = "audit_log"
    __table_args__ = (Index("ix_audit_log_created_at", "created_at", "audit_id"),)
    account_id: str = Field(primary_key=True, max_length=64)
    audit_id: str = Field(primary_key=True)
    actor: str
    action: str
    object_id: str
    reason: str
    facts: str = "{}"
    created_at: datetime
