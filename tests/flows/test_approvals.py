"""What waits for a second person while its purchase is disputed or refunded: money is not sent twice, credits stay."""

from collections.abc import Iterator
from contextlib import nullcontext

import msgspec
import pytest

from engine.flows import refunds
from engine.rules.errors import AlreadyRefunded
from engine.store.database import Database
from engine.store.tables import ReversalRow
from tests.engine.support import FakeClock, debit
from tests.flows.test_paid_twice import paid, rule
from tests.flows.test_policy_refunds import refund
from tests.flows.test_refunds import assert_clean, bought, reverse, rows, stand, state
from tests.flows.world import ACCOUNT, World, open_world

WHOLE = 660_000_000
"""The credits of $600, bonus included."""


@pytest.fixture
def manual(db: Database, clock: FakeClock) -> Iterator[World]:
    """acn where support chooses what goes back."""
    opened = open_world(db, clock)
    rules = msgspec.structs.replace(opened.runtime.catalog.refunds, policy="manual")
    msgspec.structs.force_setattr(opened.runtime.catalog, "refunds", rules)
    yield opened
    opened.close()


def decide(world: World, reversal: ReversalRow, *, approve: bool) -> ReversalRow:
    decided, _ = refunds.decide_reversal(world.runtime, reversal.reversal_id, "approver:ben", approve=approve)
    world.jobs.run_due()
    return decided


def assert_refused(world: World, reversal: ReversalRow) -> None:
    """An approval is refused, changes nothing, and asks the provider nothing."""
    before = (state(world), rows(world), sorted(world.provider.objects))
    with pytest.raises(AlreadyRefunded):
        decide(world, reversal, approve=True)
    world.jobs.run_due()
    assert (state(world), rows(world), sorted(world.provider.objects)) == before
    assert stand(world, reversal) == "pending_approval"


def test_a_reversal_is_not_approved_while_its_payment_is_disputed(world: World) -> None:
    purchase = bought(world, 60_000)
    reversal = reverse(world, purchase)
    world.deliver(world.dispute(purchase, "open"))
    assert_refused(world, reversal)
    world.deliver(world.dispute(purchase, "won"))
    decide(world, reversal, approve=True)
    assert (stand(world, reversal), state(world)) == ("succeeded", (0, 0))
    assert_clean(world)


@pytest.mark.parametrize(("ends", "left"), [("won", WHOLE), ("lost", 0)])
def test_a_rejection_while_a_dispute_is_open_leaves_the_credits_to_its_end(world: World, ends: str, left: int) -> None:
    purchase = bought(world, 60_000)
    reversal = reverse(world, purchase)
    world.deliver(world.dispute(purchase, "open"))
    assert_refused(world, reversal)
    decide(world, reversal, approve=False)
    assert (stand(world, reversal), state(world)) == ("rejected", (0, 0))
    world.deliver(world.dispute(purchase, ends))
    assert state(world) == (left, 0)
    assert_clean(world)


@pytest.mark.parametrize("minor", [1, 30_000, 60_000])
def test_a_reversal_is_not_approved_once_money_of_it_went_back(world: World, minor: int) -> None:
    purchase = bought(world, 60_000)
    reversal = reverse(world, purchase)
    world.deliver(world.refund_elsewhere(purchase, "re_1", minor))
    assert_refused(world, reversal)
    decide(world, reversal, approve=False)
    assert state(world) == (WHOLE - WHOLE * minor // 60_000, 0)
    assert_clean(world)


def test_a_refund_that_failed_elsewhere_stands_in_no_approvals_way(world: World) -> None:
    purchase = bought(world, 60_000)
    reversal = reverse(world, purchase)
    world.deliver(world.refund_elsewhere(purchase, "re_1", 60_000, "pending"))
    assert_refused(world, reversal)
    world.deliver(world.refund_elsewhere(purchase, "re_1", 60_000, "failed"))
    decide(world, reversal, approve=True)
    assert (stand(world, reversal), world.purchase(purchase).status) == ("succeeded", "refunded")
    assert_clean(world)


def test_a_lost_dispute_sends_nothing_back_again(world: World) -> None:
    purchase = bought(world, 60_000)
    reversal = reverse(world, purchase)
    world.deliver(world.dispute(purchase, "lost"))
    assert_refused(world, reversal)
    decide(world, reversal, approve=False)
    assert state(world) == (0, 0)
    assert_clean(world)


@pytest.mark.parametrize("event", ["inquiry", "warning"])
def test_what_disputes_no_money_yet_stands_in_no_approvals_way(world: World, event: str) -> None:
    purchase = bought(world, 60_000)
    reversal = reverse(world, purchase)
    world.deliver(world.dispute(purchase, event))
    decide(world, reversal, approve=True)
    assert stand(world, reversal) == "succeeded"


def test_a_warning_that_freezes_is_a_dispute_here_too(world: World) -> None:
    rules = msgspec.structs.replace(world.runtime.catalog.refunds, early_fraud_warnings="freeze")
    msgspec.structs.force_setattr(world.runtime.catalog, "refunds", rules)
    purchase = bought(world, 60_000)
    reversal = reverse(world, purchase)
    world.deliver(world.dispute(purchase, "warning"))
    assert world.purchase(purchase).is_disputed
    assert_refused(world, reversal)


def test_a_refund_by_policy_is_approved_as_long_as_so_much_is_left(manual: World) -> None:
    purchase = bought(manual, 80_000)
    asked = refund(manual, purchase, 50_001)
    assert asked.status == "pending_approval"
    manual.deliver(manual.refund_elsewhere(purchase, "re_1", 20_000))
    manual.deliver(manual.refund_elsewhere(purchase, "re_2", 10_000))
    assert_refused(manual, asked)
    manual.deliver(manual.refund_elsewhere(purchase, "re_2", 10_000, "failed"))
    decide(manual, asked, approve=True)
    assert (stand(manual, asked), manual.purchase(purchase).status) == ("succeeded", "partially_refunded")
    assert_clean(manual)


def test_a_refund_by_policy_waits_while_a_part_of_its_payment_is_disputed(manual: World) -> None:
    purchase = bought(manual, 80_000)
    manual.posted(debit(ACCOUNT, 1_000_000))
    asked = refund(manual, purchase, 50_001)
    manual.deliver(manual.dispute(purchase, "open", 10_000))
    assert_refused(manual, asked)
    manual.deliver(manual.dispute(purchase, "lost", 10_000))
    decide(manual, asked, approve=True)
    assert stand(manual, asked) == "succeeded"
    assert_clean(manual)


def test_money_that_went_back_in_another_currency_leaves_nothing_to_approve(manual: World) -> None:
    purchase = bought(manual, 80_000)
    asked = refund(manual, purchase, 50_001)
    name = f"pi_{purchase.purchase_id}"
    manual.deliver(manual.provider.say("refund", "re_1", "succeeded", 1, parent=name, currency="EUR"))
    assert_refused(manual, asked)


@pytest.mark.parametrize(("disputed", "is_approved"), [("pi_odd", False), ("pi_right", True)])
def test_a_refund_of_one_of_two_payments_looks_at_its_own(world: World, disputed: str, is_approved: bool) -> None:
    purchase = world.buy(60_000)
    world.deliver(paid(world, purchase, "pi_odd", 59_000))
    asked = rule(world, purchase, "refund").resolution.reversal_id
    assert asked is not None
    world.deliver(paid(world, purchase, "pi_right", 60_000))
    world.deliver(world.provider.say("dispute", "dp_1", "open", 100, parent=disputed))
    with nullcontext() if is_approved else pytest.raises(AlreadyRefunded):
        refunds.decide_reversal(world.runtime, asked, "approver:ben", approve=True)
    world.jobs.run_due()
    assert (f"re_{asked}" in world.provider.objects) == is_approved
    assert_clean(world)
