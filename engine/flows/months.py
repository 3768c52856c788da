"""What time brings an account, before its commands see what time took: `GroupCommit.turn_months_by`."""

from engine.flows import accounts, subscription_reads
from engine.runtime import Runtime


def turn(runtime: Runtime, account_id: str) -> None:
    """Grant the months of one account that are due; nothing if none is. No provider is asked."""
    accounts.grant_due_month(runtime, account_id, runtime.clock.now())
    subscription_reads.settle_account(runtime, account_id)
