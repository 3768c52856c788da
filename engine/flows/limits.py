"""Setting an account's limits, under the wallet's lock, so that no spend is decided on half of a change."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlmodel import Session

from engine.rules.errors import NotFound
from engine.runtime import Runtime
from engine.store import books
from engine.store.bulk import update_rows
from engine.store.database import transact, writing_by_letter


@dataclass(frozen=True, slots=True)
class Limits:
    """Credits per UTC day and per call; `None`: no limit."""

    daily_credits: int | None
    per_call_credits: int | None


Change = int | None | Literal["keep"]
"""A new limit, no limit, or the one that is."""


def change_limits(runtime: Runtime, account_id: str, daily: Change, per_call: Change, now: datetime) -> Limits:
    """Change what is not to be kept; both limits as they are then. `NotFound` without such an account."""

    def change(session: Session) -> Limits:
        page = books.lock_wallets(session, [account_id], now).get(account_id)
        if page is None:
            raise NotFound("account")
        limits = Limits(
            page.wallet.daily_limit_credits if daily == "keep" else daily,
            page.wallet.per_call_limit_credits if per_call == "keep" else per_call,
        )
        columns = ("daily_limit_credits", "per_call_limit_credits")
        row = (account_id, limits.daily_credits, limits.per_call_credits)
        update_rows(session, "wallets", ("account_id",), columns, [row])
        return limits

    return transact(runtime.db, change, writing_by_letter)
