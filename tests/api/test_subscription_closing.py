"""Closing an account cancels its subscriptions at their provider, once it can be asked; suspending leaves them."""

from collections.abc import Iterator

import pytest
from sqlmodel import select

from api import sandbox_returns as returns
from engine.store.database import Database, reading
from engine.store.queues import queue_total
from engine.store.tables import OutboxRow, SandboxSubscriptionRow
from tests.api.subscriber import Subscriber, subscriber
from tests.engine.support import FakeClock


@pytest.fixture
def mira(db: Database, clock: FakeClock) -> Iterator[Subscriber]:
    made = subscriber(db, clock)
    yield made
    assert made.is_clean()
    made.runtime.group.close()


def order(mira: Subscriber, act: str) -> None:
    admin = mira.host.new_key("admin", name="Kim")
    answer = mira.host.post(f"/v1/admin/accounts/sub1/{act}", {"reason": "asked by mail"}, bearer=admin)
    assert answer.status_code == 200, answer.text
    mira.jobs.run_due()


def at_provider(mira: Subscriber) -> list[tuple[str, bool]]:
    with reading(mira.runtime.db) as session:
        rows = session.exec(select(SandboxSubscriptionRow)).all()
    return [(row.state, row.cancel_at_period_end) for row in rows]


def waiting(mira: Subscriber) -> int:
    with reading(mira.runtime.db) as session:
        rows = session.exec(select(OutboxRow).where(OutboxRow.kind == "subscription_close")).all()
    return sum(row.done_at is None for row in rows)


def in_review(mira: Subscriber) -> int:
    with reading(mira.runtime.db) as session:
        return queue_total(session, "review")


def test_a_closed_accounts_subscription_is_cancelled_and_never_charged_again(mira: Subscriber) -> None:
    mira.subscribe("pro")
    order(mira, "close")
    assert at_provider(mira) == [("active", True)] and waiting(mira) == 0
    order(mira, "close")
    assert waiting(mira) == 0, "closed already: nothing is asked again"
    mira.wait(days=31)
    mira.play("renew")
    assert at_provider(mira) == [("ended", True)] and len(mira.payments()) == 1


def test_a_provider_that_is_down_is_asked_until_it_answers(mira: Subscriber) -> None:
    mira.subscribe("pro")
    mira.sandbox.is_down = True
    order(mira, "close")
    assert waiting(mira) == 1
    mira.sandbox.is_down = False
    mira.sandbox.answers_lost = 1
    mira.wait(minutes=5)
    mira.wait(minutes=5)
    assert at_provider(mira) == [("active", True)] and waiting(mira) == 0


def test_a_checkout_that_is_paid_after_the_close_is_cancelled_too(mira: Subscriber) -> None:
    begun = mira.change("pro", "month")
    order(mira, "close")
    assert at_provider(mira) == [("incomplete", False)] and waiting(mira) == 1
    mira.press(begun["checkoutUrl"], "pay")
    assert [payment["status"] for payment in mira.payments()] == ["review"]
    assert mira.outbox("document") == [], "what gave nothing has no receipt"
    assert "purchase.completed" not in [event["type"] for event in mira.outbox("event")]
    mira.wait(hours=2)
    assert at_provider(mira) == [("active", True)] and waiting(mira) == 0


def test_a_payment_that_a_closed_wallet_could_not_take_waits_for_a_person_until_all_of_it_went_back(
    mira: Subscriber,
) -> None:
    mira.subscribe("pro")
    mira.sandbox.is_down = True  # so it renews before it can be told to end
    order(mira, "close")
    mira.wait(days=30)
    mira.sandbox.is_down = False
    mira.play("renew")
    renewal = mira.payments()[0]["providerReference"]
    for minor in (1, 2_000):
        mira.refund_payment(renewal, minor)
        assert mira.payments()[0]["status"] == "review" and in_review(mira) == 1
    mira.refund_payment(renewal)
    assert mira.payments()[0]["status"] == "refunded" and in_review(mira) == 0


def test_a_refund_of_such_a_payment_that_fails_brings_it_back_into_its_queue(mira: Subscriber) -> None:
    begun = mira.change("pro", "month")
    order(mira, "close")
    mira.press(begun["checkoutUrl"], "pay")
    (paid,) = mira.payments()
    payment_id = paid["providerReference"]
    mira.refund_payment(payment_id)
    assert mira.payments()[0]["status"] == "refunded" and in_review(mira) == 0
    refund_id = mira.sandbox.keep(lambda session, now: returns.standing_refund(session, payment_id, now))
    assert refund_id is not None
    failed = mira.sandbox.keep(lambda session, now: returns.fail_refund(session, refund_id, now))
    mira.tell(*failed.events)
    assert mira.payments()[0]["status"] == "review" and in_review(mira) == 1


def test_what_ended_or_was_cancelled_is_not_asked_for_again(mira: Subscriber) -> None:
    mira.subscribe("pro")
    mira.act("cancel")
    before = mira.sandbox.posted[:]
    order(mira, "close")
    assert waiting(mira) == 0 and mira.sandbox.posted == before


def test_a_suspended_account_keeps_its_subscription_and_what_it_pays_for(mira: Subscriber) -> None:
    mira.subscribe("pro")
    order(mira, "suspend")
    assert at_provider(mira) == [("active", False)]
    mira.wait(days=30)
    mira.play("renew")
    assert mira.monthly() == 10_000 and len(mira.payments()) == 2
