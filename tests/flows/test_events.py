"""The outgoing events of a purchase's life: one shape, each with its account, none twice and none missing."""

from typing import Any

import msgspec
import pytest
from sqlmodel import select

from engine.store.database import Database, reading
from engine.store.tables import OutboxRow
from tests.engine.support import FakeClock
from tests.flows.world import ACCOUNT, World, open_world


@pytest.fixture
def world(db: Database, clock: FakeClock) -> Any:
    opened = open_world(db, clock)
    yield opened
    opened.close()


def events(world: World, *types: str) -> list[dict[str, Any]]:
    """The data of these events, oldest first; every event there is has the one shape."""
    with reading(world.db) as session:
        rows = session.exec(select(OutboxRow).where(OutboxRow.kind == "event")).all()
    found = []
    for row in sorted(rows, key=lambda row: row.created_at):
        event = msgspec.json.decode(row.payload)
        assert list(event) == ["type", "timestamp", "data"] and event["timestamp"].endswith("Z")
        assert event["data"]["accountId"] == row.account_id == ACCOUNT and row.outbox_id.startswith("evt_")
        assert row.done_at is not None, "it was fanned out"
        if event["type"] in types:
            found.append(event["data"])
    return found


def test_a_payment_is_told_with_its_place_in_the_ledger_and_then_its_receipt(world: World) -> None:
    purchase = world.buy(50_000)
    paid = world.pay(purchase)
    world.deliver(paid, paid)
    world.jobs.run_due()
    [completed] = events(world, "purchase.completed")
    assert completed == {
        "accountId": ACCOUNT,
        "purchaseId": purchase.purchase_id,
        "creditsGranted": "550000000",
        "amountMinor": 50_000,
        "currency": "USD",
        "provider": "stripe",
        "seq": 2,
        "balanceAfter": "550000000",
    }
    granted = events(world, "credits.granted")
    assert sorted((each["seq"], each["type"], each["amountCredits"]) for each in granted) == [
        (1, "deposit", "500000000"),
        (2, "volume_discount", "50000000"),
    ]
    assert {each["purchaseId"] for each in granted} == {purchase.purchase_id}
    [issued] = events(world, "receipt.issued")
    assert (issued["purchaseId"], issued["kind"], issued["amountMinor"]) == (purchase.purchase_id, "receipt", 50_000)


def test_each_partial_refund_is_told_once(world: World) -> None:
    purchase = world.buy(1_000)
    world.deliver(world.pay(purchase))
    for number in (1, 2):
        fact = world.refund_elsewhere(purchase, f"re_{number}", 300)
        world.deliver(fact, fact)
    world.deliver(world.refund_elsewhere(purchase, "re_3", 400))
    told = events(world, "purchase.refunded")
    assert sorted((each["status"], each["creditsTakenBack"]) for each in told) == [
        ("partially_refunded", "3000000"),
        ("partially_refunded", "6000000"),
        ("refunded", "10000000"),
    ]
    kinds = [each["kind"] for each in events(world, "receipt.issued")]
    assert sorted(kinds) == ["credit_note"] * 3 + ["receipt"]


def test_a_dispute_and_a_failure_are_told(world: World) -> None:
    disputed, failed = world.buy(1_000), world.buy(2_000)
    world.deliver(world.pay(disputed), world.pay(failed, "failed"))
    world.deliver(world.dispute(disputed, "open"), world.dispute(disputed, "open"))
    assert [each["purchaseId"] for each in events(world, "purchase.disputed")] == [disputed.purchase_id]
    [told] = events(world, "purchase.failed")
    assert (told["purchaseId"], told["amountMinor"], told["status"]) == (failed.purchase_id, 2_000, "failed")
