"""Paddle knows no idempotency keys, and nothing is done twice all the same; a no is told from an outage."""

import json
import socket
from collections.abc import Iterator
from datetime import timedelta

import pytest

from engine.payments import CheckoutRequest, ProviderRefused, ProviderUnreachable
from psp.paddle import Paddle
from tests.engine.support import DAY_0, FakeClock
from tests.psp.fake_paddle import FakePaddle
from tests.psp.paddle_orders import a_paid_order, a_rail, asking, only, sent
from tests.psp.stripe_orders import an_order


@pytest.fixture
def fake(clock: FakeClock) -> Iterator[FakePaddle]:
    with FakePaddle(now=clock.now) as started:
        yield started


@pytest.fixture
def rail(fake: FakePaddle) -> Paddle:
    return a_rail(fake)


def again(purchase_id: str = "pay_1") -> CheckoutRequest:
    """The same order asked once more, its purchase written when the day began."""
    return an_order(purchase_id, asked_since=DAY_0)


@pytest.mark.parametrize("status", [None, 500, 502, 503, 504])
def test_a_transaction_made_unseen_is_found_by_asking_again(
    fake: FakePaddle, rail: Paddle, clock: FakeClock, status: int | None
) -> None:
    if status is None:
        fake.drop(executed=True)
    else:
        fake.fail(status, executed=True)
    with pytest.raises(ProviderUnreachable):
        rail.start_checkout(an_order())
    clock.advance(timedelta(minutes=5))
    assert rail.start_checkout(again()).session_id == next(iter(fake.transactions))
    assert len(fake.transactions) == 1


def test_one_that_was_never_made_is_made(fake: FakePaddle, rail: Paddle) -> None:
    fake.drop()
    with pytest.raises(ProviderUnreachable):
        rail.start_checkout(an_order())
    assert rail.start_checkout(again()).session_id in fake.transactions
    assert len(fake.transactions) == 1


def test_it_is_found_among_many_on_later_pages_and_a_canceled_one_is_not_taken(fake: FakePaddle, rail: Paddle) -> None:
    fake.page_size = 3
    for place in range(2, 12):
        rail.start_checkout(an_order(f"pay_{place}"))
    canceled = rail.start_checkout(an_order()).session_id
    fake.cancel(canceled)
    wanted = rail.start_checkout(an_order()).session_id
    assert rail.start_checkout(again()).session_id == wanted and len(fake.transactions) == 12


def test_a_refund_made_unseen_is_found_by_asking_again(fake: FakePaddle, rail: Paddle) -> None:
    paid = a_paid_order(fake, rail)
    fake.fail(200, executed=False, body=json.dumps({"data": fake.with_adjustments(paid)}))
    fake.drop(executed=True)
    with pytest.raises(ProviderUnreachable):
        rail.refund(asking(paid, 1000))
    fact = only(rail.refund(asking(paid, 1000)), "refund")
    assert list(fake.adjustments) == [fact.object_id] and fact.own_reference == "rev_1"


def test_a_refund_that_shows_only_after_paddle_says_it_is_pending_is_the_answer(fake: FakePaddle, rail: Paddle) -> None:
    paid = a_paid_order(fake, rail)
    before = json.dumps({"data": fake.with_adjustments(paid)})
    made = only(rail.refund(asking(paid, 1000)), "refund")
    fake.fail(200, body=before)  # a replica of Paddle's that has not heard of it
    assert only(rail.refund(asking(paid, 1000)), "refund").object_id == made.object_id
    assert len(fake.adjustments) == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, {"error": {"type": "request_error", "code": "invalid_token", "detail": "", "documentation_url": ""}}),
        (403, {"error": {"type": "request_error", "code": "forbidden", "detail": "", "documentation_url": ""}}),
        (409, {"error": {"type": "request_error", "code": "conflict", "detail": "", "documentation_url": ""}}),
        (429, {"error": {"type": "api_error", "code": "too_many_requests", "detail": "", "documentation_url": ""}}),
        (500, {"error": {"type": "api_error", "code": "internal_error", "detail": "", "documentation_url": ""}}),
        (400, {"error": {"code": "only_a_code"}}),
        (404, "a proxy's page"),
        (200, "a proxy's page"),
        (200, []),
        (200, {"data": []}),
        (302, ""),
    ],
)
def test_what_may_yet_be_done_is_unreachable(
    fake: FakePaddle, rail: Paddle, status: int, body: dict[str, object] | list[object] | str
) -> None:
    paid = a_paid_order(fake, rail)
    event = sent(fake, fake.events[-1], rail)
    text = body if isinstance(body, str) else json.dumps(body)
    for call in (
        lambda: rail.start_checkout(an_order("pay_2")),
        lambda: rail.facts(event),
        lambda: rail.payment(paid),
        lambda: rail.refund(asking(paid)),
    ):
        fake.fail(status, body=text)
        with pytest.raises(ProviderUnreachable):
            call()


def test_a_no_is_for_good_and_says_why(fake: FakePaddle, rail: Paddle) -> None:
    error = {"type": "request_error", "code": "transaction_default_checkout_url_not_set", "detail": "Set one."}
    fake.fail(400, body=json.dumps({"error": error | {"documentation_url": "https://x.example"}}))
    with pytest.raises(ProviderRefused) as refused:
        rail.start_checkout(an_order())
    assert (refused.value.code, refused.value.detail) == (error["code"], "Set one.")


def test_nobody_listening_and_another_key_are_unreachable_and_tell_no_secret(fake: FakePaddle) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        away = Paddle("pdl_sdbx_apikey_hush", ["s"], api_base=f"http://127.0.0.1:{taken.getsockname()[1]}")
        wrong = Paddle("pdl_sdbx_apikey_hush", ["s"], api_base=fake.base_url)
        for rail in (away, wrong):
            with pytest.raises(ProviderUnreachable) as refused:
                rail.start_checkout(an_order())
            assert "hush" not in str(refused.value)


def test_a_list_without_an_end_is_given_up(fake: FakePaddle, rail: Paddle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psp.paddle_wire.PAGES_MAX", 2)
    fake.page_size = 1
    for place in range(3):
        rail.start_checkout(an_order(f"pay_{place + 5}"))
    with pytest.raises(ProviderUnreachable, match="no end"):
        rail.start_checkout(again())
