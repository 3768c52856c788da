"""No provider is asked anything while its thread has a connection of the database in hand."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from engine.flows import receive
from engine.flows.cards import portal_url, remove_card
from engine.flows.recharge import confirm_url
from engine.flows.reconcile import reconcile
from engine.flows.refunds import reverse_purchase
from engine.payments import Event
from engine.store.database import Database, reading, transact
from tests.engine.support import FakeClock
from tests.flows.cards import USD, EcoWorld
from tests.flows.watching import Connections, Watched
from tests.flows.world import ACCOUNT

SEEN = frozenset(
    (
        "start_checkout customer facts payment refund charge find_charge confirm_url give_up detach portal_url "
        "detached poll"
    ).split()
)
"""What this story asks of a provider."""


@pytest.fixture
def connections(db: Database) -> Iterator[Connections]:
    counted = Connections(db)
    yield counted
    counted.close()


@pytest.fixture
def eco(db: Database, clock: FakeClock) -> Iterator[EcoWorld]:
    opened = EcoWorld(db, clock)
    yield opened
    opened.world.close()


def watch(eco: EcoWorld, connections: Connections) -> Watched:
    watched: Any = Watched(eco.bank, connections)
    eco.world.runtime = replace(eco.world.runtime, providers={"stripe": watched})
    eco.world.jobs._runtime = eco.world.runtime
    return watched  # type: ignore[no-any-return]


def test_whatever_happens_no_provider_is_asked_inside_a_transaction(eco: EcoWorld, connections: Connections) -> None:
    watched = watch(eco, connections)
    runtime: Any = eco.world.runtime
    card = eco.save_card(2_000)
    eco.bank.bank_says = "authentication_required"
    eco.switch_on(card, 30 * USD)
    (asked,) = eco.purchases()
    assert confirm_url(runtime, asked.purchase_id) is not None
    eco.wait(hours=23)
    eco.bank.bank_says = "lost"
    eco.wait(hours=25)
    eco.bank.bank_says = None
    eco.wait(minutes=5)
    eco.bank.bank_says = "processing"
    eco.wish(threshold_credits=9_000 * USD)
    eco.wait(minutes=10)
    eco.wait(hours=2)
    assert eco.charges() == ["failed", "succeeded", "processing"]
    bought = eco.world.buy(500)
    eco.world.deliver(eco.world.pay(bought))
    reverse_purchase(runtime, bought.purchase_id, "a mistake", "support:Sam")
    eco.world.jobs.run_due()
    abandoned = eco.world.buy(500)
    eco.clock.advance(timedelta(minutes=6))
    receive.refresh(runtime, eco.world.purchase(abandoned))
    eco.wait(minutes=30)
    assert portal_url(runtime, ACCOUNT)
    eco.bank.lists(eco.world.refund_elsewhere(bought, "re_9", 1))
    reconcile(runtime, runtime.providers["stripe"])
    receive.store(runtime, eco.bank, Event("evt_gone", "card.detached", b"pm_unknown"), eco.clock.now())
    remove_card(runtime, ACCOUNT, card.method_id)
    eco.world.jobs.run_due()
    assert set(watched.called) == SEEN


def test_the_watch_sees_a_call_inside_a_transaction(eco: EcoWorld, connections: Connections) -> None:
    watched = watch(eco, connections)
    with pytest.raises(AssertionError, match="inside a transaction"):
        transact(eco.db, lambda session: watched.portal_url("cus_1", "https://shop.example"))
    with pytest.raises(AssertionError, match="inside a transaction"), reading(eco.db):
        watched.detach("pm_1")
    assert watched.portal_url("cus_1", "https://shop.example")
