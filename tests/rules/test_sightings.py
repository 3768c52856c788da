"""Of everything a provider says of one object the newest word counts, and of one instant the more final."""

from itertools import permutations

import pytest

from engine.rules.facts import Fact
from engine.rules.money import Money
from engine.rules.purchases import KnownFact, merge


def seen(kind: str, state: str, version: int, minor: int = 1_000, currency: str = "USD") -> Fact:
    return Fact(kind, "obj_1", state, Money(minor, currency), version, live=False, parent_id="pi_1")  # type: ignore[arg-type]


def kept(*sightings: Fact) -> KnownFact:
    """What is known after these, in this order."""
    known: list[KnownFact] = []
    for sighting in sightings:
        fact = merge(known, sighting)
        known = [fact] if fact is not None else known
    (found,) = known
    return found


@pytest.mark.parametrize(
    ("kind", "open_state", "final_state"),
    [
        ("payment", "open", "paid"),
        ("payment", "processing", "failed"),
        ("payment", "failed", "paid"),
        ("refund", "pending", "succeeded"),
        ("refund", "pending", "failed"),
        ("dispute", "open", "lost"),
        ("dispute", "inquiry", "won"),
    ],
)
def test_of_two_sightings_of_one_instant_the_more_final_one_counts(
    kind: str, open_state: str, final_state: str
) -> None:
    first, second = seen(kind, open_state, 7), seen(kind, final_state, 7)
    assert kept(first, second).state == kept(second, first).state == final_state


def test_an_older_word_changes_nothing() -> None:
    words = (seen("refund", "pending", 1), seen("refund", "succeeded", 2), seen("refund", "failed", 3))
    assert {kept(*order).state for order in permutations(words)} == {"failed"}
    assert merge([kept(*words)], words[1]) is None


def test_a_refund_of_ours_is_the_money_we_asked_for_in_whatever_currency_it_is_told() -> None:
    ours = KnownFact("rev_1", "refund", "obj_1", "pending", Money(1_000, "USD"), 0, is_live=False, own_credits=900)
    told = merge([ours], seen("refund", "succeeded", 1, 920, "EUR"))
    assert told is not None and (told.amount, told.own_credits, told.state) == (Money(1_000, "USD"), 900, "succeeded")


@pytest.mark.parametrize(("told", "counts"), [(333, 333), (332, 333), (334, 333), (331, 331), (1_000, 1_000)])
def test_a_refund_of_ours_is_the_money_we_asked_for_but_for_a_unit_of_rounding(told: int, counts: int) -> None:
    ours = KnownFact("rev_1", "refund", "obj_1", "pending", Money(333, "USD"), 0, is_live=False, own_credits=300)
    kept_now = merge([ours], seen("refund", "succeeded", 1, told))
    assert kept_now is not None and kept_now.amount.minor == counts


def test_a_refund_made_elsewhere_is_what_its_provider_says() -> None:
    there = KnownFact("obj_1", "refund", "obj_1", "pending", Money(333, "USD"), 0, is_live=False)
    told = merge([there], seen("refund", "succeeded", 1, 332))
    assert told is not None and told.amount.minor == 332
