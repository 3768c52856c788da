"""Limits: how much one call, and one UTC day, may spend. Looked at before the balance, in the spend's transaction."""

from datetime import date

from engine.rules.errors import LimitReached
from engine.rules.ledger import KeyUse, Wallet


def check_limits(wallet: Wallet, key: KeyUse | None, credits: int, today: date) -> None:
    """Raise `LimitReached` if a spend or hold of `credits` passes a limit.

    Those per call are looked at first, then those of the day; the account's before those of its API key.
    """
    spent = wallet.spent_today(today)
    if wallet.per_call_limit_credits is not None and credits > wallet.per_call_limit_credits:
        raise LimitReached("per_call", wallet.per_call_limit_credits, spent, credits)
    if key is not None and key.per_call_limit_credits is not None and credits > key.per_call_limit_credits:
        raise LimitReached("per_call", key.per_call_limit_credits, key.spent_credits, credits, key.api_key_id)
    if wallet.daily_limit_credits is not None and spent + credits > wallet.daily_limit_credits:
        raise LimitReached("daily", wallet.daily_limit_credits, spent, credits)
    daily = None if key is None else key.daily_limit_credits
    if key is not None and daily is not None and key.spent_credits + credits > daily:
        raise LimitReached("daily", daily, key.spent_credits, credits, key.api_key_id)
