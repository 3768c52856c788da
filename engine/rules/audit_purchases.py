"""What the audit asks of one purchase: that its row, and the credits that are out of it, follow from its facts.

Exactly so for whatever is no subscription's payment and has no dispute open: `out_credits` is what the facts demand.
While one is open only what was still there is taken, so it lies between what is owed for good and all that is demanded.
Of a subscription's payment nothing spent is taken: there it is no more than the facts demand, and may be less.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.rules.purchases import KnownFact, Terms, converge


@dataclass(frozen=True, slots=True)
class KeptPurchase:
    """A purchase as its row has it. `is_accepted`: a person decided that its payment counts as it came."""

    terms: Terms
    status: str
    is_disputed: bool
    out_credits: int
    has_problem: bool
    is_of_subscription: bool
    is_accepted: bool


def wrong_with(kept: KeptPurchase, facts: Sequence[KnownFact]) -> Iterator[str]:
    """How a purchase's row disagrees with its facts."""
    terms = kept.terms
    if not terms.has_landed:
        if kept.status in ("paid", "partially_refunded"):
            yield f"it is {kept.status} and never landed"
        return
    payment = next((fact for fact in facts if fact.kind == "payment" and fact.fact_id == terms.credited), None)
    if payment is None or payment.state != "paid":
        yield "it landed, and of its payment it is not known that it was paid"
        return
    if payment.amount != terms.amount and not (kept.is_accepted and payment.amount.minor == 0):
        yield (
            f"{payment.amount.minor} {payment.amount.currency} were paid, "
            f"{terms.amount.minor} {terms.amount.currency} are its price"
        )
    yield from _wrong_after(kept, facts, payment)


def _wrong_after(kept: KeptPurchase, facts: Sequence[KnownFact], payment: KnownFact) -> Iterator[str]:
    """What came of it since it landed. Whether a warning of fraud counts as a dispute is the catalogue's to say, and
    may have been said otherwise when it came."""
    status, is_disputed, least, most = "paid", {False}, 0, 0
    if len(facts) > 1:
        verdict = converge(kept.terms, facts, payment.is_live)
        warned = converge(kept.terms, facts, payment.is_live, freezes_warnings=True)
        status, is_disputed = verdict.status, {verdict.is_disputed, warned.is_disputed}
        least, most = verdict.firm_credits, warned.out_credits
    waits = kept.is_of_subscription and kept.has_problem and kept.status == "quarantined"
    if kept.status != status and not waits:
        yield f"it is {kept.status}, its facts make it {status}"
    if kept.is_disputed not in is_disputed:
        yield (
            "it is disputed and its facts say no" if kept.is_disputed else "it is not disputed and its facts say it is"
        )
    if not (0 if kept.is_of_subscription else least) <= kept.out_credits <= most:
        demanded = str(most) if least == most else f"{least} to {most}"
        yield f"{kept.out_credits} credits are out of it, its facts demand {demanded}"
