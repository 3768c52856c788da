"""Purchases through the flows with a real rail against its fake: webhooks verified, stored, then carried out."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from engine.audit import audit
from engine.flows import receive, topups
from engine.jobs import Jobs
from engine.payments import PaymentProvider
from engine.rules.money import Money
from engine.runtime import Runtime
from engine.store.database import Database, reading
from engine.store.documents import list_documents
from engine.store.tables import PurchaseRow, ReversalRow
from tests.engine.support import FakeClock, debit, lots_of, rows_of, wallet_of
from tests.flows.world import ACCOUNT, World, open_world
from tests.psp.fake_moonpay import FakeMoonPay
from tests.psp.fake_paddle import FakePaddle


@dataclass
class RailWorld:
    """One customer on a plan that may top up, one rail, and the provider behind it."""

    world: World
    runtime: Runtime
    jobs: Jobs
    clock: FakeClock
    rail: PaymentProvider
    fake: FakePaddle | FakeMoonPay
    delivered: int = 0

    def buy(self, minor: int = 2_500, **order: Any) -> PurchaseRow:
        wanted = topups.CheckoutOrder(account_id=ACCOUNT, actor="account:test", amount=Money(minor, "USD"), **order)
        return topups.start_checkout(self.runtime, wanted).purchase

    def hook(self, *events: dict[str, Any]) -> None:
        """Deliver these events, and let the jobs do what follows. The answer never depends on what came before."""
        for event in events:
            body, headers = self.fake.signed(event)
            verified = self.rail.verify(headers, body, self.clock.now())
            receive.store(self.runtime, self.rail, verified, self.clock.now())
        self.jobs.run_due()

    def hook_new(self) -> None:
        """Deliver what was not delivered yet."""
        waiting = self.fake.events[self.delivered :]
        self.delivered = len(self.fake.events)
        self.hook(*waiting)

    def spend(self, credits: int) -> None:
        self.world.posted(debit(ACCOUNT, credits))

    def purchase(self, purchase: PurchaseRow) -> PurchaseRow:
        return self.world.purchase(purchase)

    def reversal(self, reversal: ReversalRow) -> ReversalRow:
        with reading(self.runtime.db) as session:
            row = session.get(ReversalRow, (ACCOUNT, reversal.reversal_id))
        assert row is not None
        return row

    def state(self) -> tuple[int, int]:
        """(available, owed)."""
        with reading(self.runtime.db) as session:
            wallet = wallet_of(session, ACCOUNT)
        return wallet.available_credits, wallet.debt_credits

    def rows(self) -> list[tuple[str, int]]:
        with reading(self.runtime.db) as session:
            return [(row.type, row.amount_credits) for row in rows_of(session, ACCOUNT)]

    def books(self) -> tuple[object, ...]:
        """What must not depend on the order of arrival."""
        with reading(self.runtime.db) as session:
            lots = [(lot.remaining_credits, lot.taken_credits, lot.owed_credits) for lot in lots_of(session, ACCOUNT)]
        return (*self.state(), lots)

    def documents(self) -> list[str]:
        with reading(self.runtime.db) as session:
            return sorted(row.kind for row in list_documents(session, ACCOUNT, 1, 50)[0])

    def check(self) -> None:
        """The books add up, and close."""
        assert audit(self.runtime.db, self.runtime.secrets.all_for("ledger chain")).findings == []
        self.world.close()


def open_rail_world(
    db: Database, clock: FakeClock, rail: PaymentProvider, fake: FakePaddle | FakeMoonPay, others: Iterable[Any] = ()
) -> RailWorld:
    world = open_world(db, clock, "alphio", "base")
    providers = {each.name: each for each in (rail, *others)}
    runtime = replace(world.runtime, providers=providers)
    return RailWorld(world, runtime, Jobs(runtime), clock, rail, fake)
