"""Refunds that support asks for: credits back first, then the money, then the credit note; or given back.

A reversal is the 24 hour rule's; what the catalogue's policy allows is decided in `flows/policy_refunds.py`.

The proposal, with its credits taken, is one transaction. The provider is asked afterwards by a job, with an
idempotency key made from our row, so a crash between the two only delays it. Its answer is a fact like any other.
"""

from dataclasses import dataclass
from typing import Literal

from sqlmodel import Session

from engine.clock import new_id
from engine.flows.converge import apply_facts, settle
from engine.flows.granting import commit_of, terms_of
from engine.flows.rails import rail_for_job, rail_of
from engine.payments import Fact, ProviderRefused, RefundRequest
from engine.rules.commands import fingerprint_of
from engine.rules.errors import AlreadyRefunded, NotFound, OwnApproval
from engine.rules.money import Money
from engine.rules.purchases import KnownFact, Reversible, check_approval, check_reversal, made_minor
from engine.rules.refunds import is_same_person
from engine.runtime import Runtime
from engine.store import books, outbox, purchases, replies
from engine.store.database import reading, transact
from engine.store.tables import PurchaseRow, ReversalRow

DECISION = "reversal decision"


def reverse_purchase(
    runtime: Runtime, purchase_id: str, reason: str, actor: str, key: str | None = None
) -> tuple[ReversalRow, bool]:
    """Take an untouched purchase back within its window; the reversal, and whether this key was answered before.

    Above the catalogue's `approval_above` the credits are taken now and a second person decides. The refusals
    and their order are those of `check_reversal`; a refusal changes nothing.
    """
    account_id = account_of(runtime, purchase_id)
    identity = fingerprint_of("support reversal", (purchase_id, reason))

    def work(session: Session) -> tuple[ReversalRow, bool]:
        if key is not None:
            reply = replies.find(session, account_id, "support reversal", key, identity)
            if reply is not None:
                return told_first(session, account_id, reply.answer), True
        reversal = _propose(session, runtime, account_id, purchase_id, reason, actor)
        if key is not None:
            answer, now = replies.snapshot(reversal), runtime.clock.now()
            replies.keep(session, account_id, "support reversal", key, identity, 202, answer, now)
        return reversal, False

    return transact(runtime.db, work)


def _propose(
    session: Session, runtime: Runtime, account_id: str, purchase_id: str, reason: str, actor: str
) -> ReversalRow:
    now = runtime.clock.now()
    books.lock_wallets(session, [account_id], now)
    purchase = purchases.get_purchase(session, account_id, purchase_id, lock=True)
    if purchase is None:
        raise NotFound("purchase")
    check_reversal(_reversible(session, runtime, purchase), now, runtime.catalog.refunds.window_hours)
    # From here the reversal must succeed.
    landed = terms_of(purchase, commit_of(session, purchase)).granted_credits
    order = RefundOrder("reversal", Money(purchase.amount_minor, purchase.currency), landed, reason)
    needs_approval = purchase.amount_minor > runtime.catalog.refunds.approval_above
    return propose(session, runtime, purchase, order, actor, needs_approval=needs_approval)


@dataclass(frozen=True, slots=True)
class RefundOrder:
    """Money that goes back and the credits taken for it; `kind` is what asked: the 24 hour rule or the policy."""

    kind: Literal["reversal", "refund"]
    amount: Money
    credits: int
    reason: str


def propose(
    session: Session,
    runtime: Runtime,
    purchase: PurchaseRow,
    order: RefundOrder,
    actor: str,
    *,
    needs_approval: bool,
) -> ReversalRow:
    """Take the credits now; ask the provider next, or a second person first. The wallet is locked, all is checked."""
    now = runtime.clock.now()
    account_id = purchase.account_id
    reversal = ReversalRow(
        account_id=account_id,
        reversal_id=new_id("rev", now),
        purchase_id=purchase.purchase_id,
        kind=order.kind,
        status="pending_approval" if needs_approval else "refunding",
        credits=order.credits,
        amount_minor=order.amount.minor,
        currency=order.amount.currency,
        reason=order.reason,
        requested_by=actor,
        created_at=now,
        updated_at=now,
    )
    purchase.updated_at = now
    session.add_all((reversal, purchase))
    session.flush()
    own = own_fact(session, runtime, purchase, reversal, "pending")
    purchases.keep_fact(session, account_id, purchase.purchase_id, own, now)
    settle(session, runtime, purchase, actor)
    if not needs_approval:
        outbox.enqueue(session, account_id, "refund", {"reversalId": reversal.reversal_id}, now)
    facts: dict[str, object] = {"purchaseId": purchase.purchase_id, "amountMinor": order.amount.minor}
    outbox.note_act(
        session, account_id, actor, f"{order.kind}.proposed", reversal.reversal_id, order.reason, facts, now
    )
    return reversal


def _reversible(session: Session, runtime: Runtime, purchase: PurchaseRow) -> Reversible:
    known = purchases.facts_of(session, purchase)
    provider = runtime.providers.get(purchase.provider)
    return Reversible(
        status=purchase.status,
        is_disputed=purchase.is_disputed,
        has_refunds=any(
            (f.kind == "refund" and f.state != "failed") or (f.kind == "dispute" and f.state in ("open", "lost"))
            for f in known
        ),
        provider_can_refund=provider is not None and provider.can_refund,
        provider=purchase.provider,
        landed_at=purchase.landed_at,
        lots=purchases.purchase_lots(session, purchase.account_id, purchase.purchase_id),
    )


def reversal_refusal(session: Session, runtime: Runtime, purchase: PurchaseRow) -> Exception | None:
    """Why this purchase can't be reversed now, or `None` if it can: what the support page shows."""
    try:
        check_reversal(
            _reversible(session, runtime, purchase), runtime.clock.now(), runtime.catalog.refunds.window_hours
        )
    except Exception as refusal:
        return refusal
    return None


def decide_reversal(
    runtime: Runtime, reversal_id: str, actor: str, *, approve: bool, reason: str = "", key: str | None = None
) -> tuple[ReversalRow, bool]:
    """Approve or reject a proposal; never one's own. A rejected one gives the credits back.

    What was disputed or refunded since is not approved; it waits on, and may be rejected. The reversal, and whether
    this key was answered before.
    """
    with reading(runtime.db) as session:
        found = purchases.find_reversal(session, reversal_id)
    if found is None:
        raise NotFound("reversal")
    account_id, purchase_id = found.account_id, found.purchase_id
    identity = fingerprint_of(DECISION, (reversal_id, approve, reason))

    def work(session: Session) -> tuple[ReversalRow, bool]:
        now = runtime.clock.now()
        books.lock_wallets(session, [account_id], now)
        if key is not None:
            reply = replies.find(session, account_id, DECISION, key, identity)
            if reply is not None:
                return told_first(session, account_id, reply.answer), True
        purchase = purchases.get_purchase(session, account_id, purchase_id, lock=True)
        reversal = _reversal(session, account_id, reversal_id)
        assert purchase is not None
        _check_decision(session, runtime, purchase, reversal, actor, approve=approve)
        # From here the decision must succeed.
        reversal.decided_by = actor
        reversal.updated_at = now
        if approve:
            reversal.status = "refunding"
            outbox.enqueue(session, account_id, "refund", {"reversalId": reversal_id}, now)
        else:
            reversal.status = "rejected"
            purchases.keep_fact(
                session, account_id, purchase_id, own_fact(session, runtime, purchase, reversal, "failed"), now
            )
        session.add(reversal)
        session.flush()
        settle(session, runtime, purchase, actor)
        action = f"{reversal.kind}.{'approved' if approve else 'rejected'}"
        outbox.note_act(session, account_id, actor, action, reversal_id, reason, {"purchaseId": purchase_id}, now)
        if key is not None:
            replies.keep(session, account_id, DECISION, key, identity, 202, replies.snapshot(reversal), now)
        return reversal, False

    return transact(runtime.db, work)


def _check_decision(
    session: Session, runtime: Runtime, purchase: PurchaseRow, reversal: ReversalRow, actor: str, *, approve: bool
) -> None:
    if reversal.status != "pending_approval":
        raise AlreadyRefunded("This reversal was decided before.", reversalStatus=reversal.status)
    if is_same_person(reversal.requested_by, actor):
        raise OwnApproval
    if approve:
        known = purchases.known_facts(session, purchase.account_id, purchase.purchase_id)
        freezes = runtime.catalog.refunds.early_fraud_warnings == "freeze"
        check_approval(known, reversal.reversal_id, purchase.amount_minor, freezes)


def send_refund(runtime: Runtime, account_id: str, reversal_id: str) -> ReversalRow:
    """Ask the provider for the money and note its answer; safe to repeat. `ProviderUnreachable`: try again later."""
    with reading(runtime.db) as session:
        reversal = _reversal(session, account_id, reversal_id)
        purchase = purchases.get_purchase(session, account_id, reversal.purchase_id)
        assert purchase is not None and purchase.provider_reference is not None
        made = made_minor(purchases.facts_of(session, purchase), purchase.currency, but=reversal_id)
    if reversal.status != "refunding":
        return reversal
    provider = rail_for_job(runtime, purchase.provider)
    request = RefundRequest(
        account_id=account_id,
        purchase_id=purchase.purchase_id,
        reversal_id=reversal_id,
        payment_id=_payment_of(runtime, reversal) or purchase.provider_reference,
        amount=Money(reversal.amount_minor, reversal.currency),
        idempotency_key=f"refund:{reversal_id}",
        is_whole=reversal.amount_minor == purchase.amount_minor,
        is_last=0 < made == purchase.amount_minor - reversal.amount_minor,
    )
    problem = None
    facts: tuple[Fact, ...] = ()
    try:
        facts = provider.refund(request)
    except ProviderRefused as refused:
        problem = str(refused)

    def work(session: Session) -> ReversalRow:
        now = runtime.clock.now()
        books.lock_wallets(session, [account_id], now)
        row = _reversal(session, account_id, reversal_id)
        if problem is not None and row.status == "refunding":
            row.status = "failed"
            row.problem = problem[:500]
            row.updated_at = now
            session.add(row)
            there = purchases.get_purchase(session, account_id, row.purchase_id, lock=True)
            assert there is not None
            purchases.keep_fact(
                session, account_id, row.purchase_id, own_fact(session, runtime, there, row, "failed"), now
            )
        apply_facts(session, runtime, account_id, row.purchase_id, facts, f"provider:{purchase.provider}")
        return _reversal(session, account_id, reversal_id)

    return transact(runtime.db, work)


def _payment_of(runtime: Runtime, reversal: ReversalRow) -> str | None:
    """The payment that was refunded when it was asked for; another one may have been credited since."""
    with reading(runtime.db) as session:
        return purchases.refunded_payment(session, reversal)


def own_fact(session: Session, runtime: Runtime, purchase: PurchaseRow, reversal: ReversalRow, state: str) -> KnownFact:
    """Our refund as a fact: version 0, so that the first word of the provider about it is newer.

    It is of the payment that the purchase named when it was first written, whatever else was paid since.
    """
    return KnownFact(
        fact_id=reversal.reversal_id,
        kind="refund",
        object_id=None,
        state=state,
        amount=Money(reversal.amount_minor, reversal.currency),
        version=0,
        is_live=rail_of(session, runtime, purchase).is_live,
        own_credits=reversal.credits,
        parent_id=purchases.refunded_payment(session, reversal) or purchase.provider_reference,
    )


def told_first(session: Session, account_id: str, answer: str) -> ReversalRow:
    """The reversal as its key was told of it first."""
    return replies.told(ReversalRow, answer) or _reversal(session, account_id, answer)


def _reversal(session: Session, account_id: str, reversal_id: str) -> ReversalRow:
    row = purchases.get_reversal(session, account_id, reversal_id)
    assert row is not None
    return row


def account_of(runtime: Runtime, purchase_id: str) -> str:
    with reading(runtime.db) as session:
        account_id = purchases.find_account(session, purchase_id)
    if account_id is None:
        raise NotFound("purchase")
    return account_id
