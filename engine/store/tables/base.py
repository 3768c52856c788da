"""What every table shares: the metadata, column makers, and the list of tables that no account leads."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    text,
)
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel
from sqlmodel._compat import SQLModelConfig

GLOBAL_TABLES = frozenset(
    {
        "claims",
        "provider_events",
        "provider_cases",
        "document_series",
        "coupon_uses",
        "credentials",
        "portal_sessions",
        "identities",
        "store_purchases",
        "webhook_endpoints",
        "demo_clock",
        "sandbox_sessions",
        "sandbox_refunds",
        "sandbox_disputes",
        "sandbox_subscriptions",
        "sandbox_invoices",
        "sandbox_customers",
        "sandbox_cards",
        "sandbox_events",
        "poll_cursors",
    }
)
"""Tables whose keys do not start with an account: global uniqueness, ingest before the account is known, the demo."""


def big(*, default: int | None = None, primary_key: bool = False, nullable: bool = False) -> int:
    """A 64-bit integer column: SQLModel's own `int` is 32-bit on PostgreSQL."""
    if default is None and not nullable:
        field = Field(sa_type=BigInteger, primary_key=primary_key)
    else:
        field = Field(default=default, sa_type=BigInteger, primary_key=primary_key, nullable=nullable)
    return field  # type: ignore[no-any-return]


def raw(*, default: bytes | None = None, nullable: bool = False) -> bytes:
    """A column of bytes, kept exactly as they came."""
    return Field(default=default, sa_type=LargeBinary, nullable=nullable)  # type: ignore[no-any-return]


def one_of(column: str, *kinds: str) -> CheckConstraint:
    """A CHECK that a text column holds one of these kinds."""
    listed = ", ".join(f"'{kind}'" for kind in kinds)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_kind")


class Base(SQLModel, registry=registry()):
    """All tables share one metadata; constraint names are deterministic for the migrations."""

    model_config = SQLModelConfig(extra="forbid")


Base.metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


def partial_index(name: str, *columns: str, where: str) -> Index:
    """An index over the rows that meet a condition, on both databases."""
    return Index(name, *columns, postgresql_where=text(where), sqlite_where=text(where))


ROOM_TO_UPDATE = {"postgresql_with": {"fillfactor": 70}}
"""For rows that every spend updates: with room on its page, the new version touches no index."""


def of_account() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(["account_id"], ["accounts.account_id"])
