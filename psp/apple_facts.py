"""Apple's decoded objects told as sightings: pure, no network. Raw values are read, for Apple adds to its enums."""

from appstoreserverlibrary.models.JWSTransactionDecodedPayload import JWSTransactionDecodedPayload

from engine.rules.stores import MILLI_PERCENT, QUANTITY_MAX, Sighting
from psp.apple_signed import NotGenuine

CONSUMABLE = "Consumable"
PURCHASED = "PURCHASED"
FOLLOWED = frozenset(
    {"ONE_TIME_CHARGE", "REFUND", "REFUND_DECLINED", "REFUND_REVERSED", "REVOKE", "CONSUMPTION_REQUEST"}
)
"""Notification types about one-time purchases. The rest is about subscriptions, tests and summaries."""


def is_for_credits(transaction: JWSTransactionDecodedPayload) -> bool:
    """Whether the transaction is a consumable that its customer bought: anything else can be restored, under a new
    transaction id, or was bought by a relative."""
    return transaction.rawType == CONSUMABLE and transaction.rawInAppOwnershipType in (None, PURCHASED)


def transaction_sighting(
    transaction: JWSTransactionDecodedPayload, is_live: bool, *, is_reversed: bool = False
) -> Sighting:
    """A transaction as it stood when Apple signed it: `transactionId` is what is credited once, never the original's.

    A revocation names its share; without one all of the money went back. Raises `NotGenuine` where a field that
    every transaction has is missing.
    """
    object_id, product_id, signed_at = transaction.transactionId, transaction.productId, transaction.signedDate
    if not object_id or not product_id or signed_at is None:
        raise NotGenuine("The transaction lacks its id, product or date.")
    quantity = 1 if transaction.quantity is None else transaction.quantity
    if not 1 <= quantity <= QUANTITY_MAX:
        raise NotGenuine("The transaction's quantity is out of range.")
    return Sighting(
        object_id=object_id,
        product_id=product_id,
        quantity=quantity,
        state="paid",
        version=signed_at,
        live=is_live,
        token=transaction.appAccountToken.lower() if transaction.appAccountToken else None,
        refunded_parts=0 if is_reversed else refunded_share(transaction),
        parts=MILLI_PERCENT,
        refund_version=signed_at,
        is_reversed=is_reversed,
    )


def refunded_share(transaction: JWSTransactionDecodedPayload) -> int:
    """The share of the money that went back, in thousandths of a percent."""
    if transaction.revocationDate is None:
        return 0
    share = transaction.revocationPercentage
    return MILLI_PERCENT if share is None else max(0, min(MILLI_PERCENT, share))
