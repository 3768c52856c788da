"""Whole stories played on the fake providers themselves: whatever was seen of them and when, the last word decides."""

import copy
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.payments import Fact
from engine.rules.purchases import KnownFact, Verdict
from engine.store.database import Database
from psp.moonpay_facts import payment_facts
from psp.paddle_facts import transaction_facts
from tests.conftest import empty_tables
from tests.engine.support import FakeClock
from tests.psp.fake_moonpay import WALLET
from tests.psp.fake_paddle import FakePaddle
from tests.psp.paddle_orders import a_rail
from tests.psp.paddle_world import PaddleSaysNo, PaddleWorld
from tests.psp.rail_world import open_rail_world
from tests.psp.stripe_orders import kept, verdict_after

GIVEN = {
    "items": [
        {
            "price": {
                "description": "Credits",
                "name": "Credits",
                "unit_price": {"amount": "2500", "currency_code": "USD"},
                "product": {"name": "Credits", "tax_category": "standard"},
                "tax_mode": "internal",
                "quantity": {"minimum": 1, "maximum": 1},
            },
            "quantity": 1,
        }
    ],
    "currency_code": "USD",
    "custom_data": {"purser_purchase": "pay_1", "purser_account": "mira"},
}
ACTS = ("refund", "approve", "reject", "chargeback", "reverse", "reverse part", "warning")
acts = st.lists(st.tuples(st.sampled_from(ACTS), st.sampled_from([1, 500, 1_000, 2_500])), max_size=7)


def act(world: PaddleWorld, transaction_id: str, what: str, minor: int) -> None:
    """One thing that happens at Paddle; what Paddle would not do does not happen."""
    pending = [one["id"] for one in world.adjustments.values() if one["status"] == "pending_approval"]
    standing = [
        one for one in world.adjustments.values() if one["action"] == "chargeback" and one["status"] == "approved"
    ]
    try:
        match what:
            case "refund":
                world.refund(transaction_id, minor)
            case "approve" | "reject" if pending:
                world.decide(pending[0], "approved" if what == "approve" else "rejected")
            case "chargeback":
                world.charge_back(transaction_id, minor)
            case "reverse" if standing:
                world.reverse_chargeback(standing[0]["id"])
            case "reverse part" if standing:
                world.reverse_chargeback(standing[0]["id"], min(minor, int(standing[0]["totals"]["total"])))
            case "warning":
                world.charge_back(transaction_id, action="chargeback_warning")
    except PaddleSaysNo:
        return


def seen_again(data: st.DataObject, sightings: list[tuple[Fact, ...]]) -> list[tuple[Fact, ...]]:
    """Some of the sightings in any order, some twice; the last one is never lost."""
    chosen = data.draw(st.lists(st.sampled_from(sightings), max_size=8))
    order: list[tuple[Fact, ...]] = data.draw(st.permutations([*chosen, sightings[-1]]))
    return order


def known(sightings: list[tuple[Fact, ...]]) -> tuple[dict[str, KnownFact], Verdict]:
    told = [fact for facts in sightings for fact in facts]
    return kept(told), verdict_after(*told)


@given(story=acts, data=st.data())
@settings(max_examples=200)
def test_the_last_word_of_paddle_decides_whatever_was_seen_before(
    story: list[tuple[str, int]], data: st.DataObject
) -> None:
    world = PaddleWorld(FakeClock().now)
    transaction_id = world.make_transaction(GIVEN)["id"]
    world.pay(transaction_id)
    sightings = []
    for what, minor in [("nothing", 0), *story]:
        act(world, transaction_id, what, minor)
        snapshot = copy.deepcopy(world.with_adjustments(transaction_id))
        sightings.append(transaction_facts(snapshot, is_live=False))
    assert known(seen_again(data, sightings)) == known(sightings[-1:])
    taken = sum(
        int(one["totals"]["total"]) * (-1 if one["action"].endswith("_reverse") else 1)
        for one in world.adjustments.values()
        if one["action"] in ("refund", "chargeback", "chargeback_reverse")
        and (one["status"] in ("approved", "reversed"))
    )
    assert verdict_after(*sightings[-1]).out_credits == min(2_500, taken)


@given(
    tries=st.lists(st.sampled_from(["waitingPayment", "pending", "completed", "failed"]), min_size=1, max_size=5),
    data=st.data(),
)
@settings(max_examples=100)
def test_the_last_word_of_moonpay_decides_whatever_was_seen_before(tries: list[str], data: st.DataObject) -> None:
    at = FakeClock().now()
    sightings = []
    told = {"id": "bda09e91", "walletAddress": WALLET, "externalTransactionId": "pay_1", "baseCurrencyAmount": 25}
    for place, status in enumerate(tries):
        updated = (at + timedelta(seconds=place)).isoformat()
        transaction = told | {"status": status, "updatedAt": updated, "baseCurrency": {"code": "usd"}}
        sightings.append(payment_facts([transaction], False, WALLET))
    assert known(seen_again(data, sightings)) == known(sightings[-1:])


@given(story=acts, data=st.data())
@settings(max_examples=6)
def test_the_books_are_the_same_however_paddles_webhooks_come(
    db: Database, story: list[tuple[str, int]], data: st.DataObject
) -> None:
    ends = []
    for is_shuffled in (False, True):
        empty_tables(db)
        clock = FakeClock()
        with FakePaddle(now=clock.now) as fake:
            world = open_rail_world(db, clock, a_rail(fake), fake)
            purchase = world.buy()
            assert purchase.session_id is not None
            fake.pay(purchase.session_id)
            if not is_shuffled:
                world.hook(fake.events[-1])
            for what, minor in story:
                act(fake, purchase.session_id, what, minor)
                if data.draw(st.booleans()):
                    world.hook(data.draw(st.sampled_from(fake.events)))
            world.hook(*(data.draw(st.permutations(fake.events)) if is_shuffled else fake.events))
            landed = world.purchase(purchase)
            ends.append((landed.status, landed.is_disputed, landed.credits_out, *world.books()))
            world.check()
    assert ends[0] == ends[1]
