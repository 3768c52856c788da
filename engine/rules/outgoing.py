"""Outgoing events: what the operator's own systems are told, each a type, an instant and its data.

Every event names its account. One that comes from the ledger carries `seq`, its place in the wallet's history, and
`balanceAfter`; delivery order is not promised, so a listener goes by `seq`.
"""

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Literal, get_args

from engine.rules.ledger import Message, Page, Transaction
from engine.rules.lots import NEVER

EventType = Literal[
    "credits.granted",
    "credits.spent",
    "credits.expired",
    "balance.low",
    "balance.depleted",
    "hold.created",
    "hold.captured",
    "hold.voided",
    "hold.expired",
    "purchase.completed",
    "purchase.failed",
    "purchase.refunded",
    "purchase.disputed",
    "subscription.changed",
    "receipt.issued",
    "auto_recharge.succeeded",
    "auto_recharge.failed",
]
EVENT_TYPES: tuple[EventType, ...] = get_args(EventType)
ON_DEMAND = frozenset({"credits.spent", "hold.created", "hold.captured", "hold.voided", "hold.expired"})
"""Events of the busiest commands: written only while somebody listens to them."""

GRANTS = frozenset(
    """
    deposit auto_recharge volume_discount coupon_credit promo_credit monthly_credit commit_credit admin_credit
    """.split()
)


def event(account_id: str, event_type: str, data: dict[str, object], at: datetime) -> dict[str, object]:
    """An event as it is kept and sent."""
    return {"type": event_type, "timestamp": instant_text(at), "data": {"accountId": account_id, **data}}


def instant_text(at: datetime) -> str:
    """`2026-11-21T02:14:00Z`."""
    return at.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def tell(page: Page, wanted: frozenset[str]) -> None:
    """Add the events of the rows that a batch wrote on this page, in their order."""
    debits: list[Transaction] = []
    for place, row in enumerate(page.written):
        if row.type == "debit":
            debits.append(row)
        elif row.type in GRANTS:
            _add(page, row, "credits.granted", _granted(page, row))
        elif row.type == "expiry":
            _add(page, row, "credits.expired", _expired(row))
        elif row.type in ("hold", "hold_release") and wanted:
            _tell_of_hold(page, place, wanted)
    if debits and "credits.spent" in wanted:
        _tell_of_spends(page, debits)


def _granted(page: Page, row: Transaction) -> dict[str, object]:
    lot = page.lots[row.entries[0].lot_id]
    return {
        "transactionId": row.transaction_id,
        "type": row.type,
        "source": row.source,
        "lotId": lot.lot_id,
        "bucket": lot.bucket,
        "amountCredits": str(row.amount_credits),
        "expiresAt": instant_text(lot.expires_at) if lot.expires_at < NEVER else None,
        "purchaseId": row.purchase_id,
    }


def _expired(row: Transaction) -> dict[str, object]:
    (entry,) = row.entries
    return {
        "transactionId": row.transaction_id,
        "lotId": entry.lot_id,
        "bucket": entry.bucket,
        "amountCredits": str(-row.amount_credits),
    }


def _tell_of_spends(page: Page, debits: Sequence[Transaction]) -> None:
    """One event for all that a batch took from the wallet."""
    spent: dict[str, object] = {
        "amountCredits": str(-sum(row.amount_credits for row in debits)),
        "transactions": [
            {"transactionId": row.transaction_id, "seq": row.seq, "amountCredits": str(-row.amount_credits)}
            for row in debits
        ],
    }
    _add(page, debits[-1], "credits.spent", spent)


def _tell_of_hold(page: Page, place: int, wanted: frozenset[str]) -> None:
    row = page.written[place]
    hold = page.holds[row.reference_id or ""]
    facts: dict[str, object] = {"holdId": hold.hold_id, "transactionId": row.transaction_id}
    if row.type == "hold":
        earlier = any(each.type == "hold" and each.reference_id == hold.hold_id for each in page.written[:place])
        if "hold.created" not in wanted or earlier or not any(new is hold for new in page.new_holds):
            return
        facts |= {"amountCredits": str(-row.amount_credits), "expiresAt": instant_text(hold.expires_at)}
        _add(page, row, "hold.created", facts)
        return
    name = f"hold.{hold.status}"
    if name not in wanted:
        return
    if hold.status != "captured":
        _add(page, row, name, facts | {"releasedCredits": str(row.amount_credits)})
        return
    debit = page.written[place + 1]
    assert debit.type == "debit", "a capture is a release and a debit, posted together"
    released = max(0, row.amount_credits + debit.amount_credits)
    facts |= {"transactionId": debit.transaction_id, "capturedCredits": str(-debit.amount_credits)}
    _add(page, debit, name, facts | {"releasedCredits": str(released)})


def _add(page: Page, row: Transaction, event_type: str, data: dict[str, object]) -> None:
    placed = {"seq": row.seq, "balanceAfter": str(row.balance_after), **data}
    page.messages.append(Message("event", event(row.account_id, event_type, placed, row.created_at)))
