"""How far each provider's own list of events has been read, and what its webhooks failed to bring."""

from datetime import datetime

from sqlmodel import Field

from engine.store.tables.base import Base, big


class PollCursorRow(Base, table=True):
    """One rail's place in its provider's list; `missed` counts events that only polling brought, for good."""

    __tablename__ = "poll_cursors"
    provider: str = Field(primary_key=True)
    provider_account: str = Field(primary_key=True)
    mode: str = Field(primary_key=True)
    cursor: str | None = None
    polled_at: datetime
    missed: int = big(default=0)
    missed_at: datetime | None = None
