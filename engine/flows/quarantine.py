"""Payments that were not credited and wait for an operator: credited after all, sent back, or left as they are.

A purchase is quarantined when the payment differs from what was agreed, belongs to another purchase, or lands on a
wallet that takes nothing any more. Each act writes its decision down in the transaction that carries it out.
"""

from dataclasses import dataclass, replace
from typing import Literal

from sqlmodel import Session

from engine.flows.converge import settle
from engine.flows.granting import commit_of, terms_of
from engine.flows.policy_refunds import needs_approval
from engine.flows.rails import Rail, rail_of
from engine.flows.refunds import RefundOrder, account_of, propose
from engine.flows.second_payments import note_second_payments
from engine.rules.errors import AlreadyRefunded, Invalid, NotFound, RefundNotPossible
from engine.rules.purchases import KnownFact, best_payment
from engine.runtime import Runtime
from engine.store import books, outbox, proposals, purchases
from engine.store.database import transact
from engine.store.tables import PurchaseRow, ResolutionRow

Action = Literal["credit", "refund", "dismiss"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What an operator decides of a purchase that was not credited, and why."""

    purchase_id: str
    action: Action
    reason: str
    actor: str


@dataclass(frozen=True, slots=True)
class Ruled:
    """The purchase and the decision as they stand; `is_replay` when it was decided this way before."""

    purchase: PurchaseRow
    resolution: ResolutionRow
    is_replay: bool


def rule(runtime: Runtime, ruling: Ruling) -> Ruled:
    """Carry an operator's decision out, once. Two people at once: the second gets the same answer, or a refusal."""
    account_id = account_of(runtime, ruling.purchase_id)

    def work(session: Session) -> Ruled:
        books.lock_wallets(session, [account_id], runtime.clock.now())
        purchase = purchases.get_purchase(session, account_id, ruling.purchase_id, lock=True)
        assert purchase is not None, "it was found before, and purchases are never deleted"
        before = proposals.resolution_of(session, account_id, ruling.purchase_id)
        if before is not None:
            if before.action == ruling.action:
                return Ruled(purchase, before, is_replay=True)
            raise AlreadyRefunded("This was decided before.", decided=before.action)
        if purchase.status != "quarantined":
            raise NotFound("quarantined purchase")
        return Ruled(purchase, _carry_out(session, runtime, purchase, ruling), is_replay=False)

    return transact(runtime.db, work)


def _carry_out(session: Session, runtime: Runtime, purchase: PurchaseRow, ruling: Ruling) -> ResolutionRow:
    now = runtime.clock.now()
    facts: dict[str, object] = {"agreedMinor": purchase.amount_minor, "agreedCurrency": purchase.currency}
    facts["problem"] = purchase.problem or ""
    rail = rail_of(session, runtime, purchase)
    payment = _payment(session, purchase, rail)
    reversal_id = None
    if ruling.action == "credit":
        _credit(session, runtime, purchase, payment, ruling.actor)
        facts |= {"paidMinor": purchase.amount_minor, "paidCurrency": purchase.currency}
    elif ruling.action == "refund":
        reversal_id = _refund(session, runtime, purchase, payment, ruling)
        facts["reversalId"] = reversal_id
    else:
        purchase.provider_reference = payment.object_id
        session.add(purchase)
    resolution = ResolutionRow(
        account_id=purchase.account_id,
        purchase_id=purchase.purchase_id,
        action=ruling.action,
        actor=ruling.actor,
        reason=ruling.reason,
        reversal_id=reversal_id,
        created_at=now,
    )
    kept = session.merge(resolution)
    session.flush()
    note_second_payments(session, purchase, rail, now)
    act = f"quarantine.{ruling.action}"
    outbox.note_act(session, purchase.account_id, ruling.actor, act, purchase.purchase_id, ruling.reason, facts, now)
    return kept


def _credit(session: Session, runtime: Runtime, purchase: PurchaseRow, payment: KnownFact, actor: str) -> None:
    """Grant what the purchase says. What was really paid becomes its price: receipts and refunds follow that."""
    purchase.provider_reference = payment.object_id
    if payment.amount.minor > 0:
        purchase.amount_minor, purchase.currency = payment.amount.minor, payment.amount.currency
    settle(session, runtime, purchase, actor, is_accepted=True)
    if purchase.landed_at is None:
        raise Invalid("action", f"It can't be credited: {(purchase.problem or '').rstrip('.')}.")


def _refund(session: Session, runtime: Runtime, purchase: PurchaseRow, payment: KnownFact, ruling: Ruling) -> str:
    """Ask for all that was paid back; the reversal's id. Nothing was granted, so nothing is taken."""
    provider = runtime.providers.get(purchase.provider)
    if provider is None or not provider.can_refund:
        raise RefundNotPossible(f"{purchase.provider} decides its own refunds; they can't be made from here.")
    claimed = "live" if payment.is_live else "test"
    assert payment.object_id is not None, "a payment that was sighted has an id"
    owner = purchases.claim_of(session, provider.name, provider.account, claimed, "payment", payment.object_id)
    if owner is not None and owner.purchase_id != purchase.purchase_id:
        raise RefundNotPossible("This payment belongs to another purchase: refund that one.")
    purchase.provider_reference = payment.object_id
    order = RefundOrder("refund", payment.amount, 0, ruling.reason)
    above = needs_approval(session, runtime, purchase, payment.amount.minor)
    return propose(session, runtime, purchase, order, ruling.actor, needs_approval=above).reversal_id


def _payment(session: Session, purchase: PurchaseRow, rail: Rail) -> KnownFact:
    """The payment that is ruled on: the one that was before, else the one that speaks for the purchase."""
    known = purchases.known_facts(session, purchase.account_id, purchase.purchase_id)
    terms = replace(terms_of(purchase, commit_of(session, purchase)), credited=purchase.provider_reference)
    payment = best_payment(terms, known, rail.is_live)
    assert payment is not None, "what is quarantined was paid"
    return payment
