"""What a wallet's change sets off in the same transaction: low credits ask for an auto-recharge, once."""

from collections.abc import Iterable

from engine.clock import new_id
from engine.rules.ledger import Page
from engine.store.bulk import Row

RECHARGE = "recharge"
"""The kind of the outbox row that has `flows/recharge.py` look at a wallet."""


def asked_recharges(changed: Iterable[Page]) -> list[Row]:
    """One outbox row for each armed wallet that a batch leaves low, and the wallet is armed no longer.

    Whoever answers the row arms the wallet again, so a hundred spends below the threshold ask once.
    """
    asking: list[Row] = []
    for page in changed:
        wallet = page.wallet
        if wallet.recharge_at_credits is None or wallet.available_credits > wallet.recharge_at_credits:
            continue
        wallet.recharge_at_credits = None
        asking.append((wallet.account_id, new_id("out", page.at), RECHARGE, "{}", page.at, 0, page.at))
    return asking
