"""The credits of paid invoices: each month once, an upgrade's part once, what rolls over once, each its own lot.

Every grant has a key made from the invoice and the month, so that whatever is repeated is answered by what was done.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session

from engine import book
from engine.flows import converge
from engine.flows.rollover import roll_over
from engine.flows.subscription_payments import note_payment, refund_payment, tell_payment
from engine.rules.commands import Grant
from engine.rules.descriptions import describe
from engine.rules.errors import Refusal
from engine.rules.money import nth_part, share_down
from engine.rules.plans import Plan
from engine.rules.subscriptions import Period, Upgrade, credit_months, level_of, upgrade_parts
from engine.runtime import Runtime
from engine.store import purchases, subscriptions
from engine.store.tables import PurchaseRow, SubscriptionInvoiceRow, SubscriptionRow

COVERING = ("create", "renewal", "trial")
"""Kinds of invoices that pay for months; a proration pays for what an upgrade adds to them."""


def paid_invoices(invoices: Sequence[SubscriptionInvoiceRow]) -> list[SubscriptionInvoiceRow]:
    """Those that were paid and that nothing is wrong with."""
    return [invoice for invoice in invoices if invoice.state == "paid" and invoice.problem is None]


def months_of(row: SubscriptionRow, invoice: SubscriptionInvoiceRow) -> tuple[Period, ...]:
    """The months of credits that an invoice pays for; a trial is one, however long."""
    whole = Period(invoice.period_start_at, invoice.period_end_at)
    return (whole,) if invoice.kind == "trial" else credit_months(row.anchor_at, whole)


def cover_of(invoices: Sequence[SubscriptionInvoiceRow], at: datetime) -> SubscriptionInvoiceRow | None:
    """The invoice that pays for the months around an instant; one whose money went back, if there is no other."""
    covers = [
        each
        for each in invoices
        if each.kind in COVERING and _was_paid(each) and each.period_start_at <= at < each.period_end_at
    ]
    return max(covers, key=lambda each: (each.state == "paid", each.period_start_at), default=None)


def upgrades_of(
    cover: SubscriptionInvoiceRow, invoices: Sequence[SubscriptionInvoiceRow]
) -> list[SubscriptionInvoiceRow]:
    """What was paid to raise a period, by the instants of the changes; also what went back, for the price of a later
    upgrade was reckoned from there."""
    raised = [each for each in invoices if each.kind == "proration" and _was_paid(each)]
    return [each for each in raised if cover_of(invoices, each.period_start_at) is cover]


def _was_paid(invoice: SubscriptionInvoiceRow) -> bool:
    return invoice.state in ("paid", "refunded") and invoice.problem is None


def highest_level(cover: SubscriptionInvoiceRow, invoices: Sequence[SubscriptionInvoiceRow]) -> int:
    """The monthly credits that a period was raised to: what a further upgrade is measured against."""
    return max(each.monthly_credits for each in (cover, *upgrades_of(cover, invoices)))


def gives_months(cover: SubscriptionInvoiceRow, invoices: Sequence[SubscriptionInvoiceRow]) -> bool:
    """Whether months are still granted for a period: for itself, or for an upgrade that outlives its refund."""
    return bool(paid_invoices([cover]) or paid_invoices(upgrades_of(cover, invoices)))


def plan_of_month(
    session: Session, cover: SubscriptionInvoiceRow, invoices: Sequence[SubscriptionInvoiceRow], month: Period
) -> Plan:
    """The plan that a month ends with: the highest that it was raised to and that is still paid for, else its own."""
    raised = [each for each in paid_invoices(upgrades_of(cover, invoices)) if each.period_start_at < month.end]
    undone = _undone(session, raised)
    standing = [each for each in raised if each.purchase_id not in undone]
    highest = max((cover, *standing), key=lambda each: (each.monthly_credits, each.period_start_at))
    return subscriptions.read_terms(highest.terms).plan


def _undone(session: Session, invoices: Sequence[SubscriptionInvoiceRow]) -> set[str]:
    bought = [each.purchase_id for each in invoices if each.purchase_id is not None]
    return subscriptions.undone_purchases(session, invoices[0].account_id, bought) if bought else set()


def credits_to_come(session: Session, purchase: PurchaseRow) -> int:
    """What a subscription's payment has paid for and not granted yet: its part of the months that have not begun."""
    if purchase.subscription_id is None:
        return 0
    row = subscriptions.get_subscription(session, purchase.account_id, purchase.subscription_id)
    assert row is not None, "a payment of a subscription has one"
    invoices = subscriptions.invoices_of(session, purchase.account_id, purchase.subscription_id)
    bought = [each for each in paid_invoices(invoices) if each.purchase_id == purchase.purchase_id]
    return sum(_to_come(row, each, invoices) for each in bought)


def _to_come(row: SubscriptionRow, invoice: SubscriptionInvoiceRow, invoices: Sequence[SubscriptionInvoiceRow]) -> int:
    if invoice.kind in COVERING:
        return invoice.monthly_credits * (len(months_of(row, invoice)) - invoice.months_granted)
    cover = cover_of(invoices, invoice.period_start_at)
    if invoice.kind != "proration" or cover is None:
        return 0
    months = months_of(row, cover)[invoice.months_granted :]
    return sum(_raised(cover, invoices, month)[invoice.invoice_id] for month in months)


def _raised(cover: SubscriptionInvoiceRow, invoices: Sequence[SubscriptionInvoiceRow], month: Period) -> dict[str, int]:
    """What each upgrade adds to a month, by its invoice."""
    upgrades = upgrades_of(cover, invoices)
    raises = [Upgrade(each.period_start_at, each.monthly_credits) for each in upgrades]
    added = upgrade_parts(cover.monthly_credits, raises, month)
    return {each.invoice_id: part for each, part in zip(upgrades, added, strict=True)}


def grant_paid(
    session: Session, runtime: Runtime, row: SubscriptionRow, invoices: Sequence[SubscriptionInvoiceRow], actor: str
) -> None:
    """Note the payments, grant every month that is paid for and due and what upgrades add to them, then tell of those
    payments that the wallet took."""
    noted = []
    for invoice in invoices:
        if invoice.state == "refunded":
            refund_payment(session, runtime, row, invoice, actor)
        elif invoice.state == "paid" and invoice.purchase_id is None and invoice.amount_minor > 0:
            noted.append(note_payment(session, runtime, row, invoice))
    _divide(invoices)
    undone = _undone(session, invoices)
    for invoice in paid_invoices(invoices):
        if invoice.purchase_id in undone:
            continue
        if invoice.kind in COVERING:
            _grant_months(session, runtime, row, invoice, invoices, actor)
        elif invoice.kind == "proration":
            _grant_upgrade(session, runtime, row, invoice, invoices, undone, actor)
    for purchase in noted:
        tell_payment(session, purchase, runtime.clock.now())


def _divide(invoices: Sequence[SubscriptionInvoiceRow]) -> None:
    """Of an invoice that carries the level it was raised to: its months so far were granted with their upgrades, and
    from the next one on each payment grants its own."""
    for cover in invoices:
        own = level_of(subscriptions.read_terms(cover.terms), is_trial=cover.kind == "trial")
        if cover.kind in COVERING and cover.monthly_credits > own:
            for upgrade in upgrades_of(cover, invoices):
                if upgrade.months_granted > 0:
                    upgrade.months_granted = max(upgrade.months_granted, cover.months_granted)
            cover.monthly_credits = own


def _grant_months(
    session: Session,
    runtime: Runtime,
    row: SubscriptionRow,
    invoice: SubscriptionInvoiceRow,
    invoices: Sequence[SubscriptionInvoiceRow],
    actor: str,
) -> None:
    """The first month as soon as it is paid, each later one when it begins; a month that is over gives nothing."""
    now = runtime.clock.now()
    months = months_of(row, invoice)
    is_first = invoice.kind == "trial" and invoice.months_granted == 0 and invoice.amount_minor == 0
    if is_first and subscriptions.had_trial(session, row.account_id, row.subscription_id):
        invoice.monthly_credits = 0
    for month in months[: invoice.months_granted]:
        _roll_over(session, runtime, row, invoices, month)
    for n in range(invoice.months_granted, len(months)):
        month = months[n]
        if n > 0 and month.start > now:
            break
        _roll_over(session, runtime, row, invoices, month)
        if month.end > now and invoice.monthly_credits > 0:
            cost = nth_part(invoice.amount_minor, n, len(months))
            if not _grant(session, runtime, invoice, invoice.monthly_credits, month.end, _key(invoice, n), cost, actor):
                return
        invoice.months_granted = n + 1
    session.add(invoice)
    session.flush()


def _key(invoice: SubscriptionInvoiceRow, n: int) -> str:
    return f"{invoice.subscription_id}:{invoice.invoice_id}:{n}"


def _grant_upgrade(
    session: Session,
    runtime: Runtime,
    row: SubscriptionRow,
    invoice: SubscriptionInvoiceRow,
    invoices: Sequence[SubscriptionInvoiceRow],
    undone: set[str],
    actor: str,
) -> None:
    """What an upgrade adds: its part of the month it happened in, and the whole difference in each month from then on,
    as lots of its own payment. One that cost nothing ends with the payment that it raised.

    It waits for the invoice that pays for its months, and looks at when it happened, not at when it is told.
    """
    cover = cover_of(invoices, invoice.period_start_at)
    if cover is None or (invoice.purchase_id is None and cover.purchase_id in undone):
        return
    now = runtime.clock.now()
    months = months_of(row, cover)
    for n in range(invoice.months_granted, len(months)):
        month = months[n]
        if n > 0 and month.start > now:
            break
        _roll_over(session, runtime, row, invoices, month)
        credits = _added(session, cover, invoice, invoices, month, n)
        if month.end > max(invoice.period_start_at, now) and credits > 0:
            cost = _cost_of(session, cover, invoice, month)
            if not _grant(session, runtime, invoice, credits, month.end, _key(invoice, n), cost, actor):
                return
        invoice.months_granted = n + 1
    session.add(invoice)
    session.flush()


def _added(
    session: Session,
    cover: SubscriptionInvoiceRow,
    invoice: SubscriptionInvoiceRow,
    invoices: Sequence[SubscriptionInvoiceRow],
    month: Period,
    n: int,
) -> int:
    """The upgrade's part of the month. Told after a later one that was granted its own part, it adds no more than
    they all give together."""
    parts = _raised(cover, invoices, month)
    own = parts[invoice.invoice_id]
    granted = [each for each in upgrades_of(cover, invoices) if each.months_granted > n and each is not invoice]
    if not any(each.period_start_at >= invoice.period_start_at for each in granted):
        return own
    due = own + sum(parts[each.invoice_id] for each in granted)
    if cover.months_granted > n:
        due += cover.monthly_credits
        granted.append(cover)
    has = subscriptions.granted_under(session, invoice.account_id, [_key(each, n) for each in granted])
    return min(own, max(0, due - has))


def _cost_of(session: Session, cover: SubscriptionInvoiceRow, invoice: SubscriptionInvoiceRow, month: Period) -> int:
    """The month's share, by time, of what its upgrade cost and no earlier lot did."""
    if invoice.purchase_id is None:
        return 0
    lots = purchases.purchase_lots(session, invoice.account_id, invoice.purchase_id)
    start = max(month.start, invoice.period_start_at)
    left, _ = month.left(start)
    to_come, _ = Period(cover.period_start_at, cover.period_end_at).left(start)
    return share_down(invoice.amount_minor - sum(lot.cost_minor for lot in lots), left, to_come)


def _grant(
    session: Session,
    runtime: Runtime,
    invoice: SubscriptionInvoiceRow,
    credits: int,
    ends_at: datetime,
    key: str,
    cost_minor: int,
    actor: str,
) -> bool:
    """Post one lot of the invoice's, and count it on its payment; `False` if the wallet may not take it."""
    now = runtime.clock.now()
    plan = subscriptions.read_terms(invoice.terms).plan
    command = Grant(
        operation=subscriptions.GRANT,
        account_id=invoice.account_id,
        actor=actor,
        type="monthly_credit",
        source="subscription",
        bucket="monthly",
        credits=credits,
        description=describe(runtime.catalog.descriptions.monthly_credit, plan=plan.name),
        expires_at=ends_at,
        reference_type="subscription",
        reference_id=invoice.subscription_id,
        purchase_id=invoice.purchase_id,
        cost_minor=cost_minor,
        cost_currency=invoice.currency if cost_minor else None,
        key=key,
    )
    (outcome,) = book.post(session, [command], runtime.terms, now)
    purchase = None
    if invoice.purchase_id is not None:
        purchase = purchases.get_purchase(session, invoice.account_id, invoice.purchase_id, lock=True)
        assert purchase is not None
    if isinstance(outcome, Refusal):
        _set_aside(session, invoice, purchase, outcome)
        return False
    if purchase is not None:
        purchase.base_credits += credits
        purchase.updated_at = now
        session.add(purchase)
        session.flush()
        _take_share(session, runtime, purchase, actor)
    return True


def _set_aside(
    session: Session, invoice: SubscriptionInvoiceRow, purchase: PurchaseRow | None, refusal: Refusal
) -> None:
    """What the wallet may not take goes to review; a payment of which it took nothing has not landed."""
    invoice.problem = f"{refusal.code}: {refusal.detail}"[:500]
    session.add(invoice)
    if purchase is not None:
        purchase.status = "quarantined"
        purchase.problem = invoice.problem
        if purchase.base_credits == 0:
            purchase.landed_at = None
        session.add(purchase)
    session.flush()


def _take_share(session: Session, runtime: Runtime, purchase: PurchaseRow, actor: str) -> None:
    """Of a payment that goes back, or of which a part went back, each new lot loses its share at once."""
    if any(fact.kind != "payment" for fact in purchases.facts_of(session, purchase)):
        converge.settle(session, runtime, purchase, actor)


def _roll_over(
    session: Session,
    runtime: Runtime,
    row: SubscriptionRow,
    invoices: Sequence[SubscriptionInvoiceRow],
    month: Period,
) -> None:
    """Where a month begins, what the one before left lives on as far as its plan says; once, when its time has come."""
    if month.start > runtime.clock.now() or (row.rolled_at is not None and month.start <= row.rolled_at):
        return
    for invoice in invoices:
        if invoice.kind not in COVERING:
            continue
        before = next((each for each in months_of(row, invoice) if each.end == month.start), None)
        if before is not None and gives_months(invoice, invoices):
            plan = plan_of_month(session, invoice, invoices, before)
            roll_over(session, runtime, row.account_id, plan, row.anchor_at, month, row.subscription_id)
    row.rolled_at = month.start
    session.add(row)
