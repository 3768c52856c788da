"""Making plans and credits agree with what a provider has said of a subscription and its invoices.

Everything that brings such facts ends in `apply`: webhooks, fetches, our own changes, and time itself (`settle`).
Facts are kept by object at their newest version; what follows from all of them is posted under the wallet's lock, so
the number and the order of events change nothing.
"""

from collections.abc import Iterable
from datetime import datetime

from sqlmodel import Session

from engine.flows.subscription_credits import grant_paid
from engine.flows.subscription_standing import note_standing
from engine.payments import PaymentProvider
from engine.rules.descriptions import money_label
from engine.rules.errors import Invalid
from engine.rules.facts import InvoiceFact, SubscriptionFact
from engine.rules.money import Money
from engine.rules.subscriptions import ABILITIES, Terms, level_of, terms_of
from engine.runtime import Runtime
from engine.store import books, outbox, subscriptions
from engine.store.tables import AccountRow, SubscriptionInvoiceRow, SubscriptionRow, WalletRow

FINAL = {"open": 0, "failed": 1, "void": 2, "paid": 3, "refunded": 4}
"""Which of two sightings of an invoice with the same version is believed: the more final one."""


def apply(
    session: Session,
    runtime: Runtime,
    provider: PaymentProvider,
    owner: tuple[str, str],
    facts: Iterable[SubscriptionFact | InvoiceFact],
    actor: str,
) -> SubscriptionRow | None:
    """Take the wallet's lock, then the subscription's, keep what is new and carry out what follows."""
    row = note(session, runtime, provider, owner, facts)
    if row is not None:
        settle(session, runtime, row, actor)
    return row


def note(
    session: Session,
    runtime: Runtime,
    provider: PaymentProvider,
    owner: tuple[str, str],
    facts: Iterable[SubscriptionFact | InvoiceFact],
) -> SubscriptionRow | None:
    """Take both locks and keep what is new; the caller settles what follows."""
    account_id, subscription_id = owner
    books.lock_wallets(session, [account_id], runtime.clock.now())
    row = subscriptions.get_subscription(session, account_id, subscription_id, lock=True)
    if row is None:
        return None
    now = runtime.clock.now()
    for fact in facts:
        if isinstance(fact, SubscriptionFact):
            _merge(session, runtime, provider, row, fact, now)
        else:
            _keep_invoice(session, runtime, provider, row, fact, now)
    return row


def settle(session: Session, runtime: Runtime, row: SubscriptionRow, actor: str) -> None:
    """Grant what is paid for and due, and let the plan follow; the wallet and the subscription are locked."""
    invoices = subscriptions.invoices_of(session, row.account_id, row.subscription_id)
    grant_paid(session, runtime, row, invoices, actor)
    note_standing(session, runtime, row, invoices)
    row.updated_at = runtime.clock.now()
    session.add(row)
    session.flush()


def adopt(
    session: Session, runtime: Runtime, provider: PaymentProvider, fact: SubscriptionFact
) -> tuple[str, str] | None:
    """A subscription that began at the provider (in a store's app), for an account we know; its owner since."""
    if fact.account_id is None or session.get(AccountRow, fact.account_id) is None:
        return None
    now = runtime.clock.now()
    books.lock_wallets(session, [fact.account_id], now)
    terms = _catalogue_terms(runtime, fact.plan, fact.interval)
    if terms is None:
        return None
    subscription_id = runtime.terms.mint("sub", now)
    row = SubscriptionRow(
        account_id=fact.account_id,
        subscription_id=subscription_id,
        provider=provider.name,
        terms=subscriptions.write_terms(terms),
        currency=fact.price.currency,
        anchor_at=fact.anchor_at,
        period_start_at=fact.period_start,
        period_end_at=fact.period_end,
        success_url="",
        cancel_url="",
        actor=f"provider:{provider.name}",
        created_at=now,
        expires_at=now,
        updated_at=now,
    )
    session.add(row)
    session.flush()
    return fact.account_id, subscription_id


def _merge(
    session: Session,
    runtime: Runtime,
    provider: PaymentProvider,
    row: SubscriptionRow,
    fact: SubscriptionFact,
    now: datetime,
) -> None:
    """The newest version counts; the terms sold stay until the next period or another plan.

    One that has not begun says nothing yet.
    """
    if fact.state == "incomplete":
        return
    if fact.version < row.version or (fact.version == row.version and row.state == "ended"):
        return  # of two sightings of one moment the later counts, unless the first said that it is over
    if fact.live != provider.is_live:
        row.problem = "the subscription's mode is not this service's"
        return
    mode = "live" if fact.live else "test"
    mine = (row.account_id, row.subscription_id)
    if not subscriptions.claim(
        session, provider.name, provider.account, mode, "subscription", fact.object_id, mine, now
    ):
        row.problem = "this subscription belongs to another account"
        return
    if row.version == 0:
        _note_begun(session, row, fact, now)
    is_next = row.version > 0 and fact.period_start > row.period_start_at
    row.terms = subscriptions.write_terms(_terms(runtime, row, fact.plan, fact.interval, is_next_period=is_next))
    row.reference = fact.object_id
    row.state = fact.state
    row.version = fact.version
    row.currency = fact.price.currency
    row.anchor_at = fact.anchor_at
    row.period_start_at = fact.period_start
    row.period_end_at = fact.period_end
    row.cancel_at_period_end = fact.cancel_at_period_end
    row.pending_plan = fact.pending_plan
    row.pending_interval = fact.pending_interval


def _note_begun(session: Session, row: SubscriptionRow, fact: SubscriptionFact, now: datetime) -> None:
    """One that begins for a closed account is cancelled, as what ran before was; of several that run one goes on."""
    if fact.state == "ended":
        return
    if session.get_one(WalletRow, row.account_id).status == "closed":
        if "cancel" in ABILITIES[row.provider].may:
            outbox.enqueue(session, row.account_id, "subscription_close", {"subscriptionId": row.subscription_id}, now)
        return
    others = subscriptions.subscriptions_of(session, row.account_id)
    if any(other.version > 0 and other.state != "ended" for other in others):
        outbox.enqueue(session, row.account_id, "subscription_second", {}, now)


def _keep_invoice(
    session: Session,
    runtime: Runtime,
    provider: PaymentProvider,
    row: SubscriptionRow,
    fact: InvoiceFact,
    now: datetime,
) -> None:
    there = subscriptions.get_invoice(session, row.account_id, row.subscription_id, fact.object_id)
    if there is None:
        there = _new_invoice(session, runtime, provider, row, fact, now)
    elif (fact.version, FINAL[fact.state]) <= (there.version, FINAL[there.state]):
        return
    there.state = fact.state
    there.version = fact.version
    there.amount_minor = fact.amount.minor
    there.currency = fact.amount.currency
    there.payment_id = fact.payment_id or there.payment_id
    there.receipt_url = fact.receipt_url or there.receipt_url
    there.seen_at = now
    session.add(there)
    session.flush()


def _new_invoice(
    session: Session,
    runtime: Runtime,
    provider: PaymentProvider,
    row: SubscriptionRow,
    fact: InvoiceFact,
    now: datetime,
) -> SubscriptionInvoiceRow:
    """An invoice at first sight: what it was sold under is kept with it from here on."""
    terms = _terms(runtime, row, fact.plan, fact.interval, is_next_period=fact.kind == "renewal")
    mode = "live" if fact.live else "test"
    mine = (row.account_id, row.subscription_id)
    is_ours = subscriptions.claim(session, provider.name, provider.account, mode, "invoice", fact.object_id, mine, now)
    problem = None if is_ours else "this invoice belongs to another subscription"
    if fact.live != provider.is_live:
        problem = "the invoice's mode is not this service's"
    elif fact.kind == "create" and (fact.amount.minor, fact.amount.currency) != (terms.price_minor, row.currency):
        agreed = Money(terms.price_minor, row.currency)
        problem = f"asked {money_label(fact.amount)}, agreed {money_label(agreed)}"
    if fact.kind == "create" and problem is not None:
        row.problem = problem  # a subscription that did not begin as agreed gives no plan until a person decides
    return SubscriptionInvoiceRow(
        account_id=row.account_id,
        subscription_id=row.subscription_id,
        invoice_id=fact.object_id,
        kind=fact.kind,
        state=fact.state,
        version=fact.version,
        is_live=fact.live,
        amount_minor=fact.amount.minor,
        currency=fact.amount.currency,
        terms=subscriptions.write_terms(terms),
        period_start_at=fact.period_start,
        period_end_at=fact.period_end,
        monthly_credits=level_of(terms, is_trial=fact.kind == "trial"),
        problem=problem,
        seen_at=now,
    )


def _terms(runtime: Runtime, row: SubscriptionRow, plan: str, interval: str, *, is_next_period: bool) -> Terms:
    """The terms that hold for a plan: those sold for as long as the period lasts, else what the catalogue says now.

    A plan that the catalogue no longer has keeps the terms it was sold under.
    """
    sold = subscriptions.read_terms(row.terms)
    is_same = (sold.plan.id, sold.interval) == (plan, interval)
    if is_same and not is_next_period:
        return sold
    return _catalogue_terms(runtime, plan, interval) or sold


def _catalogue_terms(runtime: Runtime, plan: str, interval: str) -> Terms | None:
    try:
        return terms_of(runtime.catalog, plan, interval)
    except Invalid:
        return None
