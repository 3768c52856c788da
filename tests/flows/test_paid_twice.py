"""Two payments for one purchase, not both as agreed: whatever comes first, what was agreed is credited."""

from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest

from engine.audit import audit
from engine.flows import quarantine, refunds, send_back
from engine.flows.quarantine import Action, Ruled, Ruling
from engine.payments import Fact
from engine.store.database import reading
from engine.store.queues import QUEUES, queue_page
from engine.store.tables import PurchaseRow, ReversalRow, SecondPaymentRow
from tests.engine.support import wallet_of
from tests.flows.world import ACCOUNT, World

CREDITS = 10_000_000
"""What a purchase of $10 gives in acn's catalogue."""


def paid(world: World, purchase: PurchaseRow, name: str, minor: int) -> Fact:
    request = world.provider.requests[f"cs_{purchase.purchase_id}"]
    return world.provider.say("payment", name, "paid", minor, request=request)


def sent_back(world: World, purchase: PurchaseRow, payment: Fact) -> Fact:
    """A refund of all of a payment, made elsewhere; it names the purchase as well."""
    made = world.provider.say(
        "refund", f"re_{payment.object_id}", "succeeded", payment.amount.minor, parent=payment.object_id
    )
    return replace(made, purchase_id=purchase.purchase_id, account_id=ACCOUNT)


def rule(world: World, purchase: PurchaseRow, action: Action) -> Ruled:
    ruling = Ruling(purchase_id=purchase.purchase_id, action=action, reason="looked into it", actor="admin:root")
    return quarantine.rule(world.runtime, ruling)


def available(world: World) -> int:
    with reading(world.db) as session:
        return wallet_of(session, ACCOUNT).available_credits


def waiting(world: World) -> list[tuple[str, str | None]]:
    """What waits for a person, in any queue: its kind and the payment it is about."""
    with reading(world.db) as session:
        found = [each for queue in QUEUES for each in queue_page(session, queue, 1, 50)[0]]
    return [(each.kind, each.provider_reference) for each in found]


def second(world: World, purchase: PurchaseRow, payment_id: str) -> SecondPaymentRow | None:
    with reading(world.db) as session:
        return session.get(SecondPaymentRow, (ACCOUNT, purchase.purchase_id, payment_id))


def status_of(world: World, reversal_id: str | None) -> str:
    with reading(world.db) as session:
        return session.get_one(ReversalRow, (ACCOUNT, reversal_id)).status


def assert_clean(world: World) -> None:
    assert audit(world.db, world.runtime.secrets.all_for("ledger chain")).findings == []


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_what_was_agreed_is_credited_in_whatever_order_they_are_told(world: World, order: tuple[int, ...]) -> None:
    purchase = world.buy(1_000)
    wrong, right = paid(world, purchase, "pi_odd", 900), paid(world, purchase, "pi_right", 1_000)
    facts = (wrong, right, sent_back(world, purchase, wrong))
    world.deliver(*(facts[place] for place in order))
    there = world.purchase(purchase)
    assert (there.status, there.provider_reference, available(world)) == ("paid", "pi_right", CREDITS)
    row = second(world, purchase, "pi_odd")
    assert row is not None and (row.status, waiting(world)) == ("refunded", [])
    assert_clean(world)


@pytest.mark.parametrize("action", ["refund", "dismiss"])
def test_what_was_agreed_is_credited_though_another_payment_was_decided_before(world: World, action: Action) -> None:
    purchase = world.buy(1_000)
    world.deliver(paid(world, purchase, "pi_odd", 900))
    rule(world, purchase, action)
    world.jobs.run_due()
    world.deliver(paid(world, purchase, "pi_right", 1_000))
    assert (world.purchase(purchase).status, available(world)) == ("paid", CREDITS)
    assert waiting(world) == ([] if action == "refund" else [("second_payment", "pi_odd")])
    assert_clean(world)


@pytest.mark.parametrize("ends", ["succeeded", "failed"])
def test_a_refund_on_its_way_is_of_the_payment_it_was_decided_of(world: World, ends: str) -> None:
    purchase = world.buy(1_000)
    world.deliver(paid(world, purchase, "pi_odd", 900))
    world.provider.is_down = True
    reversal_id = rule(world, purchase, "refund").resolution.reversal_id
    world.jobs.run_due()
    world.provider.is_down = False
    world.provider.refund_answer = "pending"
    world.deliver(paid(world, purchase, "pi_right", 1_000))
    assert (available(world), waiting(world)) == (CREDITS, [])
    world.clock.advance(timedelta(minutes=5))
    world.jobs.run_due()
    asked = world.provider.objects[f"re_{reversal_id}"]
    assert (asked.parent_id, asked.amount.minor) == ("pi_odd", 900)
    told = world.provider.say("refund", asked.object_id, ends, 900, parent="pi_odd", own=reversal_id)
    world.deliver(told)
    assert (status_of(world, reversal_id), available(world)) == (ends, CREDITS)
    assert waiting(world) == ([] if ends == "succeeded" else [("second_payment", "pi_odd")])
    assert_clean(world)


@pytest.mark.parametrize("approve", [True, False])
def test_a_refund_that_waits_for_a_second_person_is_of_its_own_payment_too(world: World, approve: bool) -> None:
    purchase = world.buy(60_000)
    world.deliver(paid(world, purchase, "pi_odd", 59_000))
    reversal_id = rule(world, purchase, "refund").resolution.reversal_id
    assert reversal_id is not None
    world.deliver(paid(world, purchase, "pi_right", 60_000))
    before = available(world)
    assert before > 0
    refunds.decide_reversal(world.runtime, reversal_id, "approver:ben", approve=approve)
    world.jobs.run_due()
    assert available(world) == before
    assert waiting(world) == ([] if approve else [("second_payment", "pi_odd")])
    assert status_of(world, reversal_id) == ("succeeded" if approve else "rejected")
    assert_clean(world)


@pytest.mark.parametrize("action", ["credit", "refund", "dismiss"])
def test_of_two_wrong_payments_one_is_decided_and_the_other_waits_in_review(world: World, action: Action) -> None:
    purchase = world.buy(1_000)
    world.deliver(paid(world, purchase, "pi_first", 900), paid(world, purchase, "pi_other", 950))
    assert [kind for kind, _ in waiting(world)] == ["purchase"]
    rule(world, purchase, action)
    world.jobs.run_due()
    assert available(world) == (CREDITS if action == "credit" else 0)
    assert waiting(world) == [("second_payment", "pi_other")]
    row = second(world, purchase, "pi_other")
    assert row is not None
    send_back.decide(world.runtime, row.second_id, "admin:root", "paid twice", send_back=True)
    world.jobs.run_due()
    assert (waiting(world), world.provider.objects[f"re_{row.second_id}"].parent_id) == ([], "pi_other")
    assert available(world) == (CREDITS if action == "credit" else 0)
    assert_clean(world)


def test_a_payment_whose_refund_was_refused_is_the_one_that_is_decided_again(world: World) -> None:
    purchase = world.buy(1_000)
    world.deliver(paid(world, purchase, "pi_first", 900), paid(world, purchase, "pi_other", 900))
    world.provider.refund_answer = "refused"
    rule(world, purchase, "refund")
    world.jobs.run_due()
    world.deliver(paid(world, purchase, "pi_first", 900))
    assert [kind for kind, _ in waiting(world)] == ["purchase", "second_payment"]
    assert rule(world, purchase, "credit").purchase.provider_reference == "pi_first"
    assert (available(world), waiting(world)) == (CREDITS, [("second_payment", "pi_other")])
    assert_clean(world)


def test_a_second_payment_is_followed_though_the_decision_came_to_nothing(world: World) -> None:
    purchase = world.buy(1_000)
    other = paid(world, purchase, "pi_other", 950)
    world.deliver(paid(world, purchase, "pi_first", 900), other)
    world.provider.refund_answer = "refused"
    rule(world, purchase, "refund")
    world.jobs.run_due()
    assert [kind for kind, _ in waiting(world)] == ["purchase", "second_payment"]
    world.deliver(sent_back(world, purchase, other))
    assert [kind for kind, _ in waiting(world)] == ["purchase"]
    assert_clean(world)
