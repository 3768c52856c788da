"""Several things at the very same moment, and a provider's word before our own row was finished: one credit each."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import msgspec
import pytest

from engine.flows import receive, recharge
from engine.flows.reconcile import YOUNG, reconcile
from engine.payments import Checkout, CheckoutRequest, Event
from engine.store import purchases
from engine.store.database import Database, reading, transact
from tests.engine.support import FakeClock, rows_of
from tests.flows.cards import USD, EcoWorld
from tests.flows.world import ACCOUNT, BookProvider, World, open_world


@pytest.fixture
def world(db: Database, clock: FakeClock) -> Iterator[World]:
    opened = open_world(db, clock)
    yield opened
    opened.close()


@pytest.fixture
def eco(db: Database, clock: FakeClock) -> Iterator[EcoWorld]:
    opened = EcoWorld(db, clock)
    yield opened
    opened.world.close()


def at_once(*acts: Callable[[], Any]) -> None:
    """Do all of these in threads of their own that begin together; whatever fails, fails here."""
    gate = Barrier(len(acts))

    def one(act: Callable[[], Any]) -> None:
        gate.wait(30)
        act()

    with ThreadPoolExecutor(len(acts)) as threads:
        for done in [threads.submit(one, act) for act in acts]:
            done.result(60)


def deposits(db: Database) -> list[int]:
    with reading(db) as session:
        return [row.amount_credits for row in rows_of(session, ACCOUNT)]


def test_the_return_page_and_the_webhook_at_once_credit_once(world: World) -> None:
    purchase = world.buy()
    paid = world.pay(purchase)
    event = Event("evt_paid", "payment.paid", msgspec.json.encode(paid))
    assert receive.store(world.runtime, world.provider, event, world.clock.now())
    seen = world.purchase(purchase)
    at_once(
        *[lambda: receive.refresh(world.runtime, seen)] * 4,
        *[lambda: receive.process_due(world.runtime, world.clock.now())] * 4,
    )
    world.jobs.run_due()
    assert world.purchase(purchase).status == "paid" and deposits(world.db) == [10_000_000]


def test_a_poll_and_a_webhook_at_once_credit_once(eco: EcoWorld) -> None:
    purchase = eco.world.buy(1_000)
    paid = eco.world.pay(purchase)
    eco.bank.lists(paid)
    eco.clock.advance(YOUNG)
    event = Event("evt_hook", "payment.paid", msgspec.json.encode(paid))
    assert receive.store(eco.world.runtime, eco.bank, event, eco.clock.now())
    at_once(
        *[lambda: reconcile(eco.world.runtime, eco.bank)] * 2,
        *[lambda: receive.process_due(eco.world.runtime, eco.clock.now())] * 3,
    )
    eco.world.jobs.run_due()
    assert eco.available == 10 * USD and deposits(eco.db) == [10 * USD]


def test_many_workers_that_look_at_a_wallet_at_once_never_pass_its_cap(eco: EcoWorld) -> None:
    card = eco.save_card()
    eco.switch_on(card, 10_000 * USD, 1_000, monthly_cap_minor=2_500)
    for _ in range(6):
        eco.clock.advance(timedelta(minutes=30))
        at_once(
            *[lambda: recharge.look(eco.world.runtime, ACCOUNT)] * 4,
            *[lambda: recharge.look_after(eco.world.runtime)] * 2,
        )
        eco.world.jobs.run_due()
    assert eco.charges() == ["succeeded"] * 2 and eco.available == (1 + 20) * USD
    assert eco.reasons()[-1] == "monthly_cap"


class Hasty(BookProvider):
    """A provider whose customer has paid, and whose webhook was carried out, before it answers our own request."""

    world: World

    def start_checkout(self, request: CheckoutRequest) -> Checkout:
        made = super().start_checkout(request)
        fact = self.say("payment", f"pi_{request.purchase_id}", "paid", request.amount.minor, request=request)
        self.world.deliver(fact)
        return made


def test_a_webhook_that_is_carried_out_before_our_own_checkout_is_written_credits_once(
    db: Database, clock: FakeClock
) -> None:
    provider = Hasty()
    provider.world = world = open_world(db, clock, provider=provider)
    purchase = world.buy()
    assert (purchase.status, purchase.session_id) == ("paid", f"cs_{purchase.purchase_id}")
    world.deliver(world.pay(purchase))
    clock.advance(timedelta(hours=1))
    world.jobs.run_due()
    assert world.purchase(purchase).status == "paid" and deposits(db) == [10_000_000]
    world.close()


def test_an_objects_id_is_claimed_once_in_each_account_and_mode_of_its_provider(world: World) -> None:
    first, second = world.buy(), world.buy()

    def claim(account: str, mode: str, purchase: Any) -> bool:
        now = world.clock.now()
        return transact(
            world.db,
            lambda session: purchases.claim_object(session, "stripe", account, mode, "payment", "pi_1", purchase, now),
        )

    assert claim("acct_a", "test", first) and claim("acct_a", "test", first)
    assert not claim("acct_a", "test", second)
    assert claim("acct_b", "test", second) and claim("acct_a", "live", second)
