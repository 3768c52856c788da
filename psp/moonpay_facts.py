"""MoonPay's transactions, as JSON just fetched, told as facts: pure, no network.

Ours is what carries one of our purchases as `externalTransactionId`; everything MoonPay tells of it is one payment.
A customer may try more than once from one link, so a purchase can have several, and the paid one speaks for it.
Card chargebacks stay with MoonPay, and what we pay back is paid by hand, so there are neither refunds nor disputes.
"""

import re
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from engine.payments import Fact, PaymentState
from engine.rules.money import Money, currency_digits, decimal_down

Json = dict[str, Any]

_EVM_ADDRESS = re.compile(r"0x[0-9A-Fa-f]{40}")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_STATES: dict[str, PaymentState] = {
    "waitingPayment": "open",
    "waitingAuthorization": "processing",
    "pending": "processing",
    "completed": "paid",
    "failed": "failed",
}
"""An unknown status is a payment on its way: neither credited nor given up."""


def payment_facts(transactions: Iterable[Json], is_live: bool, wallet_address: str) -> tuple[Fact, ...]:
    """Each transaction that is ours as a payment. One that paid into another wallet than ours pays nothing."""
    return tuple(_payment(one, is_live, wallet_address) for one in transactions if _purchase_of(one) is not None)


def _payment(transaction: Json, is_live: bool, wallet_address: str) -> Fact:
    state = _STATES.get(transaction["status"], "processing")
    is_ours = is_same_wallet(str(transaction.get("walletAddress")), wallet_address)
    at = datetime.fromisoformat(transaction["updatedAt"])
    return Fact(
        kind="payment",
        object_id=transaction["id"],
        state=state if is_ours or state != "paid" else "failed",
        amount=_amount(transaction),
        version=(at - _EPOCH) // timedelta(microseconds=1),
        live=is_live,
        purchase_id=_purchase_of(transaction),
        account_id=transaction.get("externalCustomerId"),
        session_id=_purchase_of(transaction),
    )


def is_evm(address: str) -> bool:
    """Whether this is an address of Ethereum and its kin: hexadecimal, in whatever case."""
    return _EVM_ADDRESS.fullmatch(address) is not None


def is_same_wallet(one: str, other: str) -> bool:
    """Whether two addresses are one wallet. A link to MoonPay that is not ours could name somebody else's."""
    return one.lower() == other.lower() if is_evm(other) else one == other


def _purchase_of(transaction: Json) -> str | None:
    named = transaction.get("externalTransactionId")
    return named if isinstance(named, str) and named else None


def _amount(transaction: Json) -> Money:
    """What the customer paid for: fees are MoonPay's own.

    Rounded down to the minor unit, so an amount that falls short by any fraction is not the one agreed.
    """
    currency = _currency(transaction)
    paid = transaction["baseCurrencyAmount"]
    if isinstance(paid, bool) or not isinstance(paid, int | Decimal) or paid < 0:
        raise ValueError(f"not an amount: {paid!r}")
    return Money(int(decimal_down(Decimal(paid).scaleb(currency_digits(currency)), 0)), currency)


def _currency(transaction: Json) -> str:
    told = transaction.get("baseCurrency")
    code = told.get("code") if isinstance(told, dict) else told
    if not isinstance(code, str):
        raise ValueError("the transaction names no currency")
    return code.upper()
