"""App stores' customers and purchases: rows in, rows out."""

from datetime import datetime

import msgspec
from sqlmodel import Session, col, select

from engine.clock import new_id
from engine.rules.stores import Sighting
from engine.store.tables import StoreCustomerRow, StorePurchaseRow

Key = tuple[str, str, str, str]
"""(provider, our account there, mode, the store's object id)."""


def customer(session: Session, account_id: str) -> StoreCustomerRow | None:
    """The account's token and consent, if it ever asked for the one or gave the other."""
    return session.get(StoreCustomerRow, account_id)


def account_of_token(session: Session, token: str) -> str | None:
    """Whose token this is."""
    found = select(StoreCustomerRow.account_id).where(StoreCustomerRow.token == token)
    return session.exec(found).first()


def lock_purchase(session: Session, key: Key) -> StorePurchaseRow | None:
    """The row of a store purchase, held to the end; a wallet is locked before it, never after."""
    provider, provider_account, mode, object_id = key
    return session.exec(
        select(StorePurchaseRow)
        .where(
            StorePurchaseRow.provider == provider,
            StorePurchaseRow.provider_account == provider_account,
            StorePurchaseRow.mode == mode,
            StorePurchaseRow.object_id == object_id,
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    ).first()


def keep_sighting(session: Session, key: Key, sighting: Sighting, problem: str | None, now: datetime) -> bool:
    """Keep the newest sighting of a purchase that nobody has claimed; `False` if somebody has.

    Two who write the first sighting at once end in a constraint error.
    """
    row = lock_purchase(session, key)
    told = msgspec.json.encode(sighting).decode()
    if row is None:
        provider, provider_account, mode, object_id = key
        row = StorePurchaseRow(
            provider=provider,
            provider_account=provider_account,
            mode=mode,
            object_id=object_id,
            unclaimed_id=new_id("unc", now),
            product_id=sighting.product_id,
            sighting=told,
            problem=problem,
            seen_at=now,
        )
    elif row.bound_at is not None:
        return False
    elif is_newer(sighting, read_sighting(row)):
        row.sighting = told
        row.problem = problem
        row.seen_at = now
    session.add(row)
    session.flush()
    return True


def forget(session: Session, key: Key) -> None:
    """Drop a purchase that waits and that came to nothing."""
    row = lock_purchase(session, key)
    if row is not None and row.status == "waiting":
        session.delete(row)


def is_newer(sighting: Sighting, kept: Sighting) -> bool:
    """Whether a sighting says more than the one that is kept."""
    return (sighting.refund_version, sighting.version) >= (kept.refund_version, kept.version)


def bind(
    session: Session, key: Key, sighting: Sighting, account_id: str, purchase_id: str, now: datetime
) -> Sighting | None:
    """Bind a purchase to its account, for good; what was sighted before it was claimed, if anything."""
    row = lock_purchase(session, key)
    if row is None:  # somebody may write it before we do: then it says more than our own sighting
        keep_sighting(session, key, sighting, None, now)
        row = lock_purchase(session, key)
        assert row is not None
    earlier = read_sighting(row)
    assert row.bound_at is None, "a claim says whose a bound purchase is"
    row.bound_at, row.account_id, row.purchase_id, row.problem = now, account_id, purchase_id, None
    row.status = "bound"
    session.add(row)
    session.flush()
    return earlier if earlier != sighting else None


def key_of_row(row: StorePurchaseRow) -> Key:
    return row.provider, row.provider_account, row.mode, row.object_id


def read_sighting(row: StorePurchaseRow) -> Sighting:
    return msgspec.json.decode(row.sighting, type=Sighting)


def find_unclaimed(session: Session, unclaimed_id: str) -> StorePurchaseRow | None:
    """A purchase by what the desk calls it, whatever became of it."""
    return session.exec(select(StorePurchaseRow).where(StorePurchaseRow.unclaimed_id == unclaimed_id)).first()


def unclaimed(session: Session, limit: int) -> list[StorePurchaseRow]:
    """Purchases that wait for somebody to claim them, oldest first."""
    return list(
        session.exec(
            select(StorePurchaseRow)
            .where(StorePurchaseRow.status == "waiting")
            .order_by(col(StorePurchaseRow.seen_at))
            .limit(limit)
        ).all()
    )
