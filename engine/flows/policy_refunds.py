"""Refunds by the catalogue's policy: a part or all of a purchase's money goes back, with its share of the credits.

What may go back is decided by `rules/refunds.py` on the locked wallet; from there a refund is what a reversal is:
proposed with its credits taken, approved above the limit, sent to the provider by a job, ended by its answer.
"""

from dataclasses import dataclass, replace

from sqlmodel import Session

from engine import book
from engine.flows.granting import terms_of
from engine.flows.refunds import RefundOrder, account_of, propose, told_first
from engine.flows.subscription_months import credits_to_come
from engine.rules.commands import Expire, fingerprint_of
from engine.rules.errors import NotFound, RefundNotPossible, Refusal, WalletNotActive
from engine.rules.money import Money
from engine.rules.purchases import converge, foreign_facts
from engine.rules.refunds import Refundable, decide_refund, gone_minor, needs_second_person, refund_max
from engine.runtime import Runtime
from engine.store import books, purchases, replies
from engine.store.database import transact
from engine.store.tables import PurchaseRow, ReversalRow

OPERATION = "support refund"
UNDER_WAY = ("pending_approval", "refunding", "succeeded")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRefund:
    """What support asks for. Without `amount_minor` it is the unspent share."""

    purchase_id: str
    amount_minor: int | None
    reason: str
    actor: str
    is_admin: bool
    key: str


def refund_purchase(runtime: Runtime, wanted: PolicyRefund) -> tuple[ReversalRow, bool]:
    """Give a part of a purchase back by the policy; the refund, and whether this key was answered before.

    Refused in this order: refunded or disputed, not by this policy or provider, nothing left to give back. A
    refusal changes nothing.
    """
    account_id = account_of(runtime, wanted.purchase_id)
    identity = fingerprint_of(OPERATION, (wanted.purchase_id, wanted.amount_minor, wanted.reason))

    def work(session: Session) -> tuple[ReversalRow, bool]:
        now = runtime.clock.now()
        page = books.lock_wallets(session, [account_id], now)[account_id]
        reply = replies.find(session, account_id, OPERATION, wanted.key, identity)
        if reply is not None:
            return told_first(session, account_id, reply.answer), True
        if page.wallet.status == "closed":
            raise WalletNotActive(page.wallet.status)
        made = _refund(session, runtime, account_id, wanted)
        replies.keep(session, account_id, OPERATION, wanted.key, identity, 202, replies.snapshot(made), now)
        return made, False

    return transact(runtime.db, work)


def _refund(session: Session, runtime: Runtime, account_id: str, wanted: PolicyRefund) -> ReversalRow:
    due = Expire(account_id=account_id, actor="system")
    book.post(session, [due], runtime.terms, runtime.clock.now())  # a hold that is over holds nothing
    purchase = purchases.get_purchase(session, account_id, wanted.purchase_id, lock=True)
    if purchase is None:
        raise NotFound("purchase")
    rules = runtime.catalog.refunds
    terms = decide_refund(
        refundable(session, runtime, purchase), rules.policy, wanted.amount_minor, is_admin=wanted.is_admin
    )
    _check_reckonable(session, purchase)
    order = RefundOrder("refund", Money(terms.amount_minor, purchase.currency), terms.credits, wanted.reason)
    above = needs_approval(session, runtime, purchase, terms.amount_minor)
    return propose(session, runtime, purchase, order, wanted.actor, needs_approval=above)


def _check_reckonable(session: Session, purchase: PurchaseRow) -> None:
    """Refuse where money went back in another currency: what is left of the price can't be reckoned."""
    foreign = foreign_facts(purchases.facts_of(session, purchase), purchase.currency)
    if gone_minor((fact.kind, fact.state, fact.amount.minor) for fact in foreign):
        raise RefundNotPossible("Money went back in another currency, so what is left can't be reckoned here.")


def needs_approval(session: Session, runtime: Runtime, purchase: PurchaseRow, amount_minor: int) -> bool:
    """Whether a second person must approve this much, counted with what was asked back of the purchase before."""
    earlier = purchases.reversals_of(session, purchase.account_id, purchase.purchase_id)
    asked = sum(row.amount_minor for row in earlier if row.status in UNDER_WAY)
    return needs_second_person(amount_minor, asked, runtime.catalog.refunds.approval_above)


def refundable(session: Session, runtime: Runtime, purchase: PurchaseRow) -> Refundable:
    """The purchase as the policy looks at it: a commit plan or a paid year whole, whatever of it has landed."""
    to_come = credits_to_come(session, purchase)
    whole = replace(terms_of(purchase, None), base_credits=purchase.base_credits + to_come)
    known = [f for f in purchases.facts_of(session, purchase) if f.amount.currency == purchase.currency]
    lots = purchases.purchase_lots(session, purchase.account_id, purchase.purchase_id)
    provider = runtime.providers.get(purchase.provider)
    return Refundable(
        status=purchase.status,
        is_disputed=purchase.is_disputed,
        has_landed=purchase.landed_at is not None,
        provider=purchase.provider,
        provider_can_refund=provider is not None and provider.can_refund,
        paid_minor=purchase.amount_minor,
        gone_minor=gone_minor((fact.kind, fact.state, fact.amount.minor) for fact in known),
        granted_credits=whole.granted_credits,
        remaining_credits=sum(lot.remaining_credits for lot in lots) + to_come,
        out_credits=purchase.credits_out,
        named_credits=converge(whole, known, True).out_credits,
    )


@dataclass(frozen=True, slots=True)
class Offer:
    """What the support page says of a purchase: the most that may go back, the unspent share, or why nothing may."""

    max_minor: int
    unspent_minor: int
    refusal: Refusal | None


def refund_offer(session: Session, runtime: Runtime, purchase: PurchaseRow, *, is_admin: bool) -> Offer:
    """What this person may give back now."""
    seen = refundable(session, runtime, purchase)
    try:
        most = refund_max(seen, runtime.catalog.refunds.policy, is_admin=is_admin)
        _check_reckonable(session, purchase)
    except Refusal as refusal:
        return Offer(0, seen.unspent_minor, refusal)
    return Offer(most, seen.unspent_minor, None)
