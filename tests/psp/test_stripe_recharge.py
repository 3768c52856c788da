"""Auto-recharge through the real Stripe rail: saved, charged, confirmed, removed, and a webhook that was lost."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, select

from engine.audit import audit
from engine.flows import receive
from engine.flows.recharge import confirm_url
from engine.flows.recharge_settings import change_wish
from engine.flows.reconcile import reconcile
from engine.store.cards import live_cards
from engine.store.database import Database, reading
from engine.store.recharges import list_decisions
from engine.store.tables import OutboxRow, PaymentMethodRow, PurchaseRow
from psp.stripe import Stripe
from tests.engine.support import FakeClock, debit, wallet_of
from tests.flows.world import ACCOUNT, World, open_world
from tests.psp.fake_stripe import FakeStripe

USD = 1_000_000


@dataclass
class Shop:
    """EcoLink with Stripe: what Stripe tells reaches it when a test delivers."""

    world: World
    fake: FakeStripe
    rail: Stripe
    brought: int = 0

    def deliver(self) -> None:
        for event in self.fake.events[self.brought :]:
            body, headers = self.fake.signed(event)
            receive.store(
                self.world.runtime, self.rail, self.rail.verify(headers, body, self.fake.now()), self.fake.now()
            )
        self.brought = len(self.fake.events)
        self.world.jobs.run_due()

    def cards(self) -> list[PaymentMethodRow]:
        with reading(self.world.db) as session:
            return live_cards(session, ACCOUNT)

    @property
    def available(self) -> int:
        with reading(self.world.db) as session:
            return wallet_of(session, ACCOUNT).available_credits

    def recharges(self) -> list[PurchaseRow]:
        with reading(self.world.db) as session:
            wanted = select(PurchaseRow).where(PurchaseRow.kind == "auto_recharge")
            return list(session.exec(wanted.order_by(col(PurchaseRow.created_at))).all())


@pytest.fixture
def shop(db: Database, clock: FakeClock, fake: FakeStripe, rail: Stripe) -> Iterator[Shop]:
    provider: Any = rail
    world = open_world(db, clock, "ecolink", provider=provider)
    made = Shop(world, fake, rail)
    purchase = world.buy(2_000, save_card=True)
    assert purchase.session_id is not None
    fake.pay(purchase.session_id)
    made.deliver()
    yield made
    report = audit(db, world.runtime.secrets.all_for("ledger chain"))
    world.close()
    assert report.findings == []


def switch_on(shop: Shop, threshold: int = 10 * USD) -> PaymentMethodRow:
    (card,) = shop.cards()
    wish = {"is_enabled": True, "threshold_credits": threshold, "amount_minor": 5_000, "method_id": card.method_id}
    change_wish(shop.world.runtime, ACCOUNT, wish)
    shop.world.jobs.run_due()
    return card


def test_a_saved_card_is_charged_when_little_is_left_and_its_webhooks_change_nothing(shop: Shop) -> None:
    switch_on(shop)
    shop.world.posted(debit(ACCOUNT, 10 * USD))
    shop.world.jobs.run_due()
    assert shop.available == 60 * USD
    shop.deliver()
    assert shop.available == 60 * USD
    (purchase,) = shop.recharges()
    assert purchase.status == "paid" and (purchase.provider_reference or "").startswith("pi_")
    assert purchase.receipt_url is not None


def test_a_bank_that_asks_is_answered_on_the_same_intent(shop: Shop) -> None:
    (card,) = shop.cards()
    shop.fake.banks_say[card.provider_reference] = "authentication_required"
    switch_on(shop, 30 * USD)
    shop.deliver()
    (purchase,) = shop.recharges()
    assert purchase.status == "created" and shop.available == 20 * USD
    url = confirm_url(shop.world.runtime, purchase.purchase_id)
    assert url is not None
    intent_id = url.rsplit("/", 1)[1]
    shop.fake.settle_charge(intent_id)
    shop.deliver()
    (paid,) = shop.recharges()
    assert (paid.status, paid.provider_reference, shop.available) == ("paid", intent_id, 70 * USD)


def test_a_payment_nobody_confirms_is_cancelled_at_stripe(shop: Shop) -> None:
    (card,) = shop.cards()
    shop.fake.banks_say[card.provider_reference] = "authentication_required"
    switch_on(shop, 30 * USD)
    shop.world.clock.advance(timedelta(hours=23))
    shop.world.jobs.run_due()
    statuses = [each["status"] for each in shop.fake.every("payment_intent")]
    assert statuses.count("canceled") == 1 and [row.status for row in shop.recharges()] == ["cancelled"]


def test_a_card_removed_in_stripes_portal_is_gone_here(shop: Shop) -> None:
    card = switch_on(shop)
    shop.fake.detach(card.provider_reference)
    shop.deliver()
    assert shop.cards() == []
    shop.world.posted(debit(ACCOUNT, 15 * USD))
    shop.world.jobs.run_due()
    assert shop.recharges() == [] and shop.available == 5 * USD


def test_a_refund_whose_webhook_was_lost_is_found_in_stripes_own_list(shop: Shop) -> None:
    (intent,) = shop.fake.every("payment_intent")
    shop.fake.refund(intent["id"], 500)
    shop.world.clock.advance(timedelta(minutes=5))
    report = reconcile(shop.world.runtime, shop.rail)
    assert report.missed == 1 and [finding.kind for finding in report.findings] == ["refunded_not_taken_back"]
    assert shop.available == 15 * USD


def test_an_expired_card_is_left_alone_until_its_bank_renews_it(shop: Shop) -> None:
    (card,) = shop.cards()
    shop.fake.renew_card(card.provider_reference, 10, 2026, "4242", by_bank=False)
    shop.deliver()
    assert [(row.exp_month, row.exp_year) for row in shop.cards()] == [(10, 2026)]
    wanted = {"threshold_credits": 5 * USD, "amount_minor": 1_000, "method_id": card.method_id}
    change_wish(shop.world.runtime, ACCOUNT, {"is_enabled": True, **wanted})
    shop.world.posted(debit(ACCOUNT, 16 * USD))
    shop.world.jobs.run_due()
    shop.world.clock.advance(timedelta(days=2))
    shop.world.jobs.run_due()
    assert shop.recharges() == [] and decisions(shop) == ["card_expired"] and len(notices(shop)) == 1
    shop.fake.renew_card(card.provider_reference, 1, 2031, "0019")
    shop.deliver()
    (renewed,) = shop.cards()
    assert (renewed.method_id, renewed.last4, renewed.exp_year) == (card.method_id, "0019", 2031)
    assert [row.status for row in shop.recharges()] == ["paid"] and shop.available == 14 * USD


def test_a_card_that_changed_and_is_gone_when_it_is_asked_for_is_gone_here(shop: Shop) -> None:
    (card,) = shop.cards()
    shop.fake.renew_card(card.provider_reference, 1, 2031, "0019")
    shop.fake.detach(card.provider_reference)
    shop.deliver()
    assert shop.cards() == []


def test_a_renewed_card_ends_the_wait_after_a_decline(shop: Shop) -> None:
    (card,) = shop.cards()
    shop.fake.banks_say[card.provider_reference] = "lost_card"
    wanted = {"threshold_credits": 30 * USD, "amount_minor": 1_000, "method_id": card.method_id}
    change_wish(shop.world.runtime, ACCOUNT, {"is_enabled": True, **wanted})
    shop.world.jobs.run_due()
    assert [row.status for row in shop.recharges()] == ["failed"]
    del shop.fake.banks_say[card.provider_reference]
    shop.world.clock.advance(timedelta(hours=1))
    shop.fake.renew_card(card.provider_reference, 1, 2031, "0019")
    shop.deliver()
    assert [row.status for row in shop.recharges()][-1] == "paid"


def decisions(shop: Shop) -> list[str]:
    """Every reason, oldest first."""
    with reading(shop.world.db) as session:
        rows, _ = list_decisions(session, ACCOUNT, 1, 100)
    return [row.reason for row in reversed(rows)]


def notices(shop: Shop) -> list[str]:
    with reading(shop.world.db) as session:
        rows = session.exec(select(OutboxRow).where(OutboxRow.kind == "notice")).all()
    return [row.payload for row in rows if "card_expired" in row.payload]
