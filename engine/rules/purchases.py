"""What must be true of a purchase, given everything its provider has said: credit by object, not by event.

The facts of a purchase are a set, one per provider object, each at its newest version. From that set alone follow
the purchase's state and how many of its credits must be out, so duplicates, disorder, partial and repeated refunds,
disputes after refunds, refunds that fail later and wins all end in the same books.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from engine.rules.descriptions import money_label
from engine.rules.errors import (
    AlreadyRefunded,
    RefundCreditsTouched,
    RefundNotPossible,
    RefundWindowClosed,
)
from engine.rules.facts import Fact
from engine.rules.lots import Lot
from engine.rules.money import Money, share_down

FINAL_RANK = {
    "open": 0,
    "pending": 0,
    "inquiry": 0,
    "warning": 0,
    "processing": 1,
    "failed": 2,
    "cancelled": 2,
    "expired": 2,
    "won": 2,
    "prevented": 2,
    "lost": 2,
    "paid": 3,
    "succeeded": 3,
}
"""Which of two sightings with the same version is believed: the more final one."""


@dataclass(frozen=True, slots=True)
class KnownFact:
    """A fact as kept. `fact_id` is the provider's object id, or our reversal's id for a refund that we made;
    `own_credits` is what such a refund takes, exactly."""

    fact_id: str
    kind: str
    object_id: str | None
    state: str
    amount: Money
    version: int
    is_live: bool
    own_credits: int | None = None
    parent_id: str | None = None
    """The payment that a refund or dispute is of, where the provider names it."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What was agreed: the money, the credits it buys, and which payment they were credited for, if they were."""

    amount: Money
    base_credits: int
    bonus_credits: int
    has_landed: bool
    credited: str | None = None

    @property
    def granted_credits(self) -> int:
        return self.base_credits + self.bonus_credits


@dataclass(frozen=True, slots=True)
class Verdict:
    """What must be true now.

    `status` is the purchase's state; `paid_by` the payment object to credit; `out_credits` what must be out of the
    purchase counting open disputes, `firm_credits` the part for which spent credits are owed as well.
    """

    status: str
    is_disputed: bool
    paid_by: KnownFact | None
    out_credits: int
    firm_credits: int
    problem: str | None = None


def merge(known: Iterable[KnownFact], fact: Fact) -> KnownFact | None:
    """The fact to keep after `fact` was sighted, or `None` when what is known is as new.

    A refund that we made is recognised by our reversal id in it, or by the provider's id we noted before. Whatever
    currency the provider tells it in, it is the money that we asked for; and so it is where the share of a charge with
    tax on top is told a unit less.
    """
    mine = next((k for k in known if k.fact_id == fact.own_reference or k.object_id == fact.object_id), None)
    if mine is not None:
        if fact.version < mine.version:
            return None
        is_same_age = fact.version == mine.version
        if is_same_age and FINAL_RANK.get(fact.state, 1) <= FINAL_RANK.get(mine.state, 1):
            return None
    return KnownFact(
        fact_id=mine.fact_id if mine else fact.object_id,
        kind=fact.kind,
        object_id=fact.object_id,
        state=fact.state,
        amount=mine.amount if mine is not None and _is_as_asked(mine, fact.amount) else fact.amount,
        version=fact.version,
        is_live=fact.live,
        own_credits=mine.own_credits if mine else None,
        parent_id=fact.parent_id or (mine.parent_id if mine else None),
    )


def _is_as_asked(mine: KnownFact, told: Money) -> bool:
    """Whether what is told of a refund of ours is the money we asked for, but for currency or rounding."""
    is_near = told.currency != mine.amount.currency or abs(told.minor - mine.amount.minor) <= 1
    return mine.own_credits is not None and is_near


def made_minor(facts: Iterable[KnownFact], currency: str, *, but: str) -> int:
    """How much the refunds that a provider has made, or is making, give back, without one of them."""
    made = (f for f in facts if f.kind == "refund" and f.state != "failed" and f.object_id is not None)
    return sum(f.amount.minor for f in made if f.fact_id != but and f.amount.currency == currency)


def surplus_payments(facts: Iterable[KnownFact], credited: str | None) -> tuple[KnownFact, ...]:
    """Payments that came for a purchase after it had been credited for another one, in the order of their ids."""
    paid = [fact for fact in facts if fact.kind == "payment" and fact.state == "paid" and fact.fact_id != credited]
    return tuple(sorted(paid, key=lambda fact: fact.fact_id)) if credited is not None else ()


def sent_back_minor(facts: Iterable[KnownFact], payment_id: str, *, firm: bool) -> int:
    """How much of one payment's money went back, in its own currency; with `firm`, only what certainly did."""
    states = ("succeeded",) if firm else ("succeeded", "pending", "processing")
    known = tuple(facts)
    currency = next((f.amount.currency for f in known if f.kind == "payment" and f.fact_id == payment_id), None)
    back = [f for f in known if f.kind == "refund" and f.parent_id == payment_id and f.state in states]
    return sum(f.amount.minor for f in back if f.amount.currency == currency)


def about_credited(facts: Iterable[KnownFact], credited: str | None) -> tuple[KnownFact, ...]:
    """The facts that the credits follow: a refund or dispute of money that was never credited takes none."""
    known = tuple(facts)
    others = {fact.fact_id for fact in surplus_payments(known, credited)}
    return tuple(fact for fact in known if fact.kind == "payment" or fact.parent_id not in others)


def foreign_facts(facts: Iterable[KnownFact], currency: str) -> tuple[KnownFact, ...]:
    """Refunds and disputes in another currency than the purchase: no number says which part of it they are."""
    return tuple(f for f in facts if f.kind != "payment" and f.amount.currency != currency)


def converge(terms: Terms, facts: Iterable[KnownFact], is_live: bool, freezes_warnings: bool = False) -> Verdict:
    """Judge a purchase by all its facts. `is_live` is the mode our keys for this provider are in.

    With `freezes_warnings` an issuer's early warning of fraud counts as an open dispute: what is unspent stays out
    until it is over. Else it is noted and moves nothing. What is in another currency moves nothing either: it can't be
    reckoned, and a person decides.
    """
    waiting = ("open", "warning") if freezes_warnings else ("open",)
    facts = tuple(facts)
    payment = best_payment(terms, facts, is_live)
    judged = payment.fact_id if payment is not None and payment.state == "paid" else None
    known = about_credited(facts, terms.credited or judged)
    currency = terms.amount.currency if terms.has_landed or payment is None else payment.amount.currency
    known = tuple(f for f in known if f.kind == "payment" or f.amount.currency == currency)
    if payment is None:
        return Verdict("open", False, None, 0, 0)
    if payment.state != "paid":
        return Verdict(payment.state, False, None, 0, 0)
    problem = None if terms.has_landed else _mismatch(terms, payment, is_live)
    gone = sum(f.amount.minor for f in known if f.kind == "refund" and f.state == "succeeded")
    if problem is not None:
        status = "refunded" if 0 < payment.amount.minor <= gone else "quarantined"
        return Verdict(status, False, None, 0, 0, problem)
    disputes = [f for f in known if f.kind == "dispute"]
    is_disputed = any(f.state in waiting for f in disputes)
    out = _out_credits(terms, known, (*waiting, "lost"))
    firm = _out_credits(terms, known, ("lost",))
    gone += sum(f.amount.minor for f in disputes if f.state == "lost")
    status = "paid" if gone == 0 else "refunded" if gone >= terms.amount.minor else "partially_refunded"
    return Verdict(status, is_disputed, payment, out, firm)


def best_payment(terms: Terms, facts: Iterable[KnownFact], is_live: bool) -> KnownFact | None:
    """The payment that speaks for the purchase: paid beats all.

    Of several that were paid it is the credited one, if there is one; then the one that was agreed, whenever it came;
    then one whose money is still here; then the first known.
    """
    rank = {"open": 1, "expired": 2, "failed": 2, "cancelled": 2, "processing": 3, "paid": 4}
    known = tuple(facts)

    def place(payment: KnownFact) -> tuple[int, bool, bool, bool, int]:
        is_credited = payment.fact_id == terms.credited
        is_agreed = _mismatch(terms, payment, is_live) is None
        is_here = sent_back_minor(known, payment.fact_id, firm=True) < payment.amount.minor
        return rank.get(payment.state, 0), is_credited, is_agreed, is_here, -payment.version

    payments = sorted((f for f in known if f.kind == "payment"), key=lambda f: f.fact_id)
    return max(payments, key=place, default=None)


def _mismatch(terms: Terms, payment: KnownFact, is_live: bool) -> str | None:
    if payment.is_live != is_live:
        return "the payment is " + ("live" if payment.is_live else "a test") + ", this service is not"
    if payment.amount != terms.amount:
        return f"paid {money_label(payment.amount)}, agreed {money_label(terms.amount)}"
    return None


def _out_credits(terms: Terms, facts: Iterable[KnownFact], dispute_states: tuple[str, ...]) -> int:
    """Credits that must be out: what our own refunds name, and the rest of the money in proportion, rounded down.

    `out = min(paid, Σ effective refunds + Σ disputes)`; a refund counts until it fails, and at 100 % all is out.
    """
    paid = terms.amount.minor
    own_minor = own_credits = other_minor = 0
    for fact in facts:
        if not _is_out(fact, dispute_states):
            continue
        if fact.kind == "refund" and fact.own_credits is not None:
            own_minor += fact.amount.minor
            own_credits += fact.own_credits
        else:
            other_minor += fact.amount.minor
    out_minor = min(paid, own_minor + other_minor)
    if out_minor >= paid:
        return terms.granted_credits
    shared = share_down(terms.granted_credits, max(0, out_minor - own_minor), paid)
    return min(terms.granted_credits, own_credits + shared)


def _is_out(fact: KnownFact, dispute_states: tuple[str, ...]) -> bool:
    if fact.kind == "refund":
        return fact.state != "failed"
    return fact.kind == "dispute" and fact.state in dispute_states


def money_moved(
    terms: Terms, facts: Iterable[KnownFact], dispute_states: tuple[str, ...], before_credits: int
) -> int | None:
    """The money behind a change of the credits that are out, from `before_credits` to what the facts demand.

    It is that of the newest refund or dispute, else of the newest ones together, without which as much was out as
    before; where one failed or was won, with which. `None` where no such fact explains it.
    """
    known = [
        fact
        for fact in about_credited(facts, terms.credited)
        if fact.kind != "payment" and fact.amount.currency == terms.amount.currency
    ]
    newest = sorted(known, key=lambda fact: (fact.version, fact.fact_id), reverse=True)
    present = [fact for fact in newest if _is_out(fact, dispute_states)]
    gone = [replace(fact, state=dispute_states[0]) for fact in newest if not _is_out(fact, dispute_states)]
    for changed, is_new in ((present, True), (gone, False)):
        for some in [[each] for each in changed] + [changed[:n] for n in range(2, len(changed) + 1)]:
            earlier = [each for each in present if each not in some] if is_new else [*present, *some]
            if _out_credits(terms, earlier, dispute_states) == before_credits:
                return abs(_out_minor(terms, present) - _out_minor(terms, earlier))
    return None


def _out_minor(terms: Terms, facts: Iterable[KnownFact]) -> int:
    return min(terms.amount.minor, sum(fact.amount.minor for fact in facts))


@dataclass(frozen=True, slots=True)
class Demands:
    """What the facts demand, and what it follows from; `states` are those of disputes that take credits."""

    verdict: Verdict
    terms: Terms
    known: tuple[KnownFact, ...]
    states: tuple[str, ...]

    def moved(self, before_credits: int, *, is_firm: bool) -> int | None:
        """The money behind a change of what is out, if facts explain it."""
        return money_moved(self.terms, self.known, self.states[:1] if is_firm else self.states, before_credits)

    def money_out(self, out_credits: int) -> int:
        """The money that is out once so many credits are: what went back for good, and of an open dispute's the part
        of its credits that could be taken."""
        firm, whole = self._minor(self.states[:1]), self._minor(self.states)
        waiting = self.verdict.out_credits - self.verdict.firm_credits
        taken = min(waiting, max(0, out_credits - self.verdict.firm_credits))
        return firm + (share_down(whole - firm, taken, waiting) if waiting > 0 else 0)

    def _minor(self, dispute_states: tuple[str, ...]) -> int:
        known = about_credited(self.known, self.terms.credited)
        own = [f for f in known if f.kind != "payment" and f.amount.currency == self.terms.amount.currency]
        return _out_minor(self.terms, [fact for fact in own if _is_out(fact, dispute_states)])


@dataclass(frozen=True, slots=True)
class Reversible:
    """What the 24 hour rule looks at."""

    status: str
    is_disputed: bool
    has_refunds: bool
    provider_can_refund: bool
    provider: str
    landed_at: datetime | None
    lots: tuple[Lot, ...]


def check_reversal(purchase: Reversible, now: datetime, window_hours: int) -> None:
    """Whether an untouched purchase may be reversed now; refusals in the order support reads them (SPEC §4).

    The window is half-open: `now < landed_at + window`. Untouched means that nothing of any of its lots, bonus
    included, is spent, held, taken or expired.
    """
    if purchase.status in ("refunded", "partially_refunded") or purchase.is_disputed or purchase.has_refunds:
        raise AlreadyRefunded("This purchase was already refunded or is disputed.")
    if purchase.status != "paid" or purchase.landed_at is None:
        raise RefundNotPossible("This purchase was not paid.")
    if not purchase.provider_can_refund:
        raise RefundNotPossible(f"{purchase.provider} decides its own refunds; they can't be made from here.")
    ends = purchase.landed_at + timedelta(hours=window_hours)
    if now >= ends:
        raise RefundWindowClosed(
            f"The {window_hours} hours after the purchase are over.",
            windowEndedAt=ends.isoformat().replace("+00:00", "Z"),
        )
    if not is_untouched(purchase.lots):
        raise RefundCreditsTouched("Some of the purchase's credits were used.")


def check_approval(facts: Iterable[KnownFact], own_id: str, agreed_minor: int, freezes_warnings: bool) -> None:
    """Whether a refund of ours that waited for a second person may go now; its own fact is among the purchase's.

    No dispute of its payment may be open, and so much of its money be left: what is in another currency hides that.
    """
    known = tuple(facts)
    own = next(fact for fact in known if fact.fact_id == own_id)
    paid = next((f.amount.minor for f in known if f.kind == "payment" and f.fact_id == own.parent_id), agreed_minor)
    waiting = ("open", "warning") if freezes_warnings else ("open",)
    out = [fact for fact in about_credited(known, own.parent_id) if _is_out(fact, (*waiting, "lost"))]
    is_disputed = any(fact.kind == "dispute" and fact.state in waiting for fact in out)
    is_foreign = any(fact.amount.currency != own.amount.currency for fact in out)
    if is_disputed or is_foreign or sum(fact.amount.minor for fact in out) > paid:
        raise AlreadyRefunded(
            "Since this was proposed the purchase was disputed or refunded: it can't be approved now."
        )


def is_untouched(lots: Iterable[Lot]) -> bool:
    """Whether each lot still holds all that it was granted."""
    return all(lot.remaining_credits == lot.granted_credits for lot in lots)
