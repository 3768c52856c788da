"""Everything Purser may refuse, as a closed tree: one class, one stable code, the facts that explain it.

```
Refusal
├── Invalid                 INVALID           a field is malformed, missing or unknown
├── NotFound                NOT-FOUND         no such object, or not one of yours
├── Unauthenticated         AUTH-001          credential missing, wrong or revoked
├── Forbidden               AUTH-002          this credential may not do that
├── InsufficientCredits     CREDIT-001        the wallet holds less than was asked
├── LimitReached            CREDIT-002        the spend passes a limit of the account
├── BelowMinimum            BILLING-001       a top-up below the catalogue's least
├── AboveMaximum            BILLING-002       a top-up above the catalogue's most
├── MalformedAmount         BILLING-003       not an amount of money
├── ReturnUrlRefused        BILLING-004       a return URL outside the configured origins
├── QuoteRefused            QUOTE-001         a quote token that is forged, ended or about something else
├── CouponUnknown           COUPON-001        no such coupon
├── CouponRedeemed          COUPON-002        this account redeemed it before, or has it on an open checkout
├── CouponExpired           COUPON-003        its time is over
├── CouponTermsNotMet       COUPON-004        not for this account, or not yet
├── CouponUsedUp            COUPON-005        redeemed as often as it may be
├── RateLimited             RATE-001          too many guesses; later
├── TopUpNotInPlan          PLAN-001          the plan may not top up
├── FeatureNotInPlan        PLAN-002          the plan does not include the feature
├── PlanElsewhere           PLAN-003          the subscription is changed at its provider
├── HoldEnded               HOLD-001          the hold was captured or voided
├── HoldExpired             HOLD-002          the hold is past its end
├── HoldTooSmall            HOLD-003          less is held than was to be captured
├── SpendAlreadyReversed    SPEND-001         nothing of that spend is left to reverse
├── AccountExists           ACCOUNT-001       the account id is taken
├── WalletNotActive         WALLET-001        suspended or closed
├── WalletInDebt            WALLET-002        credits are owed first
├── IdempotencyKeyMissing   IDEMPOTENCY-001   missing or malformed key
├── IdempotencyMismatch     IDEMPOTENCY-002   the same key named another request
├── RefundWindowClosed      REFUND-001        the 24 hours are over
├── RefundCreditsTouched    REFUND-002        some of the purchase's credits were used
├── AlreadyRefunded         REFUND-003        refunded or disputed before
├── RefundNotPossible       REFUND-004        not by this policy or provider
├── OwnApproval             REFUND-005        nobody approves their own proposal
├── WebhookRefused          WEBHOOK-001       signature, age or shape of a provider's event
└── Unavailable             UNAVAILABLE       not now; the request was not stored, or its key tells its fate
```

A refusal changes nothing. `detail` is a sentence for a person; `facts` are named values for a program,
already in the form the HTTP contract gives them (credits as text of digits, money as integer minor units).
"""

from typing import ClassVar

Fact = str | int | bool | None


class Refusal(Exception):
    """A request that is understood and declined."""

    code: ClassVar[str]

    def __init__(self, detail: str, **facts: Fact) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts = facts


class MonthDue(Exception):
    """Not carried out: of the account's credits some have expired, and a month that brings others is to be granted
    first. Only the book and those who hand commands to it know of this."""


class Invalid(Refusal):
    code = "INVALID"

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail, field=field)


class NotFound(Refusal):
    code = "NOT-FOUND"

    def __init__(self, what: str = "object") -> None:
        super().__init__(f"There is no such {what}.")


class Unauthenticated(Refusal):
    code = "AUTH-001"


class Forbidden(Refusal):
    code = "AUTH-002"


class InsufficientCredits(Refusal):
    code = "CREDIT-001"

    def __init__(self, needed_credits: int, available_credits: int) -> None:
        super().__init__(
            f"{needed_credits} credits are needed and {available_credits} are available.",
            neededCredits=str(needed_credits),
            availableCredits=str(available_credits),
            shortfallCredits=str(needed_credits - available_credits),
        )


class LimitReached(Refusal):
    code = "CREDIT-002"

    def __init__(
        self,
        limit_type: str,
        limit_credits: int,
        spent_credits: int,
        requested_credits: int,
        api_key_id: str | None = None,
    ) -> None:
        super().__init__(
            "This passes the limit for one call."
            if limit_type == "per_call"
            else "This passes what may be spent today.",
            limitType=limit_type,
            limitCredits=str(limit_credits),
            currentDailySpend=str(spent_credits),
            requestedCredits=str(requested_credits),
            **({} if api_key_id is None else {"apiKeyId": api_key_id}),
        )


class BelowMinimum(Refusal):
    code = "BILLING-001"

    def __init__(self, amount_minor: int, min_minor: int, currency: str) -> None:
        super().__init__(
            "The amount is below the least that can be bought at once.",
            amountMinor=amount_minor,
            minMinor=min_minor,
            currency=currency,
        )


class AboveMaximum(Refusal):
    code = "BILLING-002"

    def __init__(self, amount_minor: int, max_minor: int, currency: str) -> None:
        super().__init__(
            "The amount is above the most that can be bought at once.",
            amountMinor=amount_minor,
            maxMinor=max_minor,
            currency=currency,
        )


class MalformedAmount(Refusal):
    code = "BILLING-003"


class ReturnUrlRefused(Refusal):
    code = "BILLING-004"

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail, field=field)


class QuoteRefused(Refusal):
    code = "QUOTE-001"


class CouponUnknown(Refusal):
    code = "COUPON-001"

    def __init__(self) -> None:
        super().__init__("There is no such coupon.")


class CouponRedeemed(Refusal):
    """With facts, an open checkout has the coupon: where that is paid, and until when."""

    code = "COUPON-002"

    def __init__(
        self, purchase_id: str | None = None, checkout_url: str | None = None, ends_at: str | None = None
    ) -> None:
        if purchase_id is None:
            super().__init__("This account redeemed the coupon before.")
            return
        super().__init__(
            "A checkout with this coupon is still open: pay it, or use the coupon again once it has ended.",
            purchaseId=purchase_id,
            checkoutUrl=checkout_url,
            endsAt=ends_at,
        )


class CouponExpired(Refusal):
    code = "COUPON-003"

    def __init__(self, ended_at: str) -> None:
        super().__init__("The coupon has expired.", endedAt=ended_at)


class CouponTermsNotMet(Refusal):
    """`term` says which: `first_top_up`, `plan` or `country`; of a coupon on a purchase also `amount` or `provider`.

    `redemption` is a coupon that is to be redeemed and not used on a purchase, `purchase` the other way round.
    """

    code = "COUPON-004"

    def __init__(self, term: str, detail: str) -> None:
        super().__init__(detail, term=term)


class CouponUsedUp(Refusal):
    code = "COUPON-005"

    def __init__(self) -> None:
        super().__init__("The coupon was redeemed as often as it may be.")


class RateLimited(Refusal):
    code = "RATE-001"

    def __init__(self, retry_after_seconds: int, what: str = "tries") -> None:
        super().__init__(f"Too many {what}; try again later.", retryAfterSeconds=retry_after_seconds)


class TopUpNotInPlan(Refusal):
    """`reason` says what shut it: the `plan`, or an `override` for this account."""

    code = "PLAN-001"

    def __init__(self, plan: str, required_plan: str, upgrade_url: str, reason: str = "plan") -> None:
        super().__init__(
            "This plan does not include top-ups."
            if reason == "plan"
            else "Top-ups were switched off for this account.",
            plan=plan,
            reason=reason,
            requiredPlan=required_plan,
            upgradeUrl=upgrade_url,
        )


class FeatureNotInPlan(Refusal):
    """`reason` says what shut it: the `plan`, or an `override` for this account."""

    code = "PLAN-002"

    def __init__(
        self, feature: str, plan: str | None, required: str | None, unlocks: str | None, upgrade_url: str, reason: str
    ) -> None:
        super().__init__(
            f"{unlocks or 'No plan'} includes {feature}, this account's plan does not."
            if reason == "plan"
            else f"{feature} was switched off for this account.",
            feature=feature,
            plan=plan,
            reason=reason,
            unlocks=unlocks,
            requiredPlan=required,
            upgradeUrl=upgrade_url,
        )


class PlanElsewhere(Refusal):
    """`detail` says why, where it is not that the provider never does it."""

    code = "PLAN-003"

    def __init__(self, provider: str, act: str, manage_url: str | None, detail: str | None = None) -> None:
        why = f"This subscription is managed at {provider}." if manage_url else f"{provider} can't do that: {act}."
        super().__init__(
            detail or why,
            provider=provider,
            action=act,
            manageUrl=manage_url,
        )


class HoldEnded(Refusal):
    code = "HOLD-001"

    def __init__(self, status: str) -> None:
        super().__init__(f"The hold was {status} before.", holdStatus=status)


class HoldExpired(Refusal):
    code = "HOLD-002"

    def __init__(self) -> None:
        super().__init__("The hold has expired and its credits were released.", holdStatus="expired")


class HoldTooSmall(Refusal):
    code = "HOLD-003"

    def __init__(self, requested_credits: int, held_credits: int) -> None:
        super().__init__(
            "No more can be captured than is held.",
            requestedCredits=str(requested_credits),
            heldCredits=str(held_credits),
        )


class SpendAlreadyReversed(Refusal):
    code = "SPEND-001"

    def __init__(self, requested_credits: int, reversible_credits: int) -> None:
        super().__init__(
            "That spend was already reversed, or less of it is left than was asked.",
            requestedCredits=str(requested_credits),
            reversibleCredits=str(reversible_credits),
        )


class AccountExists(Refusal):
    code = "ACCOUNT-001"

    def __init__(self, account_id: str) -> None:
        super().__init__("An account with this id exists.", accountId=account_id)


class WalletNotActive(Refusal):
    code = "WALLET-001"

    def __init__(self, status: str) -> None:
        super().__init__(f"The wallet is {status}.", walletStatus=status)


class WalletInDebt(Refusal):
    code = "WALLET-002"

    def __init__(self, debt_credits: int) -> None:
        super().__init__(
            "Credits are owed for a payment that was taken back; they are paid first.",
            debtCredits=str(debt_credits),
        )


class IdempotencyKeyMissing(Refusal):
    code = "IDEMPOTENCY-001"


class IdempotencyMismatch(Refusal):
    code = "IDEMPOTENCY-002"

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used for another request.")


class RefundWindowClosed(Refusal):
    code = "REFUND-001"


class RefundCreditsTouched(Refusal):
    code = "REFUND-002"


class AlreadyRefunded(Refusal):
    code = "REFUND-003"


class RefundNotPossible(Refusal):
    code = "REFUND-004"


class OwnApproval(Refusal):
    code = "REFUND-005"

    def __init__(self) -> None:
        super().__init__("A proposal is approved by a second person, never by the one who made it.")


class WebhookRefused(Refusal):
    code = "WEBHOOK-001"


class Unavailable(Refusal):
    code = "UNAVAILABLE"
