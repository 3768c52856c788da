"""Money that goes back: our own reversals, refunds made elsewhere, disputes, and the debt they may leave."""

from datetime import timedelta

import pytest

from engine.audit import audit
from engine.flows import refunds
from engine.rules.commands import Reverse
from engine.rules.errors import (
    AlreadyRefunded,
    NotFound,
    OwnApproval,
    RefundCreditsTouched,
    RefundNotPossible,
    RefundWindowClosed,
    Refusal,
    WalletInDebt,
)
from engine.store.database import reading
from engine.store.documents import list_documents
from engine.store.tables import PurchaseRow, ReversalRow
from tests.engine.support import debit, gift, rows_of, wallet_of
from tests.flows.world import ACCOUNT, World


def rows(world: World) -> list[tuple[str, int, int]]:
    with reading(world.db) as session:
        return [(row.type, row.amount_credits, row.debt_after) for row in rows_of(session, ACCOUNT)]


def state(world: World) -> tuple[int, int]:
    """(available, owed)."""
    with reading(world.db) as session:
        wallet = wallet_of(session, ACCOUNT)
    return wallet.available_credits, wallet.debt_credits


def bought(world: World, minor: int = 1_000) -> PurchaseRow:
    purchase = world.buy(minor)
    world.deliver(world.pay(purchase))
    return world.purchase(purchase)


def reverse(world: World, purchase: PurchaseRow, by: str = "support:ann") -> ReversalRow:
    return refunds.reverse_purchase(world.runtime, purchase.purchase_id, "asked by mail", by)[0]


def stand(world: World, reversal: ReversalRow) -> str:
    with reading(world.db) as session:
        row = session.get(ReversalRow, (ACCOUNT, reversal.reversal_id))
    assert row is not None
    return row.status


def kinds(world: World) -> list[str]:
    with reading(world.db) as session:
        return sorted(row.kind for row in list_documents(session, ACCOUNT, 1, 50)[0])


def assert_clean(world: World) -> None:
    assert audit(world.db, world.runtime.secrets.all_for("ledger chain")).findings == []


def test_a_reversal_takes_the_credits_then_the_money_then_writes_the_note(world: World) -> None:
    purchase = bought(world, 50_000)
    reversal = reverse(world, purchase)
    assert reversal.status == "refunding"
    assert state(world) == (0, 0)
    assert world.provider.objects.keys() == {f"pi_{purchase.purchase_id}"}
    world.jobs.run_due()
    assert stand(world, reversal) == "succeeded"
    assert world.purchase(purchase).status == "refunded"
    assert rows(world)[-1] == ("refund", -550_000_000, 0)
    assert kinds(world) == ["credit_note", "receipt"]
    assert_clean(world)


def test_the_providers_own_word_about_our_refund_is_the_same_refund(world: World) -> None:
    purchase = bought(world)
    world.provider.refund_answer = "pending"
    reversal = reverse(world, purchase)
    world.jobs.run_due()
    assert stand(world, reversal) == "refunding"
    done = world.provider.say(
        "refund",
        f"re_{reversal.reversal_id}",
        "succeeded",
        1_000,
        parent=f"pi_{purchase.purchase_id}",
        own=reversal.reversal_id,
    )
    world.deliver(done, done)
    assert stand(world, reversal) == "succeeded"
    assert [row[0] for row in rows(world)] == ["deposit", "refund"]
    assert kinds(world) == ["credit_note", "receipt"]


def test_an_unrelated_event_between_request_and_answer_gives_nothing_back(world: World) -> None:
    purchase = bought(world)
    world.provider.is_down = True
    reverse(world, purchase)
    world.jobs.run_due()
    world.provider.is_down = False
    world.deliver(world.pay(purchase))
    assert state(world) == (0, 0)
    world.clock.advance(timedelta(minutes=5))
    world.jobs.run_due()
    assert world.purchase(purchase).status == "refunded"
    assert [row[0] for row in rows(world)] == ["deposit", "refund"]


@pytest.mark.parametrize("answer", ["refused", "failed"])
def test_a_refund_that_fails_gives_the_credits_back_to_the_same_lot(world: World, answer: str) -> None:
    purchase = bought(world)
    world.provider.refund_answer = answer
    reversal = reverse(world, purchase)
    world.jobs.run_due()
    assert stand(world, reversal) == "failed"
    assert state(world) == (10_000_000, 0)
    assert [row[0] for row in rows(world)] == ["deposit", "refund", "refund_failed"]
    assert world.purchase(purchase).status == "paid"
    assert kinds(world) == ["receipt"]
    assert_clean(world)


def test_a_refund_that_fails_days_later_gives_back_too(world: World) -> None:
    purchase = bought(world)
    reversal = reverse(world, purchase)
    world.jobs.run_due()
    world.clock.advance(timedelta(days=3))
    failed = world.provider.say(
        "refund",
        f"re_{reversal.reversal_id}",
        "failed",
        1_000,
        parent=f"pi_{purchase.purchase_id}",
        own=reversal.reversal_id,
    )
    world.deliver(failed)
    assert state(world) == (10_000_000, 0)
    assert world.purchase(purchase).status == "paid"


def test_a_refund_that_was_thought_failed_and_was_made_after_all_has_succeeded(world: World) -> None:
    purchase = bought(world)
    world.provider.refund_answer = "refused"
    reversal = reverse(world, purchase)
    world.jobs.run_due()
    assert (stand(world, reversal), state(world)) == ("failed", (10_000_000, 0))
    made = world.provider.say(
        "refund",
        f"re_{reversal.reversal_id}",
        "succeeded",
        1_000,
        parent=f"pi_{purchase.purchase_id}",
        own=reversal.reversal_id,
    )
    world.deliver(made, made)
    assert (stand(world, reversal), state(world)) == ("succeeded", (0, 0))
    assert world.purchase(purchase).status == "refunded"
    assert kinds(world) == ["credit_note", "receipt"]
    assert_clean(world)


def test_the_window_is_half_open(world: World) -> None:
    first, second = bought(world), bought(world)
    world.clock.advance(timedelta(hours=24) - timedelta(microseconds=1))
    assert reverse(world, first).status == "refunding"
    world.clock.advance(timedelta(microseconds=1))
    with pytest.raises(RefundWindowClosed):
        reverse(world, second)


def test_refusals_come_in_their_order(world: World) -> None:
    refunded, touched = bought(world), bought(world)
    reverse(world, refunded)
    world.posted(debit(ACCOUNT, 1))
    with pytest.raises(RefundCreditsTouched):
        reverse(world, touched)
    world.provider.can_refund = False
    with pytest.raises(RefundNotPossible):
        reverse(world, touched)
    world.clock.advance(timedelta(hours=25))
    with pytest.raises(RefundNotPossible):
        reverse(world, touched)
    with pytest.raises(AlreadyRefunded):
        reverse(world, refunded)
    world.provider.can_refund = True
    with pytest.raises(RefundWindowClosed):
        reverse(world, touched)
    with pytest.raises(NotFound):
        refunds.reverse_purchase(world.runtime, "pay_none", "why", "support:ann")
    with pytest.raises(RefundNotPossible):
        reverse(world, world.buy())


def test_a_spend_that_was_reversed_leaves_the_purchase_untouched(world: World) -> None:
    purchase = bought(world)
    spent = world.posted(debit(ACCOUNT, 5)).transactions[0]
    undo = Reverse(
        account_id=ACCOUNT, actor="service", transaction_id=spent.transaction_id, credits=None, description=""
    )
    world.posted(undo)
    assert reverse(world, purchase).status == "refunding"


def test_the_same_key_proposes_once(world: World) -> None:
    purchase = bought(world)
    first, _ = refunds.reverse_purchase(world.runtime, purchase.purchase_id, "why", "support:ann", "k")
    again, is_replay = refunds.reverse_purchase(world.runtime, purchase.purchase_id, "why", "support:ann", "k")
    assert (again.reversal_id, is_replay) == (first.reversal_id, True)


def test_above_the_limit_a_second_person_decides_and_never_the_same(world: World) -> None:
    purchase = bought(world, 60_000)
    reversal = reverse(world, purchase, "support:ann")
    assert reversal.status == "pending_approval"
    assert state(world) == (0, 0)
    world.clock.advance(timedelta(hours=30))
    world.jobs.run_due()
    assert world.purchase(purchase).status == "paid"
    with pytest.raises(OwnApproval):
        refunds.decide_reversal(world.runtime, reversal.reversal_id, "support:ann", approve=True)
    refunds.decide_reversal(world.runtime, reversal.reversal_id, "approver:ben", approve=True)
    world.jobs.run_due()
    assert world.purchase(purchase).status == "refunded"
    with pytest.raises(AlreadyRefunded):
        refunds.decide_reversal(world.runtime, reversal.reversal_id, "approver:ben", approve=False)


def test_a_rejected_proposal_gives_the_credits_back(world: World) -> None:
    purchase = bought(world, 60_000)
    reversal = reverse(world, purchase)
    refunds.decide_reversal(world.runtime, reversal.reversal_id, "approver:ben", approve=False, reason="no")
    assert stand(world, reversal) == "rejected"
    assert state(world) == (660_000_000, 0)
    world.jobs.run_due()
    assert not [key for key in world.provider.objects if key.startswith("re_")]


def test_exactly_500_dollars_needs_no_second_person(world: World) -> None:
    assert reverse(world, bought(world, 50_000)).status == "refunding"


def test_three_partial_refunds_of_a_third_each_take_the_whole(world: World) -> None:
    purchase = bought(world, 1_500)
    for place in range(3):
        world.deliver(world.refund_elsewhere(purchase, f"re_{place}", 500))
    assert [row[1] for row in rows(world)] == [15_000_000, -5_000_000, -5_000_000, -5_000_000]
    assert world.purchase(purchase).status == "refunded"
    assert kinds(world) == ["credit_note", "credit_note", "credit_note", "receipt"]


def test_a_refund_made_elsewhere_of_spent_credits_is_owed_and_paid_first(world: World) -> None:
    purchase = bought(world)
    world.posted(debit(ACCOUNT, 10_000_000))
    world.deliver(world.refund_elsewhere(purchase, "re_1", 1_000))
    assert state(world) == (0, 10_000_000)
    assert isinstance(world.post(debit(ACCOUNT, 1))[0], WalletInDebt)
    world.posted(gift(ACCOUNT, 15_000_000))
    assert state(world) == (5_000_000, 0)
    assert_clean(world)


def test_other_lots_pay_a_new_debt_at_once(world: World) -> None:
    purchase = bought(world)
    world.posted(debit(ACCOUNT, 10_000_000))
    world.posted(gift(ACCOUNT, 12_000_000))
    world.deliver(world.refund_elsewhere(purchase, "re_1", 1_000))
    assert state(world) == (2_000_000, 0)
    assert [row[0] for row in rows(world)][-2:] == ["refund", "debt_repayment"]


def test_an_open_dispute_takes_only_what_remains_and_a_lost_one_the_rest(world: World) -> None:
    purchase = bought(world)
    world.posted(debit(ACCOUNT, 4_000_000))
    world.deliver(world.dispute(purchase, "inquiry"))
    assert state(world) == (6_000_000, 0)
    world.deliver(world.dispute(purchase, "open"))
    assert world.purchase(purchase).is_disputed
    assert state(world) == (0, 0)
    with pytest.raises(AlreadyRefunded):
        reverse(world, purchase)
    world.deliver(world.dispute(purchase, "lost"))
    assert state(world) == (0, 4_000_000)
    lost = world.purchase(purchase)
    assert (lost.status, lost.is_disputed) == ("refunded", False)
    assert_clean(world)


@pytest.mark.parametrize("others", [0, 1_000_000, 7_000_000])
@pytest.mark.parametrize(
    "told",
    [
        ("dispute open", "refund failed"),
        ("refund pending", "dispute open", "refund failed"),
        ("dispute open", "refund succeeded", "refund failed"),
        ("dispute lost", "dispute open"),
    ],
)
def test_nothing_is_owed_while_a_dispute_is_only_open_in_whatever_order_it_came(
    world: World, told: tuple[str, ...], others: int
) -> None:
    purchase = bought(world)
    world.posted(debit(ACCOUNT, 4_000_000))
    if others:
        world.posted(gift(ACCOUNT, others))
    for kind, word in map(str.split, told):
        is_refund = kind == "refund"
        world.deliver(
            world.refund_elsewhere(purchase, "re_1", 1_000, word) if is_refund else world.dispute(purchase, word)
        )
    assert (state(world), world.purchase(purchase).credits_out) == ((others, 0), 6_000_000)
    before = rows(world)
    world.deliver(world.dispute(purchase, "open"))
    assert rows(world) == before, "the same again changes nothing"
    world.deliver(world.dispute(purchase, "lost"))
    assert state(world) == (max(0, others - 4_000_000), max(0, 4_000_000 - others))
    world.deliver(world.dispute(purchase, "won"))
    assert state(world) == (6_000_000 + others, 0)
    assert_clean(world)


def test_of_a_failed_refund_beside_a_smaller_one_and_an_open_dispute_only_the_smaller_is_owed(world: World) -> None:
    purchase = bought(world)
    world.posted(debit(ACCOUNT, 8_000_000))
    world.deliver(world.refund_elsewhere(purchase, "re_1", 700), world.refund_elsewhere(purchase, "re_2", 300))
    assert state(world) == (0, 8_000_000)
    world.deliver(world.dispute(purchase, "open"), world.refund_elsewhere(purchase, "re_1", 700, "failed"))
    assert (state(world), world.purchase(purchase).credits_out) == ((0, 1_000_000), 3_000_000)
    assert_clean(world)


def test_a_dispute_won_returns_everything(world: World) -> None:
    purchase = bought(world)
    world.posted(debit(ACCOUNT, 4_000_000))
    world.deliver(world.dispute(purchase, "open"))
    world.deliver(world.dispute(purchase, "won"))
    assert state(world) == (6_000_000, 0)
    assert [row[0] for row in rows(world)][-2:] == ["dispute", "dispute_won"]
    assert world.purchase(purchase).status == "paid"


def test_a_dispute_over_a_refunded_payment_takes_nothing_more(world: World) -> None:
    purchase = bought(world)
    world.deliver(world.refund_elsewhere(purchase, "re_1", 1_000))
    world.deliver(world.dispute(purchase, "open"), world.dispute(purchase, "lost"))
    assert [row[0] for row in rows(world)] == ["deposit", "refund"]
    assert state(world) == (0, 0)


def test_a_refusal_of_a_reversal_changes_nothing(world: World) -> None:
    purchase = bought(world)
    world.posted(debit(ACCOUNT, 1))
    before = rows(world)
    with pytest.raises(Refusal):
        reverse(world, purchase)
    with reading(world.db) as session:
        assert session.connection().exec_driver_sql("SELECT count(*) FROM reversals").scalar_one() == 0
        assert session.connection().exec_driver_sql("SELECT count(*) FROM audit_log").scalar_one() == 0
    assert rows(world) == before
