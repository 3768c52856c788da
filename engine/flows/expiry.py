"""Letting what has expired leave: the sweeper, and what a read does first so that it never shows expired credits."""

from datetime import datetime

from engine.rules.commands import Expire
from engine.rules.errors import NotFound, Unavailable
from engine.rules.ledger import Wallet
from engine.runtime import Runtime
from engine.store import history
from engine.store.database import reading

BATCH_SIZE_MAX = 500
WAIT_SECONDS = 30.0


def expire_due(runtime: Runtime, now: datetime, limit: int = BATCH_SIZE_MAX) -> int:
    """Let expired credits leave the wallets whose next expiry has come, longest due first; how many wallets."""
    with reading(runtime.db) as session:
        due = history.wallets_to_expire(session, now, limit)
    for future in runtime.group.submit_all([Expire(account_id=a, actor="system") for a in due]):
        future.result(WAIT_SECONDS)
    return len(due)


def settled_wallet(runtime: Runtime, account_id: str, now: datetime) -> Wallet:
    """The wallet, after what has expired by `now` has left it with its ledger rows; `NotFound` if there is none."""
    wallet = _wallet(runtime, account_id)
    if not wallet.is_due(now):
        return wallet
    try:
        runtime.group.submit(Expire(account_id=account_id, actor="system")).result(WAIT_SECONDS)
    except TimeoutError as error:
        raise Unavailable("The database does not answer; try again.") from error
    return _wallet(runtime, account_id)


def _wallet(runtime: Runtime, account_id: str) -> Wallet:
    with reading(runtime.db) as session:
        wallet = history.find_wallet(session, account_id)
    if wallet is None:
        raise NotFound("account")
    return wallet
