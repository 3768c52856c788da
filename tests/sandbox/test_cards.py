"""Saved cards at the sandbox: over real HTTP, and in a whole EcoLink demo."""

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from engine.payments import Card, ChargeRequest, Detached, ProviderRefused
from engine.rules.money import Money
from engine.store.database import Database
from tests.sandbox.processes import demo
from tests.sandbox.support import SHOP, World, running


@pytest.fixture
def world(sqlite: Database) -> Iterator[World]:
    with running(sqlite) as started:
        yield started
        assert started.receiver.refused == []


def saved(world: World) -> Card:
    """The card that a paid checkout saved; its webhooks are forgotten."""
    customer_id = world.provider.customer("acc_1", None, "customer:acc_1")
    order = replace(world.order(), save_card=True, customer_id=customer_id)
    session_id = world.provider.start_checkout(order).session_id
    assert world.press(session_id, "pay").status_code == 303
    world.receiver.events.clear()
    card = world.payment(session_id).card
    assert card is not None
    return card


def charge(card: Card, purchase_id: str = "pay_2") -> ChargeRequest:
    return ChargeRequest(
        account_id="acc_1",
        purchase_id=purchase_id,
        customer_id=card.customer_id,
        card_reference=card.reference,
        amount=Money(1_000, "USD"),
        description="Auto-recharge $10.00",
        return_url=f"{SHOP}?status=success",
        idempotency_key=f"autorecharge:{purchase_id}",
    )


def bank_says(world: World, card: Card, behaviour: str) -> None:
    assert world.browser.post(f"/sandbox/cards/{card.reference}/{behaviour}").status_code == 303


def test_a_checkout_saves_its_card_only_where_that_was_asked(world: World) -> None:
    card = saved(world)
    assert (card.brand, card.last4, card.customer_id) == (
        "visa",
        "4242",
        world.provider.customer("acc_1", None, "customer:acc_1"),
    )
    other = world.start(2)
    world.press(other, "pay")
    assert world.payment(other).card is None


def test_a_charge_is_made_once_for_its_key_and_told_by_a_webhook(world: World) -> None:
    card = saved(world)
    (fact,) = world.provider.charge(charge(card))
    assert (fact.state, fact.purchase_id, fact.amount) == ("paid", "pay_2", Money(1_000, "USD"))
    assert world.provider.charge(charge(card)) == (fact,)
    assert world.provider.find_charge(charge(card)) == (fact,)
    assert world.provider.find_charge(charge(card, "pay_unknown")) == ()
    assert world.receiver.wait_for(1) == ["payment.succeeded"]
    assert world.fact_of(world.receiver.events[0]) == fact


@pytest.mark.parametrize(("behaviour", "code"), [("decline", "insufficient_funds"), ("lost-card", "lost_card")])
def test_a_declined_charge_says_why(world: World, behaviour: str, code: str) -> None:
    card = saved(world)
    bank_says(world, card, behaviour)
    (fact,) = world.provider.charge(charge(card))
    assert (fact.state, fact.decline) == ("failed", code)
    assert world.receiver.wait_for(1) == ["payment.failed"]


def test_a_bank_that_wants_the_customer_shows_them_the_same_payment(world: World) -> None:
    card = saved(world)
    bank_says(world, card, "authenticate")
    (fact,) = world.provider.charge(charge(card))
    assert (fact.state, fact.decline) == ("open", "authentication_required")
    url = world.provider.confirm_url(fact.object_id, SHOP)
    assert url is not None and "3&#8209;D Secure" in world.browser.get(url).text
    assert world.browser.post(url.removesuffix("/challenge") + "/pay").headers["location"] == f"{SHOP}?status=success"
    (paid,) = world.provider.find_charge(charge(card))
    assert (paid.state, paid.object_id, paid.decline) == ("paid", fact.object_id, None)
    assert world.provider.confirm_url(fact.object_id, SHOP) is None
    assert world.provider.give_up(fact.object_id) == (paid,)


def test_a_payment_nobody_confirmed_is_given_up(world: World) -> None:
    card = saved(world)
    bank_says(world, card, "authenticate")
    (fact,) = world.provider.charge(charge(card))
    (ended,) = world.provider.give_up(fact.object_id)
    assert ended.state == "cancelled"


def test_a_late_charge_arrives_by_itself(world: World) -> None:
    card = saved(world)
    bank_says(world, card, "late")
    assert [fact.state for fact in world.provider.charge(charge(card))] == ["processing"]
    types = world.receiver.wait_for(4)
    assert types[0] == "payment.processing" and "payment.succeeded" in types
    assert [fact.state for fact in world.provider.find_charge(charge(card))] == ["paid"]


def test_a_card_removed_on_the_customers_page_is_told_and_not_charged_again(world: World) -> None:
    card = saved(world)
    page = world.browser.get(world.provider.portal_url(card.customer_id, SHOP))
    assert "Visa ending in 4242" in page.text
    assert world.browser.post(f"/sandbox/cards/{card.reference}/detach").status_code == 303
    assert world.receiver.wait_for(1) == ["card.detached"]
    assert world.provider.detached(world.receiver.events[0]) == Detached(card_references=(card.reference,))
    assert world.provider.facts(world.receiver.events[0]) == ()
    with pytest.raises(ProviderRefused, match="card_detached"):
        world.provider.charge(charge(card))
    with pytest.raises(ProviderRefused, match="card_detached"):
        world.provider.detach(card.reference)


def test_every_event_is_listed_with_the_id_its_webhook_had(world: World) -> None:
    world.paid()
    session_id = world.start(2)
    world.press(session_id, "pay-twice")
    brought = [event.event_id for event in world.receiver.events]
    polled = world.provider.poll(None, world.clock.now())
    ids = [event.event_id for event in polled.events]
    assert set(brought) <= set(ids) and len(ids) == len(set(ids)) == 6
    assert all(event.at is not None for event in polled.events)
    again = world.provider.poll(polled.cursor, world.clock.now() + timedelta(minutes=10))
    assert [event.event_id for event in again.events] == ids, "an hour's overlap"
    assert [fact.state for fact in world.provider.facts(polled.events[-1])] == ["paid"]


def wait_until(true: Any, seconds: float = 30) -> None:
    ends = time.monotonic() + seconds
    while not true() and time.monotonic() < ends:
        time.sleep(0.1)
    assert true()


def test_a_whole_demo_recharges_by_itself_and_asks_its_customer(tmp_path: Path) -> None:
    with demo(tmp_path / "eco", "--catalog", "ecolink") as ready:
        bearer = {"Authorization": f"Bearer {ready['serviceKey']}"}
        path = f"/v1/accounts/{ready['accountId']}"
        with httpx.Client(base_url=ready["baseUrl"], headers=bearer, trust_env=False, timeout=30) as host:
            order = {"amountUsdCents": 2_000, "provider": "sandbox", "saveCard": True}
            checkout = host.post(f"{path}/checkout", json=order).json()
            assert host.post(f"{checkout['checkoutUrl']}/pay").status_code == 303
            (card,) = host.get(f"{path}/payment-methods").json()["paymentMethods"]
            balance = int(host.get(f"{path}/balance").json()["balanceCredits"])
            wish = {"enabled": True, "thresholdCredits": str(balance - 1), "amountMinor": 1_000}
            assert host.put(f"{path}/auto-recharge", json=wish | {"paymentMethodId": card["id"]}).status_code == 200
            spent = host.post(f"{path}/spends", json={"amountCredits": "1"}, headers={"Idempotency-Key": "one"})
            assert spent.status_code == 201
            now = balance - 1 + 10_000_000
            wait_until(lambda: int(host.get(f"{path}/balance").json()["balanceCredits"]) == now)

            portal = host.post(f"{path}/provider-portal").json()["url"]
            reference = host.get(portal).text.split("/sandbox/cards/")[1].split("/")[0]
            assert host.post(f"/sandbox/cards/{reference}/authenticate").status_code == 303
            assert host.put(f"{path}/auto-recharge", json={"thresholdCredits": str(now)}).status_code == 200
            host.post("/demo/clock", json={"advanceSeconds": 600})
            newest = host.get(f"{path}/auto-recharge/decisions").json()["decisions"][0]
            assert newest["reason"] == "authentication_required"
            assert host.get(f"{path}/payments").json()["payments"][0]["status"] == "pending"

            host.post("/demo/clock", json={"advanceSeconds": 24 * 3_600})
            newest = host.get(f"{path}/auto-recharge/decisions").json()["decisions"]
            assert [row["reason"] for row in newest[:2]] == [
                "backoff_after_decline",
                "declined:authentication_required",
            ]
            assert host.post(f"/sandbox/cards/{reference}/succeed").status_code == 303
            host.post("/demo/clock", json={"advanceSeconds": 24 * 3_600})
            wait_until(lambda: int(host.get(f"{path}/balance").json()["balanceCredits"]) == now + 10_000_000)
            told = [event["type"] for event in host.get("/demo/events").json()["events"]]
            assert told.count("auto_recharge.succeeded") == 2 and told.count("auto_recharge.failed") == 1
