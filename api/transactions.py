"""The ledger over HTTP: `GET transactions`, and the form in which every resource shows a transaction."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from api.body import PageQuery
from api.instants import read_instant
from api.scope import Answer, Call, Resource
from engine.flows.expiry import settled_wallet
from engine.rules.catalog import Catalog
from engine.rules.errors import Invalid
from engine.rules.ledger import Transaction
from engine.rules.money import usd_text
from engine.store import history
from engine.store.database import reading
from engine.store.history import StatementQuery

TransactionType = Literal[
    "deposit",
    "auto_recharge",
    "volume_discount",
    "coupon_credit",
    "promo_credit",
    "monthly_credit",
    "commit_credit",
    "admin_credit",
    "debit",
    "hold",
    "hold_release",
    "debit_reversal",
    "refund",
    "refund_failed",
    "dispute",
    "dispute_won",
    "expiry",
    "forfeit",
    "admin_debit",
    "debt_repayment",
]


class View(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What an answer is made of; credits are text of digits."""


class EntryView(View, frozen=True, kw_only=True):
    """One leg: signed credits of one lot."""

    lot_id: str
    bucket: str
    amount_credits: str


class TransactionView(View, frozen=True, kw_only=True):
    """One row of the ledger. `amountUsdc` is null where a credit has no USD value."""

    id: str
    seq: int
    type: str
    source: str | None
    amount_credits: str
    amount_usdc: str | None
    balance_after: str
    debt_after: str
    description: str
    reference_type: str | None
    reference_id: str | None
    reverses_id: str | None
    purchase_id: str | None
    provider_id: str | None
    provider_name: str | None
    capability_id: str | None
    outcome: str | None
    call_id: str | None
    api_key_id: str | None
    metadata: msgspec.Raw
    entries: tuple[EntryView, ...]
    created_at: datetime


class Pagination(View, frozen=True, kw_only=True):
    """`total` is exact up to 10,000."""

    page: int
    limit: int
    total: int


class TransactionsAnswer(View, frozen=True, kw_only=True):
    """Newest first; `nextCursor` leads to the older ones, and is null at the end."""

    transactions: tuple[TransactionView, ...]
    pagination: Pagination
    next_cursor: str | None


class TransactionsQuery(PageQuery, frozen=True, kw_only=True):
    """`from` and `to` are dates, both inclusive, or instants, of which `to` is exclusive."""

    type: TransactionType | None = None
    from_: Annotated[str, Meta(max_length=40)] | None = msgspec.field(name="from", default=None)
    to: Annotated[str, Meta(max_length=40)] | None = None
    cursor: Annotated[str, Meta(max_length=40)] | None = None


def transaction_view(row: Transaction, catalog: Catalog) -> TransactionView:
    """A ledger row as the API shows it."""
    return TransactionView(
        id=row.transaction_id,
        seq=row.seq,
        type=row.type,
        source=row.source,
        amount_credits=str(row.amount_credits),
        amount_usdc=usd_text(row.amount_credits, catalog.unit.credits_per_usd),
        balance_after=str(row.balance_after),
        debt_after=str(row.debt_after),
        description=row.description,
        reference_type=row.reference_type,
        reference_id=row.reference_id,
        reverses_id=row.reverses_id,
        purchase_id=row.purchase_id,
        provider_id=row.provider_id,
        provider_name=row.provider_name,
        capability_id=row.capability_id,
        outcome=row.outcome,
        call_id=row.call_id,
        api_key_id=row.api_key_id,
        metadata=msgspec.Raw(row.metadata.encode()),
        entries=tuple(EntryView(lot_id=e.lot_id, bucket=e.bucket, amount_credits=str(e.credits)) for e in row.entries),
        created_at=row.created_at,
    )


def list_transactions(call: Call[TransactionsQuery]) -> Answer:
    """A page of the account's ledger."""
    runtime, ask = call.runtime, call.ask
    if ask.cursor is not None and ask.page != 1:
        raise Invalid("page", "A cursor already says where to go on.")
    start = instant_of("from", ask.from_) if ask.from_ is not None else None
    end = instant_of("to", ask.to, is_end=True) if ask.to is not None else None
    if start is not None and end is not None and start > end:
        raise Invalid("from", "It is later than `to`.")
    query = StatementQuery(
        type=ask.type,
        start=start,
        end=end,
        before_seq=_read_cursor(ask.cursor) if ask.cursor is not None else None,
        page=ask.page,
        limit=ask.limit,
    )
    wallet = settled_wallet(runtime, call.account_id, runtime.clock.now())
    with reading(runtime.db) as session:
        found = history.statement(session, wallet, query)
    return Answer(
        TransactionsAnswer(
            transactions=tuple(transaction_view(row, runtime.catalog) for row in found.rows),
            pagination=Pagination(page=ask.page, limit=ask.limit, total=found.total),
            next_cursor=_cursor(found.rows[-1].seq) if found.has_more else None,
        )
    )


def instant_of(field: str, text: str, *, is_end: bool = False) -> datetime:
    """A query's instant or UTC date: its midnight, or with `is_end` the midnight after it."""
    try:
        return read_instant(text, is_end=is_end)
    except ValueError as error:
        raise Invalid(field, "It is a date such as 2026-01-31, or an instant such as 2026-01-31T12:00:00Z.") from error


def _cursor(seq: int) -> str:
    return urlsafe_b64encode(f"seq:{seq}".encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> int:
    """The `seq` a cursor stands for; any text that we did not make is refused."""
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        seq = int(text.removeprefix("seq:"))
    except (binascii.Error, ValueError) as error:
        raise Invalid("cursor", "This is no cursor of ours.") from error
    if _cursor(seq) != cursor or not 0 < seq < 2**63:
        raise Invalid("cursor", "This is no cursor of ours.")
    return seq


RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="GET",
        path="transactions",
        may="read",
        handler=list_transactions,
        asks=TransactionsQuery,
        answers=TransactionsAnswer,
        summary="The ledger, newest first, by page or by cursor.",
    ),
)
