"""What is asked of Apple's server: transactions, histories page by page, and what its errors mean."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from engine.payments import CheckoutRequest, ProviderRefused, ProviderUnreachable, RefundQuestion, RefundRequest
from engine.rules.money import Money
from engine.rules.stores import MILLI_PERCENT, Usage
from psp.apple import Apple, AppleKey
from tests.engine.support import DAY_0
from tests.stores.apple_chain import Chain, private_pem
from tests.stores.apple_world import APP_ID, BUNDLE
from tests.stores.fake_apple import ISSUER, KEY_ID, FakeApple


def rail(apple: FakeApple, key_id: str = KEY_ID) -> Apple:
    key = AppleKey(ISSUER, key_id, private_pem(apple.world.api_key))
    return Apple(BUNDLE, APP_ID, "Production", [apple.world.chain.root_der], key, f"{apple.base_url}/")


def test_a_transaction_is_fetched_as_it_stands(apple: FakeApple) -> None:
    number = apple.world.buy("7e3fb20b-4cdb-47cc-936d-99d65f608138", quantity=2)
    apple.world.refund(number, 50_000)
    seen = rail(apple).transaction(number)
    assert seen is not None and (seen.object_id, seen.quantity, seen.live) == (number, 2, True)
    assert (seen.refunded_parts, seen.parts) == (50_000, MILLI_PERCENT)
    with pytest.raises(ProviderRefused, match="4040010"):
        rail(apple).transaction("1")


def test_histories_are_read_to_their_end_and_hold_only_what_becomes_credits(apple: FakeApple) -> None:
    numbers = [apple.world.buy() for _ in range(5)]
    apple.world.buy(type="Auto-Renewable Subscription")
    for number in numbers[:3]:
        apple.world.refund(number)
    assert [seen.object_id for seen in rail(apple).history(numbers[0])] == numbers
    refunds = list(rail(apple).refund_history(numbers[0]))
    assert [(seen.object_id, seen.refunded_parts) for seen in refunds] == [(n, MILLI_PERCENT) for n in numbers[:3]]


def test_missed_notifications_are_events_with_the_ids_they_would_have_had(apple: FakeApple) -> None:
    numbers = [apple.world.buy() for _ in range(3)]
    bodies = [apple.world.notify("ONE_TIME_CHARGE", number) for number in numbers]
    apple.world.undelivered = [body["signedPayload"] for body in bodies]
    found = list(rail(apple).missed(DAY_0, DAY_0 + timedelta(hours=1)))
    assert len({event.event_id for event in found}) == 3
    told = [rail(apple).news(event).sightings[0].object_id for event in found]
    assert told == numbers
    assert list(Apple(BUNDLE, APP_ID, "Production", [apple.world.chain.root_der]).missed(DAY_0, DAY_0)) == []


def test_an_answer_that_apple_did_not_sign_is_not_believed(apple: FakeApple) -> None:
    number = apple.world.buy()
    asking = rail(apple)
    apple.world.chain = Chain()
    with pytest.raises(ProviderUnreachable, match="not signed"):
        asking.transaction(number)
    apple.world.undelivered = [apple.world.notify("ONE_TIME_CHARGE", number)["signedPayload"]]
    with pytest.raises(ProviderUnreachable, match="not signed"):
        list(asking.missed(DAY_0, DAY_0 + timedelta(hours=1)))


@pytest.mark.parametrize(("status", "error"), [(400, ProviderRefused), (429, ProviderUnreachable)])
def test_a_no_is_for_good_and_the_rest_is_for_later(apple: FakeApple, status: int, error: type[Exception]) -> None:
    number = apple.world.buy()
    apple.trouble = [status]
    with pytest.raises(error):
        rail(apple).transaction(number)


def test_a_wrong_key_and_no_server_are_for_later(apple: FakeApple) -> None:
    number = apple.world.buy()
    with pytest.raises(ProviderUnreachable, match="401"):
        rail(apple, key_id="OTHER").transaction(number)
    nowhere = rail(apple)
    assert nowhere._client is not None
    nowhere._client._base_url = "http://127.0.0.1:1"
    with pytest.raises(ProviderUnreachable, match="does not answer"):
        nowhere.transaction(number)


def _checkout(asked: Apple) -> None:
    asked.start_checkout(
        CheckoutRequest("acc", "pay", Money(1, "USD"), "", None, None, "", "", DAY_0, idempotency_key="k")
    )


def _refund(asked: Apple) -> None:
    asked.refund(RefundRequest("acc", "pay", "rev", "1", Money(1, "USD"), "k"))


def _answer(asked: Apple) -> None:
    asked.answer(RefundQuestion("1", None, "1", needs_consent=True), Usage(True, 0, has_free_sample=False))


@pytest.mark.parametrize("act", [_checkout, _refund, _answer, lambda asked: asked.transaction("1")])
def test_what_apple_does_not_do_and_what_needs_a_key_is_refused(apple: FakeApple, act: Callable[[Apple], None]) -> None:
    listening = Apple(BUNDLE, APP_ID, "Production", [apple.world.chain.root_der])
    with pytest.raises(ProviderRefused):
        act(listening)
    assert apple.requests == []
