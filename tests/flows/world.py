"""A whole Purser without HTTP: a provider that keeps its own books, a runtime on a database, and one customer."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import msgspec

from api.mails.compose import write_notice
from engine.catalogs import load_catalog
from engine.clock import Clock
from engine.flows import receive, topups
from engine.group_commit import in_threads
from engine.jobs import Jobs
from engine.payments import Checkout, CheckoutRequest, Event, ProviderRefused, ProviderUnreachable, RefundRequest
from engine.rules.commands import Command, Posted
from engine.rules.facts import Fact
from engine.rules.money import Money
from engine.runtime import Runtime, Secrets, chain_terms
from engine.store import books
from engine.store.bulk import insert_rows
from engine.store.database import Database, reading, transact
from engine.store.tables import PurchaseRow
from tests.engine.support import FakeClock

ACCOUNT = "acc_customer"


class BookProvider:
    """A provider that remembers what it was asked and tells it in events, in whatever order a test delivers them."""

    name = "stripe"
    account = "default"
    is_live = False
    can_refund = True
    merchant_of_record = None

    def __init__(self) -> None:
        self.requests: dict[str, CheckoutRequest] = {}
        self.objects: dict[str, Fact] = {}
        self.refund_answer = "succeeded"
        self.is_down = False
        self.checkouts_asked = 0

    def start_checkout(self, request: CheckoutRequest) -> Checkout:
        self._answering()
        self.checkouts_asked += 1
        self.requests[f"cs_{request.purchase_id}"] = request
        session_id = f"cs_{request.purchase_id}"
        return Checkout(session_id, f"https://pay.example/{session_id}", request.expires_at)

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Event:
        raise NotImplementedError("these tests deliver events that are verified")

    def facts(self, event: Event) -> tuple[Fact, ...]:
        self._answering()
        return (msgspec.json.decode(event.payload, type=Fact),)

    def refund(self, request: RefundRequest) -> tuple[Fact, ...]:
        self._answering()
        if self.refund_answer == "refused":
            raise ProviderRefused("charge_disputed", "no")
        fact = self.say(
            "refund",
            f"re_{request.reversal_id}",
            self.refund_answer,
            request.amount.minor,
            parent=request.payment_id,
            own=request.reversal_id,
            currency=request.amount.currency,
        )
        return (fact,)

    def payment(self, session_id: str) -> tuple[Fact, ...]:
        self._answering()
        return tuple(fact for fact in self.objects.values() if fact.session_id == session_id)

    def say(
        self,
        kind: str,
        object_id: str,
        state: str,
        minor: int,
        *,
        parent: str | None = None,
        own: str | None = None,
        request: CheckoutRequest | None = None,
        currency: str = "USD",
    ) -> Fact:
        """Put an object into a new state; the fact as any later fetch or event tells it."""
        before = self.objects.get(object_id)
        version = before.version + 1 if before else 1
        fact = Fact(
            kind=kind,  # type: ignore[arg-type]
            object_id=object_id,
            state=state,  # type: ignore[arg-type]
            amount=Money(minor, currency),
            version=version,
            live=self.is_live,
            parent_id=parent,
            purchase_id=request.purchase_id if request else None,
            account_id=request.account_id if request else None,
            own_reference=own,
            session_id=f"cs_{request.purchase_id}" if request else None,
        )
        self.objects[object_id] = fact
        return fact

    def _answering(self) -> None:
        if self.is_down:
            raise ProviderUnreachable("no answer")


@dataclass
class World:
    """One runtime with its jobs; events are delivered by `deliver`, time moves by `clock`."""

    db: Database
    clock: FakeClock
    provider: BookProvider
    runtime: Runtime
    jobs: Jobs
    delivered: int = 0
    problems: list[str] = field(default_factory=list)

    def close(self) -> None:
        self.runtime.group.close()

    def buy(self, minor: int = 1_000, **order: Any) -> PurchaseRow:
        """Start a checkout for the customer."""
        wanted = topups.CheckoutOrder(account_id=ACCOUNT, actor="account:test", amount=Money(minor, "USD"), **order)
        return topups.start_checkout(self.runtime, wanted).purchase

    def pay(self, purchase: PurchaseRow, state: str = "paid", minor: int | None = None, currency: str = "USD") -> Fact:
        """The provider's word on the payment of a purchase, not yet delivered."""
        request = self.provider.requests[f"cs_{purchase.purchase_id}"]
        paid = purchase.amount_minor if minor is None else minor
        return self.provider.say(
            "payment", f"pi_{purchase.purchase_id}", state, paid, request=request, currency=currency
        )

    def refund_elsewhere(self, purchase: PurchaseRow, name: str, minor: int, state: str = "succeeded") -> Fact:
        return self.provider.say("refund", name, state, minor, parent=f"pi_{purchase.purchase_id}")

    def dispute(self, purchase: PurchaseRow, state: str, minor: int | None = None) -> Fact:
        amount = purchase.amount_minor if minor is None else minor
        name = f"dp_{purchase.purchase_id}"
        return self.provider.say("dispute", name, state, amount, parent=f"pi_{purchase.purchase_id}")

    def deliver(self, *facts: Fact) -> None:
        """Bring facts as events of their own, a microsecond apart, and let the jobs do what follows."""
        for ago, fact in zip(range(len(facts) - 1, -1, -1), facts, strict=True):
            self.delivered += 1
            payload = msgspec.json.encode(fact)
            event = Event(f"evt_{self.delivered}", f"{fact.kind}.{fact.state}", payload)
            assert receive.store(self.runtime, self.provider, event, self.clock.now() - timedelta(microseconds=ago))
        self.jobs.run_due()

    def post(self, *commands: Command) -> list[Any]:
        from engine import book

        return transact(self.db, lambda session: book.post(session, commands, self.runtime.terms, self.clock.now()))

    def posted(self, command: Command) -> Posted:
        outcome = self.post(command)[0]
        assert isinstance(outcome, Posted), outcome
        return outcome

    def purchase(self, purchase: PurchaseRow) -> PurchaseRow:
        from engine.store import purchases

        with reading(self.db) as session:
            found = purchases.get_purchase(session, ACCOUNT, purchase.purchase_id)
        assert found is not None
        return found


def open_world(
    db: Database,
    clock: FakeClock,
    catalog: str = "acn",
    plan: str | None = None,
    provider: BookProvider | None = None,
) -> World:
    """A runtime on a clean database with one account and an empty wallet."""
    loaded = load_catalog(catalog)
    secrets = Secrets(("the operator's secret key for tests",))
    provider = provider or BookProvider()
    terms = replace(chain_terms(loaded, secrets))
    group = in_threads(db, terms, clock.now, lanes=1)
    real: Any = clock
    runtime = Runtime(
        db=db,
        catalog=loaded,
        secrets=secrets,
        terms=terms,
        clock=_as_clock(real),
        group=group,
        providers={"stripe": provider},
        base_url="https://purser.example",
        return_origins=("https://purser.example", "https://shop.example"),
    )
    now = clock.now()
    columns = ("account_id", "email", "name", "country", "locale", "profile", "plan", "anchor_at", "created_at")
    row = (ACCOUNT, "mira@customer.example", "Mira", "DE", "en", "{}", plan, now, now)

    def insert(session: Any) -> None:
        insert_rows(session, "accounts", columns, [row])
        insert_rows(session, "wallets", books.WALLET, [books.new_wallet_row(ACCOUNT, now)])

    transact(db, insert)
    return World(db, clock, provider, runtime, Jobs(runtime, {"notice": write_notice}))


def _as_clock(clock: Clock) -> Clock:
    return clock
