"""Limits: how much one call, and one UTC day, may spend. Looked at before the balance, in the spend's transaction."""

from datetime import date

from engine.rules.errors import LimitReached
from engine.rules.ledger import Wallet


def check_limits(wallet: Wallet, credits: int, today: date) -> None:
    """Raise `LimitReached` if a spend or hold of `credits` passes a limit; the one per call is looked at first."""
    spent = wallet.spent_today(today)
    if wallet.per_call_limit_credits is not None and credits > wallet.per_call_limit_credits:
        raise LimitReached("per_call", wallet.per_call_limit_credits, spent, credits)
    if wallet.daily_limit_credits is not None and spent + credits > wallet.daily_limit_credits:
        raise LimitReached("daily", wallet.daily_limit_credits, spent, credits)
