"""The provider's own side as a page: each state a payment or a subscription can come to has its button."""

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from api.sandbox_cards import BEHAVIOURS
from engine.store.database import Database
from tests.sandbox.support import World, running
from tests.sandbox.test_subscriptions import begun, state


@pytest.fixture
def world(sqlite: Database) -> Iterator[World]:
    with running(sqlite, late_seconds=60) as opened:
        yield opened


def buttons(world: World) -> list[str]:
    """What the page's forms would do, in their order."""
    shown = world.browser.get("/sandbox/provider")
    assert shown.status_code == 200 and "<script" not in shown.text
    assert "default-src 'none'" in shown.headers["content-security-policy"]
    return [found.rpartition("/")[2] for found in re.findall(r'action="([^"]+)"', shown.text)]


def play(world: World, reference: str, act: str, kind: str = "payments", **form: str) -> int:
    answer = world.browser.post(f"/sandbox/provider/{kind}/{reference}/{act}", data=form)
    if answer.status_code == 303:
        assert answer.headers["location"] == f"{world.base_url}/sandbox/provider"
    return answer.status_code


def test_a_paid_payment_is_refunded_in_part_and_whole_and_a_refund_fails(world: World) -> None:
    assert buttons(world) == []
    payment = world.paid()
    assert buttons(world) == ["refund", "dispute"]
    assert play(world, payment, "refund", amountMinor="500") == 303
    assert "refund of $5.00 succeeded" in world.browser.get("/sandbox/provider").text
    assert buttons(world) == ["refund", "refund-fails", "dispute"]
    assert play(world, payment, "refund") == 303
    assert buttons(world) == ["refund-fails", "dispute"], "nothing is left to refund"
    assert play(world, payment, "refund-fails") == 303
    facts = [world.fact_of(event) for event in world.receiver.events]
    assert [(fact.amount.minor, fact.state) for fact in facts] == [
        (500, "succeeded"), (2_000, "failed"), (2_000, "failed"),
    ]  # fmt: skip


def test_a_dispute_is_opened_and_won_or_lost_and_appealed(world: World) -> None:
    payment = world.paid()
    assert play(world, payment, "dispute") == 303
    assert buttons(world) == ["refund", "dispute-won", "dispute-lost"]
    assert play(world, payment, "dispute-lost") == 303
    assert buttons(world) == ["refund", "dispute-won", "dispute"]
    assert play(world, payment, "dispute-won") == 303
    assert world.receiver.types == ["dispute.created", "dispute.closed", "dispute.closed"]
    assert world.fact_of(world.receiver.events[-1]).state == "won"


def test_a_payment_on_its_way_fails_and_may_be_tried_again(world: World) -> None:
    session_id = world.start()
    assert world.press(session_id, "pay-late").status_code == 303
    payment = world.payment(session_id)
    assert payment.state == "processing" and buttons(world) == ["late-fails"]
    assert play(world, payment.object_id, "late-fails") == 303
    assert world.payment(session_id).state == "failed" and world.receiver.types[-1] == "payment.failed"
    assert play(world, payment.object_id, "late-fails") == 409
    assert world.press(session_id, "pay").status_code == 303
    assert world.payment(session_id).state == "paid"


def test_what_makes_no_sense_is_refused_in_words_for_people_and_in_codes_for_programs(world: World) -> None:
    payment = world.paid()
    assert play(world, payment, "explode") == 404
    assert play(world, "sbxpay_none", "dispute") == 404
    assert play(world, payment, "refund", amountMinor="1.5") == 400
    assert play(world, payment, "refund", amountMinor="99999") == 409 and world.receiver.types == []
    assert play(world, payment, "refund-fails") == 409
    assert play(world, "sbxsub_none", "renew", "subscriptions") == 404
    path = f"/sandbox/provider/payments/{payment}/refund-fails"
    refused = world.browser.post(path, headers={"accept": "text/html"})
    assert "There is no refund that could fail." in refused.text and "<html" in refused.text


def test_a_subscription_renews_fails_to_and_ends(world: World) -> None:
    session_id = begun(world)
    assert buttons(world)[-3:] == ["renew", "payment-failed", "cancel"]
    first, _ = state(world, session_id)
    world.receiver.events.clear()
    assert play(world, first.object_id, "payment-failed", "subscriptions") == 303
    assert state(world, session_id)[0].state == "past_due"
    assert "past_due" in world.browser.get("/sandbox/provider").text
    assert play(world, first.object_id, "renew", "subscriptions") == 303
    assert state(world, session_id)[0].state == "active"
    assert play(world, first.object_id, "cancel", "subscriptions") == 303
    assert state(world, session_id)[0].state == "ended"
    assert [name for name in buttons(world) if name in ("renew", "cancel")] == []


def test_saved_cards_lead_to_the_page_where_their_banks_word_is_chosen(world: World) -> None:
    assert "Nobody has saved a card." in world.browser.get("/sandbox/provider").text
    customer = world.provider.customer("acc_1", "mira@customer.example", "customer:acc_1")
    session_id = world.provider.start_checkout(replace(world.order(), save_card=True, customer_id=customer)).session_id
    assert world.press(session_id, "pay").status_code == 303
    shown = world.browser.get("/sandbox/provider").text
    (link,) = re.findall(r'href="([^"]+/sandbox/portal/[^"]+)"', shown)
    assert link.endswith(f"/{customer}") and "mira@customer.example" in shown
    card_page = world.browser.get(link).text
    for behaviour in BEHAVIOURS:
        assert f'/{behaviour}"' in card_page
