"""Subscriptions, their invoices and entitlement overrides: rows in, rows out. Writers hold the wallet's lock."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import msgspec
from sqlalchemy import bindparam
from sqlmodel import Session, col, select

from engine.rules.subscriptions import Ending, Terms, mark_of_end
from engine.store.front_lots import carried
from engine.store.tables import (
    AccountRow,
    ClaimRow,
    EntitlementOverrideRow,
    LotRow,
    PurchaseRow,
    SubscriptionInvoiceRow,
    SubscriptionRow,
    TransactionRow,
)

Value = bool | int
_terms = msgspec.json.Decoder(Terms)
_features = msgspec.json.Decoder(dict[str, Value])
_read: dict[str, Terms] = {}
READ_MAX = 1_000


def read_terms(kept: str) -> Terms:
    """Terms as they were kept; the few that a catalogue has are read once."""
    terms = _read.get(kept)
    if terms is None:
        if len(_read) >= READ_MAX:
            _read.clear()
        terms = _read[kept] = _terms.decode(kept)
    return terms


def write_terms(terms: Terms) -> str:
    """The text in which terms are kept: the same terms make the same text."""
    return msgspec.json.encode(terms, order="sorted").decode()


def get_subscription(
    session: Session, account_id: str, subscription_id: str, *, lock: bool = False
) -> SubscriptionRow | None:
    """The subscription; with `lock`, held to the end (after the wallet's lock, never before it)."""
    statement = select(SubscriptionRow).where(
        SubscriptionRow.account_id == account_id, SubscriptionRow.subscription_id == subscription_id
    )
    return session.exec(statement.with_for_update() if lock else statement).first()


def subscriptions_of(session: Session, account_id: str) -> list[SubscriptionRow]:
    """All of an account's subscriptions, newest first."""
    return list(
        session.exec(
            select(SubscriptionRow)
            .where(SubscriptionRow.account_id == account_id)
            .order_by(col(SubscriptionRow.created_at).desc(), col(SubscriptionRow.subscription_id).desc())
        ).all()
    )


def due_subscriptions(session: Session, now: datetime, limit: int) -> list[tuple[str, str]]:
    """(account, subscription) of those that time has changed, longest due first."""
    rows = session.exec(
        select(SubscriptionRow.account_id, SubscriptionRow.subscription_id)
        .where(col(SubscriptionRow.next_at) <= now)
        .order_by(col(SubscriptionRow.next_at), col(SubscriptionRow.account_id))
        .limit(limit)
    ).all()
    return [(account_id, subscription_id) for account_id, subscription_id in rows]


def owner_of(
    session: Session, provider: str, provider_account: str, mode: str, reference: str, subscription_id: str | None
) -> tuple[str, str] | None:
    """(account, subscription) of a provider's subscription: by our id in it, else by what was claimed before."""
    if subscription_id is not None:
        found = session.exec(
            select(SubscriptionRow.account_id).where(
                SubscriptionRow.subscription_id == subscription_id, SubscriptionRow.provider == provider
            )
        ).first()
        if found is not None:
            return found, subscription_id
    claim = session.get(ClaimRow, (provider, provider_account, mode, "subscription", reference))
    return (claim.account_id, claim.purchase_id) if claim is not None else None


def claim(
    session: Session,
    provider: str,
    provider_account: str,
    mode: str,
    kind: str,
    object_id: str,
    owner: tuple[str, str],
    now: datetime,
) -> bool:
    """Claim a provider's object for (account, what of theirs); `False` if it belongs to something else."""
    there = session.get(ClaimRow, (provider, provider_account, mode, kind, object_id))
    if there is not None:
        return (there.account_id, there.purchase_id) == owner
    session.add(
        ClaimRow(
            provider=provider,
            provider_account=provider_account,
            mode=mode,
            kind=kind,
            object_id=object_id,
            account_id=owner[0],
            purchase_id=owner[1],
            created_at=now,
        )
    )
    session.flush()
    return True


def invoices_of(session: Session, account_id: str, subscription_id: str) -> list[SubscriptionInvoiceRow]:
    """A subscription's invoices by the start of what they pay for; what is changed is changed in that order."""
    rows = session.exec(
        select(SubscriptionInvoiceRow).where(
            SubscriptionInvoiceRow.account_id == account_id, SubscriptionInvoiceRow.subscription_id == subscription_id
        )
    ).all()
    return sorted(rows, key=lambda row: (row.period_start_at, row.kind == "proration", row.invoice_id))


def get_invoice(
    session: Session, account_id: str, subscription_id: str, invoice_id: str
) -> SubscriptionInvoiceRow | None:
    return session.get(SubscriptionInvoiceRow, (account_id, subscription_id, invoice_id))


def undone_purchases(session: Session, account_id: str, purchase_ids: list[str]) -> set[str]:
    """Which of these payments went back whole, or are disputed: they pay for nothing any more, or not now."""
    rows = session.exec(
        select(PurchaseRow).where(PurchaseRow.account_id == account_id, col(PurchaseRow.purchase_id).in_(purchase_ids))
    ).all()
    return {row.purchase_id for row in rows if row.status == "refunded" or row.is_disputed}


def had_trial(session: Session, account_id: str, subscription_id: str) -> bool:
    """Whether another subscription of the account had its trial."""
    statement = select(SubscriptionInvoiceRow.invoice_id).where(
        SubscriptionInvoiceRow.account_id == account_id,
        SubscriptionInvoiceRow.subscription_id != subscription_id,
        SubscriptionInvoiceRow.kind == "trial",
        SubscriptionInvoiceRow.months_granted > 0,
    )
    return session.exec(statement).first() is not None


GRANT = "subscription"
"""The operation under which a month's grant is keyed."""

PERIOD = "period"
"""The same for a month that no subscription pays for."""


def granted_under(session: Session, account_id: str, keys: Collection[str], operation: str = GRANT) -> int:
    """The credits that were granted under these keys of months."""
    rows = session.exec(
        select(TransactionRow.amount_credits).where(
            TransactionRow.account_id == account_id,
            TransactionRow.operation == operation,
            col(TransactionRow.idempotency_key).in_(keys),
        )
    ).all()
    return sum(rows)


def claimed_account(session: Session, provider: str, kind: str, object_id: str) -> str | None:
    """The provider's account under which one of its objects was claimed."""
    statement = select(ClaimRow.provider_account).where(
        ClaimRow.object_id == object_id, ClaimRow.kind == kind, ClaimRow.provider == provider
    )
    return session.exec(statement).first()


def ending_lots(session: Session, account_id: str, ends_at: datetime) -> list[Ending]:
    """The monthly lots of plans whose month ends at an instant: what is left of them, or was when they ended."""
    left = carried(session, account_id)
    rows = session.exec(
        select(LotRow.lot_id, LotRow.remaining_credits, LotRow.expired_credits, TransactionRow.operation)
        .join(
            TransactionRow,
            (col(TransactionRow.account_id) == col(LotRow.account_id))
            & (col(TransactionRow.seq) == col(LotRow.granted_seq)),
        )
        .where(
            LotRow.account_id == account_id,
            LotRow.bucket == "monthly",
            LotRow.source == "subscription",
            (col(LotRow.expires_at) == ends_at)
            | ((col(LotRow.expires_at) > ends_at) & (col(TransactionRow.metadata_json) == mark_of_end(ends_at))),
        )
    ).all()
    return [
        Ending(left.get(lot_id, remaining) + expired, operation == ROLLOVER)
        for lot_id, remaining, expired, operation in rows
    ]


ROLLOVER = "rollover"
"""The operation under which a rollover's grant is keyed, and by which it is known later."""


def rolled_under(session: Session, account_id: str, key: str) -> int:
    """The credits that rolled over under a key, or under keys that begin with it."""
    rows = session.exec(
        select(TransactionRow.amount_credits).where(
            TransactionRow.account_id == account_id,
            TransactionRow.operation == ROLLOVER,
            col(TransactionRow.idempotency_key).startswith(key, autoescape=True),
        )
    ).all()
    return sum(rows)


def unspent_of(session: Session, account_id: str, lot_id: str) -> int:
    """What a lot that ended left unspent."""
    statement = select(LotRow.expired_credits).where(LotRow.account_id == account_id, LotRow.lot_id == lot_id)
    return session.exec(statement).one()


@dataclass(frozen=True, slots=True)
class HeldPlan:
    """An account's plan, the overrides as they are kept, the terms of the subscription it comes from, if from one,
    and when time next changes one of its subscriptions."""

    plan: str | None
    features: str | None
    terms: str | None
    next_at: datetime | None


def held_plan(session: Session, account_id: str) -> HeldPlan | None:
    """All of it in one statement: what every question about an entitlement reads."""
    rows = session.execute(_HELD, {"account_id": account_id}).all()
    if not rows:
        return None
    looks = [row.next_at for row in rows if row.next_at is not None]
    driving = (row.terms for row in rows if row.is_driving and read_terms(row.terms).plan.id == row.plan)
    return HeldPlan(rows[0].plan, rows[0].features, next(driving, None), min(looks, default=None))


_HELD = (
    select(  # type: ignore[call-overload]  # more columns than its overloads know
        col(AccountRow.plan),
        col(EntitlementOverrideRow.features),
        col(SubscriptionRow.terms),
        col(SubscriptionRow.is_driving),
        col(SubscriptionRow.next_at),
    )
    .outerjoin(EntitlementOverrideRow, col(EntitlementOverrideRow.account_id) == col(AccountRow.account_id))
    .outerjoin(
        SubscriptionRow,
        (col(SubscriptionRow.account_id) == col(AccountRow.account_id))
        & (col(SubscriptionRow.is_driving) | col(SubscriptionRow.next_at).is_not(None)),
    )
    .where(col(AccountRow.account_id) == bindparam("account_id"))
)


@lru_cache(1_000)
def read_features(kept: str) -> Mapping[str, Value]:
    """Overrides as they were kept; nobody changes the answer."""
    return _features.decode(kept)


def overrides_of(session: Session, account_id: str) -> dict[str, Value]:
    """What was set for this account alone."""
    row = session.get(EntitlementOverrideRow, account_id)
    return {} if row is None else _features.decode(row.features)


def keep_overrides(session: Session, account_id: str, features: Mapping[str, Value], now: datetime) -> None:
    kept = msgspec.json.encode(dict(sorted(features.items()))).decode()
    session.merge(EntitlementOverrideRow(account_id=account_id, features=kept, updated_at=now))
    session.flush()
