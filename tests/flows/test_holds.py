"""Holds where other things happen: the sweeper, reversals within 24 hours, money taken back, the audit."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from engine.audit import audit
from engine.flows import refunds
from engine.flows.expiry import expire_due
from engine.flows.limits import change_limits
from engine.rules.commands import Capture, Hold, Void
from engine.rules.errors import NotFound, RefundCreditsTouched
from engine.store.database import reading, writing
from engine.store.tables import PurchaseRow
from tests.engine.support import rows_of, wallet_of
from tests.flows.world import ACCOUNT, World

TEN_DOLLARS = 10_000_000


def bought(world: World) -> PurchaseRow:
    purchase = world.buy(1_000)
    world.deliver(world.pay(purchase))
    return world.purchase(purchase)


def hold(world: World, credits: int, seconds: int = 3_600) -> str:
    command = Hold(account_id=ACCOUNT, actor="service", credits=credits, ttl_seconds=seconds)
    hold_id = world.posted(command).transactions[0].reference_id
    assert hold_id is not None
    return hold_id


def state(world: World) -> tuple[int, int, int]:
    """Available, held, owed."""
    with reading(world.db) as session:
        wallet = wallet_of(session, ACCOUNT)
    return wallet.available_credits, sum(wallet.held), wallet.debt_credits


def findings(world: World) -> list[str]:
    return [each.what for each in audit(world.db, world.runtime.secrets.all_for("ledger chain")).findings]


def test_the_sweeper_releases_a_hold_that_is_over_once(world: World) -> None:
    bought(world)
    hold(world, 600, seconds=60)
    hold(world, 50, seconds=120)
    assert expire_due(world.runtime, world.clock.now()) == 0
    now = world.clock.advance(timedelta(seconds=60))
    assert expire_due(world.runtime, now) == 1
    assert expire_due(world.runtime, now) == 0
    assert state(world) == (TEN_DOLLARS - 50, 50, 0)
    world.clock.advance(timedelta(seconds=60))
    world.jobs.run_due()
    assert state(world) == (TEN_DOLLARS, 0, 0)
    with reading(world.db) as session:
        assert [row.type for row in rows_of(session, ACCOUNT)].count("hold_release") == 2
    assert findings(world) == []


def test_a_purchase_with_an_open_hold_is_not_untouched(world: World) -> None:
    purchase = bought(world)
    held = hold(world, 1)
    with pytest.raises(RefundCreditsTouched):
        refunds.reverse_purchase(world.runtime, purchase.purchase_id, "asked", "support:ann")
    world.posted(Void(account_id=ACCOUNT, actor="service", hold_id=held))
    reversal, *_ = refunds.reverse_purchase(world.runtime, purchase.purchase_id, "asked", "support:ann")
    assert (reversal.status, state(world)) == ("refunding", (0, 0, 0))
    assert findings(world) == []


def test_what_is_held_counts_as_spent_when_the_money_goes_back(world: World) -> None:
    purchase = bought(world)
    held = hold(world, 4_000_000)
    world.deliver(world.refund_elsewhere(purchase, "all", 1_000))
    assert state(world) == (0, 4_000_000, 4_000_000)
    world.posted(Capture(account_id=ACCOUNT, actor="service", hold_id=held, credits=1_000_000))
    assert state(world) == (0, 0, 1_000_000)
    assert findings(world) == []


def test_limits_of_an_account_that_is_not_there_are_not_set(world: World) -> None:
    now = world.clock.now()
    change_limits(world.runtime, ACCOUNT, 50, "keep", now)
    changed = change_limits(world.runtime, ACCOUNT, "keep", 7, now)
    assert (changed.daily_credits, changed.per_call_credits) == (50, 7)
    with pytest.raises(NotFound):
        change_limits(world.runtime, "acc_nobody", None, None, now)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE lots SET held_credits = held_credits + 1",
        "UPDATE wallets SET held_recharge = held_recharge + 1",
        "UPDATE holds SET status = 'voided'",
        "UPDATE holds SET parts = replace(parts, '600', '601')",
        "UPDATE holds SET held_credits = held_credits + 1",
        "DELETE FROM holds",
    ],
)
def test_the_audit_finds_what_is_held_wrongly(world: World, statement: str) -> None:
    bought(world)
    hold(world, 600)
    assert findings(world) == []
    with writing(world.db) as session:
        session.connection().execute(text(statement))
    assert findings(world) != []
