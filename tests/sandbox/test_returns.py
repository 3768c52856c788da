"""Refunds and disputes at the sandbox, over real HTTP: asked for by Purser, or made by the provider's operator."""

from collections.abc import Iterator

import pytest

from engine.payments import ProviderRefused, RefundRequest
from engine.rules.money import Money
from engine.store.database import Database
from tests.sandbox.support import World, running


@pytest.fixture
def world(sqlite: Database) -> Iterator[World]:
    with running(sqlite) as started:
        yield started
        assert started.receiver.refused == []


def request(
    payment_id: str, amount_minor: int = 2_500, key: str = "refund:rev_1", reversal: str = "rev_1"
) -> RefundRequest:
    return RefundRequest("acc_1", "pay_1", reversal, payment_id, Money(amount_minor, "USD"), key)


def test_a_refund_purser_asks_for_succeeds_and_carries_our_reversal(world: World) -> None:
    payment_id = world.paid()
    (fact,) = world.provider.refund(request(payment_id))
    assert (fact.kind, fact.state, fact.amount.minor, fact.own_reference) == ("refund", "succeeded", 2_500, "rev_1")
    assert (fact.parent_id, fact.purchase_id, fact.account_id) == (payment_id, "pay_1", "acc_1")
    assert world.receiver.wait_for(1) == ["refund.created"]
    assert world.fact_of(world.receiver.events[0]) == fact


def test_the_same_refund_asked_again_is_the_same_refund(world: World) -> None:
    payment_id = world.paid()
    first = world.provider.refund(request(payment_id, 1_000))
    assert world.provider.refund(request(payment_id, 1_000)) == first
    with pytest.raises(ProviderRefused, match="idempotency_mismatch"):
        world.provider.refund(request(payment_id, 900))
    (rest,) = world.provider.refund(request(payment_id, 1_500, "refund:rev_2", "rev_2"))
    assert rest.object_id != first[0].object_id


def test_no_more_is_refunded_than_was_paid(world: World) -> None:
    payment_id = world.paid()
    assert world.play(payment_id, "refund", {"amountMinor": 2_000}).status_code == 200
    with pytest.raises(ProviderRefused, match="amount_not_refundable"):
        world.provider.refund(request(payment_id, 501))
    answer = world.play(payment_id, "refund", {"amountMinor": 501})
    assert (answer.status_code, answer.json()["code"]) == (409, "amount_not_refundable")
    assert world.play(payment_id, "refund").json()["amountMinor"] == 500
    assert world.play(payment_id, "refund").status_code == 409


@pytest.mark.parametrize(
    "body", [{"amountMinor": 0}, {"amountMinor": -1}, {"amountMinor": "5"}, {"amountMinor": 1.5}, {"amount": 5}, []]
)
def test_a_malformed_refund_is_refused(world: World, body: object) -> None:
    assert world.play(world.paid(), "refund", body).status_code == 400
    assert world.receiver.types == []


def test_an_unpaid_payment_has_nothing_to_refund_or_dispute(world: World) -> None:
    payment_id = world.payment(world.start()).object_id
    for act in ("refund", "refund-fails", "dispute", "dispute-won", "dispute-lost"):
        answer = world.play(payment_id, act)
        assert (answer.status_code, answer.json()["code"]) == (409, "payment_not_paid")


@pytest.mark.parametrize("act", ["refund", "refund-fails", "dispute", "dispute-won", "dispute-lost"])
def test_an_unknown_payment_is_not_found(world: World, act: str) -> None:
    assert world.play("sbxpay_nobody", act).status_code == 404


def test_an_outside_refund_is_told_before_the_answer_and_names_no_reversal(world: World) -> None:
    told = world.play(world.paid(), "refund", {"amountMinor": 700}).json()
    assert (told["state"], told["amountMinor"], told["reversalId"]) == ("succeeded", 700, None)
    (event,) = world.receiver.events
    assert event.type == "refund.created" and world.fact_of(event).own_reference is None


def test_refund_fails_ends_the_refund_that_stands(world: World) -> None:
    payment_id = world.paid()
    (made,) = world.provider.refund(request(payment_id))
    world.receiver.wait_for(1)
    told = world.play(payment_id, "refund-fails").json()
    assert (told["id"], told["state"], told["reversalId"]) == (made.object_id, "failed", "rev_1")
    assert world.receiver.types == ["refund.created", "refund.failed"]
    failed = world.fact_of(world.receiver.events[1])
    assert failed.state == "failed" and failed.version > made.version


def test_refund_fails_makes_a_refund_first_where_none_stands_and_both_are_told_in_turn(world: World) -> None:
    payment_id = world.paid()
    before = len(world.settled)
    told = world.play(payment_id, "refund-fails").json()
    assert (told["state"], told["amountMinor"]) == ("failed", 2_500)
    assert world.receiver.types == ["refund.created", "refund.failed"]
    assert world.settled[before:] == [1, 2], "what the refund gave rise to is done before it fails"
    assert world.play(payment_id, "refund").json()["state"] == "succeeded", "a failed refund leaves its money to give"


def test_a_dispute_is_about_the_whole_payment_and_ends(world: World) -> None:
    payment_id = world.paid()
    opened = world.play(payment_id, "dispute").json()
    assert (opened["state"], opened["amountMinor"]) == ("open", 2_500)
    assert world.play(payment_id, "dispute").json()["code"] == "dispute_open"
    won = world.play(payment_id, "dispute-won").json()
    assert (won["id"], won["state"]) == (opened["id"], "won") and won["version"] > opened["version"]
    assert world.receiver.types == ["dispute.created", "dispute.closed"]
    fact = world.fact_of(world.receiver.events[1])
    assert (fact.kind, fact.state, fact.parent_id, fact.amount.minor) == ("dispute", "won", payment_id, 2_500)


def test_a_dispute_that_was_won_stays_won_and_the_next_one_is_another(world: World) -> None:
    payment_id = world.paid()
    won = world.play(payment_id, "dispute-won").json()
    lost = world.play(payment_id, "dispute-lost").json()
    assert (lost["state"], won["state"]) == ("lost", "won") and lost["id"] != won["id"]
    states = {fact.object_id: fact.state for fact in map(world.fact_of, world.receiver.events)}
    assert states == {won["id"]: "won", lost["id"]: "lost"}


@pytest.mark.parametrize("outcome", ["won", "lost"])
def test_a_dispute_that_never_was_is_opened_before_it_ends(world: World, outcome: str) -> None:
    payment_id = world.paid()
    before = len(world.settled)
    assert world.play(payment_id, f"dispute-{outcome}").json()["state"] == outcome
    assert world.receiver.types == ["dispute.created", "dispute.closed"]
    assert world.settled[before:] == [1, 2]


def test_a_lost_dispute_may_be_won_on_appeal_and_a_second_one_opened(world: World) -> None:
    payment_id = world.paid()
    lost = world.play(payment_id, "dispute-lost").json()
    won = world.play(payment_id, "dispute-won").json()
    assert won["id"] == lost["id"] and won["version"] > lost["version"]
    assert world.play(payment_id, "dispute").json()["id"] != lost["id"]


def test_objects_that_do_not_exist_are_refused(world: World) -> None:
    with pytest.raises(ProviderRefused, match="payment_unknown"):
        world.provider.refund(request("sbxpay_nobody"))
    payment_id = world.paid()
    world.play(payment_id, "refund")
    (event,) = world.receiver.events
    for kind in ("refund", "dispute", "payment"):
        elsewhere = event.payload.replace(b'"refund","id":"sbxre', f'"{kind}","id":"sbxno'.encode())
        with pytest.raises(ProviderRefused, match=f"{kind}_unknown"):
            world.provider.facts(type(event)(event.event_id, event.type, elsewhere))
