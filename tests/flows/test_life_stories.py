"""Whole life stories of a payment, delivered in any order with duplicates: always the same books."""

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Story:
    """Objects of one payment, each as the states it went through."""

    states: tuple[tuple[str, str, int, tuple[str, ...]], ...]


refund_lives = st.sampled_from([("succeeded",), ("pending",), ("pending", "succeeded"), ("succeeded", "failed")])
dispute_lives = st.sampled_from([("inquiry",), ("open",), ("open", "won"), ("open", "lost"), ("inquiry", "prevented")])
payment_lives = st.sampled_from(
    [("paid",), ("open", "paid"), ("processing", "paid"), ("expired", "paid"), ("failed", "paid")]
)


@st.composite
def stories(draw: st.DrawFn) -> Story:
    objects = [("payment", "pi_1", PAID, draw(payment_lives))]
    for place in range(draw(st.integers(0, 3))):
        objects.append(("refund", f"re_{place}", draw(st.sampled_from([1, 500, 750, PAID])), draw(refund_lives)))
    if draw(st.booleans()):
        objects.append(("dispute", "dp_1", draw(st.sampled_from([500, PAID])), draw(dispute_lives)))
    return Story(tuple(objects))


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
            parent_id="pi_1",
            purchase_id=purchase_id,
            account_id=ACCOUNT,
        )
        for kind, object_id, minor, states in story.states
        for version, state in enumerate(states, start=1)
    ]


def deliveries(facts: list[Fact]) -> st.SearchStrategy[list[Fact]]:
    """The facts in any order, some of them again."""
    repeated = st.lists(st.sampled_from(facts), max_size=4).map(lambda more: [*facts, *more])
    return repeated.flatmap(st.permutations)


def judged(facts: list[Fact]) -> Verdict:
    known: dict[str, KnownFact] = {}
    for fact in facts:
        kept = merge(known.values(), fact)
        if kept is not None:
            known[kept.fact_id] = kept
    terms = Terms(Money(PAID, "USD"), 14_000_000, 1_000_000, has_landed=False)
    return converge(terms, known.values(), is_live=False)


@given(st.data())
@settings(max_examples=300)
def test_the_verdict_does_not_depend_on_order_or_repetition(data: st.DataObject) -> None:
    facts = facts_of(data.draw(stories()), "pay_1")
    verdict = judged(facts)
    assert judged(data.draw(deliveries(facts))) == verdict
    assert 0 <= verdict.firm_credits <= verdict.out_credits <= 15_000_000


@given(st.data())
@settings(max_examples=12)
def test_the_books_do_not_depend_on_order_or_repetition(db: Database, data: st.DataObject) -> None:
    story = data.draw(stories())
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
