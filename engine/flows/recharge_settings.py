"""What a customer sets of auto-recharge: merged, checked against the catalogue, and looked at at once."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlmodel import Session

from engine.flows.recharge import look_at
from engine.rules.catalog import AutoRecharge
from engine.rules.errors import Invalid, NotFound
from engine.rules.recharge import Wish, check_wish
from engine.runtime import Runtime
from engine.store import books, cards, recharges
from engine.store.database import reading, transact
from engine.store.tables import AccountRow, AutoRechargeRow, RechargeDecisionRow


def rules_of(runtime: Runtime) -> AutoRecharge:
    """The catalogue's bounds; `NotFound` where it does not offer auto-recharge."""
    rules = runtime.catalog.auto_recharge
    if rules is None:
        raise NotFound("auto-recharge")
    return rules


def get_wish(runtime: Runtime, account_id: str) -> Wish:
    """What is set; an account that set nothing has it off."""
    rules_of(runtime)
    with reading(runtime.db) as session:
        if session.get(AccountRow, account_id) is None:
            raise NotFound("account")
        return recharges.wish_of(session.get(AutoRechargeRow, account_id))


def change_wish(runtime: Runtime, account_id: str, changes: Mapping[str, Any]) -> Wish:
    """Change what is named (fields of `Wish`) and decide at once: switched on while low, it fires.

    Raises `Invalid` for what the catalogue does not allow, and refuses as `books.lock_open` does. Switching
    on, or another card, forgives the declines so far.
    """
    rules = rules_of(runtime)

    def work(session: Session) -> Wish:
        now = runtime.clock.now()
        books.lock_open(session, account_id, now)
        row = session.get(AutoRechargeRow, account_id) or AutoRechargeRow(account_id=account_id, updated_at=now)
        before = recharges.wish_of(row)
        wish = replace(before, **changes)
        check_wish(wish, rules)
        if wish.method_id is not None and cards.live_card(session, account_id, wish.method_id) is None:
            raise Invalid("paymentMethodId", "This account has no such saved card.")
        # From here the change must succeed.
        row.is_enabled = wish.is_enabled
        row.threshold_credits = wish.threshold_credits
        row.amount_minor = wish.amount_minor
        row.method_id = wish.method_id
        row.monthly_cap_minor = wish.monthly_cap_minor
        if (wish.is_enabled and not before.is_enabled) or wish.method_id != before.method_id:
            row.failures = 0
            row.backoff_until_at = None
        row.updated_at = now
        session.add(row)
        session.flush()
        look_at(session, runtime, account_id)
        return wish

    wish = transact(runtime.db, work)
    runtime.wake_jobs()
    return wish


def decisions(runtime: Runtime, account_id: str, page: int, limit: int) -> tuple[list[RechargeDecisionRow], int]:
    """Why it fired, and why it did not, newest first."""
    rules_of(runtime)
    with reading(runtime.db) as session:
        if session.get(AccountRow, account_id) is None:
            raise NotFound("account")
        return recharges.list_decisions(session, account_id, page, limit)
