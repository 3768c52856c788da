"""Setting the limits of an account and of its keys, under the wallet's lock: no spend sees half of a change."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlmodel import Session

from engine.rules.errors import NotFound
from engine.runtime import Runtime
from engine.store import books, credentials
from engine.store.bulk import update_rows
from engine.store.database import transact, transact_by_letter
from engine.store.pens import Pen
from engine.store.tables import CredentialRow


@dataclass(frozen=True, slots=True)
class Limits:
    """Credits per UTC day and per call; `None`: no limit."""

    daily_credits: int | None
    per_call_credits: int | None


Change = int | None | Literal["keep"]
"""A new limit, no limit, or the one that is."""


def change_limits(runtime: Runtime, account_id: str, daily: Change, per_call: Change, now: datetime) -> Limits:
    """Change what is not to be kept; both limits as they are then. Refuses as `books.lock_open` does."""

    def change(session: Pen) -> Limits:
        page = books.lock_open(session, account_id, now)
        limits = Limits(
            page.wallet.daily_limit_credits if daily == "keep" else daily,
            page.wallet.per_call_limit_credits if per_call == "keep" else per_call,
        )
        columns = ("daily_limit_credits", "per_call_limit_credits")
        row = (account_id, limits.daily_credits, limits.per_call_credits)
        update_rows(session, "wallets", ("account_id",), columns, [row])
        return limits

    return transact_by_letter(runtime.db, change)


def change_key(
    runtime: Runtime, account_id: str, api_key_id: str, name: str | None, daily: Change, per_call: Change, now: datetime
) -> CredentialRow:
    """Change a key that works: its name, if one is given, and the limits that are not to be kept; the key then.

    `NotFound` for a key that is revoked or not the account's; `WalletNotActive` for a closed account's.
    """

    def change(session: Session) -> CredentialRow:
        books.lock_open(session, account_id, now)
        key = credentials.get_account_key(session, account_id, api_key_id)
        if key is None or key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now):
            raise NotFound("API key")
        if name is not None:
            key.name = name
        if daily != "keep":
            key.daily_limit_credits = daily
        if per_call != "keep":
            key.per_call_limit_credits = per_call
        session.add(key)
        session.flush()
        return key

    return transact(runtime.db, change)
