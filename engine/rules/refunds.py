"""What may go back of a purchase beside the 24 hour rule: the catalogue's policy as pure arithmetic.

The **unspent share** is what remains of the purchase's lots, base and bonus together, as a share of what was
granted, of the money, rounded down. `unused_part` gives at most that back and takes all that remains. `manual` lets
support choose up to it and an administrator up to what was paid; the credits taken are in proportion to the money,
counted over all refunds together, so that three thirds take the whole.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from engine.rules.errors import (
    AlreadyRefunded,
    Invalid,
    RefundCreditsTouched,
    RefundNotPossible,
)
from engine.rules.money import share_down

Policy = Literal["none", "unused_part", "manual"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refundable:
    """A purchase as the policy looks at it.

    `gone_minor` is the money that went back or is on its way (refunds from here and elsewhere, lost disputes);
    `remaining_credits` is what its lots still hold; `out_credits` what was taken out of them before, `named_credits`
    what that money has named: more, where a part of what was granted has not landed yet.
    """

    status: str
    is_disputed: bool
    has_landed: bool
    provider: str
    provider_can_refund: bool
    paid_minor: int
    gone_minor: int
    granted_credits: int
    remaining_credits: int
    out_credits: int
    named_credits: int

    @property
    def left_minor(self) -> int:
        """What was paid and has not gone back."""
        return max(0, self.paid_minor - self.gone_minor)

    @property
    def unspent_minor(self) -> int:
        """The unspent share of the money, at most what is left of it.

        What went back counts against the share of all that was never spent, so that small refunds, whose credits
        round down to none, don't add up to more.
        """
        now = share_down(self.paid_minor, self.remaining_credits, self.granted_credits)
        unspent_credits = min(self.granted_credits, self.remaining_credits + self.out_credits)
        ever = share_down(self.paid_minor, unspent_credits, self.granted_credits) - self.gone_minor
        return max(0, min(self.left_minor, now, ever))


@dataclass(frozen=True, slots=True)
class RefundTerms:
    """What a refund gives back and takes."""

    amount_minor: int
    credits: int


def refund_max(purchase: Refundable, policy: Policy, *, is_admin: bool) -> int:
    """The most that this person may give back now; raises why nothing may, in the order in which it is looked at."""
    if purchase.is_disputed or (purchase.has_landed and purchase.left_minor == 0):
        raise AlreadyRefunded("This purchase was already refunded or is disputed.")
    if policy == "none":
        raise RefundNotPossible("The refund policy is `none`: only the reversal of an untouched purchase is possible.")
    if not purchase.provider_can_refund:
        raise RefundNotPossible(f"{purchase.provider} decides its own refunds; they can't be made from here.")
    if not purchase.has_landed or purchase.status not in ("paid", "partially_refunded"):
        raise RefundNotPossible("This purchase was not paid.")
    if policy == "manual" and is_admin:
        return purchase.left_minor
    if purchase.unspent_minor == 0:
        raise RefundCreditsTouched("None of the purchase's credits are left, so none of its money goes back.")
    return purchase.unspent_minor


def decide_refund(purchase: Refundable, policy: Policy, amount_minor: int | None, *, is_admin: bool) -> RefundTerms:
    """What a refund of `amount_minor` (`None`: the unspent share) gives back and takes, or its refusal."""
    most = refund_max(purchase, policy, is_admin=is_admin)
    if amount_minor is not None and not 0 < amount_minor <= purchase.paid_minor:
        raise Invalid("amountMinor", f"A refund is between 1 and the {purchase.paid_minor} minor units that were paid.")
    amount = purchase.unspent_minor if amount_minor is None else amount_minor
    if amount == 0:
        raise RefundCreditsTouched("None of the purchase's credits are left: name the amount that goes back.")
    if amount > most:
        raise RefundNotPossible(f"At most {most} minor units may go back by the refund policy.", maxMinor=most)
    # From here the refund must succeed.
    if policy == "unused_part":
        return RefundTerms(amount, purchase.remaining_credits)
    gone = purchase.gone_minor + amount
    out = share_down(purchase.granted_credits, gone, purchase.paid_minor)
    return RefundTerms(amount, max(0, out - purchase.named_credits))


def gone_minor(facts: Iterable[tuple[str, str, int]]) -> int:
    """The money that is out by (kind, state, amount) of every fact: refunds until they fail, disputes not won."""
    return sum(
        amount
        for kind, state, amount in facts
        if (kind == "refund" and state != "failed") or (kind == "dispute" and state in ("open", "lost"))
    )


def needs_second_person(amount_minor: int, asked_before_minor: int, approval_above: int) -> bool:
    """Whether somebody else must approve. Refunds of one purchase count together: parts don't pass below the limit."""
    return asked_before_minor + amount_minor > approval_above


def is_same_person(actor: str, other: str) -> bool:
    """Whether two actors are one person, whatever role each of their keys has: staff keys belong to a named person."""
    return actor.partition(":")[2] == other.partition(":")[2]
