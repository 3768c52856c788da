"""A subscription's payment that goes back while its credits are held: what a hold lets go is taken, and no more."""

from collections.abc import Iterator

import pytest

from api import sandbox_returns as returns
from engine.store.database import Database
from tests.api.subscriber import Subscriber, subscriber
from tests.engine.support import FakeClock


@pytest.fixture
def mira(db: Database, clock: FakeClock) -> Iterator[Subscriber]:
    """On Base: 3,000 credits of the payment beside the 100 of the first plan."""
    made = subscriber(db, clock)
    made.subscribe("base")
    yield made
    assert made.is_clean()
    made.runtime.group.close()


def hold(mira: Subscriber, credits: int = 3_100, **more: object) -> str:
    answer = mira.host.post(f"{mira.path}/holds", {"amountCredits": str(credits), **more})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["holdId"])


def end(mira: Subscriber, hold_id: str, act: str, **body: object) -> None:
    answer = mira.host.post(f"{mira.path}/holds/{hold_id}/{act}", body)
    assert answer.status_code == 200, answer.text


def refund(mira: Subscriber, minor: int | None = None) -> None:
    mira.refund_payment(mira.payments()[0]["providerReference"], minor)


def test_what_is_voided_is_taken_and_the_first_plans_own_credits_stay(mira: Subscriber) -> None:
    hold_id = hold(mira)
    refund(mira)
    assert mira.monthly() == 0 and mira.payments()[0]["status"] == "refunded"
    end(mira, hold_id, "void")
    assert mira.monthly() == 100
    assert mira.rows()[-2:] == [("hold_release", 3_100), ("refund", -3_000)]


def test_what_was_captured_is_spent_and_only_the_rest_is_taken(mira: Subscriber) -> None:
    mira.host.grant(mira.path, "recharge", 500)
    hold_id = hold(mira)
    refund(mira)
    end(mira, hold_id, "capture", amountCredits="2000")
    assert mira.rows()[-3:] == [("hold_release", 3_100), ("debit", -2_000), ("refund", -1_100)]
    assert mira.monthly() == 0 and mira.host.buckets(mira.path)["recharge"] == 500


def test_a_hold_captured_whole_leaves_nothing_to_take_and_nothing_owed(mira: Subscriber) -> None:
    hold_id = hold(mira)
    refund(mira)
    end(mira, hold_id, "capture", amountCredits="3100")
    assert mira.rows()[-1] == ("debit", -3_100) and mira.monthly() == 0
    mira.host.grant(mira.path, "recharge", 500)
    assert mira.host.buckets(mira.path)["recharge"] == 500, "nothing is owed"


def test_a_hold_that_ends_by_itself_lets_nothing_of_it_go(mira: Subscriber) -> None:
    hold(mira, expiresInSeconds=60)
    refund(mira)
    mira.wait(seconds=60)
    assert mira.monthly() == 100


def test_half_of_the_money_takes_half_whatever_is_held(mira: Subscriber) -> None:
    first, second = hold(mira, 2_000), hold(mira, 1_000)
    paid = mira.payments()[0]["amountMinor"]
    refund(mira, paid // 2)
    end(mira, second, "void")
    end(mira, first, "void")
    left = mira.monthly()
    assert left == 3_100 - 3_000 * (paid // 2) // paid
    mira.wait(minutes=1)
    assert mira.monthly() == left


def test_a_dispute_that_is_won_while_they_are_held_takes_nothing(mira: Subscriber) -> None:
    payment_id = mira.payments()[0]["providerReference"]
    hold_id = hold(mira, 2_000)
    mira.tell(*mira.sandbox.keep(lambda session, now: returns.open_dispute(session, payment_id, now)).events)
    assert mira.monthly() == 0
    mira.tell(*mira.sandbox.keep(lambda session, now: returns.close_dispute(session, payment_id, "won", now)).events)
    assert mira.monthly() == 1_100
    end(mira, hold_id, "void")
    assert mira.monthly() == 3_100
