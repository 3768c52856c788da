"""Purchases, their facts, reversals, claims and provider events: rows in, rows out. Callers hold the wallet's lock."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, func, tuple_
from sqlmodel import Session, col, select

from engine.rules.facts import Fact
from engine.rules.lots import Lot, purchase_order
from engine.rules.money import Money
from engine.rules.purchases import KnownFact, about_credited
from engine.store import books
from engine.store.bulk import insert_rows, select_rows
from engine.store.front_lots import front_lot, present
from engine.store.tables import (
    ClaimRow,
    FactRow,
    ProviderEventRow,
    PurchaseCouponRow,
    PurchaseRow,
    ReversalRow,
)

EVENT = ("provider", "event_id", "type", "payload", "status", "attempts", "received_at", "due_at")


def find_account(session: Session, purchase_id: str) -> str | None:
    """Whose purchase this is; the only look-up by purchase alone."""
    return session.exec(select(PurchaseRow.account_id).where(PurchaseRow.purchase_id == purchase_id)).first()


def get_purchase(session: Session, account_id: str, purchase_id: str, *, lock: bool = False) -> PurchaseRow | None:
    """The purchase; with `lock`, held to the end (after the wallet's lock, never before it)."""
    statement = select(PurchaseRow).where(PurchaseRow.account_id == account_id, PurchaseRow.purchase_id == purchase_id)
    return session.exec(statement.with_for_update() if lock else statement).first()


def purchase_lots(session: Session, account_id: str, purchase_id: str) -> tuple[Lot, ...]:
    """The purchase's lots, base before bonus."""
    front = front_lot(session, account_id)
    rows = select_rows(session, "lots", books.LOT, ("account_id", "purchase_id"), [(account_id, purchase_id)])
    return tuple(sorted((present(books.lot_of(row), front) for row in rows), key=purchase_order))


def known_facts(session: Session, account_id: str, purchase_id: str) -> list[KnownFact]:
    """Every fact kept of a purchase."""
    rows = session.exec(
        select(FactRow).where(FactRow.account_id == account_id, FactRow.purchase_id == purchase_id)
    ).all()
    return list(map(read_fact, rows))


def read_fact(row: FactRow | Row[Any]) -> KnownFact:
    """A kept fact, or what a statement read of one, as the rules look at it."""
    return KnownFact(
        fact_id=row.fact_id,
        kind=row.kind,
        object_id=row.object_id,
        state=row.state,
        amount=Money(row.amount_minor, row.currency),
        version=row.version,
        is_live=row.is_live,
        own_credits=row.own_credits,
        parent_id=row.parent_id,
    )


def facts_of(session: Session, purchase: PurchaseRow) -> tuple[KnownFact, ...]:
    """The facts that the purchase's credits follow: nothing of a second payment."""
    known = known_facts(session, purchase.account_id, purchase.purchase_id)
    return about_credited(known, purchase.provider_reference if purchase.landed_at is not None else None)


def keep_fact(session: Session, account_id: str, purchase_id: str, fact: KnownFact, now: datetime) -> None:
    """Insert or replace one fact."""
    session.merge(
        FactRow(
            account_id=account_id,
            purchase_id=purchase_id,
            fact_id=fact.fact_id,
            kind=fact.kind,
            object_id=fact.object_id,
            state=fact.state,
            amount_minor=fact.amount.minor,
            currency=fact.amount.currency,
            version=fact.version,
            is_live=fact.is_live,
            own_credits=fact.own_credits,
            parent_id=fact.parent_id,
            seen_at=now,
        )
    )
    session.flush()


def claim_of(
    session: Session, provider: str, provider_account: str, mode: str, kind: str, object_id: str
) -> ClaimRow | None:
    """Whom a provider's object belongs to."""
    return session.get(ClaimRow, (provider, provider_account, mode, kind, object_id))


def claims_of(session: Session, purchase: PurchaseRow) -> list[ClaimRow]:
    """What was claimed for a purchase of its checkout and of its payments."""
    known = known_facts(session, purchase.account_id, purchase.purchase_id)
    names = {purchase.session_id, purchase.provider_reference, *(f.fact_id for f in known if f.kind == "payment")}
    return list(
        session.exec(
            select(ClaimRow)
            .where(col(ClaimRow.object_id).in_(names - {None}), ClaimRow.purchase_id == purchase.purchase_id)
            .order_by(col(ClaimRow.created_at), col(ClaimRow.object_id))
        ).all()
    )


def claim_object(
    session: Session,
    provider: str,
    provider_account: str,
    mode: str,
    kind: str,
    object_id: str,
    owner: PurchaseRow,
    now: datetime,
) -> bool:
    """Claim the object for a purchase; `False` if it belongs to another one. A race ends in a constraint error."""
    there = claim_of(session, provider, provider_account, mode, kind, object_id)
    if there is not None:
        return there.purchase_id == owner.purchase_id and there.account_id == owner.account_id
    session.add(
        ClaimRow(
            provider=provider,
            provider_account=provider_account,
            mode=mode,
            kind=kind,
            object_id=object_id,
            account_id=owner.account_id,
            purchase_id=owner.purchase_id,
            created_at=now,
        )
    )
    session.flush()
    return True


def owner_of(session: Session, provider: str, provider_account: str, mode: str, fact: Fact) -> tuple[str, str] | None:
    """(account, purchase) of a fact: by what we wrote into the object, else by what was claimed before."""
    if fact.purchase_id is not None:
        account_id = find_account(session, fact.purchase_id)
        if account_id is not None and fact.account_id in (None, account_id):
            return account_id, fact.purchase_id
    for kind, object_id in (("payment", fact.parent_id or fact.object_id), ("session", fact.session_id)):
        if object_id is not None:
            claim = claim_of(session, provider, provider_account, mode, kind, object_id)
            if claim is not None:
                return claim.account_id, claim.purchase_id
    return None


def open_purchases_past(session: Session, now: datetime, limit: int) -> list[PurchaseRow]:
    """Purchases whose session is over and that nobody has paid, as far as we know."""
    return list(
        session.exec(
            select(PurchaseRow)
            .where(
                col(PurchaseRow.status).in_(("created", "open")),
                PurchaseRow.expires_at <= now,
                func.coalesce(PurchaseRow.kind, "") != "auto_recharge",
            )
            .order_by(col(PurchaseRow.expires_at))
            .limit(limit)
        ).all()
    )


def failed_with_coupon_past(session: Session, now: datetime, limit: int) -> list[PurchaseRow]:
    """Purchases whose session is over, that failed before that was, and that still have a coupon's use."""
    return list(
        session.exec(
            select(PurchaseRow)
            .join(
                PurchaseCouponRow,
                (col(PurchaseCouponRow.account_id) == col(PurchaseRow.account_id))
                & (col(PurchaseCouponRow.purchase_id) == col(PurchaseRow.purchase_id)),
            )
            .where(
                PurchaseRow.status == "failed",
                PurchaseRow.expires_at <= now,
                col(PurchaseCouponRow.is_counted).is_(True),
            )
            .order_by(col(PurchaseRow.expires_at))
            .limit(limit)
        ).all()
    )


def list_purchases(session: Session, account_id: str, page: int, limit: int) -> tuple[list[PurchaseRow], int]:
    """One page of what a customer calls payments, newest first, and how many there are in all."""
    where = (PurchaseRow.account_id == account_id, PurchaseRow.status != "cancelled")
    total = session.exec(select(func.count()).select_from(PurchaseRow).where(*where)).one()
    rows = session.exec(
        select(PurchaseRow)
        .where(*where)
        .order_by(col(PurchaseRow.created_at).desc(), col(PurchaseRow.purchase_id).desc())
        .offset((page - 1) * limit)
        .limit(limit)
    ).all()
    return list(rows), total


def get_reversal(session: Session, account_id: str, reversal_id: str) -> ReversalRow | None:
    return session.get(ReversalRow, (account_id, reversal_id))


def find_reversal(session: Session, reversal_id: str) -> ReversalRow | None:
    """A reversal by its id alone, as support names it."""
    return session.exec(select(ReversalRow).where(ReversalRow.reversal_id == reversal_id)).first()


def refunded_payment(session: Session, reversal: ReversalRow) -> str | None:
    """The payment that a refund of ours is of, once it was written down."""
    fact = session.get(FactRow, (reversal.account_id, reversal.purchase_id, reversal.reversal_id))
    return fact.parent_id if fact is not None else None


def reversals_of(session: Session, account_id: str, purchase_id: str) -> list[ReversalRow]:
    """All reversals of a purchase, oldest first."""
    return list(
        session.exec(
            select(ReversalRow)
            .where(ReversalRow.account_id == account_id, ReversalRow.purchase_id == purchase_id)
            .order_by(col(ReversalRow.created_at))
        ).all()
    )


def store_event(session: Session, provider: str, event_id: str, kind: str, payload: bytes, now: datetime) -> bool:
    """Keep a verified webhook as it came; `False` if it is there already."""
    if session.get(ProviderEventRow, (provider, event_id)) is not None:
        return False
    insert_rows(session, "provider_events", EVENT, [(provider, event_id, kind, payload, "stored", 0, now, now)])
    return True


def events_due(session: Session, now: datetime, limit: int) -> list[ProviderEventRow]:
    """Stored events that wait for processing, oldest first."""
    return list(
        session.exec(
            select(ProviderEventRow)
            .where(col(ProviderEventRow.status).in_(("stored", "parked")), ProviderEventRow.due_at <= now)
            .order_by(col(ProviderEventRow.due_at))
            .limit(limit)
        ).all()
    )


def events_over(session: Session, before: datetime, limit: int) -> list[tuple[str, str]]:
    """(provider, event id) of events that were carried out or ignored before this, oldest first."""
    found = session.exec(
        select(ProviderEventRow.provider, ProviderEventRow.event_id)
        .where(
            col(ProviderEventRow.status).in_(("done", "ignored")),
            ProviderEventRow.due_at < before,
            col(ProviderEventRow.done_at) < before,
        )
        .order_by(col(ProviderEventRow.due_at))
        .limit(limit)
    ).all()
    return [(provider, event_id) for provider, event_id in found]


def forget_events(session: Session, found: Collection[tuple[str, str]]) -> int:
    """Delete these events, but for those that wait again; how many."""
    names = tuple_(col(ProviderEventRow.provider), col(ProviderEventRow.event_id))
    gone = session.execute(
        delete(ProviderEventRow)
        .where(names.in_(found), col(ProviderEventRow.status).in_(("done", "ignored")))
        .returning(col(ProviderEventRow.event_id))
    )
    return len(gone.all())
