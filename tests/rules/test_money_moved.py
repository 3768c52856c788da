"""The money that a ledger row of a refund states: what went back, not what its credits stand for."""

import pytest

from engine.rules.money import Money
from engine.rules.purchases import KnownFact, Terms, converge, money_moved

TERMS = Terms(Money(10_000, "USD"), 10_000, 500, has_landed=True, credited="pi")
STATES = ("lost", "open")


def fact(name: str, minor: int, version: int, kind: str = "refund", state: str = "succeeded") -> KnownFact:
    return KnownFact(name, kind, name, state, Money(minor, "USD"), version, True, parent_id="pi")


PAYMENT = KnownFact("pi", "payment", "pi", "paid", Money(10_000, "USD"), 1, True)


def out(*facts: KnownFact) -> int:
    return converge(TERMS, (PAYMENT, *facts), True).out_credits


def moved(before: tuple[KnownFact, ...], now: tuple[KnownFact, ...]) -> int | None:
    return money_moved(TERMS, (PAYMENT, *now), STATES, out(*before))


A, B, C = fact("a", 1_001, 2), fact("b", 999, 3), fact("c", 9_500, 4)


@pytest.mark.parametrize(
    ("before", "now", "minor"),
    [
        ((), (A,), 1_001),
        ((A,), (A, B), 999),
        ((B,), (A, B), 1_001),
        ((), (A, B), 2_000),
        ((A,), (A, C), 8_999),
        ((A, B), (fact("a", 1_001, 5, state="failed"), B), 1_001),
        ((fact("d", 3_000, 2, "dispute", "open"),), (fact("d", 3_000, 3, "dispute", "won"),), 3_000),
        ((A,), (A, fact("d", 3_333, 2, "dispute", "lost")), 3_333),
    ],
)
def test_it_is_that_of_the_facts_that_are_new(
    before: tuple[KnownFact, ...], now: tuple[KnownFact, ...], minor: int
) -> None:
    assert moved(before, now) == minor


def test_what_no_fact_explains_has_no_money_of_its_own() -> None:
    assert money_moved(TERMS, (PAYMENT, A), STATES, 17) is None
