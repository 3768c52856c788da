"""A payment that begins while an earlier one still runs: what the earlier one still pays for ends.

Stores change a plan by charging anew. The months to come of what was paid before go with it; where the store gave
money back for the time left, that part of the running month's credits goes too, as far as it is still there.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session

from engine.flows import converge
from engine.flows.subscription_months import COVERING, months_of
from engine.rules.money import Money, share_down
from engine.rules.purchases import KnownFact
from engine.rules.store_renewals import Renewal
from engine.rules.subscriptions import Period
from engine.runtime import Runtime
from engine.store import purchases, subscriptions
from engine.store.tables import SubscriptionInvoiceRow, SubscriptionRow

EARLY = timedelta(days=1)
"""How long before a period ends a store may charge the next: that is a renewal, and no money went back."""


@dataclass(frozen=True, slots=True)
class Overtaken:
    """An earlier payment, the part of its money that went back, and of its running month's credits that must go."""

    invoice: SubscriptionInvoiceRow
    at: datetime
    back_minor: int
    back_credits: int


def end_earlier(session: Session, row: SubscriptionRow, told: Sequence[Renewal]) -> tuple[Overtaken, ...]:
    """Cut what earlier payments still pay for at the end of the month that a later one begins in; those of which
    money went back. The subscription is locked, and this is done before anything is granted.

    It looks at every payment, not only at those that were told: the later one may have been heard of first.
    """
    found = []
    invoices = subscriptions.invoices_of(session, row.account_id, row.subscription_id)
    ending = {each.object_id for each in told if each.ends_earlier}
    returns_rest = any(each.returns_rest for each in told)
    for new in invoices:
        is_paid = new.state == "paid" and new.problem is None
        if not is_paid or not (new.kind in COVERING or new.invoice_id in ending):
            continue
        for old in invoices:
            runs = old.period_start_at < new.period_start_at < old.period_end_at
            if runs and old.kind in COVERING and old.state == "paid":
                is_change = _sold(old) != _sold(new) and new.period_start_at + EARLY < old.period_end_at
                overtaken = _cut(session, row, old, new.period_start_at)
                found += [overtaken] if returns_rest and is_change else []
    return tuple(found)


def _sold(invoice: SubscriptionInvoiceRow) -> tuple[str, str]:
    terms = subscriptions.read_terms(invoice.terms)
    return terms.plan.id, terms.interval


def _cut(session: Session, row: SubscriptionRow, old: SubscriptionInvoiceRow, at: datetime) -> Overtaken:
    paid = Period(old.period_start_at, old.period_end_at)
    month = next(month for month in months_of(row, old) if month.start <= at < month.end)
    back = share_down(old.amount_minor, *paid.left(at))
    credits = share_down(old.monthly_credits, *month.left(at))
    old.period_end_at = month.end
    session.add(old)
    session.flush()
    return Overtaken(old, at, back, credits)


def give_back_rest(
    session: Session, runtime: Runtime, row: SubscriptionRow, overtaken: Sequence[Overtaken], actor: str
) -> None:
    """What the store paid back of an earlier payment is a refund of it, once, and takes the credits it names."""
    for each in overtaken:
        invoice = each.invoice
        fact_id = f"{invoice.invoice_id}:rest"
        if invoice.purchase_id is None or each.back_minor == 0:
            continue
        known = purchases.known_facts(session, row.account_id, invoice.purchase_id)
        if any(fact.fact_id == fact_id for fact in known):
            continue
        fact = KnownFact(
            fact_id=fact_id,
            kind="refund",
            object_id=fact_id,
            state="succeeded",
            amount=Money(each.back_minor, invoice.currency),
            version=int(each.at.timestamp()),
            is_live=invoice.is_live,
            own_credits=each.back_credits,
            parent_id=invoice.payment_id or invoice.invoice_id,
        )
        now = runtime.clock.now()
        purchases.keep_fact(session, row.account_id, invoice.purchase_id, fact, now)
        purchase = purchases.get_purchase(session, row.account_id, invoice.purchase_id, lock=True)
        assert purchase is not None
        converge.settle(session, runtime, purchase, actor)
