"""What customers want to be told of, what they were told once, and where outgoing events go."""

from datetime import datetime

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import Field

from engine.store.tables.base import Base, of_account, one_of, partial_index


class AlertSettingsRow(Base, table=True):
    """Which mails an account wants; an account without a row has the defaults of `engine/rules/preferences.py`."""

    __tablename__ = "alert_settings"
    __table_args__ = (
        of_account(),
        partial_index("ix_alert_settings_daily", "account_id", where="daily_summary"),
        partial_index("ix_alert_settings_weekly", "account_id", where="weekly_summary"),
    )
    account_id: str = Field(primary_key=True, max_length=64)
    low_balance: bool
    daily_limit_reached: bool
    unusual_activity: bool
    daily_summary: bool
    weekly_summary: bool
    credits_expiring: bool
    auto_recharge: bool
    refunds: bool


class AlertMarkRow(Base, table=True):
    """What was told once and is not told again: a kind of alert and the day, week or key it was about."""

    __tablename__ = "alert_marks"
    account_id: str = Field(primary_key=True, max_length=64)
    kind: str = Field(primary_key=True)
    subject: str = Field(primary_key=True)
    created_at: datetime


class WebhookEndpointRow(Base, table=True):
    """Where the operator wants events sent. Its secret is derived from `salt`; `digest` tells by which of our keys.

    `events` is a JSON array of names, empty for all of them. After a rotation the secret before signs too until
    `previous_until_at`.
    """

    __tablename__ = "webhook_endpoints"
    endpoint_id: str = Field(primary_key=True)
    url: str
    description: str
    events: str
    is_enabled: bool
    disabled_reason: str | None = None
    failed_at: datetime | None = None
    salt: str
    digest: str
    previous_salt: str | None = None
    previous_digest: str | None = None
    previous_until_at: datetime | None = None
    created_at: datetime = Field(index=True)
    updated_at: datetime


class WebhookDeliveryRow(Base, table=True):
    """One event on its way to one endpoint: the event itself stands in the outbox, under `event_id`."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("account_id", "event_id", "endpoint_id"),
        one_of("status", "pending", "delivered", "failed"),
        partial_index("ix_webhook_deliveries_due", "endpoint_id", "due_at", where="status = 'pending'"),
        Index("ix_webhook_deliveries_endpoint", "endpoint_id", "created_at", "delivery_id"),
    )
    account_id: str = Field(primary_key=True, max_length=64)
    delivery_id: str = Field(primary_key=True)
    endpoint_id: str
    event_id: str
    event_type: str
    status: str
    attempts: int = 0
    due_at: datetime
    response_code: int | None = None
    problem: str | None = None
    created_at: datetime
    ended_at: datetime | None = None
