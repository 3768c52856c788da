"""Refunds by the catalogue's policy: how much may go back, what is taken for it, and how each of them ends."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest

from engine.flows import refunds
from engine.flows.policy_refunds import PolicyRefund, refund_purchase
from engine.jobs import Jobs
from engine.payments import RefundRequest
from engine.rules.commands import Hold
from engine.rules.documents import read as read_document
from engine.rules.errors import (
    AlreadyRefunded,
    IdempotencyMismatch,
    Invalid,
    NotFound,
    OwnApproval,
    RefundCreditsTouched,
    RefundNotPossible,
    Refusal,
)
from engine.rules.facts import Fact
from engine.rules.money import Money
from engine.store.database import Database, reading
from engine.store.documents import documents_of, receipt_ids
from engine.store.tables import PurchaseRow, ReversalRow
from tests.engine.support import FakeClock, debit, gift
from tests.flows.test_refunds import assert_clean, bought, kinds, rows, stand, state
from tests.flows.world import ACCOUNT, World, open_world

Open = Callable[[str], World]


@pytest.fixture
def opened(db: Database, clock: FakeClock) -> Iterator[Open]:
    """acn (a million credits a dollar) with another refund policy."""
    worlds = []

    def open_with(policy: str) -> World:
        world = open_world(db, clock)
        worlds.append(world)
        rules = msgspec.structs.replace(world.runtime.catalog.refunds, policy=policy)
        world.runtime = replace(world.runtime, catalog=msgspec.structs.replace(world.runtime.catalog, refunds=rules))
        world.jobs = Jobs(world.runtime)
        return world

    yield open_with
    for world in worlds:
        world.close()


def refund(
    world: World, purchase: PurchaseRow, minor: int | None = None, by: str = "support:ann", key: str = ""
) -> ReversalRow:
    wanted = PolicyRefund(
        purchase_id=purchase.purchase_id,
        amount_minor=minor,
        reason="asked by mail",
        actor=by,
        is_admin=by.startswith("admin:"),
        key=key or f"key {minor} {world.clock.advance(timedelta(seconds=1))}",
    )
    return refund_purchase(world.runtime, wanted)[0]


def test_the_unused_part_goes_back_and_all_that_remains_is_taken(opened: Open) -> None:
    world = opened("unused_part")
    purchase = bought(world)
    world.posted(debit(ACCOUNT, 1))
    made = refund(world, purchase)
    assert (made.amount_minor, made.credits, made.status) == (999, 9_999_999, "refunding")
    assert state(world) == (0, 0)
    world.jobs.run_due()
    assert stand(world, made) == "succeeded"
    told = world.provider.objects[f"re_{made.reversal_id}"]
    world.deliver(told, told)
    assert [row[:2] for row in rows(world)] == [("deposit", 10_000_000), ("debit", -1), ("refund", -9_999_999)]
    assert state(world) == (0, 0)
    assert world.purchase(purchase).status == "partially_refunded"
    assert kinds(world) == ["credit_note", "receipt"]
    with pytest.raises(RefundCreditsTouched):
        refund(world, purchase)
    assert_clean(world)


def test_an_unrelated_event_before_the_providers_answer_gives_nothing_back(opened: Open) -> None:
    world = opened("unused_part")
    purchase = bought(world)
    world.posted(debit(ACCOUNT, 4_000_000))
    world.provider.is_down = True
    refund(world, purchase)
    world.jobs.run_due()
    world.provider.is_down = False
    world.deliver(world.pay(purchase), world.dispute(purchase, "inquiry"))
    assert state(world) == (0, 0)
    world.clock.advance(timedelta(minutes=5))
    world.jobs.run_due()
    assert world.purchase(purchase).status == "partially_refunded"
    assert [row[0] for row in rows(world)] == ["deposit", "debit", "refund"]


def test_a_smaller_amount_of_the_unused_part_still_takes_all_that_remains(opened: Open) -> None:
    world = opened("unused_part")
    purchase = bought(world)
    world.posted(debit(ACCOUNT, 4_000_000))
    with pytest.raises(RefundNotPossible) as told:
        refund(world, purchase, 601)
    assert told.value.facts["maxMinor"] == 600
    made = refund(world, purchase, 500, by="admin:ada")
    assert (made.amount_minor, made.credits) == (500, 6_000_000)


def test_base_and_bonus_count_together_in_the_unspent_share(opened: Open) -> None:
    world = opened("unused_part")
    purchase = bought(world, 10_000)
    world.posted(debit(ACCOUNT, 52_500_000))
    made = refund(world, purchase)
    assert (made.amount_minor, made.credits) == (5_000, 52_500_000)


def test_three_thirds_by_hand_take_the_whole(opened: Open) -> None:
    world = opened("manual")
    purchase = bought(world, 1_500)
    taken = []
    for _ in range(3):
        taken.append(refund(world, purchase, 500).credits)
        world.jobs.run_due()
    assert taken == [5_000_000, 5_000_000, 5_000_000]
    assert (state(world), world.purchase(purchase).status) == ((0, 0), "refunded")
    assert kinds(world) == ["credit_note", "credit_note", "credit_note", "receipt"]
    with pytest.raises(AlreadyRefunded):
        refund(world, purchase, 1, by="admin:ada")
    assert_clean(world)


def test_parts_of_a_charge_with_tax_on_top_are_the_money_that_was_asked_for_and_the_last_one_is_said(
    opened: Open,
) -> None:
    """The provider tells the first two a cent less: what they are of its charge, rounded down."""
    world = opened("manual")
    purchase, answer, lasts = bought(world, 1_000), world.provider.refund, []

    def told_less(request: RefundRequest) -> tuple[Fact, ...]:
        lasts.append(request.is_last)
        (fact,) = answer(request)
        less = Money(fact.amount.minor - (not request.is_last), fact.amount.currency)
        world.provider.objects[fact.object_id] = replace(fact, amount=less)
        return (world.provider.objects[fact.object_id],)

    world.provider.refund = told_less  # type: ignore[method-assign]
    for minor in (333, 333, 334):
        refund(world, purchase, minor)
        world.jobs.run_due()
    assert lasts == [False, False, True]
    assert (state(world), world.purchase(purchase).status) == ((0, 0), "refunded")
    assert papers(world, purchase) == [
        ("credit_note", -334),
        ("credit_note", -333),
        ("credit_note", -333),
        ("receipt", 1_000),
    ]
    assert_clean(world)


def test_refunds_that_wait_together_are_none_of_them_the_last_until_the_others_are_made(opened: Open) -> None:
    world = opened("manual")
    purchase, answer, lasts = bought(world, 1_000), world.provider.refund, []

    def noted(request: RefundRequest) -> tuple[Fact, ...]:
        lasts.append(request.is_last)
        return answer(request)

    world.provider.refund = noted  # type: ignore[method-assign]
    refund(world, purchase, 500), refund(world, purchase, 500)
    world.jobs.run_due()
    assert lasts == [False, True]


def test_support_stays_within_the_unspent_share_and_an_admin_within_what_was_paid(opened: Open) -> None:
    world = opened("manual")
    purchase = bought(world)
    world.posted(debit(ACCOUNT, 4_000_000))
    with pytest.raises(RefundNotPossible):
        refund(world, purchase, 601)
    with pytest.raises(Invalid):
        refund(world, purchase, 1_001, by="admin:ada")
    made = refund(world, purchase, 1_000, by="admin:ada")
    assert made.credits == 10_000_000
    world.jobs.run_due()
    assert state(world) == (0, 4_000_000)
    world.posted(gift(ACCOUNT, 10_000_000))
    assert state(world) == (6_000_000, 0)
    assert_clean(world)


def test_half_back_by_hand_takes_half_of_the_credits_bonus_first(opened: Open) -> None:
    world = opened("manual")
    purchase = bought(world, 10_000)
    world.posted(debit(ACCOUNT, 100_000_000))
    made = refund(world, purchase, 5_000, by="admin:ada")
    assert made.credits == 52_500_000
    assert state(world) == (0, 47_500_000)


def test_reserved_credits_count_as_spent_until_the_hold_is_over(opened: Open) -> None:
    world = opened("unused_part")
    purchase = bought(world)
    world.posted(Hold(account_id=ACCOUNT, actor="service", credits=10_000_000, ttl_seconds=60))
    with pytest.raises(RefundCreditsTouched):
        refund(world, purchase)
    world.clock.advance(timedelta(seconds=60))
    assert refund(world, purchase).amount_minor == 1_000


def test_refusals_come_in_their_order(opened: Open) -> None:
    world = opened("unused_part")
    disputed, spent, open_one = bought(world), bought(world), world.buy()
    world.posted(debit(ACCOUNT, 20_000_000))
    world.deliver(world.dispute(disputed, "open"))
    before = rows(world)
    world.provider.can_refund = False
    with pytest.raises(AlreadyRefunded):
        refund(world, disputed)
    with pytest.raises(RefundNotPossible, match="stripe decides"):
        refund(world, spent)
    world.provider.can_refund = True
    with pytest.raises(RefundNotPossible, match="not paid"):
        refund(world, open_one)
    with pytest.raises(RefundCreditsTouched):
        refund(world, spent, 2_000)
    with pytest.raises(NotFound):
        refund_purchase(
            world.runtime,
            PolicyRefund(purchase_id="pay_none", amount_minor=None, reason="x", actor="a:b", is_admin=False, key="k"),
        )
    assert rows(world) == before


def test_the_policy_none_allows_only_the_reversal(opened: Open) -> None:
    world = opened("none")
    purchase = bought(world)
    with pytest.raises(RefundNotPossible):
        refund(world, purchase, by="admin:ada")
    assert refunds.reverse_purchase(world.runtime, purchase.purchase_id, "why", "support:ann")[0].status == "refunding"


def test_the_same_key_refunds_once_and_names_one_request(opened: Open) -> None:
    world = opened("manual")
    purchase = bought(world)
    first = refund(world, purchase, 300, key="k")
    assert refund(world, purchase, 300, key="k").reversal_id == first.reversal_id
    with pytest.raises(IdempotencyMismatch):
        refund(world, purchase, 301, key="k")
    assert [row[0] for row in rows(world)] == ["deposit", "refund"]


def test_parts_together_above_the_limit_need_a_second_person(opened: Open) -> None:
    world = opened("manual")
    purchase = bought(world, 60_000)
    assert refund(world, purchase, 30_000).status == "refunding"
    waiting = refund(world, purchase, 20_001)
    assert waiting.status == "pending_approval"
    taken = state(world)
    with pytest.raises(OwnApproval):
        refunds.decide_reversal(world.runtime, waiting.reversal_id, "admin:ann", approve=True)
    refunds.decide_reversal(world.runtime, waiting.reversal_id, "approver:ben", approve=False)
    assert state(world)[0] == taken[0] + waiting.credits
    again = refund(world, purchase, 20_001)
    refunds.decide_reversal(world.runtime, again.reversal_id, "approver:ben", approve=True)
    world.jobs.run_due()
    assert stand(world, again) == "succeeded"
    assert world.purchase(purchase).status == "partially_refunded"
    assert_clean(world)


@pytest.mark.parametrize("answer", ["refused", "failed"])
def test_a_refund_that_fails_gives_its_credits_back_and_may_be_asked_again(opened: Open, answer: str) -> None:
    world = opened("unused_part")
    purchase = bought(world)
    world.posted(debit(ACCOUNT, 4_000_000))
    world.provider.refund_answer = answer
    made = refund(world, purchase)
    world.jobs.run_due()
    assert (stand(world, made), state(world)) == ("failed", (6_000_000, 0))
    assert [row[0] for row in rows(world)] == ["deposit", "debit", "refund", "refund_failed"]
    assert kinds(world) == ["receipt"]
    world.provider.refund_answer = "succeeded"
    assert refund(world, purchase).amount_minor == 600
    assert_clean(world)


def test_a_refund_whose_outcome_a_crash_hid_ends_right_after_the_restart(opened: Open) -> None:
    world = opened("manual")
    purchase = bought(world)
    made = refund(world, purchase, 400)

    class Killed(BaseException):
        """The process is gone after the provider did what it was asked."""

    answer = world.provider.refund

    def die(request: RefundRequest) -> tuple[Fact, ...]:
        answer(request)
        raise Killed

    world.provider.refund = die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        world.jobs.run_due()
    assert stand(world, made) == "refunding"
    world.provider.refund = answer  # type: ignore[method-assign]
    restarted = Jobs(world.runtime)
    restarted.resume()
    restarted.run_due()
    assert stand(world, made) == "succeeded"
    assert [row[:2] for row in rows(world)] == [("deposit", 10_000_000), ("refund", -4_000_000)]
    assert kinds(world) == ["credit_note", "receipt"]
    assert_clean(world)


def test_what_went_back_elsewhere_is_not_given_back_again(opened: Open) -> None:
    world = opened("manual")
    purchase = bought(world)
    world.deliver(world.refund_elsewhere(purchase, "re_1", 333))
    with pytest.raises(Refusal):
        refund(world, purchase, 668, by="admin:ada")
    made = refund(world, purchase, 667, by="admin:ada")
    world.jobs.run_due()
    assert made.credits == 6_670_000
    assert (state(world), world.purchase(purchase).status) == ((0, 0), "refunded")
    assert_clean(world)


def papers(world: World, purchase: PurchaseRow) -> list[tuple[str, int]]:
    """(kind, total) of every document of a purchase; what is charged is positive, what is credited negative."""
    with reading(world.db) as session:
        rows = documents_of(session, ACCOUNT, purchase.purchase_id)
    return sorted((row.kind, row.amount_minor if row.kind == "receipt" else -row.amount_minor) for row in rows)


def fail_later(world: World, purchase: PurchaseRow, made: ReversalRow) -> Fact:
    return world.provider.say(
        "refund",
        f"re_{made.reversal_id}",
        "failed",
        made.amount_minor,
        parent=f"pi_{purchase.purchase_id}",
        own=made.reversal_id,
    )


def test_a_credit_note_whose_refund_fails_days_later_is_cancelled_by_a_document(opened: Open) -> None:
    world = opened("manual")
    purchase = bought(world, 10_000)
    made = refund(world, purchase, 4_000)
    world.jobs.run_due()
    assert papers(world, purchase) == [("credit_note", -4_000), ("receipt", 10_000)]
    world.clock.advance(timedelta(days=5))
    failed = fail_later(world, purchase, made)
    world.deliver(failed, failed)
    assert papers(world, purchase) == [("credit_note", -4_000), ("receipt", 4_000), ("receipt", 10_000)]
    assert (world.purchase(purchase).status, state(world)) == ("paid", (105_000_000, 0))
    with reading(world.db) as session:
        rows = documents_of(session, ACCOUNT, purchase.purchase_id)
        first = receipt_ids(session, ACCOUNT, [purchase.purchase_id])[purchase.purchase_id]
    note = next(row for row in rows if row.kind == "credit_note")
    cancelling = next(row for row in rows if row.cause == f"refund_failed:{made.reversal_id}")
    told = read_document(cancelling.data.encode())
    assert (told.total_minor, told.tax_minor, told.original_number) == (note.amount_minor, note.tax_minor, None)
    assert (told.cancels_number, told.title, told.credits_total) == (note.number, "correction", 42_000_000)
    assert first == next(row.document_id for row in rows if row.cause == "payment")
    again = refund(world, purchase, 10_000)
    world.jobs.run_due()
    assert stand(world, again) == "succeeded"
    assert sum(minor for _, minor in papers(world, purchase)) == 0
    assert_clean(world)


def test_a_refund_that_fails_before_its_note_is_written_gets_none(opened: Open) -> None:
    world = opened("manual")
    purchase = bought(world)
    made = refund(world, purchase, 400)
    refunds.send_refund(world.runtime, ACCOUNT, made.reversal_id)
    world.deliver(fail_later(world, purchase, made))
    assert papers(world, purchase) == [("receipt", 1_000)]
    assert_clean(world)
