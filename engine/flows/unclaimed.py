"""Payments whose account is unknown: kept until they are bound to an account, once in the whole service.

Whoever brings the payment says what it buys. Binding makes the purchase it should have had and credits it by the same
rules as any other, in one transaction with the claim on the provider's object.
"""

from dataclasses import dataclass

import msgspec
from sqlmodel import Session

from engine.clock import new_id
from engine.flows.converge import apply_facts
from engine.payments import PaymentProvider, ProviderRefused, RefundRequest
from engine.rules.errors import AlreadyRefunded, NotFound, RefundNotPossible, WalletNotActive
from engine.rules.facts import Fact
from engine.rules.money import Money
from engine.runtime import Runtime
from engine.store import books, outbox, proposals
from engine.store.database import reading, transact
from engine.store.tables import PurchaseRow, UnclaimedRow

NOBODY = ""
"""The account of work and audit lines that concern a payment of nobody's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unclaimed:
    """A payment that nobody has claimed, and what it buys."""

    fact: Fact
    base_credits: int
    bonus_credits: int
    tier: str
    description: str


@dataclass(frozen=True, slots=True)
class Decided:
    """A payment as it was decided; `is_replay` when it was decided this way before."""

    row: UnclaimedRow
    is_replay: bool


def keep(session: Session, runtime: Runtime, provider: PaymentProvider, payment: Unclaimed) -> UnclaimedRow:
    """Keep a payment for the desk, in the caller's transaction; the same object again is the same row."""
    now = runtime.clock.now()
    return proposals.add_unclaimed(
        session,
        UnclaimedRow(
            provider=provider.name,
            provider_account=provider.account,
            mode="live" if provider.is_live else "test",
            object_id=payment.fact.object_id,
            payment_id=new_id("unc", now),
            amount_minor=payment.fact.amount.minor,
            currency=payment.fact.amount.currency,
            base_credits=payment.base_credits,
            bonus_credits=payment.bonus_credits,
            tier=payment.tier,
            description=payment.description,
            fact=msgspec.json.encode(payment.fact).decode(),
            created_at=now,
            updated_at=now,
        ),
    )


def bind(runtime: Runtime, payment_id: str, account_id: str, actor: str, reason: str) -> Decided:
    """Give a payment to an account and credit it. Bound before to that account: the same answer."""

    def work(session: Session) -> Decided:
        now = runtime.clock.now()
        page = books.lock_wallets(session, [account_id], now).get(account_id)
        row = _waiting(session, payment_id)
        if row.status == "bound" and row.account_id == account_id:
            return Decided(row, is_replay=True)
        _check_waits(row)
        if page is None:
            raise NotFound("account")
        if page.wallet.status == "closed":
            raise WalletNotActive(page.wallet.status)
        provider = _provider(runtime, row)
        # From here it must succeed, unless the payment was claimed by other ways meanwhile.
        purchase = _purchase(session, runtime, row, account_id, actor)
        fact = msgspec.json.decode(row.fact, type=Fact)
        apply_facts(session, runtime, account_id, purchase.purchase_id, [fact], f"provider:{provider.name}")
        if purchase.landed_at is None:
            raise AlreadyRefunded(f"It can't be credited: {purchase.problem or purchase.status}.")
        row.account_id, row.purchase_id = account_id, purchase.purchase_id
        _end(session, runtime, row, "bound", actor, reason)
        return Decided(row, is_replay=False)

    return transact(runtime.db, work)


def dismiss(runtime: Runtime, payment_id: str, actor: str, reason: str) -> Decided:
    """Leave a payment as it is: it was dealt with elsewhere."""
    return transact(runtime.db, lambda session: _give_up(session, runtime, payment_id, "dismissed", actor, reason))


def refund(runtime: Runtime, payment_id: str, actor: str, reason: str) -> Decided:
    """Send a payment back where the provider can; a job asks for it."""
    return transact(runtime.db, lambda session: _give_up(session, runtime, payment_id, "refunding", actor, reason))


def send_refund(runtime: Runtime, payment_id: str) -> None:
    """Ask the provider for the money; safe to repeat. A no puts the payment back into the queue, with its words."""
    with reading(runtime.db) as session:
        row = proposals.find_unclaimed(session, payment_id)
    if row is None or row.status != "refunding":
        return
    request = RefundRequest(
        account_id=NOBODY,
        purchase_id=payment_id,
        reversal_id=payment_id,
        payment_id=row.object_id,
        amount=Money(row.amount_minor, row.currency),
        idempotency_key=f"refund:{payment_id}:{row.updated_at.isoformat()}",
    )
    problem = None
    try:
        facts = _provider(runtime, row).refund(request)
        if any(fact.state == "failed" for fact in facts):
            problem = "The provider's refund failed."
    except ProviderRefused as refused:
        problem = str(refused)

    def work(session: Session) -> None:
        there = _waiting(session, payment_id)
        if there.status == "refunding":
            there.status = "refunded" if problem is None else "waiting"
            there.problem = problem[:500] if problem is not None else None
            there.updated_at = runtime.clock.now()
            session.add(there)

    transact(runtime.db, work)


def _give_up(session: Session, runtime: Runtime, payment_id: str, status: str, actor: str, reason: str) -> Decided:
    row = _waiting(session, payment_id)
    if row.status == status or (status == "refunding" and row.status == "refunded"):
        return Decided(row, is_replay=True)
    _check_waits(row)
    if status == "refunding":
        provider = _provider(runtime, row)
        if not provider.can_refund:
            raise RefundNotPossible(f"{row.provider} decides its own refunds; they can't be made from here.")
        now = runtime.clock.now()
        outbox.enqueue(session, NOBODY, "refund_unclaimed", {"paymentId": payment_id}, now)
    _end(session, runtime, row, status, actor, reason)
    return Decided(row, is_replay=False)


def _waiting(session: Session, payment_id: str) -> UnclaimedRow:
    row = proposals.find_unclaimed(session, payment_id, lock=True)
    if row is None:
        raise NotFound("unclaimed payment")
    return row


def _check_waits(row: UnclaimedRow) -> None:
    if row.status != "waiting":
        raise AlreadyRefunded("This was decided before.", decided=row.status)


def _provider(runtime: Runtime, row: UnclaimedRow) -> PaymentProvider:
    provider = runtime.providers.get(row.provider)
    if provider is None:
        raise RefundNotPossible(f"{row.provider} is not configured any more.")
    return provider


def _purchase(session: Session, runtime: Runtime, row: UnclaimedRow, account_id: str, actor: str) -> PurchaseRow:
    now = runtime.clock.now()
    purchase = PurchaseRow(
        account_id=account_id,
        purchase_id=new_id("pay", now),
        provider=row.provider,
        status="open",
        amount_minor=row.amount_minor,
        currency=row.currency,
        base_credits=row.base_credits,
        bonus_credits=row.bonus_credits,
        tier=row.tier,
        description=row.description,
        success_url="",
        cancel_url="",
        actor=actor,
        created_at=now,
        expires_at=now,
        updated_at=now,
    )
    session.add(purchase)
    session.flush()
    return purchase


def _end(session: Session, runtime: Runtime, row: UnclaimedRow, status: str, actor: str, reason: str) -> None:
    now = runtime.clock.now()
    row.status, row.decided_by, row.reason, row.updated_at = status, actor, reason, now
    session.add(row)
    facts: dict[str, object] = {"provider": row.provider, "objectId": row.object_id}
    if row.purchase_id is not None:
        facts["purchaseId"] = row.purchase_id
    act = f"unclaimed.{status}"
    outbox.note_act(session, row.account_id or NOBODY, actor, act, row.payment_id, reason, facts, now)
