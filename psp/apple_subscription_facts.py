"""Apple's auto-renewable subscriptions told as renewals: pure, no network. Raw values are read, as in `apple_facts.py`.

`originalTransactionId` names the subscription for good, `transactionId` each payment of it. How it stands is Apple's
own `status` beside the transaction, of the moment at which the notification was signed.
"""

from dataclasses import replace
from datetime import UTC, datetime

from appstoreserverlibrary.models.JWSRenewalInfoDecodedPayload import JWSRenewalInfoDecodedPayload
from appstoreserverlibrary.models.JWSTransactionDecodedPayload import JWSTransactionDecodedPayload

from engine.rules.facts import InvoiceKind, SubscriptionState
from engine.rules.store_renewals import Renewal
from engine.rules.stores import MILLI_PERCENT
from psp.apple_facts import PURCHASED, refunded_share
from psp.apple_signed import NotGenuine

AUTO_RENEWABLE = "Auto-Renewable Subscription"
FOLLOWED = frozenset(
    {
        "SUBSCRIBED",
        "DID_RENEW",
        "DID_FAIL_TO_RENEW",
        "DID_CHANGE_RENEWAL_STATUS",
        "DID_CHANGE_RENEWAL_PREF",
        "GRACE_PERIOD_EXPIRED",
        "EXPIRED",
        "OFFER_REDEEMED",
        "PRICE_INCREASE",
        "REFUND",
        "REFUND_DECLINED",
        "REFUND_REVERSED",
        "RENEWAL_EXTENDED",
        "RENEWAL_EXTENSION",
        "REVOKE",
    }
)
_STATES: dict[int, SubscriptionState] = {1: "active", 2: "ended", 3: "past_due", 4: "past_due", 5: "ended"}
"""Active, expired, in billing retry, in its grace period, revoked."""
_FREE_TRIAL = "FREE_TRIAL"


def is_subscription(transaction: JWSTransactionDecodedPayload) -> bool:
    """Whether it is a payment of a subscription by the customer, not one that a relative shares."""
    return transaction.rawType == AUTO_RENEWABLE and transaction.rawInAppOwnershipType in (None, PURCHASED)


def renewal_of(
    transaction: JWSTransactionDecodedPayload,
    info: JWSRenewalInfoDecodedPayload | None,
    status: int | None,
    signed_at: int,
    is_live: bool,
) -> Renewal:
    """One payment and how its subscription stands. A refund says that of the payment alone, unless the subscription
    ended with it: the refunded period may be an old one. Raises `NotGenuine` where a field is missing."""
    reference, object_id, product_id = (
        transaction.originalTransactionId,
        transaction.transactionId,
        transaction.productId,
    )
    start, end = transaction.purchaseDate, transaction.expiresDate
    if not reference or not object_id or not product_id or start is None or end is None or start >= end:
        raise NotGenuine("The transaction lacks what every payment of a subscription has.")
    state = _STATES.get(status or 0)
    back = refunded_share(transaction)
    is_trial = transaction.rawOfferDiscountType == _FREE_TRIAL
    kind: InvoiceKind = "create" if object_id == reference else "renewal"
    return Renewal(
        reference=reference,
        object_id=object_id,
        product_id=product_id,
        version=signed_at,
        live=is_live,
        token=transaction.appAccountToken.lower() if transaction.appAccountToken else None,
        period_start=_at(start),
        period_end=_at(end),
        kind="trial" if is_trial else kind,
        state="trialing" if is_trial and state == "active" else state if state == "ended" or back == 0 else None,
        refunded_parts=back,
        parts=MILLI_PERCENT,
        cancels=info is not None and info.rawAutoRenewStatus == 0,
        next_product_id=info.autoRenewProductId if info is not None else None,
        returns_rest=True,
    )


def shown_renewal(transaction: JWSTransactionDecodedPayload, is_live: bool) -> Renewal:
    """What an app shows: a transaction says when it was signed whether its period ran, and nothing of what follows."""
    signed_at = transaction.signedDate or 0
    status = 1 if (transaction.expiresDate or 0) > signed_at and transaction.revocationDate is None else 2
    return replace(renewal_of(transaction, None, status, signed_at, is_live), is_snapshot=True)


def _at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds // 1000, UTC)
