"""The token by which app stores tell us whose a purchase is, and the customer's consent to tell them what was used."""

import hmac
import uuid

from sqlmodel import Session

from engine.rules.errors import NotFound
from engine.runtime import Runtime
from engine.store import books, stores
from engine.store.database import transact
from engine.store.tables import AccountRow, StoreCustomerRow

PURPOSE = "store token"


def store_token(runtime: Runtime, account_id: str) -> str:
    """The account's token, a UUID: made once from a secret, so nobody guesses it, and kept, so it never changes."""

    def work(session: Session) -> str:
        return _row(session, runtime, account_id).token

    return transact(runtime.db, work)


def has_consented(runtime: Runtime, account_id: str, consent: bool | None = None) -> bool:
    """Whether the customer lets a store be told what was used of a purchase; `consent` changes it."""

    def work(session: Session) -> bool:
        row = _row(session, runtime, account_id)
        if consent is not None and consent != row.has_consented:
            row.has_consented = consent
            row.updated_at = runtime.clock.now()
            session.add(row)
        return row.has_consented

    return transact(runtime.db, work)


def token_of(session: Session, runtime: Runtime, account_id: str) -> str:
    """The token the account has or, if it never asked, would get."""
    row = stores.customer(session, account_id)
    if row is not None:
        return row.token
    digest = hmac.digest(runtime.secrets.signing(PURPOSE), account_id.encode(), "sha256")
    return str(uuid.UUID(bytes=digest[:16], version=4))


def _row(session: Session, runtime: Runtime, account_id: str) -> StoreCustomerRow:
    now = runtime.clock.now()
    books.lock_wallets(session, [account_id], now)
    if session.get(AccountRow, account_id) is None:
        raise NotFound("account")
    row = stores.customer(session, account_id)
    if row is None:
        row = StoreCustomerRow(account_id=account_id, token=token_of(session, runtime, account_id), updated_at=now)
        session.add(row)
        session.flush()
    return row
