"""Whole life stories of a payment on each rail, in any order with duplicates and losses: always the same books."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.rules.facts import Fact
from engine.rules.money import Money
from engine.rules.purchases import KnownFact, Terms, Verdict, converge, merge
from engine.store.database import Database, reading
from tests.conftest import empty_tables
from tests.engine.support import FakeClock, lots_of, wallet_of
from tests.flows.world import ACCOUNT, open_world

PAID = 1_500
AMOUNTS = (1, 500, 750, PAID)
State = tuple[str, int]
"""What an object is, and how much it then moves."""


@dataclass(frozen=True)
class Story:
    """Objects of one payment, each as what it went through."""

    lives: tuple[tuple[str, str, tuple[State, ...]], ...]


@dataclass(frozen=True)
class Rail:
    """What one provider's objects may go through."""

    payments: tuple[tuple[str, ...], ...]
    refunds: tuple[tuple[str, ...], ...] = ()
    disputes: tuple[tuple[str, ...], ...] = ()
    may_change_amounts: bool = False
    payments_max: int = 1


RAILS = {
    "stripe": Rail(
        payments=(("paid",), ("open", "paid"), ("processing", "paid"), ("expired", "paid"), ("failed", "paid")),
        refunds=(("succeeded",), ("pending",), ("pending", "succeeded"), ("succeeded", "failed")),
        disputes=(("inquiry",), ("open",), ("open", "won"), ("open", "lost"), ("inquiry", "prevented")),
    ),
    "paddle": Rail(
        payments=(("paid",), ("open", "paid"), ("cancelled", "paid"), ("failed", "paid", "paid")),
        refunds=(("succeeded",), ("failed",), ("succeeded", "failed")),
        disputes=(("inquiry",), ("lost",), ("lost", "won"), ("lost", "lost")),
        may_change_amounts=True,
    ),
    "apple": Rail(payments=(("paid",),), refunds=(("succeeded",), ("succeeded", "failed"), ("succeeded", "succeeded"))),
    "google": Rail(
        payments=(("paid",), ("processing", "paid")),
        refunds=(("succeeded",), ("succeeded", "succeeded")),
        may_change_amounts=True,
    ),
    "moonpay": Rail(
        payments=(("failed",), ("open",), ("processing", "failed"), ("open", "processing", "paid")), payments_max=3
    ),
}


@st.composite
def stories(draw: st.DrawFn, rail: Rail) -> Story:
    """One whole story on this rail, its first payment paid."""
    pays = [life for life in rail.payments if life[-1] == "paid"]
    lives = [("payment", "pi_0", tuple((state, PAID) for state in draw(st.sampled_from(pays))))]
    for place in range(1, draw(st.integers(1, rail.payments_max))):
        others = [life for life in rail.payments if life[-1] != "paid"]
        lives.append(("payment", f"pi_{place}", tuple((state, PAID) for state in draw(st.sampled_from(others)))))
    for kind, found, most in (("refund", rail.refunds, 3), ("dispute", rail.disputes, 2)):
        for place in range(draw(st.integers(0, most if found else 0))):
            states = draw(st.sampled_from(found))
            amount = draw(st.sampled_from(AMOUNTS))
            last = draw(st.sampled_from(AMOUNTS)) if rail.may_change_amounts else amount
            life = tuple((state, amount) for state in states[:-1])
            lives.append((kind, f"{kind}_{place}", (*life, (states[-1], last))))
    return Story(tuple(lives))


def facts_of(story: Story, purchase_id: str) -> list[Fact]:
    """Every sighting of every object, oldest first for each."""
    return [
        Fact(
            kind=kind,  # type: ignore[arg-type]
            object_id=object_id,
            state=state,  # type: ignore[arg-type]
            amount=Money(minor, "USD"),
            version=version,
            live=False,
            parent_id="pi_0",
            purchase_id=purchase_id,
            account_id=ACCOUNT,
        )
        for kind, object_id, life in story.lives
        for version, (state, minor) in enumerate(life, start=1)
    ]


@st.composite
def deliveries(draw: st.DrawFn, facts: list[Fact]) -> list[Fact]:
    """The facts in any order, some of them again, some lost: but never the last word on an object."""
    last = {fact.object_id: fact for fact in facts}
    lost = draw(st.sets(st.sampled_from(facts)))
    heard = [fact for fact in facts if fact not in lost or fact is last[fact.object_id]]
    again = draw(st.lists(st.sampled_from(heard), max_size=4))
    return draw(st.permutations([*heard, *again]))


def judged(facts: list[Fact]) -> Verdict:
    known: dict[str, KnownFact] = {}
    for fact in facts:
        kept = merge(known.values(), fact)
        if kept is not None:
            known[kept.fact_id] = kept
    terms = Terms(Money(PAID, "USD"), 14_000_000, 1_000_000, has_landed=False)
    return converge(terms, known.values(), is_live=False)


@pytest.mark.parametrize("rail", RAILS)
@given(data=st.data())
@settings(max_examples=200)
def test_the_verdict_does_not_depend_on_order_repetition_or_loss(rail: str, data: st.DataObject) -> None:
    facts = facts_of(data.draw(stories(RAILS[rail])), "pay_1")
    verdict = judged(facts)
    assert judged(data.draw(deliveries(facts))) == verdict
    assert 0 <= verdict.firm_credits <= verdict.out_credits <= 15_000_000


@pytest.mark.parametrize("rail", RAILS)
@given(data=st.data())
@settings(max_examples=8)
def test_the_books_do_not_depend_on_order_repetition_or_loss(db: Database, rail: str, data: st.DataObject) -> None:
    story = data.draw(stories(RAILS[rail]))
    ends = []
    for shuffle in (False, True):
        empty_tables(db)
        world = open_world(db, FakeClock())
        purchase = world.buy(PAID)
        facts = facts_of(story, purchase.purchase_id)
        world.deliver(*(data.draw(deliveries(facts)) if shuffle else facts))
        landed = world.purchase(purchase)
        with reading(db) as session:
            wallet = wallet_of(session, ACCOUNT)
            lots = [(lot.remaining_credits, lot.taken_credits, lot.owed_credits) for lot in lots_of(session, ACCOUNT)]
        world.close()
        ends.append((landed.status, landed.is_disputed, landed.credits_out, wallet.available_credits, lots))
    assert ends[0] == ends[1]
