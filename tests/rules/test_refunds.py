"""The refund policy as arithmetic: what may go back, and what is taken for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.rules.errors import AlreadyRefunded, RefundCreditsTouched, RefundNotPossible, Refusal
from engine.rules.refunds import (
    Refundable,
    decide_refund,
    gone_minor,
    is_same_person,
    needs_second_person,
    refund_max,
)


def purchase(
    paid: int = 1_000, granted: int = 1_000, remaining: int = 1_000, gone: int = 0, out: int = 0, **more: object
) -> Refundable:
    values: dict[str, object] = {
        "status": "paid", "is_disputed": False, "has_landed": True, "provider": "stripe", "provider_can_refund": True,
    }  # fmt: skip
    return Refundable(
        paid_minor=paid,
        gone_minor=gone,
        granted_credits=granted,
        remaining_credits=remaining,
        out_credits=out,
        named_credits=out,
        **(values | more),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("paid", "granted", "remaining", "gone", "out", "share"),
    [
        (1_000, 10_000_000, 9_999_999, 0, 0, 999),
        (1_000, 10_000_000, 10_000_000, 0, 0, 1_000),
        (999, 3, 2, 0, 0, 666),
        (1_000, 100, 67, 333, 33, 667),
        (1_000, 100, 67, 333, 0, 337),
        (1_000, 100, 0, 0, 0, 0),
    ],
)
def test_the_unspent_share_is_rounded_down_and_at_most_what_is_left(
    paid: int, granted: int, remaining: int, gone: int, out: int, share: int
) -> None:
    assert purchase(paid, granted, remaining, gone, out).unspent_minor == share


def test_three_thirds_of_a_hundred_credits_are_33_33_and_34() -> None:
    taken: list[int] = []
    for place in range(3):
        seen = purchase(1_500, 100, 100 - sum(taken), 500 * place, sum(taken))
        taken.append(decide_refund(seen, "manual", 500, is_admin=False).credits)
    assert taken == [33, 33, 34]


def test_refusals_stand_in_their_order() -> None:
    worst = {"status": "quarantined", "provider_can_refund": False}
    with pytest.raises(AlreadyRefunded):
        refund_max(purchase(is_disputed=True, **worst), "none", is_admin=True)
    with pytest.raises(AlreadyRefunded):
        refund_max(purchase(gone=1_000, remaining=0, **worst), "none", is_admin=True)
    with pytest.raises(RefundNotPossible, match="policy"):
        refund_max(purchase(remaining=0, **worst), "none", is_admin=True)
    with pytest.raises(RefundNotPossible, match="decides"):
        refund_max(purchase(remaining=0, **worst), "manual", is_admin=True)
    with pytest.raises(RefundNotPossible, match="not paid"):
        refund_max(purchase(remaining=0, has_landed=False), "manual", is_admin=True)
    with pytest.raises(RefundCreditsTouched):
        refund_max(purchase(remaining=0), "unused_part", is_admin=True)
    with pytest.raises(RefundCreditsTouched):
        decide_refund(purchase(remaining=0), "manual", None, is_admin=True)


def test_small_refunds_whose_credits_round_to_none_add_up_to_no_more_than_the_unspent_share() -> None:
    """2,907 for 91 credits, 59 of them spent: 1,022 may go back, whatever the parts."""
    gone = out = 0
    for part in (1, 1, 124, 896):
        terms = decide_refund(purchase(2_907, 91, 32 - out, gone, out), "manual", part, is_admin=False)
        gone, out = gone + part, out + terms.credits
    assert (gone, purchase(2_907, 91, 32 - out, gone, out).unspent_minor) == (1_022, 0)


@given(st.data())
def test_refunds_by_support_never_take_what_was_spent_nor_give_more_than_was_paid(data: st.DataObject) -> None:
    paid = data.draw(st.integers(1, 5_000), "paid")
    granted = data.draw(st.integers(1, 10**9), "granted")
    spent = data.draw(st.integers(0, granted), "spent")
    gone = out = 0
    for _ in range(data.draw(st.integers(1, 6), "how often")):
        seen = purchase(paid, granted, granted - spent - out, gone, out)
        try:
            most = refund_max(seen, "manual", is_admin=False)
        except Refusal:
            break
        terms = decide_refund(seen, "manual", data.draw(st.integers(1, most)), is_admin=False)
        gone, out = gone + terms.amount_minor, out + terms.credits
        assert gone <= paid and out <= granted - spent, "nothing that was spent is owed"
    assert gone * granted <= paid * (granted - spent)


@given(paid=st.integers(1, 5_000), granted=st.integers(1, 10**9), data=st.data())
def test_an_admins_parts_take_the_whole_in_the_end(paid: int, granted: int, data: st.DataObject) -> None:
    gone = out = 0
    while gone < paid:
        seen = purchase(paid, granted, granted - out, gone, out)
        part = data.draw(st.integers(min(paid - gone, paid // 4 + 1), paid - gone))
        out += decide_refund(seen, "manual", part, is_admin=True).credits
        gone += part
    assert out == granted


def test_what_is_gone_counts_until_it_failed_or_was_won() -> None:
    facts = [
        ("payment", "paid", 900), ("refund", "pending", 1), ("refund", "succeeded", 2), ("refund", "failed", 4),
        ("dispute", "open", 8), ("dispute", "lost", 16), ("dispute", "won", 32), ("dispute", "inquiry", 64),
    ]  # fmt: skip
    assert gone_minor(facts) == 1 + 2 + 8 + 16


def test_the_limit_is_for_all_parts_together_and_includes_itself() -> None:
    assert not needs_second_person(50_000, 0, 50_000)
    assert needs_second_person(1, 50_000, 50_000)


def test_a_person_is_the_same_with_another_role() -> None:
    assert is_same_person("support:Ada", "admin:Ada")
    assert not is_same_person("support:Ada", "support:Ben")
