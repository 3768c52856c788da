"""Polling finds what webhooks lost: healed where it can be, reported where not, and an alarm either way."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlmodel import Session, col

from api.reconciling import reports_text, reports_told
from engine.flows.reconcile import EVERY, YOUNG, Finding, reconcile
from engine.payments import ProviderUnreachable
from engine.store.database import Database, reading, transact
from engine.store.polling import cursor_of, missed_events
from engine.store.tables import PurchaseRow
from tests.engine.support import FakeClock
from tests.flows.cards import USD, EcoWorld


@pytest.fixture
def eco(db: Database, clock: FakeClock) -> Iterator[EcoWorld]:
    opened = EcoWorld(db, clock)
    yield opened
    opened.world.close()


def kinds(findings: tuple[Finding, ...]) -> list[tuple[str, bool]]:
    return [(finding.kind, finding.is_healed) for finding in findings]


def change(eco: EcoWorld, purchase_id: str, **values: object) -> None:
    """Break a purchase's row by hand."""

    def work(session: Session) -> None:
        session.execute(update(PurchaseRow).where(col(PurchaseRow.purchase_id) == purchase_id).values(**values))

    transact(eco.db, work)


def test_a_payment_whose_webhook_was_lost_is_granted(eco: EcoWorld) -> None:
    purchase = eco.world.buy(1_000)
    eco.bank.lists(eco.world.pay(purchase))
    report = reconcile(eco.world.runtime, eco.bank)
    assert (report.listed, report.missed, report.is_clean) == (1, 1, True)
    assert kinds(report.findings) == [("paid_not_granted", True)]
    assert eco.available == 10 * USD
    with reading(eco.db) as session:
        assert missed_events(session) == {"stripe": 1}


def test_a_refund_whose_webhook_was_lost_is_taken_back(eco: EcoWorld) -> None:
    purchase = eco.world.buy(1_000)
    eco.world.deliver(eco.world.pay(purchase))
    eco.bank.lists(eco.world.refund_elsewhere(purchase, "re_1", 400))
    report = reconcile(eco.world.runtime, eco.bank)
    assert kinds(report.findings) == [("refunded_not_taken_back", True)] and eco.available == 6 * USD


def test_what_webhooks_brought_is_no_news_and_a_page_read_twice_changes_nothing(eco: EcoWorld) -> None:
    purchase = eco.world.buy(1_000)
    eco.bank.lists(eco.world.pay(purchase))
    first = reconcile(eco.world.runtime, eco.bank)
    again = reconcile(eco.world.runtime, eco.bank)
    assert (first.missed, again.missed, again.findings) == (1, 0, ())
    assert eco.available == 10 * USD


def test_an_event_whose_webhook_may_still_come_is_left_to_the_next_poll(eco: EcoWorld) -> None:
    purchase = eco.world.buy(1_000)
    eco.bank.lists(eco.world.pay(purchase))
    eco.bank.listed[0] = replace(eco.bank.listed[0], at=eco.clock.now())
    assert reconcile(eco.world.runtime, eco.bank).missed == 0
    eco.clock.advance(YOUNG)
    assert reconcile(eco.world.runtime, eco.bank).missed == 1


def test_money_that_no_event_ever_told_of_is_found_by_asking(eco: EcoWorld) -> None:
    purchase = eco.world.buy(1_000)
    eco.world.pay(purchase)
    eco.clock.advance(YOUNG)
    report = reconcile(eco.world.runtime, eco.bank)
    assert (report.missed, kinds(report.findings)) == (0, [("paid_not_granted", True)])
    assert eco.available == 10 * USD


def test_another_amount_is_reported_and_not_healed(eco: EcoWorld) -> None:
    purchase = eco.world.buy(1_000)
    eco.world.deliver(eco.world.pay(purchase, minor=900))
    report = reconcile(eco.world.runtime, eco.bank)
    assert kinds(report.findings) == [("amount_mismatch", False)] and not report.is_clean
    assert eco.available == 0


def test_credits_without_their_money_are_reported(eco: EcoWorld) -> None:
    purchase = eco.world.buy(1_000)
    eco.world.deliver(eco.world.pay(purchase))
    eco.world.pay(purchase, state="failed")
    report = reconcile(eco.world.runtime, eco.bank)
    assert kinds(report.findings) == [("granted_not_paid", False)]
    assert reports_told([report])[0]["clean"] is False
    assert any("OPEN granted_not_paid" in line for line in reports_text([report]))


def test_a_refund_the_books_forgot_is_reported(eco: EcoWorld) -> None:
    purchase = eco.world.buy(1_000)
    eco.world.deliver(eco.world.pay(purchase))
    eco.world.deliver(eco.world.refund_elsewhere(purchase, "re_1", 400))
    change(eco, purchase.purchase_id, credits_out=0)
    assert kinds(reconcile(eco.world.runtime, eco.bank).findings) == [("refunded_not_taken_back", False)]


def test_the_cursor_moves_only_after_what_was_read_is_stored(eco: EcoWorld) -> None:
    purchase = eco.world.buy(1_000)
    eco.bank.lists(eco.world.pay(purchase))
    eco.bank.kills_at_facts = True
    with pytest.raises(RuntimeError):
        reconcile(eco.world.runtime, eco.bank)
    eco.bank.kills_at_facts = False
    with reading(eco.db) as session:
        assert cursor_of(session, eco.bank) is None
    eco.world.jobs.run_due()
    assert eco.available == 10 * USD, "it was stored, so the job processed it"
    assert reconcile(eco.world.runtime, eco.bank).missed == 0


def test_the_job_polls_every_ten_minutes_and_outlives_a_provider_that_is_down(eco: EcoWorld) -> None:
    purchase = eco.world.buy(1_000)
    eco.world.jobs.run_due()
    eco.bank.lists(eco.world.pay(purchase))
    eco.world.jobs.run_due()
    assert eco.available == 0
    eco.bank.is_down = True
    eco.clock.advance(EVERY)
    eco.world.jobs.run_due()
    with pytest.raises(ProviderUnreachable):
        reconcile(eco.world.runtime, eco.bank)
    eco.bank.is_down = False
    eco.clock.advance(EVERY - timedelta(seconds=1))
    eco.world.jobs.run_due()
    assert eco.available == 0
    eco.clock.advance(timedelta(seconds=1))
    eco.world.jobs.run_due()
    assert eco.available == 10 * USD
