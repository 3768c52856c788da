"""Provider events: stored as they came, processed until their facts are in the books, parked while unclaimed."""

from datetime import datetime, timedelta

import structlog
from sqlmodel import Session

from engine.flows import cases, subscription_facts
from engine.flows.cards import card_changed, cards_gone
from engine.flows.converge import apply_facts
from engine.flows.coupon_uses import count_use
from engine.flows.stores import take_news
from engine.payments import (
    Card,
    Detached,
    Event,
    PaymentProvider,
    ProviderRefused,
    ProviderUnreachable,
    Store,
    follows_cards,
    keeps_cards,
    stays_payable,
)
from engine.rules.facts import Fact, ProviderFact, SubscriptionFact
from engine.rules.lots import NEVER
from engine.runtime import Runtime
from engine.store import books, outbox, purchases, subscriptions
from engine.store.cases import get_event
from engine.store.database import reading, transact
from engine.store.tables import ProviderEventRow, PurchaseRow

log = structlog.get_logger()
PARKED_TRIES = 10
"""After about a day and a half of doubling waits, an object nobody knows is a person's to look at."""

FAILED_TRIES = 12
"""After some two hours of doubling waits, what keeps failing is shown to a person; it is tried on all the same."""

LATE_CHECKS = (timedelta(minutes=15), timedelta(hours=1), timedelta(hours=4), timedelta(hours=19))
"""When a checkout that may yet be paid after our session is over is asked for again, each counted from the last."""


def store(runtime: Runtime, provider: PaymentProvider, event: Event, now: datetime) -> bool:
    """Keep a verified event; `False` if it came before. The answer to the provider waits for nothing else."""
    return transact(
        runtime.db,
        lambda session: purchases.store_event(session, provider.name, event.event_id, event.type, event.payload, now),
    )


def process_due(runtime: Runtime, now: datetime, limit: int = 100) -> int:
    """Process stored events that are due; how many were looked at."""
    with reading(runtime.db) as session:
        rows = purchases.events_due(session, now, limit)
    of_no_concern: list[ProviderEventRow] = []
    for row in rows:
        provider = runtime.providers.get(row.provider)
        if provider is None:
            _give_up(runtime, row, "the provider is off", now)
            continue
        try:
            process(runtime, provider, row, now, of_no_concern)
        except Exception as error:
            log.exception("provider event failed", provider=row.provider, event_id=row.event_id)
            _later(runtime, row, "stored", f"{type(error).__name__}: {error}", now)
    _ignore(runtime, of_no_concern, now)
    return len(rows)


def process(
    runtime: Runtime,
    provider: PaymentProvider,
    row: ProviderEventRow,
    now: datetime,
    of_no_concern: list[ProviderEventRow] | None = None,
) -> None:
    """Turn one event into facts (fetching what must be fetched) and carry them out with the event marked done.

    One that is about nothing of ours is ignored, at once or, where there is a list of such, by its caller.
    """
    event = Event(row.event_id, row.type, row.payload)
    if isinstance(provider, Store):
        _process_store(runtime, provider, row, event, now)
        return
    try:
        if _is_of_a_card(runtime, provider, event):
            _finish(runtime, row, "done", None, now)
            return
        facts = provider.facts(event)
    except ProviderUnreachable as error:
        _later(runtime, row, "stored", str(error), now)
        return
    except ProviderRefused as error:
        _later(runtime, row, "parked", str(error), now)
        return
    if not facts:
        if of_no_concern is None:
            _ignore(runtime, [row], now)
        else:
            of_no_concern.append(row)
        return
    unknown = carry_out(runtime, provider, facts, row)
    if unknown:
        _later(runtime, row, "parked", "no purchase is known for it", now)


def _is_of_a_card(runtime: Runtime, provider: PaymentProvider, event: Event) -> bool:
    """Whether the event is about a saved card, which is then gone, or known as it is now."""
    if not keeps_cards(provider):
        return False
    told: Detached | Card | None = provider.detached(event)
    if told is None and follows_cards(provider):
        told = provider.changed_card(event)
    if isinstance(told, Detached):
        cards_gone(runtime, provider, told)
    elif told is not None:
        card_changed(runtime, provider, told)
    return told is not None


def _process_store(runtime: Runtime, store: Store, row: ProviderEventRow, event: Event, now: datetime) -> None:
    """A store's event: a purchase that may be nobody's yet, or a question; marked done with what it changed."""
    try:
        problem = take_news(
            runtime, store, event, lambda session: _mark(session, row, "done", None, runtime.clock.now())
        )
    except ProviderUnreachable as error:
        _later(runtime, row, "stored", str(error), now)
        return
    except ProviderRefused as error:
        _later(runtime, row, "parked", str(error), now)
        return
    if problem == "":
        _finish(runtime, row, "ignored", None, now)
    elif problem is not None:
        _later(runtime, row, "parked", problem, now)


def carry_out(
    runtime: Runtime, provider: PaymentProvider, facts: tuple[ProviderFact, ...], event: ProviderEventRow | None = None
) -> bool:
    """Apply facts, each purchase and subscription in its own transaction; whether one belongs to none we know.

    The event is marked done in the transaction of its last purchase, so a crash before that repeats all of it,
    which changes nothing twice.
    """
    mode = "live" if provider.is_live else "test"
    owners: dict[tuple[str, str], list[ProviderFact]] = {}
    has_unknown = False
    _adopt_unknown(runtime, provider, mode, facts)
    with reading(runtime.db) as session:
        for fact in facts:
            owner = _owner(session, provider, mode, fact)
            if owner is None:
                has_unknown = True
            else:
                owners.setdefault(owner, []).append(fact)
    last = len(owners) - 1
    for place, ((account_id, purchase_id), mine) in enumerate(owners.items()):
        is_last = place == last and not has_unknown
        transact(
            runtime.db,
            lambda session, a=account_id, p=purchase_id, f=mine, done=is_last: _apply(  # type: ignore[misc]
                session, runtime, provider, a, p, f, event if done else None
            ),
        )
    return has_unknown


def _apply(
    session: Session,
    runtime: Runtime,
    provider: PaymentProvider,
    account_id: str,
    purchase_id: str,
    facts: list[ProviderFact],
    event: ProviderEventRow | None,
) -> None:
    """What the facts of one purchase or of one subscription demand; a subscription's payment may end its months."""
    actor = f"provider:{provider.name}"
    of_purchase = [fact for fact in facts if isinstance(fact, Fact)]
    of_subscription = [fact for fact in facts if not isinstance(fact, Fact)]
    if of_purchase:
        purchase = apply_facts(session, runtime, account_id, purchase_id, of_purchase, actor)
        if purchase is not None and purchase.subscription_id is not None:
            subscription_facts.apply(session, runtime, provider, (account_id, purchase.subscription_id), (), actor)
    if of_subscription:
        subscription_facts.apply(session, runtime, provider, (account_id, purchase_id), of_subscription, actor)
    if event is not None:
        _mark(session, event, "done", None, runtime.clock.now())


def _owner(session: Session, provider: PaymentProvider, mode: str, fact: ProviderFact) -> tuple[str, str] | None:
    """(account, purchase) of a fact about a payment, (account, subscription) of one about a subscription."""
    if isinstance(fact, Fact):
        return purchases.owner_of(session, provider.name, provider.account, mode, fact)
    reference = fact.object_id if isinstance(fact, SubscriptionFact) else fact.provider_subscription_id
    return subscriptions.owner_of(session, provider.name, provider.account, mode, reference, fact.subscription_id)


def _adopt_unknown(runtime: Runtime, provider: PaymentProvider, mode: str, facts: tuple[ProviderFact, ...]) -> None:
    """Open a subscription for each that began at the provider for an account of ours."""

    def work(session: Session, fact: SubscriptionFact) -> None:
        if _owner(session, provider, mode, fact) is None:
            adopted = subscription_facts.adopt(session, runtime, provider, fact)
            if adopted is not None:
                now = runtime.clock.now()
                subscriptions.claim(
                    session, provider.name, provider.account, mode, "subscription", fact.object_id, adopted, now
                )

    for fact in facts:
        if isinstance(fact, SubscriptionFact) and fact.account_id is not None and fact.subscription_id is None:
            transact(runtime.db, lambda session, f=fact: work(session, f))  # type: ignore[misc]


def expire_sessions(runtime: Runtime, now: datetime, limit: int = 100) -> int:
    """Purchases whose session is over: ask the provider once more, then call them expired. Late money still wins.

    One that failed stays so, and gives back its coupon. What goes wrong with one stops no other.
    """
    with reading(runtime.db) as session:
        rows = purchases.open_purchases_past(session, now, limit)
        rows += purchases.failed_with_coupon_past(session, now, limit)
    expired = 0
    for row in rows:
        try:
            expired += _end_session(runtime, row, now)
        except Exception:
            log.exception("a session that is over failed", provider=row.provider, purchase_id=row.purchase_id)
    return expired


def _end_session(runtime: Runtime, row: PurchaseRow, now: datetime) -> bool:
    """Whether it ended: not while its provider is away. One that its provider does not tell of is asked for again."""
    provider = runtime.providers.get(row.provider)
    asks_again = provider is not None and stays_payable(provider)
    if provider is not None and row.session_id is not None:
        try:
            carry_out(runtime, provider, provider.payment(row.session_id))
        except ProviderUnreachable:
            return False
        except ProviderRefused:
            asks_again = True
    transact(runtime.db, lambda session: _expire(session, row, now, asks_again=asks_again))
    return True


def refresh(runtime: Runtime, purchase: PurchaseRow) -> None:
    """Fetch a purchase's payment now, as the return page does when a webhook is late."""
    provider = runtime.providers.get(purchase.provider)
    if provider is None or purchase.session_id is None or purchase.status not in ("open", "processing"):
        return
    carry_out(runtime, provider, provider.payment(purchase.session_id))


def _expire(session: Session, row: PurchaseRow, now: datetime, *, asks_again: bool) -> None:
    books.lock_wallets(session, [row.account_id], now)
    purchase = purchases.get_purchase(session, row.account_id, row.purchase_id, lock=True)
    if purchase is not None and purchase.status == "failed":
        count_use(session, purchase, now)
    if purchase is not None and purchase.status in ("created", "open"):
        purchase.status = "expired"
        purchase.updated_at = now
        session.add(purchase)
        count_use(session, purchase, now)
        if asks_again:
            asked: dict[str, object] = {"purchaseId": row.purchase_id, "asked": "0"}
            outbox.enqueue(session, row.account_id, "late_payment_check", asked, now, now + LATE_CHECKS[0])


def _later(runtime: Runtime, row: ProviderEventRow, status: str, problem: str, now: datetime) -> None:
    """Try again later, waiting twice as long each time; in the end a person hears of it."""
    tries = row.attempts + 1
    if status == "parked" and tries >= PARKED_TRIES:
        _give_up(runtime, row, problem, now)
        return
    wait = timedelta(seconds=min(3600 * 6, 2**tries * (1 if status == "stored" else 60)))

    def work(session: Session) -> None:
        there = _put_off(session, row, status, problem, now + wait)
        if there is not None and tries >= FAILED_TRIES:
            cases.note_event(session, there, problem, now)

    transact(runtime.db, work)


def _give_up(runtime: Runtime, row: ProviderEventRow, problem: str, now: datetime) -> None:
    """Keep the event as it is until a person decides; nothing else will make it work."""

    def work(session: Session) -> None:
        there = _put_off(session, row, "parked", problem, NEVER)
        if there is not None:
            cases.note_event(session, there, problem, now)

    transact(runtime.db, work)


def _put_off(
    session: Session, row: ProviderEventRow, status: str, problem: str, due_at: datetime
) -> ProviderEventRow | None:
    """Note that it failed once more; `None` if it was carried out or dismissed meanwhile."""
    there = get_event(session, row.provider, row.event_id)
    if there is None or there.status not in ("stored", "parked"):
        return None
    there.status = status
    there.attempts += 1
    there.problem = problem[:500]
    there.due_at = due_at
    session.add(there)
    return there


def _finish(runtime: Runtime, row: ProviderEventRow, status: str, problem: str | None, now: datetime) -> None:
    transact(runtime.db, lambda session: _mark(session, row, status, problem, now))


def _ignore(runtime: Runtime, rows: list[ProviderEventRow], now: datetime) -> None:
    """Mark events that are about nothing of ours, all in one transaction."""

    def work(session: Session) -> None:
        for row in rows:
            _mark(session, row, "ignored", None, now)

    if rows:
        transact(runtime.db, work)


def _mark(session: Session, row: ProviderEventRow, status: str, problem: str | None, now: datetime) -> None:
    there = session.get(ProviderEventRow, (row.provider, row.event_id))
    assert there is not None
    there.status = status
    there.problem = problem
    there.done_at = now
    session.add(there)
    if row.attempts > 0:
        cases.close_event(session, row, now)
