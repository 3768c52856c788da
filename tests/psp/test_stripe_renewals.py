"""A renewal told twice, by two names, by the poll, or while its plan is being cancelled: paid and granted once."""

import copy
from collections.abc import Iterator

import pytest

from engine.flows.reconcile import reconcile
from engine.store.database import Database
from psp.stripe import Stripe
from tests.engine.support import FakeClock
from tests.psp.fake_stripe import FakeStripe
from tests.psp.stripe_subscriber import StripeCustomer, open_customer


@pytest.fixture
def mira(db: Database, clock: FakeClock, fake: FakeStripe, rail: Stripe) -> Iterator[StripeCustomer]:
    opened = open_customer(db, clock, fake, rail)
    yield opened
    opened.runtime.group.close()


def renewed_unheard(mira: StripeCustomer) -> None:
    """A month later Stripe has charged for the next one, and none of its webhooks came."""
    mira.host.wait(days=31)
    mira.fake.advance()


def test_an_invoice_told_under_both_of_its_names_is_paid_once(mira: StripeCustomer) -> None:
    mira.begin("pro")
    for event in [event for event in mira.fake.events if event["type"] == "invoice.paid"]:
        other = copy.deepcopy(event)
        other |= {"id": f"{event['id']}_too", "type": "invoice.payment_succeeded"}
        mira.bring([other, event, other])
    assert len(mira.payments()) == 1 and mira.monthly() == 10_100
    assert mira.is_clean()


def test_a_renewal_that_a_poll_brought_is_nothing_new_to_its_webhook(mira: StripeCustomer) -> None:
    mira.begin("pro")
    renewed_unheard(mira)
    mira.host.wait(minutes=6)
    report = reconcile(mira.runtime, mira.rail)
    mira.jobs.run_due()
    assert report.missed > 0 and len(mira.payments()) == 2
    rows, monthly = mira.rows(), mira.monthly()
    mira.hear()
    assert (mira.rows(), mira.monthly(), len(mira.payments())) == (rows, monthly, 2)
    assert mira.is_clean()


def test_a_renewal_that_was_charged_as_its_plan_is_cancelled_is_paid_for_and_the_last(mira: StripeCustomer) -> None:
    mira.begin("pro")
    renewed_unheard(mira)
    assert mira.act("cancel")["cancelAtPeriodEnd"] is True
    mira.hear()
    now = mira.subscription()
    assert (now["plan"], now["status"], now["cancelAtPeriodEnd"]) == ("pro", "active", True)
    assert len(mira.payments()) == 2 and mira.monthly() == 10_000
    mira.wait(days=31)
    assert mira.subscription()["plan"] == "free" and len(mira.payments()) == 2
    assert mira.is_clean()
