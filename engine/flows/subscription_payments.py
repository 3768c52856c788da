"""Payments of subscriptions: each paid invoice stands in the list of payments, and its refund with it."""

from datetime import datetime

from sqlmodel import Session

from engine.clock import new_id
from engine.flows.converge import apply_facts
from engine.rules.descriptions import describe
from engine.rules.facts import Fact
from engine.rules.money import Money
from engine.rules.purchases import KnownFact
from engine.runtime import Runtime
from engine.store import outbox, purchases, subscriptions
from engine.store.tables import PurchaseRow, SubscriptionInvoiceRow, SubscriptionRow


def note_payment(
    session: Session, runtime: Runtime, row: SubscriptionRow, invoice: SubscriptionInvoiceRow
) -> PurchaseRow:
    """A paid invoice stands in the list of payments, as a purchase that landed; with a problem it goes to review."""
    now = runtime.clock.now()
    plan = subscriptions.read_terms(invoice.terms).plan
    payment_id = invoice.payment_id or invoice.invoice_id
    purchase = PurchaseRow(
        account_id=row.account_id,
        purchase_id=new_id("pay", now),
        provider=row.provider,
        status="paid" if invoice.problem is None else "quarantined",
        amount_minor=invoice.amount_minor,
        currency=invoice.currency,
        base_credits=0,
        tier=plan.name,
        description=describe(runtime.catalog.descriptions.monthly_credit, plan=plan.name),
        success_url="",
        cancel_url="",
        provider_reference=payment_id,
        receipt_url=invoice.receipt_url,
        problem=invoice.problem,
        actor=row.actor,
        created_at=now,
        expires_at=now,
        landed_at=now if invoice.problem is None else None,
        updated_at=now,
        subscription_id=row.subscription_id,
    )
    session.add(purchase)
    session.flush()
    _claim(session, runtime, invoice, purchase, payment_id)
    amount = Money(invoice.amount_minor, invoice.currency)
    fact = KnownFact(payment_id, "payment", payment_id, "paid", amount, invoice.version, invoice.is_live)
    purchases.keep_fact(session, row.account_id, purchase.purchase_id, fact, now)
    invoice.purchase_id = purchase.purchase_id
    session.add(invoice)
    session.flush()
    return purchase


def _claim(
    session: Session, runtime: Runtime, invoice: SubscriptionInvoiceRow, purchase: PurchaseRow, payment_id: str
) -> None:
    """Claim the payment where its invoice was claimed, should the provider be switched off since."""
    provider = runtime.providers.get(purchase.provider)
    claimed = subscriptions.claimed_account(session, purchase.provider, "invoice", invoice.invoice_id)
    provider_account = provider.account if provider is not None else claimed
    if provider_account is not None:
        mode = "live" if invoice.is_live else "test"
        owner = (purchase.account_id, purchase.purchase_id)
        now = runtime.clock.now()
        subscriptions.claim(session, purchase.provider, provider_account, mode, "payment", payment_id, owner, now)


def tell_payment(session: Session, purchase: PurchaseRow, now: datetime) -> None:
    """What a payment that landed sets off: its receipt and its event."""
    if purchase.landed_at is None:
        return
    receipt: dict[str, object] = {"purchaseId": purchase.purchase_id, "kind": "receipt"}
    outbox.enqueue(session, purchase.account_id, "document", receipt, now)
    data: dict[str, object] = {
        "purchaseId": purchase.purchase_id,
        "subscriptionId": purchase.subscription_id,
        "amountMinor": purchase.amount_minor,
        "currency": purchase.currency,
        "provider": purchase.provider,
    }
    outbox.emit(session, purchase.account_id, "purchase.completed", data, now)


def refund_payment(
    session: Session, runtime: Runtime, row: SubscriptionRow, invoice: SubscriptionInvoiceRow, actor: str
) -> None:
    """A renewal that its provider says was refunded: its payment has a refund of all of it, once. One that is heard
    of only now is noted and granted nothing."""
    if invoice.purchase_id is None:
        if invoice.problem is not None or invoice.amount_minor == 0:
            return
        tell_payment(session, note_payment(session, runtime, row, invoice), runtime.clock.now())
    assert invoice.purchase_id is not None
    payment_id = invoice.payment_id or invoice.invoice_id
    refund = Fact(
        kind="refund",
        object_id=f"{invoice.invoice_id}:refund",
        state="succeeded",
        amount=Money(invoice.amount_minor, invoice.currency),
        version=invoice.version,
        live=invoice.is_live,
        parent_id=payment_id,
    )
    apply_facts(session, runtime, invoice.account_id, invoice.purchase_id, [refund], actor)
