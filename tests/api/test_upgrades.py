"""What each payment of a subscription gives, on both databases: upgrades their own part of each month, and what went
back its share of none."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from sqlmodel import Session, select

from api import sandbox_returns as returns
from api import sandbox_subscriptions as books
from engine.flows import refunds
from engine.flows.subscription_facts import note
from engine.rules.facts import InvoiceFact
from engine.rules.periods import period_start
from engine.rules.subscriptions import terms_of
from engine.store.database import Database, reading, transact
from engine.store.tables import LotRow, SubscriptionInvoiceRow
from psp.sandbox_subscription_wire import NewTerms
from psp.sandbox_wire import Webhook
from tests.api.subscriber import Subscriber, subscriber
from tests.engine.support import DAY_0, FakeClock


@pytest.fixture
def mira(db: Database, clock: FakeClock) -> Iterator[Subscriber]:
    made = subscriber(db, clock)
    yield made
    made.runtime.group.close()


def at_month(mira: Subscriber, n: int) -> int:
    mira.wait_until(period_start(DAY_0, n).isoformat())
    return mira.monthly()


def payment_of(mira: Subscriber, amount_minor: int) -> dict[str, Any]:
    (found,) = [payment for payment in mira.payments() if payment["amountMinor"] == amount_minor]
    return found


def change_invoice(mira: Subscriber, kind: str, change: Callable[[SubscriptionInvoiceRow], None]) -> None:
    def work(session: Session) -> None:
        row = session.exec(select(SubscriptionInvoiceRow).where(SubscriptionInvoiceRow.kind == kind)).one()
        change(row)
        session.add(row)

    transact(mira.runtime.db, work)


def test_an_upgrade_of_a_year_pays_for_its_part_of_every_month(mira: Subscriber) -> None:
    mira.subscribe("base", "year")
    mira.wait(days=5)
    seen = mira.preview("elite", "year")
    mira.change("elite", "year")
    first = 37_000 * 25 // 30
    assert int(seen["monthlyCreditsNow"]) == first and mira.monthly() == 100 + 3_000 + first
    for n in range(1, 12):
        assert at_month(mira, n) == 40_000
    upgrade, base = mira.payments()
    assert (upgrade["creditsGranted"], base["creditsGranted"]) == (str(first + 11 * 37_000), str(12 * 3_000))
    with reading(mira.runtime.db) as session:
        lots = session.exec(select(LotRow).where(LotRow.purchase_id == upgrade["id"])).all()
    costs = [lot.cost_minor for lot in sorted(lots, key=lambda lot: lot.granted_seq)]
    assert sum(costs) == upgrade["amountMinor"] and min(costs) > 0, "each month bears its share of the price"
    assert mira.is_clean()


def test_a_refunded_upgrade_gives_no_more_and_what_it_raised_goes_on(mira: Subscriber) -> None:
    mira.subscribe("base", "year")
    mira.wait(days=5)
    mira.change("elite", "year")
    mira.refund_payment(mira.payments()[0]["providerReference"])
    assert mira.monthly() == 3_100
    assert [at_month(mira, n) for n in (1, 2)] == [3_000, 3_000]
    assert [payment["creditsGranted"] for payment in mira.payments()] == [str(37_000 * 25 // 30), "9000"]
    assert mira.is_clean()


@pytest.mark.parametrize("told_of", ["its payment", "itself"])
def test_an_upgrade_outlives_the_refund_of_what_it_raised(mira: Subscriber, told_of: str) -> None:
    mira.subscribe("base", "year")
    mira.wait(days=3)
    mira.change("pro", "year")
    if told_of == "its payment":
        mira.refund_payment(payment_of(mira, 19_000)["providerReference"])
    else:
        change_invoice(mira, "create", lambda invoice: setattr(invoice, "state", "refunded"))
        mira.tell(*told_again(mira))
    assert (payment_of(mira, 19_000)["status"], mira.monthly()) == ("refunded", 100 + 7_000 * 27 // 30)
    assert [at_month(mira, n) for n in (1, 2)] == [7_000, 7_000]
    assert payment_of(mira, 19_000)["creditsGranted"] == "3000"
    assert mira.is_clean()


def told_again(mira: Subscriber) -> tuple[Webhook, ...]:
    return mira.sandbox.keep(lambda session, now: (books._about(books.find(session, "sub1"), now),))


def test_a_year_that_carries_its_upgrades_level_goes_on_by_payment(mira: Subscriber) -> None:
    """Its months so far were granted with the upgrade, under its own name; no month is granted twice."""
    mira.subscribe("base", "year")
    mira.wait(days=5)
    mira.change("elite", "year")

    def carry(invoice: SubscriptionInvoiceRow) -> None:
        invoice.monthly_credits = 40_000

    change_invoice(mira, "create", carry)
    change_invoice(mira, "proration", lambda invoice: setattr(invoice, "months_granted", 1))
    before = mira.rows()
    mira.tell(*told_again(mira))
    assert mira.rows() == before
    assert at_month(mira, 1) == 40_000
    assert [payment["creditsGranted"] for payment in mira.payments()] == [str(37_000 * 25 // 30 + 37_000), "6000"]
    mira.refund_payment(mira.payments()[0]["providerReference"])
    assert mira.monthly() == 3_000 and at_month(mira, 2) == 3_000
    assert mira.is_clean()


def test_a_year_whose_months_were_granted_at_its_upgrades_level_grants_none_again(mira: Subscriber) -> None:
    mira.subscribe("elite", "year")

    def carry(invoice: SubscriptionInvoiceRow) -> None:
        """As it was kept of a Base year that was raised at once: the month's credits, its terms and its upgrade."""
        base = terms_of(mira.runtime.catalog, "base", "year")
        elite, invoice.terms = invoice.terms, books.write_terms(base)
        raised = invoice.model_dump() | {"invoice_id": "up", "kind": "proration", "terms": elite, "purchase_id": None}
        upgrades.append(SubscriptionInvoiceRow(**raised | {"amount_minor": 0, "payment_id": None}))

    upgrades: list[SubscriptionInvoiceRow] = []
    change_invoice(mira, "create", carry)
    transact(mira.runtime.db, lambda session: session.add(upgrades[0]))
    mira.tell(*told_again(mira))
    assert mira.monthly() == 40_100
    assert at_month(mira, 1) == 40_000
    mira.refund_payment(mira.payments()[0]["providerReference"])
    mira.wait(days=31)
    assert mira.monthly() == 0, "what cost nothing ends with the payment that it raised"
    assert mira.is_clean()


@pytest.mark.parametrize("order", ["as they happened", "the later first"])
@pytest.mark.parametrize("interval", ["month", "year"])
def test_two_upgrades_give_the_same_in_whatever_order_they_are_told(
    mira: Subscriber, order: str, interval: str
) -> None:
    mira.subscribe("base", interval)
    told: list[tuple[Webhook, ...]] = []
    for plan in ("pro", "elite"):
        mira.host.clock.advance(timedelta(days=10))
        told.append(upgraded(mira, plan, interval))
    for events in told if order == "as they happened" else reversed(told):
        mira.tell(*events)
    assert mira.monthly() == 3_100 + 7_000 * 20 // 30 + 30_000 * 10 // 30
    if interval == "year":
        assert at_month(mira, 1) == 40_000
    assert mira.is_clean()


def upgraded(mira: Subscriber, plan: str, interval: str) -> tuple[Webhook, ...]:
    """An upgrade at the provider that Purser has not heard of yet."""
    terms = terms_of(mira.runtime.catalog, plan, interval)
    asked = NewTerms(terms=terms, when="now", at=mira.host.clock.now())
    return mira.sandbox.keep(lambda session, now: books.set_terms(session, "sub1", asked, f"to {plan}", now))


def test_an_upgrade_that_was_disputed_has_its_own_part_back_when_it_is_won(mira: Subscriber) -> None:
    mira.subscribe("base", "year")
    for plan in ("pro", "elite"):
        mira.wait(days=3)
        mira.change(plan, "year")
    payment = mira.payments()[1]["providerReference"]
    mira.tell(*mira.sandbox.keep(lambda session, now: returns.open_dispute(session, payment, now)).events)
    assert at_month(mira, 1) == 33_000
    mira.tell(*mira.sandbox.keep(lambda session, now: returns.close_dispute(session, payment, "won", now)).events)
    assert mira.monthly() == 40_000
    assert mira.is_clean()


def test_of_a_payment_half_of_which_went_back_each_month_gives_half(mira: Subscriber) -> None:
    mira.subscribe("base", "year")
    payment = mira.payments()[0]["providerReference"]
    made = mira.sandbox.keep(lambda session, now: returns.refund_outside(session, payment, 9_500, now))
    mira.tell(*made.events)
    assert mira.monthly() == 100 + 1_500
    for n in (1, 2):
        assert at_month(mira, n) == 1_500
        ledger = mira.rows()
        mira.tell(*[Webhook(f"{event.id}again{n}", event.type, event.object) for event in made.events])
        assert mira.rows() == ledger
    assert mira.is_clean()


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_a_month_that_begins_while_its_payment_waits_to_go_back_gives_nothing_yet(
    mira: Subscriber, decision: str
) -> None:
    mira.subscribe("elite", "year")
    asked, _ = refunds.reverse_purchase(mira.runtime, mira.payments()[0]["id"], "regret", "support:ann")
    assert (asked.status, mira.monthly()) == ("pending_approval", 100)
    assert at_month(mira, 1) == 0
    refunds.decide_reversal(mira.runtime, asked.reversal_id, "approver:bob", approve=decision == "approve")
    mira.tell()
    assert mira.monthly() == (0 if decision == "approve" else 40_000)
    assert mira.is_clean()


def test_a_trial_is_given_once_however_many_checkouts_were_open(db: Database, clock: FakeClock) -> None:
    def with_trials(catalog: Any) -> Any:
        plans = [replace(plan, trial_days=14, trial_credits=600) if plan.prices else plan for plan in catalog.plans]
        return replace(catalog, plans=tuple(plans))

    mira = subscriber(db, clock, with_trials)
    mira.sandbox.never_ends = True  # as at a provider whose open checkouts can't be ended
    try:
        pages = [mira.change(plan, "month")["checkoutUrl"] for plan in ("pro", "base")]
        for page in pages:
            mira.press(page, "pay")
            assert mira.monthly() == 700
        assert mira.subscription()["status"] == "trialing" and mira.is_clean()
    finally:
        mira.runtime.group.close()


def test_a_payment_that_was_heard_of_is_noted_though_its_provider_is_switched_off(mira: Subscriber) -> None:
    mira.subscribe("base")
    mira.host.clock.advance(period_start(DAY_0, 1) - DAY_0)
    mira.sandbox.keep(lambda session, now: books.renew(session, "sub1", now))
    (fact,) = [fact for fact in mira.sandbox.subscription("sub1") if _is_renewal(fact)]
    owner = ("sub1", str(fact.subscription_id))
    transact(mira.runtime.db, lambda session: note(session, mira.runtime, mira.sandbox, owner, [fact]))  # type: ignore[arg-type]
    mira.runtime.providers.pop("sandbox")  # type: ignore[attr-defined]
    mira.jobs.run_due()
    assert mira.monthly() == 3_000 and [p["creditsGranted"] for p in mira.payments()] == ["3000", "3000"]
    assert mira.is_clean()


def _is_renewal(fact: object) -> bool:
    return isinstance(fact, InvoiceFact) and fact.kind == "renewal"
