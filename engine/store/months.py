"""Months that are due: accounts that time has taken credits from and is about to give others."""

from collections.abc import Sequence

from engine.rules.ledger import Page
from engine.store.bulk import Row, ask_first
from engine.store.pens import AnySession


def due(session: AnySession, pages: Sequence[Page]) -> set[str]:
    """Of the accounts that have expired credits, those whose next month, or whose subscription's next step, is due."""
    expired = [page for page in pages if page.wallet.next_expiry_at <= page.at]
    owners = [page.wallet.account_id for page in expired]
    bounds: list[Row] = [(page.at,) for page in expired]
    tables = (("accounts", "next_grant_at", "account_id"), ("subscriptions", "next_at", "subscription_id"))
    asked = [
        ask_first(session, table, ("account_id",), owners, where=f"{at} <= {{0}}", bounds=bounds, order=key, limit=1)
        for table, at, key in tables
    ]
    return {account_id for rows in asked for (account_id,) in rows()}
