"""Subscriptions that begin in a store: found by the account they name, granted by renewal, changed in the store."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast

import pytest
from litestar.testing import TestClient

from engine.flows import receive
from engine.jobs import Jobs
from engine.rules.facts import InvoiceFact, InvoiceState, SubscriptionFact, SubscriptionState
from engine.rules.money import Money
from engine.rules.periods import period_start
from engine.store.database import Database
from tests.api.host import Host, assert_problem, new_app, new_runtime
from tests.api.subscriber import Sandbox, Subscriber
from tests.engine.support import DAY_0, FakeClock


@dataclass
class Store(Sandbox):
    """A store's rail: its renewals are its own, and nothing is asked of it from here."""

    name: str = "apple"


@pytest.fixture
def mira(db: Database, clock: FakeClock) -> Iterator[Subscriber]:
    store = Store(db, clock)
    runtime = replace(new_runtime(db, clock, "alphio"), providers={"apple": cast(Any, store)})
    app = new_app(runtime)
    host = Host(TestClient(app), runtime, app.state["site"], clock, service_key="")
    host.service_key = host.new_key("service", name="backend")
    made = Subscriber(host, store, Jobs(runtime))
    made.path = host.open("sub1")
    yield made
    runtime.group.close()


def told(state: SubscriptionState, version: int, n: int, account: str | None = "sub1") -> SubscriptionFact:
    return SubscriptionFact(
        object_id="1000000001",
        state=state,
        version=version,
        live=False,
        plan="pro",
        interval="month",
        price=Money(4_900, "USD"),
        anchor_at=DAY_0,
        period_start=period_start(DAY_0, n),
        period_end=period_start(DAY_0, n + 1),
        account_id=account,
    )


def renewal(n: int, state: InvoiceState = "paid", version: int = 1) -> InvoiceFact:
    return InvoiceFact(
        object_id=f"20000000{n}",
        provider_subscription_id="1000000001",
        kind="create" if n == 0 else "renewal",
        state=state,
        amount=Money(4_900, "USD"),
        version=version,
        live=False,
        plan="pro",
        interval="month",
        period_start=period_start(DAY_0, n),
        period_end=period_start(DAY_0, n + 1),
    )


def hear(mira: Subscriber, *facts: SubscriptionFact | InvoiceFact) -> bool:
    """Whether one of the facts belongs to nothing we know yet."""
    unknown = receive.carry_out(mira.runtime, cast(Any, mira.sandbox), facts)
    mira.jobs.run_due()
    return unknown


def at(instant: datetime) -> str:
    return instant.isoformat()


def test_a_renewal_before_its_subscription_waits_and_is_granted_once(mira: Subscriber) -> None:
    assert hear(mira, renewal(0)) is True, "parked until the subscription is known"
    assert hear(mira, told("active", 1, 0, account="nobody")) is True
    assert mira.subscription()["plan"] == "free"
    for _ in range(2):
        assert hear(mira, told("active", 1, 0)) is False
        assert hear(mira, renewal(0), renewal(0)) is False
    now = mira.subscription()
    assert (now["plan"], now["provider"], now["reference"]) == ("pro", "apple", "1000000001")
    assert mira.monthly() == 10_100 and len(mira.payments()) == 1
    mira.wait_until(at(period_start(DAY_0, 1)))
    assert hear(mira, renewal(1), told("active", 2, 1), told("active", 1, 0)) is False
    assert mira.monthly() == 10_000 and mira.subscription()["currentPeriodEnd"] == "2027-01-02T09:30:00Z"
    assert mira.is_clean()


def test_a_renewal_that_the_store_refunds_takes_back_what_is_left(mira: Subscriber) -> None:
    hear(mira, told("active", 1, 0), renewal(0))
    mira.host.spend(mira.path, 1_100)
    for _ in range(2):
        hear(mira, renewal(0, "refunded", 2))
        assert mira.monthly() == 0 and [payment["status"] for payment in mira.payments()] == ["refunded"]
    assert mira.host.balance(mira.path)["debtCredits"] == "0"
    hear(mira, told("ended", 2, 0))
    assert mira.subscription()["plan"] == "free"
    assert mira.is_clean()


def test_it_is_changed_in_the_store(mira: Subscriber) -> None:
    hear(mira, told("active", 1, 0), renewal(0))
    where = {"provider": "Apple", "manageUrl": "https://apps.apple.com/account/subscriptions"}
    for act in ("preview", "change"):
        assert_problem(mira.host.post(f"{mira.path}/subscription/{act}", {"plan": "elite"}), 409, "PLAN-003", **where)
    for act in ("cancel", "reactivate", "pause", "resume"):
        assert_problem(mira.host.post(f"{mira.path}/subscription/{act}"), 409, "PLAN-003", **where)


def test_live_money_told_to_a_test_key_gives_nothing(mira: Subscriber) -> None:
    hear(mira, told("active", 1, 0))
    hear(mira, replace(renewal(0), live=True))
    assert mira.monthly() == 100 and [payment["status"] for payment in mira.payments()] == ["review"]


def test_one_renewal_belongs_to_one_account(mira: Subscriber) -> None:
    other = mira.host.open("sub2")
    hear(mira, told("active", 1, 0), renewal(0))
    hear(mira, replace(told("active", 1, 0, account="sub2"), object_id="1000000002"))
    stolen = replace(renewal(0), provider_subscription_id="1000000002")
    hear(mira, stolen)
    assert mira.host.buckets(other)["monthly"] == 100 and mira.monthly() == 10_100
    assert mira.is_clean()
