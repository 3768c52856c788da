"""A provider of the tests that keeps cards too, and a customer of EcoLink who saved one."""

import threading
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlmodel import col, select

from engine.flows.recharge_settings import change_wish
from engine.payments import (
    Card,
    ChargeRequest,
    Checkout,
    CheckoutRequest,
    Detached,
    Event,
    Fact,
    Polled,
    ProviderRefused,
    ProviderUnreachable,
)
from engine.store.cards import live_cards
from engine.store.database import Database, reading
from engine.store.outbox import events
from engine.store.recharges import list_decisions
from engine.store.tables import OutboxRow, PaymentMethodRow, PurchaseRow, RechargeRow
from tests.engine.support import FakeClock, wallet_of
from tests.flows.world import ACCOUNT, BookProvider, World, open_world

USD = 1_000_000
"""Credits a dollar in EcoLink's catalogue."""


class CardBook(BookProvider):
    """`bank_says` is the bank's word on the next charges: a decline code, `processing`, `lost` (charged, and nobody
    hears of it), `down`, or nothing for yes. `told` events are what its own list has."""

    def __init__(self) -> None:
        super().__init__()
        self.bank_says: str | None = None
        self.charges: dict[str, ChargeRequest] = {}
        self.asked: list[str] = []
        self.detached_cards: list[str] = []
        self.customers: dict[str, str] = {}
        self.listed: list[Event] = []
        self.kills_at_facts = False
        self.door = threading.Lock()

    def facts(self, event: Event) -> tuple[Fact, ...]:
        if self.kills_at_facts:
            raise RuntimeError("the process dies here")
        return super().facts(event)

    def start_checkout(self, request: CheckoutRequest) -> Checkout:
        assert not request.save_card or request.customer_id, "a saved card hangs on a customer"
        return super().start_checkout(request)

    def customer(self, account_id: str, email: str | None, idempotency_key: str) -> str:
        self._answering()
        return self.customers.setdefault(idempotency_key, f"cus_{account_id}")

    def charge(self, request: ChargeRequest) -> tuple[Fact, ...]:
        with self.door:
            self.asked.append(request.purchase_id)
            self._answering()
            if self.bank_says == "down":
                raise ProviderUnreachable("no answer")
            if request.card_reference in self.detached_cards:
                raise ProviderRefused("payment_method_detached", "the card is gone")
            is_new = request.idempotency_key not in {each.idempotency_key for each in self.charges.values()}
            self.charges[request.purchase_id] = request
            if is_new:
                self._bank(request)
            if self.bank_says == "lost":
                raise ProviderUnreachable("the answer was lost")
            return self.find_charge(request)

    def _bank(self, request: ChargeRequest) -> None:
        said = self.bank_says
        if said in (None, "lost"):
            self.move(request.purchase_id, "paid")
        elif said == "processing":
            self.move(request.purchase_id, "processing")
        else:
            is_theirs = said == "authentication_required"
            self.move(request.purchase_id, "open" if is_theirs else "failed", said)

    def move(self, purchase_id: str, state: str, decline: str | None = None) -> Fact:
        """Put the payment of a charge into a state; the fact as any event tells it."""
        request = self.charges[purchase_id]
        fact = self.say("payment", f"pi_{purchase_id}", state, request.amount.minor)
        told = replace(fact, purchase_id=purchase_id, account_id=request.account_id, decline=decline)
        self.objects[fact.object_id] = told
        return told

    def find_charge(self, request: ChargeRequest) -> tuple[Fact, ...]:
        self._answering()
        found = self.objects.get(f"pi_{request.purchase_id}")
        return (found,) if found is not None else ()

    def confirm_url(self, payment_id: str, return_url: str) -> str | None:
        self._answering()
        return f"https://bank.example/{payment_id}" if self.objects[payment_id].state == "open" else None

    def give_up(self, payment_id: str) -> tuple[Fact, ...]:
        self._answering()
        if self.objects[payment_id].state == "open":
            self.move(payment_id.removeprefix("pi_"), "cancelled")
        return (self.objects[payment_id],)

    def detach(self, card_reference: str) -> None:
        self._answering()
        if card_reference in self.detached_cards:
            raise ProviderRefused("not_attached", "gone already")
        self.detached_cards.append(card_reference)

    def portal_url(self, customer_id: str, return_url: str) -> str:
        self._answering()
        return f"https://portal.example/{customer_id}"

    def detached(self, event: Event) -> Detached | None:
        if event.type != "card.detached":
            return None
        return Detached(card_references=(event.payload.decode(),))

    def poll(self, cursor: str | None, now: datetime) -> Polled:
        self._answering()
        return Polled(tuple(self.listed), str(len(self.listed)))

    def lists(self, *facts: Fact) -> None:
        """Put facts on the provider's own list of events, without a webhook."""
        for fact in facts:
            name = f"evt_listed_{len(self.listed)}"
            self.listed.append(Event(name, f"{fact.kind}.{fact.state}", msgspec.json.encode(fact)))


class EcoWorld:
    """EcoLink's customer; `world` is the whole Purser behind."""

    def __init__(self, db: Database, clock: FakeClock) -> None:
        self.bank = CardBook()
        self.world: World = open_world(db, clock, "ecolink", provider=self.bank)
        self.clock = clock
        self.db = db

    def save_card(self, minor: int = 100, reference: str = "pm_1") -> PaymentMethodRow:
        """A paid checkout that saves its card; the credits stay."""
        purchase = self.world.buy(minor, save_card=True)
        request = self.bank.requests[f"cs_{purchase.purchase_id}"]
        assert request.customer_id is not None
        card = Card(reference, request.customer_id, "visa", "4242", 8, 2030)
        paid = replace(self.world.pay(purchase), card=card)
        self.world.deliver(paid)
        return next(row for row in self.cards() if row.provider_reference == reference)

    def wish(self, **changes: Any) -> None:
        """Change what the customer wants, and let the jobs do what follows."""
        change_wish(self.world.runtime, ACCOUNT, changes)
        self.world.jobs.run_due()

    def switch_on(self, card: PaymentMethodRow, threshold: int, minor: int = 5_000, **more: Any) -> None:
        wanted = {"threshold_credits": threshold, "amount_minor": minor, "method_id": card.method_id}
        self.wish(is_enabled=True, **wanted, **more)

    def wait(self, **span: float) -> None:
        self.clock.advance(timedelta(**span))
        self.world.jobs.run_due()

    def cards(self) -> list[PaymentMethodRow]:
        with reading(self.db) as session:
            return live_cards(session, ACCOUNT)

    def charges(self) -> list[str]:
        """What came of every charge, oldest first."""
        with reading(self.db) as session:
            rows = session.exec(
                select(RechargeRow).order_by(col(RechargeRow.created_at), col(RechargeRow.purchase_id))
            ).all()
        return [row.status for row in rows]

    def reasons(self) -> list[str]:
        """Every decision, oldest first."""
        with reading(self.db) as session:
            rows, total = list_decisions(session, ACCOUNT, 1, 100)
        assert total == len(rows)
        return [row.reason for row in reversed(rows)]

    def notices(self) -> list[dict[str, Any]]:
        """The notices about charges, oldest first."""
        with reading(self.db) as session:
            rows = session.exec(
                select(OutboxRow).where(OutboxRow.kind == "notice").order_by(col(OutboxRow.created_at))
            ).all()
        notices = [msgspec.json.decode(row.payload) for row in rows]
        return [notice for notice in notices if notice["notice"].startswith("autoRecharge")]

    def told(self) -> list[str]:
        """The types of the outgoing events about charges, oldest first."""
        with reading(self.db) as session:
            types = [msgspec.json.decode(row.payload)["type"] for row in events(session, 1_000)]
        return [name for name in reversed(types) if name.startswith("auto_recharge.")]

    def purchases(self) -> list[PurchaseRow]:
        with reading(self.db) as session:
            return list(session.exec(select(PurchaseRow).where(PurchaseRow.kind == "auto_recharge")).all())

    @property
    def available(self) -> int:
        with reading(self.db) as session:
            return wallet_of(session, ACCOUNT).available_credits
