"""A part of a year's payment goes back: money and credits are counted over the whole year, not its first month."""

from collections.abc import Iterator

import pytest
from sqlmodel import Session, select

from api import sandbox_returns as returns
from engine.store.database import Database, transact
from engine.store.tables import SubscriptionInvoiceRow
from tests.api.host import assert_problem
from tests.api.subscriber import Subscriber, subscriber
from tests.engine.support import FakeClock


@pytest.fixture
def mira(db: Database, clock: FakeClock) -> Iterator[Subscriber]:
    made = subscriber(db, clock)
    with made.host.client:
        yield made
    made.runtime.group.close()


def refund(mira: Subscriber, role: str = "support", amount_minor: int | None = None) -> dict[str, object]:
    body: dict[str, object] = {"reason": "asked"} | ({"amountMinor": amount_minor} if amount_minor else {})
    purchase = mira.payments()[0]["id"]
    key = mira.host.new_key(role, name=f"{role} Sam")  # type: ignore[arg-type]
    answer = mira.host.post(f"/v1/support/purchases/{purchase}/refunds", body, bearer=key)
    assert answer.status_code == 202, answer.text
    mira.tell()
    return dict(answer.json())


def months(mira: Subscriber, count: int) -> list[int]:
    """The monthly credits at the end of each of the next months, none of them spent."""
    found = []
    for _ in range(count):
        mira.wait(days=31)
        found.append(mira.monthly())
    return found


def test_the_unspent_share_of_a_year_is_of_all_its_months(mira: Subscriber) -> None:
    mira.subscribe("base", "year")
    assert mira.host.spend(mira.path, 1_600).status_code == 201, "Free's 100 first, then half of the month"
    told = refund(mira)
    assert (told["amountMinor"], told["creditsTakenBack"]) == (19_000 * 34_500 // 36_000, "34499")
    assert mira.monthly() == 0 and months(mira, 3) == [0, 0, 0], "nothing is left to give"
    assert mira.host.balance(mira.path)["debtCredits"] == "0"
    assert mira.is_clean()


def test_a_small_refund_of_a_year_takes_its_share_of_the_year_and_no_more(mira: Subscriber) -> None:
    mira.subscribe("base", "year")
    assert refund(mira, amount_minor=1_900)["creditsTakenBack"] == "3600"
    assert mira.monthly() == 100 and months(mira, 3) == [2_400, 3_000, 3_000]
    assert mira.payments()[0]["status"] == "partially_refunded"
    assert mira.is_clean()


def test_half_a_year_that_went_back_elsewhere_is_half_of_every_month(mira: Subscriber) -> None:
    mira.subscribe("base", "year")
    mira.refund_payment(mira.payments()[0]["providerReference"], 9_500)
    assert mira.monthly() == 1_600 and months(mira, 3) == [1_500, 1_500, 1_500]
    told = mira.host.post(
        f"/v1/support/purchases/{mira.payments()[0]['id']}/refunds",
        {"reason": "asked", "amountMinor": 9_501},
        bearer=mira.host.new_key("admin"),
    )
    assert_problem(told, 409, "REFUND-004", maxMinor=9_500)
    assert mira.is_clean()


def test_an_upgrade_of_a_year_goes_back_whole_while_nothing_of_it_is_spent(mira: Subscriber) -> None:
    mira.subscribe("base", "year")
    mira.wait(days=5)
    mira.change("pro", "year")
    upgrade = mira.payments()[0]
    before = mira.monthly()
    told = refund(mira)
    assert told["amountMinor"] == upgrade["amountMinor"] > 0
    assert before - mira.monthly() == int(upgrade["creditsGranted"])
    assert months(mira, 3) == [3_000, 3_000, 3_000], "the year itself goes on"
    assert mira.is_clean()


def test_an_upgrade_of_a_year_goes_back_as_far_as_its_months_are_to_come(mira: Subscriber) -> None:
    mira.subscribe("base", "year")
    mira.wait(hours=1)
    mira.change("pro", "year")
    assert months(mira, 2) == [10_000, 10_000]
    upgrade = mira.payments()[0]
    whole = int(upgrade["creditsGranted"]) + 9 * 7_000
    assert refund(mira)["amountMinor"] == upgrade["amountMinor"] * 70_000 // whole, "two of its months are over"
    assert mira.monthly() == 3_000 and months(mira, 2) == [3_000, 3_000]
    assert mira.is_clean()


def test_a_payment_that_is_for_no_month_is_refunded_by_what_it_granted(mira: Subscriber) -> None:
    mira.subscribe("base", "year")
    mira.wait(hours=1)
    mira.change("pro", "year")

    def is_for_no_month(session: Session) -> None:
        raised = select(SubscriptionInvoiceRow).where(SubscriptionInvoiceRow.kind == "proration")
        invoice = session.exec(raised).one()
        invoice.kind = "other"
        session.add(invoice)

    transact(mira.runtime.db, is_for_no_month)
    assert refund(mira)["amountMinor"] == mira.payments()[0]["amountMinor"]


def test_the_ledger_says_how_much_money_went_back_and_how_much_of_it_came_again(mira: Subscriber) -> None:
    mira.subscribe("base", "year")
    payment = mira.payments()[0]["providerReference"]
    made = mira.sandbox.keep(lambda session, now: returns.refund_outside(session, payment, 1_001, now))
    mira.tell(*made.events)
    mira.wait(minutes=1)
    mira.refund_payment(payment, 1_001)
    mira.refund_payment(payment, 499)
    mira.tell(*mira.sandbox.keep(lambda s, now: returns.fail_refund(s, made.told.id, now)).events)
    rows = mira.host.get(f"{mira.path}/transactions").json()["transactions"]
    assert [(row["description"], row["amountCredits"]) for row in reversed(rows[:4])] == [
        ("Refund: $10.01", "-158"),
        ("Refund: $10.01", "-158"),
        ("Refund: $4.99", "-78"),
        ("Refund failed, credits returned: $10.01", "158"),
    ]
    assert mira.is_clean()
